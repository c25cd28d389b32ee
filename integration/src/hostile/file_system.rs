//! A file system that a test can make hang: a folder that is shown elsewhere by `bindfs` (FUSE).
//!
//! What always holds: when it is dropped, or the test process dies, whoever hangs in it gets an
//! error, and the mount is gone.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{minor, stat};
use nix::sys::statfs::statfs;
use tokio::process::Command;

use crate::process::Daemon;
use crate::sandbox;
use crate::wait;
use crate::wait::FAR;

/// FUSE's number among file systems.
const FUSE: i64 = 0x6573_5546;
/// A mounted folder.
pub struct FileSystem {
    at: PathBuf,
    of: PathBuf,
    /// The kernel's view of FUSE's connections.
    control: PathBuf,
    daemon: Option<Daemon>,
}

impl FileSystem {
    /// Shows the folder `of` at `at`; makes both where they are missing.
    pub async fn mount(of: &Path, at: &Path) -> anyhow::Result<Self> {
        for folder in [of, at] {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut made = Self {
            at: at.to_owned(),
            of: of.to_owned(),
            control: at.with_extension("fusectl"),
            daemon: None,
        };
        made.mend().await?;
        std::fs::create_dir_all(&made.control).context("cannot make a folder for fusectl")?;
        let kind = Some("fusectl");
        mount(kind, &made.control, kind, MsFlags::empty(), None::<&str>)
            .context("cannot mount fusectl")?;
        Ok(made)
    }

    /// From now on whoever touches it waits. No request is under way then: the kernel lets nobody be
    /// killed who waits for an answer that was begun.
    pub async fn hang(&self) -> anyhow::Result<()> {
        let device = stat(&self.at)?.st_dev;
        let waiting = self.control.join(minor(device).to_string()).join("waiting");
        let stopped = wait::until(
            "no request to be under way",
            FAR,
            async || -> anyhow::Result<()> {
                self.signal(Signal::SIGSTOP)?;
                let count = std::fs::read_to_string(&waiting)?;
                if count.trim() == "0" {
                    return Ok(());
                }
                self.signal(Signal::SIGCONT)?;
                anyhow::bail!("{count} requests are under way")
            },
        );
        stopped.await
    }

    /// It goes on.
    pub fn go_on(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let daemon = self.daemon.as_ref().context("it is mounted")?;
        kill(daemon.pid(), signal).context("cannot signal bindfs")
    }

    /// It fails: each access gives `ENOTCONN`, as of a server that is gone.
    pub async fn fail(&mut self) -> anyhow::Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.signal(Signal::SIGKILL)?;
            daemon.wait(FAR).await?;
        }
        Ok(())
    }

    /// It works, again.
    pub async fn mend(&mut self) -> anyhow::Result<()> {
        self.fail().await?;
        // Not mounted, the first time.
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
        let tools = sandbox::fault_tools()?;
        let mut command = Command::new(tools.join("usr/bin/bindfs"));
        command
            .env("LD_LIBRARY_PATH", tools.join("lib/x86_64-linux-gnu"))
            // Nothing is cached: each access asks it.
            .args([
                "-f",
                "-o",
                "attr_timeout=0,entry_timeout=0,negative_timeout=0",
            ])
            .args([&self.of, &self.at]);
        let log = self.at.with_extension("bindfs.log");
        self.daemon = Some(Daemon::spawn("bindfs", command, &log)?);
        let mounted = wait::until(
            "bindfs to be mounted",
            FAR,
            async || -> anyhow::Result<()> {
                let kind = statfs(&self.at)?.filesystem_type().0;
                anyhow::ensure!(kind == FUSE, "it is a file system of kind {kind:#x}");
                Ok(())
            },
        );
        // It needs /dev/fuse.
        let said = || {
            self.daemon
                .as_ref()
                .map_or_else(String::new, |daemon| daemon.tail(5))
        };
        mounted.await.with_context(said)
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        // Whoever hangs in it gets an error as soon as its process is gone; a stopped one does not
        // hear SIGTERM.
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.signal(Signal::SIGKILL);
        }
        drop(self.daemon.take());
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
        let _ = umount2(&self.control, MntFlags::MNT_DETACH);
    }
}
