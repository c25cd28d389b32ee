//! Signals, and the configuration: read until it is usable, read again at SIGHUP and after a failure.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use htvault::{Authorities, TlsSettings};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::daemon::Command;
use super::privileges::Places;
use crate::cli::Cli;
use crate::config::Settings;
use crate::config::condor::{self, Source, Values};
use crate::renewal::HtVault;

/// Least time between two readings of the configuration: the credd sends SIGHUP for each credential
/// that is stored, and means the directory.
const REREAD: Duration = Duration::from_secs(5);

/// Time between two attempts to read a configuration that could not be read.
const RETRY: Duration = Duration::from_mins(1);

/// Time between two checks of the files with certificate authorities.
const FOLLOW: Duration = Duration::from_secs(30);

/// Deadline for reading users, groups and certificate authorities.
const DEADLINE: Duration = Duration::from_secs(30);

/// Signals that HTCondor sends.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    quit: Signal,
    interrupt: Signal,
    /// Kept so that a limit on file sizes is an error of a write instead of the end.
    _file_size: Signal,
}

/// Request of a signal.
enum Request {
    /// SIGHUP.
    Reread,
    /// Name of the signal.
    Stop(&'static str),
}

impl Signals {
    /// Installs the handlers.
    pub(super) fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("signals cannot be received");
        Ok(Self {
            hangup: on(SignalKind::hangup())?,
            terminate: on(SignalKind::terminate())?,
            quit: on(SignalKind::quit())?,
            interrupt: on(SignalKind::interrupt())?,
            _file_size: on(SignalKind::from_raw(nix::libc::SIGXFSZ))?,
        })
    }

    async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.hangup.recv() => Request::Reread,
            _ = self.terminate.recv() => Request::Stop("SIGTERM"),
            _ = self.quit.recv() => Request::Stop("SIGQUIT"),
            _ = self.interrupt.recv() => Request::Stop("SIGINT"),
        }
    }
}

/// A configuration as it was read.
pub(super) type Configuration = (Values, Source);

/// End of the start.
pub(super) enum Configured {
    Usable(Configuration, Box<Settings>),
    /// It cannot be read, and one pass was asked for.
    Failed,
    /// A signal came first.
    Stopped,
}

/// Reads the configuration until it is usable: what a site configured is never guessed.
pub(super) async fn configure(cli: &Cli, signals: &mut Signals) -> Configured {
    let mut parser = Parser::new(cli);
    loop {
        let read = async {
            let configuration = condor::read(&cli.name).await;
            let settings = parser.parse(&configuration.0).await;
            (configuration, settings)
        };
        let mut reread = false;
        tokio::pin!(read);
        let (configuration, settings) = loop {
            tokio::select! {
                done = &mut read => break done,
                request = signals.next() => match request {
                    Request::Reread => reread = true,
                    Request::Stop(_) => return Configured::Stopped,
                },
            }
        };
        match (&configuration.1, settings) {
            (Source::Condor | Source::Environment, Some(settings)) => {
                return Configured::Usable(configuration, Box::new(settings));
            }
            (source, settings) => {
                let why = problem(source).unwrap_or_else(|| "users cannot be looked up".to_owned());
                eprintln!("condor_credmon_htvault: {why}; it is tried again each minute");
                if cli.once {
                    return Configured::Failed;
                }
                if let Some(settings) = settings {
                    super::reporting::publish_failed_start(&settings, &why);
                }
            }
        }
        if !reread {
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                request = signals.next() => if let Request::Stop(_) = request {
                    return Configured::Stopped;
                },
            }
        }
    }
}

/// Parses values off the loop, for users and groups are looked up. One at a time: a look-up that hangs
/// costs one thread.
struct Parser<'c> {
    cli: &'c Cli,
    hanging: Option<JoinHandle<Settings>>,
}

impl<'c> Parser<'c> {
    fn new(cli: &'c Cli) -> Self {
        Self { cli, hanging: None }
    }

