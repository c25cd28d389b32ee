//! Very many deliveries into a credential directory that our credmon serves: how long they take
//! beside the bare requests, what memory they need, and what they cost when all are good.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::Sizes;
use super::accounts::Site;
use super::raw;
use crate::bench::credmon::megabytes;
use crate::bench::figures::{Bound, Figure};
use crate::bench::processor;
use crate::bench::progress::Progress;
use crate::bench::{VAULT_IS_LATER, vault_far_away};
use crate::chain::{ADMIN, Lives};
use crate::conformance::admin::Admin;
use crate::process::{Daemon, Mark, Memory};
use crate::wait;

/// No part takes longer, unless something hangs.
const FAR: Duration = Duration::from_mins(10);
/// How often every delivery is looked at; the usual is ten minutes.
const SCHEDULE: &str = "{check: \"*/2 * * * *\", spread: 1m}";

/// A bastion and a credmon that have made all deliveries good.
struct Delivered {
    site: Site,
    bastion: Daemon,
    credmon: Daemon,
    config: PathBuf,
    /// What the bare requests take.
    bare: Duration,
    /// What the deliveries took.
    took: Duration,
}

/// Has all deliveries made, by a Vault on this machine or by one that is far away.
async fn deliver(sizes: &Sizes, is_far: bool, progress: &Progress) -> anyhow::Result<Delivered> {
    let site = Site::set(sizes.accounts, Lives::HOUR).await?;
    let count = sizes.accounts * sizes.robots;
    // Vault has every access token from here on.
    raw::requests(&site, 1, 1).await?;
    if is_far {
        let admin = Admin::new(&format!("http://{ADMIN}"), &site.chain.ca.file())?;
        vault_far_away(&admin, "").await?;
    }
    let far = if is_far { ", a Vault far away" } else { "" };
    progress.say(format!(
        "directory: the bare requests of {count} deliveries{far}"
    ));
    // One access token for the bastion's check, one for the credmon.
    let bare = raw::requests(&site, sizes.robots, 2).await?;

    let directory = site.folder().join("credentials");
    fs::create_dir(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o2770))?;
    let log = |name: &str| site.folder().join(format!("{name}.log"));
    let credmon = Daemon::spawn("credmon", site.chain.credmon(&directory)?, &log("credmon"))?;
    let yaml = site.yaml(&site.chain.here(&directory), sizes.robots, SCHEDULE);
    let config = site.chain.write_bastion_config(&yaml)?;
    let mut command = site.chain.bastion(&config)?;
    command.arg("run").envs(heap_of_the_unit());
    progress.say(format!("directory: {count} deliveries{far}"));
    let began = Instant::now();
    let mut bastion = Daemon::spawn("token-bastion", command, &log("bastion"))?;
    all_good(&mut bastion, count).await?;
    Ok(Delivered {
        took: began.elapsed(),
        site,
        bastion,
        credmon,
        config,
        bare,
    })
}

