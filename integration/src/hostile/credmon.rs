//! The real `condor_credmon_htvault`, configured by its environment, outside a pool.
//!
//! What always holds: it sees no HTCondor of the machine (its PATH is its own), and everything that
//! it writes is in its site's folder.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::Command;

use crate::chain::program;
use crate::ended;
use crate::process::Daemon;
use crate::wait;
use crate::wait::FAR;

/// The program's name.
const PROGRAM: &str = "condor_credmon_htvault";
/// Where its tools are; no HTCondor is there.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// It ends within seconds, whatever hangs.
const END: Duration = Duration::from_secs(30);

/// What it is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    folder: PathBuf,
    settings: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    arguments: Vec<String>,
    wrapper: Vec<String>,
    user: Option<u32>,
    program: Option<PathBuf>,
    status_file: PathBuf,
    log_file: PathBuf,
}

impl Setup {
    /// One that writes its log and its status below `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let mut setup = Self {
            folder: folder.to_owned(),
            settings: BTreeMap::new(),
            environment: BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]),
            arguments: Vec::new(),
            wrapper: Vec::new(),
            user: None,
            program: None,
            status_file: folder.join("run/credmon_htvault.status"),
            log_file: folder.join("log/CredMonOAuthLog"),
        };
        let (status, log) = (setup.status_file.clone(), setup.log_file.clone());
        setup
            .set("CREDMON_HTVAULT_STATUS_FILE", status.display())
            .set("CREDMON_OAUTH_LOG", log.display());
        setup
    }

    /// Sets a value of HTCondor's configuration.
    pub fn set(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.settings.insert(name.to_owned(), value.to_string());
        self
    }

    /// Leaves a value unset.
    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.settings.remove(name);
        self
    }

    /// Takes all values away and gives them: for a `condor_config_val` of the test's own.
    pub fn take_settings(&mut self) -> BTreeMap<String, String> {
        std::mem::take(&mut self.settings)
    }

    /// The usual minimum and refresh interval for tokens of this life in seconds: three renewals in
    /// each life.
    pub fn for_life(&mut self, seconds: u64) -> &mut Self {
        self.set("CREDMON_OAUTH_TOKEN_MINIMUM", seconds * 2 / 3)
            .set("CREDMON_OAUTH_TOKEN_REFRESH", seconds / 3)
    }

    /// Sets a variable of the environment, for the daemon and for `status`.
    pub fn env(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }

    /// Adds an argument.
    pub fn arg(&mut self, argument: impl Display) -> &mut Self {
        self.arguments.push(argument.to_string());
        self
    }

    /// Starts it with this file or folder in the place of `target`, which all others see as ever.
    pub fn mounted(&mut self, source: &Path, target: &str) -> &mut Self {
        let script = format!("mount --bind \"$0\" {target} && exec \"$@\"");
        let unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-c"];
        self.wrapper.extend(unshare.map(str::to_owned));
        self.wrapper.extend([script, source.display().to_string()]);
        self
    }

    /// Starts it with these limits of open descriptors, the soft and the hard one.
    pub fn descriptors(&mut self, soft: u64, hard: u64) -> &mut Self {
        let limit = format!("--nofile={soft}:{hard}");
        self.wrapper.extend(["prlimit".to_owned(), limit]);
        self
    }

    /// Runs it as this user and group, from a copy that everybody may run.
    pub fn as_user(&mut self, id: u32) -> anyhow::Result<&mut Self> {
        let copy = self.folder.join(PROGRAM);
        // By another process: one that a parallel test starts would hold our copy open for writing.
        let program = program(PROGRAM)?;
        let copied = std::process::Command::new("cp")
            .arg(program)
            .arg(&copy)
            .status();
        ensure!(copied.context("cp")?.success(), "cannot copy the credmon");
        self.program = Some(copy);
        self.user = Some(id);
        Ok(self)
    }

    /// Looks for the status in another file.
    pub fn status_in(&mut self, file: &Path) -> &mut Self {
        file.clone_into(&mut self.status_file);
        self.set("CREDMON_HTVAULT_STATUS_FILE", file.display())
    }

    /// Looks for the log in another file.
    pub fn log_in(&mut self, file: &Path) -> &mut Self {
        file.clone_into(&mut self.log_file);
        self.set("CREDMON_OAUTH_LOG", file.display())
    }

    fn program(&self) -> anyhow::Result<PathBuf> {
        match &self.program {
            Some(program) => Ok(program.clone()),
            None => program(PROGRAM),
        }
    }

    /// The command that starts it.
    pub fn command(&self) -> anyhow::Result<Command> {
        let program = self.program()?;
        let mut command = match self.wrapper.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.args(&self.arguments);
        command.env_clear().envs(&self.environment);
        for (name, value) in &self.settings {
            command.env(format!("_CONDOR_{name}"), value);
        }
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        Ok(command)
    }

    /// Starts it.
    pub fn start(&self) -> anyhow::Result<Credmon> {
        let output = self.folder.join("credmon.output");
        let daemon = Daemon::spawn("condor_credmon_htvault", self.command()?, &output)?;
        Ok(Credmon {
            daemon,
            setup: self.clone(),
        })
    }

    /// Asks for the status, as an agent does.
    pub async fn status(&self, options: &[&str]) -> anyhow::Result<Status> {
        let mut command = Command::new(self.program()?);
        command
            .args(["status", "--file"])
            .arg(&self.status_file)
            .args(options)
            .env_clear()
            .envs(&self.environment);
        let output = ended::output(command, FAR).await?;
        Ok(Status {
            code: output.status.code(),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The status file.
    #[must_use]
    pub fn status_file(&self) -> &Path {
        &self.status_file
    }

    /// All of the log so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log_file).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// What `status` answered.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed.
    pub text: String,
    /// What it printed as errors.
    pub errors: String,
}

impl Status {
    /// What it printed as JSON; null for anything else.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A credential of the JSON form.
    pub fn credential(&self, user: &str, service: &str) -> anyhow::Result<Value> {
        let report = self.json();
        let all = report.get("credentials").and_then(Value::as_array);
        let is = |one: &&Value| {
            one.get("user").is_some_and(|is| is == user)
                && one.get("service").is_some_and(|is| is == service)
        };
        let one = all.into_iter().flatten().find(is);
        one.cloned()
            .with_context(|| format!("no {user}/{service} in {self:?}"))
    }

    /// All that is said of the daemon itself: problem and complaints.
    #[must_use]
    pub fn problems(&self) -> String {
        let report = self.json();
        let field = |name| report.get(name).map(Value::to_string).unwrap_or_default();
        format!("{} {}", field("problem"), field("complaints"))
    }

    /// How many Vaults are in trouble.
    #[must_use]
    pub fn troubled(&self) -> usize {
        let report = self.json();
        let all = report.get("troubled_vaults").and_then(Value::as_array);
        all.map_or(0, Vec::len)
    }
}

/// A running credmon.
#[derive(Debug)]
pub struct Credmon {
    /// The process.
    pub daemon: Daemon,
    /// What it was started with.
    pub setup: Setup,
}

impl Credmon {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.daemon.pid()
    }

    /// All of its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.setup.log()
    }

    /// Warnings and errors of its log so far, and of what it printed, that hold all of these words.
    #[must_use]
    pub fn complaints(&self, words: &[&str]) -> Vec<String> {
        let log = self.log() + "\n" + &self.daemon.tail(100);
        let is_one = |line: &&str| {
            (line.contains("WARNING") || line.contains("ERROR"))
                && words.iter().all(|word| line.contains(word))
        };
        log.lines().filter(is_one).map(str::to_owned).collect()
    }

    /// Asks for the status in JSON.
    pub async fn status(&self, options: &[&str]) -> anyhow::Result<Status> {
        self.setup.status(&[&["--json"], options].concat()).await
    }

    /// A credential in the status; its fields are those of the JSON form.
    pub async fn credential(&self, user: &str, service: &str) -> anyhow::Result<Value> {
        self.status(&[]).await?.credential(user, service)
    }

    /// Waits until a credential has a state; gives its status.
    pub async fn state(
        &self,
        user: &str,
        service: &str,
        states: &[&str],
        deadline: Duration,
    ) -> anyhow::Result<Value> {
        let what = format!("{user}/{service} to be one of {states:?}");
        let seen = wait::until(&what, deadline, async || -> anyhow::Result<Value> {
            let one = self.credential(user, service).await?;
            let state = one.get("state").and_then(Value::as_str).unwrap_or_default();
            ensure!(states.contains(&state), "{one}");
            Ok(one)
        });
        seen.await.with_context(|| self.tail())
    }

    /// The end of its log, for the message of a test that fails.
    #[must_use]
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().rev().take(12).collect();
        let lines: Vec<&str> = lines.into_iter().rev().collect();
        format!(
            "the end of its log:\n{}\n{}",
            lines.join("\n"),
            self.daemon.tail(5)
        )
    }

    /// The number of its open descriptors.
    pub fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid()))?.count())
    }

    /// The limit on descriptors with which it can open so many more.
    pub fn limit_for(&self, more: usize) -> anyhow::Result<u64> {
        let mut used = std::collections::BTreeSet::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", self.pid()))? {
            used.insert(entry?.file_name().to_string_lossy().parse::<u64>()?);
        }
        let mut free = (0..).filter(|number| !used.contains(number));
        free.nth(more).context("numbers do not end")
    }

    /// Limits a resource of the running process: `--nofile=5:20000`, for example.
    pub async fn prlimit(&self, limit: &str) -> anyhow::Result<()> {
        let mut command = Command::new("prlimit");
        command.arg("--pid").arg(self.pid().to_string()).arg(limit);
        let output = ended::output(command, FAR).await?;
        ensure!(output.status.success(), "{}", ended::text(&output));
        Ok(())
    }

    /// Asks it to end by SIGTERM, and waits until it leaves: the kernel ends it when all its files are
    /// closed, which takes as long as a file system hangs.
    pub async fn leaves(&mut self) -> anyhow::Result<()> {
        self.daemon.signal(nix::sys::signal::Signal::SIGTERM)?;
        let left = wait::until("it to leave", END, async || -> anyhow::Result<()> {
            // Who leaves gives its memory back first.
            let line = fs::read(format!("/proc/{}/cmdline", self.pid())).unwrap_or_default();
            ensure!(line.is_empty(), "it is still there");
            Ok(())
        });
        left.await
    }

    /// Ends it by SIGTERM; an error when it does not end by itself.
    pub async fn terminate(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        self.daemon.signal(nix::sys::signal::Signal::SIGTERM)?;
        self.daemon.wait(END).await
    }
}
