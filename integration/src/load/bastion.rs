//! 5,000 deliveries of one bastion into a credential directory that our credmon serves, with vault tokens that live
//! twenty minutes instead of a week.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use htvault::clock::{Clock as _, SystemClock};

use super::command::Loaded;
use super::sample;
use super::samples::{figures, number};
use super::tokens::{End, Tokens};
use crate::bench::bastion::accounts::Site;
use crate::bench::bastion::directory::{all_good, good, heap_of_the_unit};
use crate::bench::figures::Figure;
use crate::bench::processor;
use crate::bench::progress::Progress;
use crate::bench::requests::{self, Request};
use crate::chain::Lives;
use crate::process::Daemon;

/// Extent of the load.
struct Extent {
    /// Principals, each with a keytab.
    principals: usize,
    /// Accounts that each of them logs in for.
    accounts: usize,
    lives: Lives,
    /// Time over which renewals and observations are spread.
    spread: &'static str,
    /// Steps between two questions to the bastion for its status.
    ask_every: u32,
}

/// A week is twenty minutes, and three days the same part of that.
const FULL: Extent = Extent {
    principals: 50,
    accounts: 100,
    lives: Lives {
        access_token: 600,
        access_minimum: 400,
        vault_token: 1200,
        renew_below: 514,
    },
    spread: "3m",
    ask_every: 30,
};

const QUICK: Extent = Extent {
    principals: 5,
    accounts: 20,
    lives: Lives {
        access_token: 90,
        access_minimum: 60,
        vault_token: 60,
        renew_below: 30,
    },
    spread: "10s",
    ask_every: 5,
};

/// Holds it for so long.
pub(super) async fn hold(
    quick: bool,
    lasts: Duration,
    progress: &Progress,
) -> anyhow::Result<Loaded> {
    let Extent {
        principals,
        accounts,
        lives,
        spread,
        ask_every,
    } = if quick { QUICK } else { FULL };
    let count = principals * accounts;
    let site = Site::set(principals, lives).await?;
    let directory = site.folder().join("credentials");
    fs::create_dir(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o2770))?;
    let log = |name: &str| site.folder().join(format!("{name}.log"));
    let mut credmon = Daemon::spawn("credmon", site.chain.credmon(&directory)?, &log("credmon"))?;
    let schedule = format!("{{check: \"*/10 * * * *\", spread: {spread}}}");
    let yaml = site.yaml(&site.chain.here(&directory), accounts, &schedule);
    let config = site.chain.write_bastion_config(&yaml)?;
    let mut command = site.chain.bastion(&config)?;
    command.arg("run").envs(heap_of_the_unit());
    progress.say(format!("load: {count} deliveries are made"));
    let mut bastion = Daemon::spawn("token-bastion", command, &log("bastion"))?;
    all_good(&mut bastion, count).await?;

    let files = |name: &str| {
        let folders = site.names(accounts).map(|account| directory.join(account));
        let paths: Vec<_> = folders.map(|folder| folder.join(name)).collect();
        paths
    };
    let life = End::AfterStore(i64::try_from(lives.vault_token)?);
    let mut tokens = [
        Tokens::new(files("cms.top"), life, lives.renew_below)?,
        Tokens::new(files("cms.use"), End::InToken, lives.access_minimum)?,
    ];
    let before = processor::of_tree(bastion.pid())?;
    let (from, began) = (SystemClock.now(), Instant::now());
    let samples = sample(bastion.pid(), &mut tokens, lasts, progress, async |step| {
        if step % ask_every == ask_every - 1 {
            Ok(count - good(&site, &config).await?)
        } else {
            Ok(0)
        }
    })
    .await?;
    let took = began.elapsed();
    let used = processor::of_tree(bastion.pid())?.saturating_sub(before);
    bastion.stop().await?;
    credmon.stop().await?;
    let is_made = |request: &Request| request.path == "/v1/auth/token/create";
    let made = requests::since(&site.chain.requests(), from, is_made)?;

    let mut all = vec![
        Figure::new("deliveries", "deliveries", "", number(count)?),
        Figure::new(
            "minutes",
            format!(
                "held, with vault tokens of {} s and access tokens of {} s",
                lives.vault_token, lives.access_token
            ),
            "min",
            took.as_secs_f64() / 60.0,
        ),
        Figure::new("pushes", "vault tokens made", "", number(made.len())?),
        Figure::new(
            "processor",
            "share of one core",
            "%",
            100.0 * used.as_secs_f64() / took.as_secs_f64(),
        ),
    ];
    all.extend(figures(&samples, &["vault token", "access token"])?);
    Ok(Loaded {
        figures: all,
        samples,
    })
}
