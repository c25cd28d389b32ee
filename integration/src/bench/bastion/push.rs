//! Many accounts at several schedds: pushed to the credds and verified, by the shell loop and by
//! ours, each beginning with empty credential directories.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use super::Sizes;
use super::accounts::Site;
use super::raw;
use crate::bench::figures::{Bound, Figure};
use crate::bench::processor;
use crate::bench::progress::Progress;
use crate::chain::{ISSUER, Lives, installed, program};
use crate::differential::storer;
use crate::pool::{Credmon, Mapping, Options, Pool};
use crate::wait;

/// No directory is kept busy longer.
const FAR: Duration = Duration::from_mins(1);
/// The loop, as it stands beside this file.
const LOOP: &str = include_str!("loop.sh");
/// Its files, as seen inside the pool.
const WORK: &str = "/run/loop";

/// What a side needed.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Needed {
    /// From its start to its end.
    pub(in crate::bench) whole: Duration,
    /// Processor time without that of HTCondor's own tools.
    pub(in crate::bench) own: Duration,
    /// Processor time of these.
    pub(in crate::bench) tool: Duration,
}

pub(super) async fn measure(sizes: &Sizes, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let site = Site::set(sizes.accounts, Lives::HOUR).await?;
    progress.say("push: starts the pools");
    let pools = pools(&site, sizes.schedds).await?;
    let first = pools.first().context("there is a schedd")?;
    // Makes everything that either needs in the pool.
    let ours = installed::bastion(&site.chain, first)?;
    storer::install(&site.chain, first)?;
    let places = installed::places(&format!("credds: [{}]", sizes.schedds.join(", ")));
    for account in &site.accounts {
        let name = format!("{account}.keytab");
        let keytab = first.path(&places.keytabs.join(&name).display().to_string());
        fs::copy(site.chain.keytabs().join(&name), keytab)?;
    }
    let default = "{check: \"*/10 * * * *\", spread: 5m}";
    let yaml = site.yaml(&places, 1, default);
    installed::configure(first, &yaml)?;
    // Vault has every access token, so that the issuer's work is in no figure.
    raw::requests(&site, 1, 1).await?;

    let count = site.accounts.len() * sizes.schedds.len();
    progress.say(format!("push: {count} deliveries by the shell loop"));
    let theirs = by_loop(&site, first, sizes.schedds, &places.keytabs).await?;
    for pool in &pools {
        empty(pool).await?;
    }
    progress.say(format!("push: {count} deliveries by ours"));
    let ours = by_bastion(ours, &site).await?;
    for pool in &pools {
        let there = served(pool, &site);
        ensure!(
            there == site.accounts.len(),
            "{there} are served at {}",
            pool.host()
        );
    }
    for pool in pools {
        pool.stop().await?;
    }

    let what = format!(
        "{} accounts at {} schedds",
        sizes.accounts,
        sizes.schedds.len()
    );
    let figure = |name: &str, words: &str, pick: fn(&Needed) -> Duration| {
        let figure = Figure::new(name, words, "s", pick(&ours).as_secs_f64());
        figure.beside(pick(&theirs).as_secs_f64())
    };
    let words = format!("{what}, pushed and verified");
    Ok(vec![
        figure("push_time", &words, |needed| needed.whole).bound(Bound::Ratio(0.2)),
        figure(
            "push_processor",
            "the same: processor time without HTCondor's own tool",
            |needed| needed.own,
        )
        .bound(Bound::Ratio(0.1)),
        figure(
            "push_processor_tool",
            "the same: processor time of HTCondor's own tool",
            |needed| needed.tool,
        ),
    ])
}

