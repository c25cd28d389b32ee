//! What the loop tells others: the status file and the metrics.

use std::io::Write;

use jiff::Timestamp;
use nix::sys::stat::Mode;
use tokio::time::Instant;

use super::Daemon;
use crate::old::metrics::{self, Overview};
use crate::old::monitor::Counts;
use crate::old::source::TokenSource;
use crate::old::state::State;
use crate::old::status::{self, DaemonStatus};
use crate::old::status_file;

/// Mode of the metrics file: the collector runs as another user.
const METRICS_MODE: Mode = Mode::from_bits_truncate(0o644);

impl<S: TokenSource> Daemon<S> {
    /// Tells others how things are.
    pub(super) fn write_views(&mut self, running: bool) {
        let began = Instant::now();
        let now = self.clock.now();
        let views = &self.configuration.views;
        let mut faults = Vec::new();
        if let Some(file) = &views.status_file {
            let daemon = self.status(running, now);
            let put = status_file::put(file, views.status_mode, |to| {
                status_file::write(to, &daemon, self.monitor.credentials(now))
            });
            faults.extend(put.err().map(|fault| ("status", file, fault)));
        }
        if let Some(file) = &views.metrics_file {
            let put = status_file::put(file, METRICS_MODE, |to| self.write_metrics(to, now));
            faults.extend(put.err().map(|fault| ("metrics", file, fault)));
        }
        let faults: Vec<String> = faults
            .into_iter()
            .map(|(what, file, fault)| {
                format!(
                    "the {what} file {} cannot be written: {fault}",
                    file.display()
                )
            })
            .collect();
        let fault = (!faults.is_empty()).then(|| faults.join("; "));
        if let Some(words) = self.views.news(fault) {
            tracing::warn!("{words}");
        }
        self.views.written(began, Instant::now());
    }

    fn status(&self, running: bool, now: Timestamp) -> DaemonStatus {
        let path = self.configuration.directory.as_ref();
        DaemonStatus {
            version: status::VERSION,
            program: concat!("condor_credmon_htvault ", env!("CARGO_PKG_VERSION")).to_owned(),
            process: std::process::id(),
            running,
            written: now,
            directory: path.map(|path| path.display().to_string()),
            problem: self.directory.as_ref().err().map(ToString::to_string),
            troubled_vaults: self.monitor.hosts().troubles().collect(),
            count: self.monitor.count(),
        }
    }

    /// The metrics as Prometheus reads them.
    pub(super) fn metrics_text(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory does not fail, and all of it is text.
        let _ = self.write_metrics(&mut text, self.clock.now());
        String::from_utf8(text).unwrap_or_default()
    }

    fn write_metrics(&self, to: &mut dyn Write, now: Timestamp) -> std::io::Result<()> {
        let mut states = Counts::new();
        let mut earliest: Option<Timestamp> = None;
        for credential in self.monitor.credentials(now) {
            *states.entry(credential.state).or_default() += 1;
            let expires = credential.access_token.and_then(|token| token.expires);
            if credential.state != State::Ignored
                && let Some(expires) = expires
            {
                earliest = Some(earliest.map_or(expires, |earliest| earliest.min(expires)));
            }
        }
        let overview = Overview {
            started: self.started,
            now,
            directory_ok: self.directory.is_ok(),
            looked: self.looked,
            states,
            troubled_vaults: self.monitor.hosts().failing(),
            watched_folders: self.folders.watched(),
            counters: &self.counters,
        };
        let per_credential = self.configuration.views.metrics_per_credential;
        let all = || per_credential.then(|| self.monitor.credentials(now));
        metrics::write(to, &overview, earliest, || all().into_iter().flatten())
    }
}
