//! Attacks on the real `condor_credmon_htvault`: each account, server, file system and clock does
//! its worst, and all others are served. One module for each kind. Needs the sandbox.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod accounts;
mod addresses;
mod borrowing;
mod clocks;
mod directory;
mod flood;
mod folders;
mod hung;
mod outages;
mod outputs;
mod owners;
mod servers;
mod start;
mod system_errors;
mod texts;
mod tokens;

use std::time::Duration;

use integration::wait::FAR;
use tokio::task::{JoinSet, LocalSet};

/// The credmon looks at everything each minute: what it finds by that comes before.
const MINUTES: Duration = Duration::from_secs(150);
/// The life of tokens that are not renewed while a test looks, in seconds.
const HOUR: u64 = 3600;

type Test = anyhow::Result<()>;

/// Runs all of these at the same time; the first that fails is the failure.
async fn all(tests: impl Iterator<Item = impl Future<Output = Test> + 'static>) -> Test {
    let run = async {
        let mut running = JoinSet::new();
        for test in tests {
            running.spawn_local(test);
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        Ok(())
    };
    LocalSet::new().run_until(run).await
}
