//! Signals, and the configuration: read until it is usable, read again at SIGHUP and after a failure.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::Instant;

use super::apart::on_thread;
use super::daemon::Command;
use super::privileges::{Found, Places};
use super::start::{FailedStart, find_folders};
use super::trust::{Followed, Trust};
use crate::cli::Cli;
use crate::config::condor::{self, Source, Values};
use crate::config::{LookUps, Settings};
use crate::renewal::HtVault;

/// Least time between two readings of the configuration: the credd sends SIGHUP for each credential
/// that is stored, and means the directory.
const REREAD: Duration = Duration::from_secs(5);

/// Time between two attempts to read a configuration that could not be read.
pub(super) const RETRY: Duration = Duration::from_mins(1);

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

/// Waits for work while signals are answered; the name of the signal that asks for the end, if one comes first.
pub(super) async fn beside_signals<T>(
    work: impl Future<Output = T>,
    signals: &mut Signals,
    mut on_hangup: impl FnMut(),
) -> Result<T, &'static str> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            request = signals.next() => match request {
                Request::Reread => on_hangup(),
                Request::Stop(name) => return Err(name),
            },
        }
    }
}

/// A configuration as it was read.
pub(super) type Configuration = (Values, Source);

/// End of the start.
pub(super) enum Configured {
    Usable(Configuration, Box<Settings>, Found),
    /// It cannot be read, and one pass was asked for.
    Failed,
    /// A signal came first.
    Stopped,
}