    /// `None` when it hangs.
    async fn parse(&mut self, values: &Values) -> Option<Settings> {
        if self
            .hanging
            .as_ref()
            .is_some_and(|parse| !parse.is_finished())
        {
            return None;
        }
        let (values, name) = (values.clone(), self.cli.name.clone());
        let directory = self.cli.cred_dir.clone();
        let mut parse = tokio::task::spawn_blocking(move || {
            let hostname = nix::unistd::gethostname().unwrap_or_default();
            let mut settings = Settings::new(&values, &name, &hostname.to_string_lossy());
            settings.directory = directory.or(settings.directory);
            settings
        });
        if let Ok(settings) = tokio::time::timeout(DEADLINE, &mut parse).await {
            return settings.ok();
        }
        self.hanging = Some(parse);
        None
    }
}

fn problem(source: &Source) -> Option<String> {
    match source {
        Source::Condor | Source::Environment => None,
        Source::Failed(why) => Some(format!(
            "the configuration cannot be read: condor_config_val failed: {why}"
        )),
    }
}

/// Certificate authorities, if any can be read, and what is wrong with the configured ones.
type ReadAuthorities = (Option<Authorities>, Option<String>);

/// Reads certificate authorities at a start; the system's alone when the configured ones cannot be
/// read, and what is wrong then.
pub(super) fn read_authorities(tls: &TlsSettings) -> ReadAuthorities {
    match Authorities::read(tls) {
        Ok(authorities) => (Some(authorities), None),
        Err(error) => {
            let usual = Authorities::read(&TlsSettings::default()).ok();
            let text = format!(
                "{}; the system's certificate authorities are used",
                error.message()
            );
            (usual, Some(text))
        }
    }
}

/// Follows signals and configuration while the daemon runs.
pub(super) struct Control<'c> {
    cli: &'c Cli,
    parser: Parser<'c>,
    known: Configuration,
    vault: Arc<HtVault>,
    places: Places,
    trust: Trust,
}

/// Result of a check of the files with certificate authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Followed {
    /// Nothing is to be done.
    Same,
    /// Other authorities are in force from now on.
    Replaced,
    /// The problem is another; the authorities in force stay.
    Problem,
}

/// Certificate authorities in use.
pub(super) struct Trust {
    tls: TlsSettings,
    authorities: Option<Authorities>,
    /// Problem of the configured ones.
    problem: Option<String>,
    /// `true` while the system's are used, since the configured ones could never be read.
    stands_in: bool,
    /// One reading at a time: a file system that hangs costs one thread.
    reading: Option<JoinHandle<Option<ReadAuthorities>>>,
}

impl Trust {
    pub(super) fn new(
        tls: TlsSettings,
        authorities: Option<Authorities>,
        problem: Option<String>,
    ) -> Self {
        Self {
            tls,
            authorities,
            stands_in: problem.is_some(),
            problem,
            reading: None,
        }
    }

    /// Reads the files again when they changed, or could not be read before. Authorities in force
    /// stay when others cannot be read: so nobody stops, and no more is trusted than was configured.
    async fn follow(&mut self) -> Followed {
        let mut followed = Followed::Same;
        if let Some(reading) = &mut self.reading {
            if !reading.is_finished() {
                return followed;
            }
            if let Ok(Some(read)) = reading.await {
                followed = self.take_in(read);
            }
        }
        let (tls, known) = (self.tls.clone(), self.authorities.clone());
        let (failed, stands_in) = (self.problem.is_some(), self.stands_in);
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let is_known = known.as_ref().is_some_and(|known| known.are_those_of(&tls));
            match (&known, failed || !is_known) {
                (_, false) => None,
                (Some(_), true) if !stands_in => Some(read_others(&tls)),
                (_, true) => Some(read_authorities(&tls)),
            }
        }));
        followed
    }

    /// Takes in what was read.
    fn take_in(&mut self, (authorities, problem): ReadAuthorities) -> Followed {
        let is_other_problem = problem != self.problem;
        let failed = problem.is_some();
        self.problem = problem;
        if authorities.is_some() && (!failed || self.authorities.is_none()) {
            (self.authorities, self.stands_in) = (authorities, failed);
            return Followed::Replaced;
        }
        if is_other_problem {
            return Followed::Problem;
        }
        Followed::Same
    }
}