/// The pools: one with everything, and hosts that belong to it.
pub(in crate::bench) async fn pools(site: &Site, hosts: &[&str]) -> anyhow::Result<Vec<Pool>> {
    let users: Vec<&str> = site.accounts.iter().map(String::as_str).collect();
    let ours = program("condor_credmon_htvault")?;
    let mut pools: Vec<Pool> = Vec::new();
    for host in hosts {
        let mut options = Options::new(&users, Credmon::Program(ours.clone()));
        options.host = (*host).to_owned();
        options.map = (users.iter())
            .map(|user| Mapping {
                issuer: ISSUER.to_owned(),
                subject: (*user).to_owned(),
                account: (*user).to_owned(),
            })
            .collect();
        match pools.first() {
            None => {
                let others = hosts.iter().skip(1);
                options.members = others.map(|host| (*host).to_owned()).collect();
            }
            Some(first) => options.manager = Some(first.host().to_owned()),
        }
        let folder = site.folder().join(host);
        pools.push(Pool::start(&folder, &site.chain.ca, &options).await?);
    }
    Ok(pools)
}

async fn by_loop(
    site: &Site,
    pool: &Pool,
    schedds: &[&str],
    keytabs: &Path,
) -> anyhow::Result<Needed> {
    let work = pool.path(WORK);
    fs::create_dir_all(&work)?;
    fs::write(work.join("loop.sh"), LOOP)?;
    let mut command = pool.command("root", "/bin/bash");
    command
        .arg(format!("{WORK}/loop.sh"))
        .env("ACCOUNTS", site.accounts.join(" "))
        .env("SCHEDDS", schedds.join(" "))
        .env("KEYTABS", keytabs)
        .env("WORK", WORK);
    let (whole, used) = to_its_end(command, &site.folder().join("loop")).await?;
    let tool = tool_time(&fs::read_to_string(work.join("tool"))?)?;
    Ok(Needed {
        whole,
        own: (used.own + used.children).saturating_sub(tool),
        tool,
    })
}

/// The sum of lines with user and system seconds.
fn tool_time(text: &str) -> anyhow::Result<Duration> {
    let mut sum = 0.0;
    for number in text.split_whitespace() {
        let seconds: f64 = number
            .parse()
            .with_context(|| format!("{text} are seconds"))?;
        sum += seconds;
    }
    Ok(Duration::from_secs_f64(sum))
}

/// A single run of ours.
pub(in crate::bench) async fn by_bastion(
    mut command: Command,
    site: &Site,
) -> anyhow::Result<Needed> {
    command.args(["once", "--json"]);
    let (whole, used) = to_its_end(command, &site.folder().join("once")).await?;
    Ok(Needed {
        whole,
        own: used.own,
        tool: used.children,
    })
}

/// Runs it; what it says goes to a file, and is the error when its exit code is not 0.
async fn to_its_end(
    mut command: Command,
    said: &Path,
) -> anyhow::Result<(Duration, processor::Used)> {
    let file = File::create(said)?;
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .kill_on_drop(true);
    let began = Instant::now();
    let mut child = command.spawn().context("cannot be started")?;
    let used = processor::at_its_end(&child).await?;
    let whole = began.elapsed();
    let status = child.wait().await?;
    ensure!(
        status.success(),
        "{:?} ended with {status}:\n{}",
        command.as_std(),
        fs::read_to_string(said)?
    );
    Ok((whole, used))
}

/// Takes everything that is stored for accounts away. A credmon that is at work in a folder may put
/// something into it meanwhile.
pub(in crate::bench) async fn empty(pool: &Pool) -> anyhow::Result<()> {
    wait::until("an empty credential directory", FAR, async || {
        for entry in fs::read_dir(pool.credentials())?.flatten() {
            if entry.path().is_dir() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        anyhow::Ok(())
    })
    .await
}

/// How many accounts have an access token there.
fn served(pool: &Pool, site: &Site) -> usize {
    let folder = pool.credentials();
    let uses = site.accounts.iter().map(|a| folder.join(a).join("cms.use"));
    uses.filter(|path| path.is_file()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added_up() {
        let sum = tool_time("0.010 0.005\n0.100 0.000\n").unwrap();
        assert_eq!(sum, Duration::from_millis(115));
        assert!(tool_time("bash: no such thing").is_err());
    }
}
