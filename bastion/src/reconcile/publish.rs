//! What is known of all deliveries, for whoever looks.
//!
//! What holds: a report and a plan are of one moment; nothing is published while nobody looks, nor
//! more often than there is a use for while much happens.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Entry, Reconciler};
use crate::plan::outlook::{Planned, outlook};
use crate::report::Report;
use crate::transport::Transport;
use crate::vault::Vault;

/// A report is made at most this often,
const PUBLISHED_EVERY: Duration = Duration::from_millis(250);
/// and for each of its lines so much more rarely: making it is to be a small part of all work.
const FOR_A_LINE: Duration = Duration::from_millis(1);

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// What is known of every delivery.
    #[must_use]
    pub fn report(&self) -> Report {
        let (now, ticks) = (self.now(), self.ticks());
        let lines = self.entries.values();
        let lines = lines.map(|entry| (entry, self.planned(entry, now, ticks)));
        let mut report = Report::new(lines, self.searches.problems(), now);
        report.grants = self.grant_lines(now);
        report.requests = self.parts.vault.requests_used().map(Into::into);
        report
    }

    /// What is next for every delivery, why, and when, in the order of names.
    #[must_use]
    pub fn plan(&self) -> Vec<Planned> {
        let (now, ticks) = (self.now(), self.ticks());
        let entries = self.entries.values();
        entries
            .map(|entry| self.planned(entry, now, ticks))
            .collect()
    }

    fn ticks(&self) -> [Timestamp; 3] {
        let later = self.check.next(self.next_tick, &self.zone);
        [self.tick, self.next_tick, later]
    }

    fn planned(&self, entry: &Entry, now: Timestamp, ticks: [Timestamp; 3]) -> Planned {
        outlook(
            now,
            &self.pace().policy(&entry.delivery),
            &entry.record,
            ticks,
        )
    }

    /// What is known of every delivery, as it changes, while [`Self::run`] runs.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Arc<Report>> {
        // Nothing is published while nobody looks.
        self.published.send_replace(Arc::new(self.report()));
        self.published.subscribe()
    }

    pub(super) fn publish(&mut self) {
        self.published.send_replace(Arc::new(self.report()));
        self.published_at = Some(Instant::now());
    }

    /// Publishes, not too often while much happens: a report of thousands of deliveries has its
    /// price. How long until it is due.
    pub(super) fn publish_if_due(&mut self) -> Duration {
        if self.published.receiver_count() == 0 {
            return Duration::MAX;
        }
        let deliveries = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let every = PUBLISHED_EVERY.saturating_add(FOR_A_LINE.saturating_mul(deliveries));
        let since = self.published_at.map(|at| at.elapsed());
        match since {
            Some(since) if since < every => every.saturating_sub(since),
            _ => {
                self.publish();
                Duration::MAX
            }
        }
    }
}
