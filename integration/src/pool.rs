//! A real HTCondor pool on one loopback address: collector, negotiator, schedd, startd, credd and
//! a credmon under one master.
//!
//! Owns a folder in the sandbox with the pool's root file system: the kept root of
//! `integration/setup/pool` below, what this run writes above, in memory. What always holds: each
//! pool begins pristine and leaves the kept root as it was; one pool runs at a time on a host
//! name; dropping it ends every process in it and takes its mounts away. When it cannot start,
//! the error holds the ends of its logs.

mod configuration;
mod daemons;
mod jobs;
mod keys;
mod root;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::address::{self, Protocol};
use crate::ca::Ca;
use crate::process::Daemon;
use crate::sandbox;

pub use jobs::{Job, JobState};
pub use root::Answer;
pub(crate) use root::Root;

/// The folder of credentials, as seen inside the pool.
pub const CREDENTIALS: &str = "/var/lib/condor/oauth_credentials";
/// Where a credmon that is tried is put, as seen inside the pool.
pub const CREDMON: &str = "/usr/libexec/condor/condor_credmon_htvault";

/// Where all daemons of a host listen together, and the collector is found.
const PORT: u16 = 9618;

/// Which HTCondor: `integration/setup/pool` keeps a root with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// What is in production use now.
    Current,
    /// An older one that sites still have, without rules of providers.
    Older,
}

impl Release {
    /// The beginning of its version.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Current => "25.14",
            Self::Older => "23.9.6",
        }
    }
}

/// What a pool is like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its HTCondor.
    pub release: Release,
    /// Its host name: one that the sandbox gives an address.
    pub host: String,
    /// The accounts that exist on it as Unix users.
    pub users: Vec<String>,
    /// Whose access token stands for which account: the map file of the schedd and the credd.
    pub map: Vec<Mapping>,
    /// What serves the credential directory.
    pub credmon: Credmon,
    /// The host of the central manager, where this host has none of its own.
    pub manager: Option<String>,
    /// Other hosts whose daemons belong to this pool.
    pub members: Vec<String>,
    /// Lines at the end of the configuration, for example `CREDMON_OAUTH_TOKEN_MINIMUM = 30`.
    pub configuration: Vec<String>,
}

/// A line of the map file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The token's `iss`, for example `https://issuer.test:8443/cms`.
    pub issuer: String,
    /// The token's `sub`.
    pub subject: String,
    /// The account that a bearer of such a token is.
    pub account: String,
}

/// What runs as `CREDMON_OAUTH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credmon {
    /// Nothing.
    Absent,
    /// HTCondor's own `condor_credmon_vault`, the reference.
    Reference,
    /// This program of the machine, copied in as [`CREDMON`].
    Program(PathBuf),
}

impl Options {
    /// The host `ap.test` with these accounts and this credmon.
    #[must_use]
    pub fn new(users: &[&str], credmon: Credmon) -> Self {
        Self {
            release: Release::Current,
            host: "ap.test".to_owned(),
            users: users.iter().map(|user| (*user).to_owned()).collect(),
            map: Vec::new(),
            credmon,
            manager: None,
            members: Vec::new(),
            configuration: Vec::new(),
        }
    }
}

/// The root of such a pool without its daemons, for single programs of it. It goes when dropped.
pub(crate) async fn without_daemons(
    folder: &Path,
    ca: &Ca,
    options: &Options,
) -> anyhow::Result<Root> {
    let root = Root::mount(folder, options.release)?;
    configuration::write(&root, ca, options).await?;
    Ok(root)
}

/// A running pool.
#[derive(Debug)]
pub struct Pool {
    // In the order in which they must be dropped.
    master: Daemon,
    root: Root,
    _only_one: File,
    host: String,
    /// What has to advertise itself.
    daemons: &'static [&'static str],
}