/// Reads the configuration until it is usable: what a site configured is never guessed. Then finds the folders to be
/// written to.
pub(super) async fn configure(cli: &Cli, signals: &mut Signals) -> Configured {
    let mut parser = Parser::new(cli);
    let mut reports = FailedStart::default();
    loop {
        let mut reread = false;
        let read = beside_signals(parser.read(), signals, || reread = true);
        let Ok((configuration, settings)) = read.await else {
            return Configured::Stopped;
        };
        match (problem(&configuration.1, settings.as_ref(), None), settings) {
            (None, Some(settings)) => {
                let find = find_folders(cli, &settings, &mut reports);
                return match beside_signals(find, signals, || ()).await {
                    Ok(Some(found)) => Configured::Usable(configuration, Box::new(settings), found),
                    Ok(None) => Configured::Failed,
                    Err(_) => Configured::Stopped,
                };
            }
            (why, settings) => {
                let why = why.unwrap_or_default();
                eprintln!("condor_credmon_htvault: {why}; it is tried again each minute");
                if cli.once {
                    return Configured::Failed;
                }
                if let Some(settings) = settings {
                    reports.publish(settings, why);
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
    hanging: Option<oneshot::Receiver<Settings>>,
}

impl<'c> Parser<'c> {
    fn new(cli: &'c Cli) -> Self {
        Self { cli, hanging: None }
    }

    /// Reads the configuration.
    async fn read(&mut self) -> (Configuration, Option<Settings>) {
        let configuration = condor::read(&self.cli.name).await;
        let settings = self.parse(&configuration.0).await;
        (configuration, settings)
    }

    /// `None` when it hangs.
    async fn parse(&mut self, values: &Values) -> Option<Settings> {
        let hanging = self.hanging.as_mut();
        if hanging.is_some_and(|parse| matches!(parse.try_recv(), Err(TryRecvError::Empty))) {
            return None;
        }
        let (values, name) = (values.clone(), self.cli.name.clone());
        let directory = self.cli.cred_dir.clone();
        let mut parse = on_thread("parse", move || {
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

/// Reason why a configuration that was read is not used. `known`: origin of the one in force. HTCondor's tool is missing
/// while its package is replaced, too: what the site configured is then not known.
fn problem(source: &Source, settings: Option<&Settings>, known: Option<&Source>) -> Option<String> {
    let has_directory = |settings: &Settings| settings.directory.is_some();
    match source {
        Source::Failed(why) => Some(format!(
            "the configuration cannot be read: condor_config_val failed: {why}"
        )),
        Source::Environment if known == Some(&Source::Condor) => {
            Some("the configuration cannot be read: condor_config_val is not in PATH".to_owned())
        }
        _ if settings.is_none() => Some("users cannot be looked up".to_owned()),
        Source::Environment if !settings.is_some_and(has_directory) => Some(
            "condor_config_val is not in PATH, and no credential directory is configured in the \
             environment: set _CONDOR_SEC_CREDENTIAL_DIRECTORY_OAUTH, or name one with --cred-dir"
                .to_owned(),
        ),
        Source::Condor | Source::Environment => None,
    }
}

/// Follows signals and configuration while the daemon runs.
pub(super) struct Control<'c> {
    cli: &'c Cli,
    parser: Parser<'c>,
    known: Configuration,
    /// Settings in force.
    settings: Settings,
    vault: Arc<HtVault>,
    places: Places,
    trust: Trust,
}

/// Stops the daemon, since a signal asks for it.
async fn stop(name: &str, commands: &Sender<Command>) {
    tracing::info!("{name}: stops");
    let _ = commands.send(Command::Stop).await;
}

impl<'c> Control<'c> {
    pub(super) fn new(
        cli: &'c Cli,
        (known, settings): (Configuration, Settings),
        vault: Arc<HtVault>,
        places: Places,
        trust: Trust,
    ) -> Self {
        Self {
            cli,
            parser: Parser::new(cli),
            known,
            settings,
            vault,
            places,
            trust,
        }
    }

    /// Problem of the certificate authorities.
    pub(super) fn trust_problem(&self) -> Option<String> {
        self.trust.problem.clone()
    }

    /// Passes on what signals and files ask for, until one asks for the end.
    pub(super) async fn run(mut self, mut signals: Signals, commands: &Sender<Command>) {
        if matches!(self.known.1, Source::Environment) {
            tracing::warn!(
                "condor_config_val is not installed: the configuration is taken from _CONDOR_… in \
                 the environment alone"
            );
        }
        let rescan = || {
            tracing::debug!("SIGHUP: directory and configuration are read again");
            // A full queue or an ended daemon: it is on its way to the same anyway.
            let _ = commands.try_send(Command::Rescan);
        };
        let mut last_read = Instant::now();
        let is_provisional = is_provisional(&self.known.1, &self.settings);
        let mut next_read = is_provisional.then(|| last_read + RETRY);
        let mut follow = tokio::time::interval(FOLLOW);
        loop {
            let read_at = next_read.unwrap_or(last_read + RETRY);
            tokio::select! {
                request = signals.next() => match request {
                    Request::Reread => {
                        rescan();
                        let soon = Instant::now().max(last_read + REREAD);
                        next_read = Some(next_read.map_or(soon, |at| at.min(soon)));
                    }
                    Request::Stop(name) => return stop(name, commands).await,
                },
                () = tokio::time::sleep_until(read_at), if next_read.is_some() => {
                    let mut again = false;
                    let on_hangup = || {
                        rescan();
                        again = true;
                    };
                    let read = beside_signals(self.parser.read(), &mut signals, on_hangup).await;
                    let (configuration, settings) = match read {
                        Ok(read) => read,
                        Err(name) => return stop(name, commands).await,
                    };
                    let retry = self.take_in(configuration, settings, commands).await;
                    last_read = Instant::now();
                    let pause = if again { REREAD } else { RETRY };
                    next_read = (retry || again).then(|| last_read + pause);
                }
                _ = follow.tick() => {
                    let followed = self.trust.follow();
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

    /// Takes in a configuration that was read again; the one that is known stays in force when it cannot be used.
    /// Returns whether it is to be read once more in a while.
    async fn take_in(
        &mut self,
        configuration: Configuration,
        settings: Option<Settings>,
        commands: &Sender<Command>,
    ) -> bool {
        let why = problem(&configuration.1, settings.as_ref(), Some(&self.known.1));
        let (None, Some(settings)) = (&why, settings) else {
            let why = why.map(|why| format!("{why}; the configuration stays as it was"));
            let _ = commands.send(Command::ConfigurationProblem(why)).await;
            return true;
        };
        let _ = commands.send(Command::ConfigurationProblem(None)).await;
        let is_same = configuration == self.known;
        let is_less = settings.copies.len() <= self.settings.copies.len();
        if is_same && settings.look_ups != LookUps::Done && is_less {
            // Users that were known before stay so: a name service that starts anew knows nobody for a moment.
            return true;
        }
        let retry = is_provisional(&configuration.1, &settings);
        self.known = configuration;
        if settings != self.settings {
            self.settings = settings.clone();
            self.configure(settings, commands).await;
        }
        retry
    }

    /// Puts settings in force.
    async fn configure(&mut self, mut settings: Settings, commands: &Sender<Command>) {
        let files = super::written(&settings, None);
        let complaints = self.places.complaints(&self.cli.name, &files).await;
        settings.problems.extend(complaints);
        self.trust.tls = settings.tls.clone();
        let _ = commands.send(Command::Configure(Box::new(settings))).await;
    }
}

/// `true` while something may come that changes a configuration by itself: users, or HTCondor's tool.
fn is_provisional(source: &Source, settings: &Settings) -> bool {
    *source == Source::Environment || settings.look_ups != LookUps::Done
}

#[cfg(test)]
mod tests;