pub(super) async fn measure(sizes: &Sizes, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let count = sizes.accounts * sizes.robots;
    let mut far = deliver(sizes, true, progress).await?;
    let (far_took, far_bare) = (far.took, far.bare);
    far.bastion.stop().await?;
    far.credmon.stop().await?;
    drop(far.site);

    let Delivered {
        site,
        mut bastion,
        mut credmon,
        config,
        bare,
        took,
    } = deliver(sizes, false, progress).await?;
    let pushed = processor::of_tree(bastion.pid())?;
    let peak = Memory::peak_of(bastion.pid())?;
    let memory = bastion.memory()?;

    progress.say(format!("directory: rests for {} s", sizes.idle));
    let (began, before) = (Instant::now(), processor::of_tree(bastion.pid())?);
    wait::pass(Duration::from_secs(sizes.idle)).await;
    let (idle, rested) = (
        processor::of_tree(bastion.pid())?.saturating_sub(before),
        began.elapsed(),
    );
    let rested_memory = bastion.memory()?;
    let is_good = good(&site, &config).await?;
    ensure!(
        is_good == count,
        "{is_good} of {count} are good\n{}",
        bastion.tail(20)
    );
    bastion.stop().await?;
    credmon.stop().await?;

    let number = |count: usize| u32::try_from(count).map(f64::from);
    let resident = |name: &str, words: &str, bytes: u64| {
        Figure::new(name, format!("the same: {words}"), "MB", megabytes(bytes))
    };
    Ok(vec![
        Figure::new(
            "directory_time",
            format!("{count} deliveries by directory, all good after"),
            "s",
            took.as_secs_f64(),
        ),
        Figure::new(
            "directory_bare",
            "the same requests to Vault without a bastion and a credmon",
            "s",
            bare.as_secs_f64(),
        ),
        Figure::new(
            "directory_multiple",
            "the deliveries' time as a multiple of that",
            "",
            took.as_secs_f64() / bare.as_secs_f64(),
        ),
        Figure::new(
            "directory_far",
            format!(
                "the same with a Vault that takes {VAULT_IS_LATER} longer to answer, all good after"
            ),
            "s",
            far_took.as_secs_f64(),
        ),
        Figure::new(
            "directory_far_multiple",
            "that time as a multiple of the bare requests there",
            "",
            far_took.as_secs_f64() / far_bare.as_secs_f64(),
        )
        .bound(Bound::AtMost(1.5)),
        Figure::new(
            "directory_processor",
            "the same: processor time for each delivery",
            "ms",
            pushed.as_secs_f64() * 1000.0 / number(count)?,
        ),
        resident(
            "directory_memory",
            "resident memory, all good",
            memory.resident,
        )
        .bound(Bound::AtMost(30.0)),
        resident("directory_peak", "resident memory at most", peak).bound(Bound::AtMost(30.0)),
        resident(
            "directory_memory_rested",
            &format!("resident memory after {} s more", sizes.idle),
            rested_memory.resident,
        )
        .bound(Bound::AtMost(30.0)),
        Figure::new(
            "directory_idle",
            "the same, each delivery looked at every two minutes: share of one core",
            "%",
            100.0 * idle.as_secs_f64() / rested.as_secs_f64(),
        )
        .bound(Bound::Below(1.0)),
    ])
}

/// Waits until the bastion has said of so many deliveries that they are good.
pub(crate) async fn all_good(bastion: &mut Daemon, count: usize) -> anyhow::Result<()> {
    let (mut good, mut mark) = (0, Mark::default());
    let mut ended = None;
    let result = wait::until("every delivery to be good", FAR, async || {
        ended = bastion.try_ended()?;
        let (lines, next) = bastion.lines_after(mark);
        mark = next;
        good += lines
            .iter()
            .filter(|line| line.contains(" good: jobs there"))
            .count();
        ensure!(ended.is_some() || good >= count, "{good} of {count}");
        Ok(())
    })
    .await;
    result.with_context(|| bastion.tail(20))?;
    ensure!(ended.is_none(), "it ended: {ended:?}\n{}", bastion.tail(20));
    Ok(())
}

/// Settings of the heap that the shipped unit has.
pub(crate) fn heap_of_the_unit() -> impl Iterator<Item = (&'static str, &'static str)> {
    const UNIT: &str = include_str!("../../../../config-examples/systemd/token-bastion.service");
    let lines = UNIT.lines();
    let settings = lines.filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
    settings.filter(|(name, _)| name.starts_with("MALLOC_"))
}

/// How many deliveries are good, as the service itself says.
pub(crate) async fn good(site: &Site, config: &std::path::Path) -> anyhow::Result<usize> {
    let mut command = site.chain.bastion(config)?;
    command.args(["status", "--json"]);
    let output = command.output().await?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let all = report.get("deliveries").and_then(Value::as_array);
    let states = all
        .into_iter()
        .flatten()
        .filter_map(|line| line.get("state"));
    Ok(states.filter(|state| *state == "good").count())
}
