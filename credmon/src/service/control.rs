//! The configuration: read, judged, and followed while the daemon runs; and the certificate authorities with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use super::daemon::Command;
use super::privileges::Places;
use super::start::outputs;
use super::trust::Trust;
use crate::cli::Cli;
use crate::config::Settings;
use crate::config::condor::{self, Source};
use crate::renewal::HtVault;

/// Least time between two readings of the configuration: the credd sends SIGHUP for each credential
/// that is stored, and means the directory.
const REREAD: Duration = Duration::from_secs(5);

/// Time between two attempts to read a configuration that could not be read.
pub(super) const RETRY: Duration = Duration::from_mins(1);

/// Time between two checks of the files with certificate authorities.
const FOLLOW: Duration = Duration::from_secs(30);

/// Reads the configuration, and where it comes from.
pub(super) async fn read(cli: &Cli) -> (Source, Settings) {
    let (values, source) = condor::read(&cli.name).await;
    let hostname = nix::unistd::gethostname().unwrap_or_default();
    let mut settings = Settings::new(&values, &cli.name, &hostname.to_string_lossy());
    settings.directory = cli.cred_dir.clone().or(settings.directory);
    (source, settings)
}

/// Reason why a configuration that was read is not used. `known`: origin of the one in force. HTCondor's tool is missing
/// while its package is replaced, too: what the site configured is then not known.
pub(super) fn problem(
    source: &Source,
    settings: &Settings,
    known: Option<&Source>,
) -> Option<String> {
    match source {
        Source::Failed(why) => Some(format!(
            "the configuration cannot be read: condor_config_val failed: {why}"
        )),
        Source::Environment if known == Some(&Source::Condor) => {
            Some("the configuration cannot be read: condor_config_val is not in PATH".to_owned())
        }
        Source::Environment if settings.directory.is_none() => Some(
            "condor_config_val is not in PATH, and no credential directory is configured in the \
             environment: set _CONDOR_SEC_CREDENTIAL_DIRECTORY_OAUTH, or name one with --cred-dir"
                .to_owned(),
        ),
        Source::Condor | Source::Environment => None,
    }
}

/// Follows configuration and certificate authorities while the daemon runs.
pub(super) struct Control<'c> {
    pub(super) cli: &'c Cli,
    /// Origin of the settings.
    pub(super) source: Source,
    /// Settings in force.
    pub(super) settings: Settings,
    pub(super) vault: Arc<HtVault>,
    pub(super) places: Places,
    /// The log file of the start, which is used on.
    pub(super) log_file: Option<PathBuf>,
    pub(super) trust: Trust,
}

impl Control<'_> {
    /// Reads the certificate authorities at the start.
    pub(super) async fn read_trust(&mut self) {
        self.trust.read().await;
        self.vault.set_authorities(self.trust.authorities.clone());
    }

    /// Passes on what the files ask for. The configuration is read again at SIGHUP, too.
    pub(super) async fn run(mut self, mut hangups: Signal, commands: &Sender<Command>) -> ! {
        if self.source == Source::Environment {
            tracing::warn!(
                "condor_config_val is not installed: the configuration is taken from _CONDOR_… in \
                 the environment alone"
            );
        }
        let mut last_read = Instant::now();
        let mut next_read = (self.source == Source::Environment).then(|| last_read + RETRY);
        let mut follow = tokio::time::interval(FOLLOW);
        loop {
            let read_at = next_read.unwrap_or(last_read + RETRY);
            tokio::select! {
                // One that comes while it is read is not lost.
                _ = hangups.recv() => {
                    let soon = Instant::now().max(last_read + REREAD);
                    next_read = Some(read_at.min(soon));
                }
                () = tokio::time::sleep_until(read_at), if next_read.is_some() => {
                    let (source, settings) = read(self.cli).await;
                    let retry = self.take_in(source, settings, commands).await;
                    last_read = Instant::now();
                    next_read = retry.then(|| last_read + RETRY);
                }
                _ = follow.tick() => {
                    if self.trust.follow() {
                        self.vault.set_authorities(self.trust.authorities.clone());
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
        source: Source,
        settings: Settings,
        commands: &Sender<Command>,
    ) -> bool {
        let why = problem(&source, &settings, Some(&self.source));
        let is_usable = why.is_none();
        let why = why.map(|why| format!("{why}; the configuration stays as it was"));
        let _ = commands.send(Command::ConfigurationProblem(why)).await;
        if !is_usable {
            return true;
        }
        // HTCondor's tool may come.
        let retry = source == Source::Environment;
        self.source = source;
        if settings != self.settings {
            self.settings = settings.clone();
            self.configure(settings, commands).await;
        }
        retry
    }

    /// Puts settings in force.
    async fn configure(&mut self, mut settings: Settings, commands: &Sender<Command>) {
        let mut files = outputs(&settings, self.log_file.as_deref());
        files.extend(settings.directory.clone());
        let complaints = self.places.complaints(&self.cli.name, &files).await;
        settings.problems.extend(complaints);
        self.trust.tls = settings.tls.clone();
        let _ = commands.send(Command::Configure(Box::new(settings))).await;
    }
}

#[cfg(test)]
mod tests;