impl Pool {
    /// Starts a pool in `folder` (made here; inside the sandbox's run folder) that trusts `ca`,
    /// and waits until all its daemons answer, and have the keys of the issuers in the map file.
    ///
    /// Should another pool with this host name be running, this waits for its end.
    pub async fn start(folder: &Path, ca: &Ca, options: &Options) -> anyhow::Result<Self> {
        let lock = sandbox::run_folder()?.join(format!("pool-{}.lock", options.host));
        let only_one = tokio::task::spawn_blocking(move || -> anyhow::Result<File> {
            let file =
                File::create(&lock).with_context(|| format!("cannot create {}", lock.display()))?;
            file.lock()
                .with_context(|| format!("cannot lock {}", lock.display()))?;
            Ok(file)
        })
        .await
        .context("the wait for another pool's end was cut short")??;

        let shared_port = SocketAddr::new(configuration::address(&options.host)?, PORT);
        address::require_free("condor_master", Protocol::Tcp, shared_port)?;
        let root = Root::mount(folder, options.release)?;
        configuration::write(&root, ca, options).await?;
        let mut command = root.command("root", "/usr/sbin/condor_master");
        command.arg("-f");
        let master = Daemon::spawn("condor_master", command, &folder.join("master.log"))?
            // HTCondor's "fast" end; SIGTERM would let jobs finish first.
            .ended_by(Signal::SIGQUIT);
        let mut pool = Self {
            master,
            root,
            _only_one: only_one,
            host: options.host.clone(),
            daemons: match options.manager {
                None => &["Collector", "Negotiator", "Scheduler", "CredD", "Machine"],
                Some(_) => &["Scheduler", "CredD"],
            },
        };
        let started = async {
            pool.wait_until_up().await?;
            match options.release {
                Release::Current => keys::fetch(&pool.root, &options.map).await,
                Release::Older => Ok(()),
            }
        };
        if let Err(error) = started.await {
            return Err(error.context(format!(
                "the pool did not start; its logs end so:\n{}",
                pool.logs(15)
            )));
        }
        Ok(pool)
    }

    /// Its host name: also the name of its schedd and its credd.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `HOST:PORT` of its collector.
    #[must_use]
    pub fn collector(&self) -> String {
        format!("{}:{PORT}", self.host)
    }

    /// The master's process with what it prints.
    #[must_use]
    pub fn master(&self) -> &Daemon {
        &self.master
    }

    /// Where a file of the pool (`/etc/condor/mapfile`) is for us.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.path(inside)
    }

    /// The credential directory, for us.
    #[must_use]
    pub fn credentials(&self) -> PathBuf {
        self.path(CREDENTIALS)
    }

    /// The process of one of its programs, as `condor_credd`.
    pub fn process(&self, program: &str) -> anyhow::Result<Pid> {
        self.root.process(program)
    }

    /// The process that the credmon wrote into its `pid` file.
    pub fn credmon_pid(&self) -> anyhow::Result<Pid> {
        let file = self.credentials().join("pid");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let pid = text
            .trim()
            .parse()
            .with_context(|| format!("{} holds no number", file.display()))?;
        Ok(Pid::from_raw(pid))
    }

    /// Shows a folder of ours in it, at the same place.
    pub fn show(&self, folder: &Path) -> anyhow::Result<()> {
        self.root.show(folder)
    }

    /// Runs a command in the pool as `user`, in that user's home, to its end, with nothing to read.
    pub async fn run(&self, user: &str, command: &[&str]) -> anyhow::Result<Answer> {
        self.root.run(user, command, "").await
    }

    /// The same with `input` to read.
    pub async fn run_with_input(
        &self,
        user: &str,
        command: &[&str],
        input: &str,
    ) -> anyhow::Result<Answer> {
        self.root.run(user, command, input).await
    }

    /// A command that is to run in the pool as `user`, with nothing in its environment but a
    /// path and a home: for what [`Pool::run`] cannot do.
    #[must_use]
    pub fn command(&self, user: &str, program: &str) -> tokio::process::Command {
        self.root.command(user, program)
    }

    /// Writes lines into a file of the configuration of their own, and has all daemons read it.
    pub async fn reconfigure(&self, lines: &[&str]) -> anyhow::Result<()> {
        let file = self.path("/etc/condor/config.d/60-later.conf");
        fs::write(&file, lines.join("\n") + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
        self.run("root", &["condor_reconfig"]).await?.success()?;
        Ok(())
    }

    /// The ends of all its logs, for the message of a test that fails.
    #[must_use]
    pub fn logs(&self, lines: usize) -> String {
        let mut text = format!("--- the master's output\n{}\n", self.master.tail(lines));
        let mut files: Vec<PathBuf> = fs::read_dir(self.path("/var/log/condor"))
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().contains("Log"))
            .collect();
        files.sort();
        for file in files {
            let content = fs::read(&file).unwrap_or_default();
            let content = String::from_utf8_lossy(&content);
            let all: Vec<&str> = content.lines().collect();
            let skip = all.len().saturating_sub(lines);
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let tail: Vec<&str> = all.into_iter().skip(skip).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "--- {name}\n{}", tail.join("\n"));
        }
        text
    }

    /// Ends it, and says so when the master did not end well. Dropping it does the same silently.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let status = self.master.stop().await?;
        ensure!(
            status.success(),
            "condor_master ended with {status}; the pool's logs end so:\n{}",
            self.logs(15)
        );
        Ok(())
    }
}
