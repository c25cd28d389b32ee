//! What the daemon reports of itself: its problems, and the snapshot that is published.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use htvault::clock::{Clock as _, SystemClock};
use jiff::Timestamp;
use tokio::time::Instant;

use super::daemon::Daemon;
use crate::config::Settings;
use crate::model::{
    DaemonStatus, Event, Heartbeat, Renewals, STATUS_VERSION, Snapshot, TEXT_LIMIT,
};
use crate::renewal::Vault;
use crate::report::log::Log;
use crate::store::ScanReport;

/// Time after which work on files counts as hanging.
pub(super) const HANGING: Duration = Duration::from_secs(30);

/// Least time between two writings of the status, but for [`PUBLISH_EACH`].
const PUBLISH: Duration = Duration::from_secs(5);

/// So much longer for each credential: writing the status of many takes time, too.
const PUBLISH_EACH: Duration = Duration::from_millis(1);

/// Time between two writings when nothing changes, so that a reader sees that the writer is alive.
const PUBLISH_AT_REST: Duration = Duration::from_mins(2);

/// Longest text of all problems together, in characters: the status is read by lines of bounded length.
const PROBLEMS_LIMIT: usize = 10 * TEXT_LIMIT;

/// State of what others see.
#[derive(Default)]
pub(super) struct Reporting {
    pub(super) started: Timestamp,
    /// End of the last full scan that could be made.
    pub(super) scanned: Option<Timestamp>,
    pub(super) scan: Option<ScanReport>,
    /// Problem of the configuration as a whole: it cannot be read.
    pub(super) configuration_source: Option<String>,
    pub(super) trust: Option<String>,
    /// Problems as they were logged last.
    pub(super) logged: Vec<String>,
    pub(super) dirty: bool,
    /// Time of the last writing, and the least time to the next.
    pub(super) published: Option<(Instant, Duration)>,
}

impl Reporting {
    /// Time of the next writing; `None` before the first.
    pub(super) fn publish_at(&self) -> Option<Instant> {
        let (published, pause) = self.published?;
        Some(published + if self.dirty { pause } else { PUBLISH_AT_REST })
    }
}

impl<V: Vault> Daemon<V> {
    /// Problems that keep this daemon from its work, or from reporting it.
    pub(super) fn problems(&self) -> Vec<String> {
        let report = &self.report;
        let mut problems = self.settings.problems.clone();
        problems.extend(report.configuration_source.clone());
        problems.extend(report.trust.clone());
        let scan = report.scan.as_ref();
        problems.extend(scan.map(|scan| scan.problems.clone()).into_iter().flatten());
        problems.extend(self.scheduler.clock_problem().map(str::to_owned));
        problems.extend(self.parts.publisher.problems());
        let copier = self.copier.as_ref();
        let of_copies = copier.map(|copier| copier.problems(&self.settings.copies));
        problems.extend(of_copies.into_iter().flatten());
        let log = self.parts.log.as_ref();
        problems.extend(log.and_then(Log::problem));
        let heartbeats = [
            Some(&self.parts.scanning),
            Some(self.parts.publisher.heartbeat()),
            log.map(Log::heartbeat),
            copier.map(|copier| &copier.heartbeat),
        ];
        let hanging = heartbeats
            .into_iter()
            .flatten()
            .filter_map(|h| h.hanging(HANGING));
        problems.extend(hanging.map(|path| format!("the file system of {path} does not answer")));
        problems
    }

    /// Logs events.
    pub(super) fn log(&mut self, events: &[Event]) {
        self.report.dirty |= !events.is_empty();
        for event in events {
            self.lines.log(event);
        }
    }

    /// Logs problems that are new, or over.
    pub(super) fn log_problems(&mut self) {
        let problems = self.problems();
        if problems == self.report.logged {
            return;
        }
        for problem in problems.iter().filter(|p| !self.report.logged.contains(p)) {
            tracing::error!("{problem}");
        }
        for problem in self.report.logged.iter().filter(|p| !problems.contains(p)) {
            tracing::info!("recovered: {problem}");
        }
        self.report.logged = problems;
        self.report.dirty = true;
    }

    pub(super) fn publish(&mut self, running: bool) {
        let snapshot = self.snapshot(running);
        let count = u32::try_from(snapshot.daemon.count).unwrap_or(u32::MAX);
        let pause = (PUBLISH + PUBLISH_EACH.saturating_mul(count)).min(PUBLISH_AT_REST);
        self.report.dirty = false;
        self.report.published = Some((Instant::now(), pause));
        self.parts
            .publisher
            .publish(&self.settings.outputs, snapshot);
    }

    fn snapshot(&self, running: bool) -> Snapshot {
        let now = self.now();
        let credentials = self.scheduler.statuses(now);
        let mut daemon =
            daemon_status(self.settings.directory.as_ref(), &self.problems(), now.wall);
        daemon.running = running;
        (daemon.troubled_vaults, daemon.more_troubled_vaults) = self.scheduler.troubles(now);
        daemon.count = credentials.len();
        Snapshot {
            daemon,
            credentials: Arc::new(credentials),
            started: self.report.started,
            scanned: self.report.scanned,
            watched_folders: self
                .report
                .scan
                .as_ref()
                .map_or(0, |scan| scan.watched_folders),
            renewals: self.scheduler.renewals().clone(),
            lines_dropped: self.parts.log.as_ref().map_or(0, Log::dropped),
        }
    }
}

pub(super) fn daemon_status(
    path: Option<&PathBuf>,
    problems: &[String],
    now: Timestamp,
) -> DaemonStatus {
    let bounded = |problem: &String| htvault::text::printable(problem, TEXT_LIMIT);
    let problems: Vec<String> = problems.iter().map(bounded).collect();
    DaemonStatus {
        version: STATUS_VERSION,
        program: concat!("condor_credmon_htvault ", env!("CARGO_PKG_VERSION")).to_owned(),
        process: std::process::id(),
        running: true,
        written: now,
        directory: path.map(|path| path.display().to_string()),
        problem: (!problems.is_empty())
            .then(|| htvault::text::printable(&problems.join("; "), PROBLEMS_LIMIT)),
        troubled_vaults: Vec::new(),
        more_troubled_vaults: 0,
        count: 0,
    }
}

/// Publishes why the start does not get on, where a status file is known.
pub(crate) fn publish_failed_start(settings: &Settings, why: &str) {
    let now = SystemClock.now();
    let daemon = daemon_status(settings.directory.as_ref(), &[why.to_owned()], now);
    let snapshot = Snapshot {
        daemon,
        credentials: Arc::new(Vec::new()),
        started: now,
        scanned: None,
        watched_folders: 0,
        renewals: Renewals::new(),
        lines_dropped: 0,
    };
    for problem in crate::report::write(&settings.outputs, &snapshot, &Heartbeat::default()) {
        eprintln!("condor_credmon_htvault: {problem}");
    }
}