/// Reads certificate authorities while others are in force; what is wrong when they cannot be read.
fn read_others(tls: &TlsSettings) -> ReadAuthorities {
    match Authorities::read(tls) {
        Ok(authorities) => (Some(authorities), None),
        Err(error) => (
            None,
            Some(format!("{}; those in force stay", error.message())),
        ),
    }
}

impl<'c> Control<'c> {
    pub(super) fn new(
        cli: &'c Cli,
        known: Configuration,
        vault: Arc<HtVault>,
        places: Places,
        trust: Trust,
    ) -> Self {
        Self {
            cli,
            parser: Parser::new(cli),
            known,
            vault,
            places,
            trust,
        }
    }

    /// Passes on what signals and files ask for, until one asks for the end.
    pub(super) async fn run(mut self, mut signals: Signals, commands: &Sender<Command>) {
        if matches!(self.known.1, Source::Environment) {
            tracing::warn!(
                "condor_config_val is not installed: the configuration is taken from _CONDOR_… in \
                 the environment alone"
            );
        }
        // A full queue or an ended daemon: it is on its way to the same anyway.
        let _ = commands
            .send(Command::Trust(self.trust.problem.clone()))
            .await;
        let mut last_read = Instant::now();
        let mut next_read: Option<Instant> = None;
        let mut follow = tokio::time::interval(FOLLOW);
        loop {
            let read_at = next_read.unwrap_or(last_read + RETRY);
            tokio::select! {
                request = signals.next() => match request {
                    Request::Reread => {
                        tracing::debug!("SIGHUP: directory and configuration are read again");
                        let _ = commands.try_send(Command::Rescan);
                        let soon = Instant::now().max(last_read + REREAD);
                        next_read = Some(next_read.map_or(soon, |at| at.min(soon)));
                    }
                    Request::Stop(name) => {
                        tracing::info!("{name}: stops");
                        let _ = commands.send(Command::Stop).await;
                        return;
                    }
                },
                () = tokio::time::sleep_until(read_at), if next_read.is_some() => {
                    let failed = self.reread(commands).await;
                    last_read = Instant::now();
                    next_read = failed.then(|| last_read + RETRY);
                }
                _ = follow.tick() => {
                    let followed = self.trust.follow().await;
                    if followed == Followed::Replaced {
                        self.vault.set_authorities(self.trust.authorities.clone());
                    }
                    if followed != Followed::Same {
                        let _ = commands.send(Command::Trust(self.trust.problem.clone())).await;
                    }
                },
            }
        }
    }

    /// Reads the configuration again; the one that is known stays in force when it cannot be read.
    /// Returns whether that is so.
    async fn reread(&mut self, commands: &Sender<Command>) -> bool {
        let (values, source) = condor::read(&self.cli.name).await;
        let settings = self.parser.parse(&values).await;
        let (None, Some(mut settings)) = (problem(&source), settings) else {
            let why = problem(&source).unwrap_or_else(|| "users cannot be looked up".to_owned());
            let why = format!("{why}; the configuration stays as it was");
            let _ = commands
                .send(Command::ConfigurationProblem(Some(why)))
                .await;
            return true;
        };
        let _ = commands.send(Command::ConfigurationProblem(None)).await;
        if (&values, &source) != (&self.known.0, &self.known.1) {
            self.known = (values, source);
            let files = super::written(&settings, None);
            let complaints = self.places.complaints(&self.cli.name, &files);
            settings.problems.extend(complaints);
            self.trust.tls = settings.tls.clone();
            let _ = commands.send(Command::Configure(Box::new(settings))).await;
        }
        false
    }
}

#[cfg(test)]
mod tests;
