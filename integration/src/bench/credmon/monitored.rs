//! One of the two monitors with its credential directory.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::stage::Stage;
use crate::bench::processor;
use crate::chain::Lives;
use crate::differential::case::Reference;
use crate::differential::rig::Side;
use crate::process::{Daemon, Memory};
use crate::wait;

/// No pass takes longer, unless something hangs.
const FAR: Duration = Duration::from_mins(10);

/// How long a monitor must use no processor before it counts as idle.
const IDLE: Duration = Duration::from_millis(1500);

/// Processor time in that span of one that has nothing urgent to do.
const SPREAD: Duration = Duration::from_millis(15);

/// What tells an access token's file from its successor: inode and time of change in nanoseconds.
pub(crate) type Identity = (u64, i128);

/// The monitor of a side, running or not.
pub(crate) struct Monitored<'a> {
    stage: &'a Stage,
    pub(crate) side: Side,
    name: String,
    inside: String,
    directory: PathBuf,
    /// The numbers of its credentials at Vault.
    credentials: Range<usize>,
    daemon: Option<Daemon>,
}

impl<'a> Monitored<'a> {
    /// Makes a directory with a `.top` for each of these credentials.
    pub(crate) fn prepare(
        stage: &'a Stage,
        name: &str,
        side: Side,
        credentials: Range<usize>,
    ) -> anyhow::Result<Self> {
        let name = format!("bench-{name}");
        let inside = stage.rig.directory(&name, side)?;
        stage.rig.put_in_memory(&inside)?;
        let made = Self {
            stage,
            side,
            name,
            directory: stage.rig.path(&inside),
            inside,
            credentials: credentials.clone(),
            daemon: None,
        };
        for number in credentials {
            let folder = made.directory.join(account(number));
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            stage.rig.own(&folder, 0o2700, "condor:condor")?;
            made.store(number, number)?;
        }
        Ok(made)
    }

    /// Its credentials.
    pub(crate) fn credentials(&self) -> Range<usize> {
        self.credentials.clone()
    }

    /// Stores a `.top` as the credd does: written beside, then renamed.
    pub(crate) fn store(&self, credential: usize, token: usize) -> anyhow::Result<()> {
        let top = self.stage.top(credential, token);
        let top = top.context("there are tokens")?;
        let folder = self.directory.join(account(credential));
        let temporary = folder.join("cms.top.tmp");
        fs::write(&temporary, top)
            .with_context(|| format!("cannot write {}", temporary.display()))?;
        self.stage.rig.own(&temporary, 0o600, "root:condor")?;
        fs::rename(&temporary, folder.join("cms.top")).context("cannot put a .top in place")
    }

    /// Where ours tells its status.
    pub(crate) fn status_file(&self) -> PathBuf {
        self.stage.rig.path(&self.status_inside())
    }

    fn status_inside(&self) -> String {
        format!("/run/{}.status", self.name)
    }

    /// Starts it.
    pub(crate) fn start(&mut self, lives: Lives) -> anyhow::Result<()> {
        let settings = [
            ("SEC_CREDENTIAL_DIRECTORY_OAUTH", self.inside.clone()),
            (
                "CREDMON_OAUTH_LOG",
                format!("/var/log/condor/{}-{}", self.name, self.side.word()),
            ),
            (
                "CREDMON_OAUTH_TOKEN_MINIMUM",
                lives.access_minimum.to_string(),
            ),
            ("CREDMON_HTVAULT_STATUS_FILE", self.status_inside()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let daemon =
            self.stage
                .rig
                .start_side(&self.name, self.side, Reference::Vault, &[], &settings)?;
        self.daemon = Some(daemon);
        Ok(())
    }

    fn daemon(&self) -> anyhow::Result<&Daemon> {
        self.daemon.as_ref().context("the monitor runs")
    }

    /// Says that the directory changed, as the credd does.
    pub(crate) fn hang_up(&mut self) -> anyhow::Result<()> {
        let daemon = self.daemon.as_mut().context("the monitor runs")?;
        daemon.signal(Signal::SIGHUP)
    }

    /// Waits until each credential has its access token.
    pub(crate) async fn complete(&mut self) -> anyhow::Result<()> {
        let mut next = self.credentials.start;
        let what = format!("{} access tokens ({})", self.credentials.len(), self.name);
        let result = wait::until(&what, FAR, async || -> anyhow::Result<()> {
            // Looks at those alone that were not there before: looking costs processor time, too.
            while next < self.credentials.end && self.token(next).is_some() {
                next += 1;
            }
            ensure!(next == self.credentials.end, "{next} is missing");
            Ok(())
        })
        .await;
        result.with_context(|| self.daemon().map(|d| d.tail(20)).unwrap_or_default())
    }

    /// Waits until it has nothing to do but what is spread over time, such as a look-up each second.
    pub(crate) async fn idle(&self) -> anyhow::Result<()> {
        let mut before = None;
        wait::until(
            "the monitor to be idle",
            FAR,
            async || -> anyhow::Result<()> {
                let used = self.processor()?;
                let last = before.replace(used);
                let is_idle = last.is_some_and(|last| used.saturating_sub(last) < SPREAD);
                if !is_idle {
                    wait::pass(IDLE).await;
                }
                ensure!(is_idle, "it used {used:?} so far");
                Ok(())
            },
        )
        .await
    }

    /// Takes all access tokens away.
    pub(crate) fn remove_tokens(&self) -> anyhow::Result<()> {
        for number in self.credentials() {
            fs::remove_file(self.use_file(number)).context("cannot take a .use away")?;
        }
        Ok(())
    }

    pub(crate) fn use_file(&self, credential: usize) -> PathBuf {
        self.directory.join(account(credential)).join("cms.use")
    }

    /// Which access token a credential has.
    pub(crate) fn token(&self, credential: usize) -> Option<Identity> {
        let meta = fs::symlink_metadata(self.use_file(credential)).ok()?;
        let changed = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
        Some((meta.ino(), changed))
    }

    /// When the last of the access tokens in place was put there, in nanoseconds since 1970.
    pub(crate) fn last_token(&self) -> anyhow::Result<(i128, i128)> {
        let mut times: Vec<i128> = Vec::new();
        for number in self.credentials() {
            let (_, changed) = self.token(number).context("all are there")?;
            times.push(changed);
        }
        let first = times.iter().min().context("there are credentials")?;
        let last = times.iter().max().context("there are credentials")?;
        Ok((*first, *last))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> anyhow::Result<Pid> {
        Ok(self.daemon()?.pid())
    }

    /// Processor time of all its processes since it was started.
    pub(crate) fn processor(&self) -> anyhow::Result<Duration> {
        processor::of_tree(self.daemon()?.pid())
    }

    /// Memory of all its processes.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        Memory::of_tree(self.daemon()?.pid())
    }

    /// Ends it; the directory stays.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.stop().await?;
        }
        Ok(())
    }

    /// Ends it and removes the directory.
    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        self.stop().await?;
        nix::mount::umount(&self.directory).context("cannot unmount a credential directory")?;
        fs::remove_dir_all(&self.directory).context("cannot remove a credential directory")
    }
}

/// An account's name.
pub(crate) fn account(number: usize) -> String {
    format!("user{number:05}")
}
