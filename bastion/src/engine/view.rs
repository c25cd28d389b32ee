//! Reports for those who ask, made from the states that owners publish.
//!
//! Always true: nobody waits for the engine; whatever was answered before a question is in the
//! report; all who ask at the same time while nothing changes get the same one, which nobody else keeps.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use htvault::RequestsUsed;
use htvault::clock::Clock;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Status;
use super::env::Pace;
use crate::engine::attempt::Parts;
use crate::engine::report::{Group, Health, Line, RemovedDelivery, Report, Tally};
use crate::model::delivery::{Credential, DeliveryId};
use crate::model::grants::{self, GrantLine};
use crate::policy::plan::outlook::outlook;
use crate::store::Store;
use crate::system::locked::locked;
use crate::vault::Vault;

/// As long as nothing changes a report that somebody still has is given again, until it is so old.
const GIVEN_AGAIN: Duration = Duration::from_millis(250);
/// Least pause between two reports for who watches,
const WATCHED_EVERY: Duration = Duration::from_millis(250);
/// and so much more for each line: making reports is to be a small part of all work.
const FOR_A_LINE: Duration = Duration::from_millis(1);

/// Everything that reports are made of.
pub(super) struct View {
    clock: Arc<dyn Clock>,
    store: Store,
    shown: Mutex<Shown>,
    /// Number of changes of published states.
    changes: Arc<watch::Sender<u64>>,
    /// Time of the engine's last turn.
    turns: watch::Sender<Instant>,
    last: Mutex<Option<Last>>,
}

#[derive(Default)]
struct Shown {
    /// In the order of names.
    statuses: Vec<watch::Receiver<Status>>,
    /// Deliveries that are not wanted any more and have an owner still.
    unwanted: BTreeSet<DeliveryId>,
    searches: Vec<Group>,
    pace: Pace,
    /// The last time at which every delivery was to be checked, and the next two.
    ticks: [Timestamp; 3],
    /// Faults of the configuration on disk.
    faults: Option<String>,
    requests_used: Option<Box<dyn Fn() -> Option<RequestsUsed> + Send + Sync>>,
    /// Number of tasks that ended by a fault of this program.
    internal_faults: u64,
    is_stopped: bool,
}

/// The last report, and what it was made of.
struct Last {
    changes: u64,
    made: Instant,
    /// Kept by who asked alone: it is large.
    report: Weak<Report>,
}

/// Access to reports. Cheap to clone.
#[derive(Clone)]
pub struct Reports {
    view: Arc<View>,
    changes: watch::Receiver<u64>,
    turns: watch::Receiver<Instant>,
}

/// The service is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopping;

impl fmt::Display for Stopping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the service is stopping; what is at the schedds stays")
    }
}

impl std::error::Error for Stopping {}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports").finish_non_exhaustive()
    }
}

/// Pause between two reports of so many deliveries for who watches them, however much happens.
#[must_use]
pub fn pause_of_watchers(deliveries: usize) -> Duration {
    let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
    WATCHED_EVERY.saturating_add(FOR_A_LINE.saturating_mul(deliveries))
}

impl View {
    pub(super) fn new<V: Vault, T: Send + Sync + 'static>(parts: &Arc<Parts<V, T>>) -> Self {
        let new = Self {
            clock: Arc::clone(&parts.clock),
            store: parts.store.clone(),
            shown: Mutex::default(),
            changes: Arc::default(),
            turns: watch::Sender::new(Instant::now()),
            last: Mutex::default(),
        };
        new.set_parts(parts);
        new
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        locked(&self.shown)
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.shown());
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Counter of changes, for owners.
    pub(super) fn changes(&self) -> Arc<watch::Sender<u64>> {
        Arc::clone(&self.changes)
    }

    pub(super) fn set_parts<V: Vault, T: Send + Sync + 'static>(&self, parts: &Arc<Parts<V, T>>) {
        let parts = Arc::clone(parts);
        self.change(|shown| {
            shown.requests_used = Some(Box::new(move || parts.vault.requests_used()));
        });
    }

    pub(super) fn set_faults(&self, faults: Option<String>) {
        self.change(|shown| shown.faults = faults);
    }

    pub(super) fn count_fault(&self) {
        self.change(|shown| shown.internal_faults += 1);
    }

    pub(super) fn stopped(&self) {
        self.change(|shown| shown.is_stopped = true);
    }

    pub(super) fn turned(&self) {
        self.turns.send_replace(Instant::now());
    }

    /// Shows these deliveries from now on; `unwanted` have owners besides.
    pub(super) fn show(
        &self,
        statuses: Vec<watch::Receiver<Status>>,
        unwanted: BTreeSet<DeliveryId>,
        searches: Vec<Group>,
        pace: Pace,
        ticks: [Timestamp; 3],
    ) {
        self.change(|shown| {
            (shown.statuses, shown.unwanted, shown.searches) = (statuses, unwanted, searches);
            (shown.pace, shown.ticks) = (pace, ticks);
            shown.is_stopped = false;
        });
    }

    pub(super) fn reports(self: &Arc<Self>) -> Reports {
        Reports {
            view: Arc::clone(self),
            changes: self.changes.subscribe(),
            turns: self.turns.subscribe(),
        }
    }

    /// Known age of each grant.
    pub(super) fn grants(&self, now: Timestamp) -> Vec<GrantLine> {
        self.shown().grants(&self.store, now)
    }

    pub(super) fn report(&self) -> Report {
        let shown = self.shown();
        let now = self.clock.now();
        let lines = shown.statuses.iter().map(|status| {
            let status = status.borrow();
            let policy = shown.pace.policy(&status.delivery);
            let planned = outlook(now, &policy, &status.record, shown.ticks);
            Line::new(&status, &planned, now)
        });
        let mut report = Report::new(lines.collect(), shown.searches.clone(), now);
        report.grants = shown.grants(&self.store, now);
        report.unwanted = self.store.read(|content| {
            let known: BTreeSet<_> = content
                .deliveries
                .keys()
                .chain(content.unfinished())
                .collect();
            let removed = known.into_iter().filter(|id| !shown.has(id));
            removed
                .filter_map(|id| {
                    RemovedDelivery::new(id, content, shown.unwanted.contains(id), now)
                })
                .collect()
        });
        let used = shown.requests_used.as_ref().and_then(|used| used());
        report.requests = used.map(Into::into);
        report.health = Health {
            configuration: shown.faults.clone(),
            state: self.store.problem(),
            internal_faults: shown.internal_faults,
        };
        report
    }
}

impl Shown {
    fn has(&self, id: &DeliveryId) -> bool {
        let found = (self.statuses).binary_search_by(|status| status.borrow().delivery.id.cmp(id));
        found.is_ok()
    }

    fn grants(&self, store: &Store, now: Timestamp) -> Vec<GrantLine> {
        let nothing = grants::GrantAge::default();
        let credentials: Vec<Arc<Credential>> = self
            .statuses
            .iter()
            .map(|status| Arc::clone(&status.borrow().delivery.credential))
            .collect();
        let credentials = grants::credentials(&credentials);
        store.read(|content| {
            let line = |credential: &Arc<Credential>| {
                let known = content.grants.get(&grants::name(credential));
                grants::line(credential, known.unwrap_or(&nothing), now)
            };
            credentials.iter().map(line).collect()
        })
    }
}

impl Reports {
    /// Known state of every delivery.
    ///
    /// # Errors
    /// The engine has stopped.
    pub fn now(&self) -> Result<Arc<Report>, Stopping> {
        let changes = *self.changes.borrow();
        let mut last = locked(&self.view.last);
        if self.view.shown().is_stopped {
            return Err(Stopping);
        }
        if let Some(last) = &*last
            && last.changes == changes
            && last.made.elapsed() < GIVEN_AGAIN
            && let Some(report) = last.report.upgrade()
        {
            return Ok(report);
        }
        let report = Arc::new(self.view.report());
        *last = Some(Last {
            changes,
            made: Instant::now(),
            report: Arc::downgrade(&report),
        });
        Ok(report)
    }

    /// The same in a few numbers.
    ///
    /// # Errors
    /// The engine has stopped.
    pub fn tally(&self) -> Result<Tally, Stopping> {
        let shown = self.view.shown();
        if shown.is_stopped {
            return Err(Stopping);
        }
        let mut tally = Tally::new(&shown.searches);
        let now = self.view.clock.now();
        for status in &shown.statuses {
            tally.add(&status.borrow(), now);
        }
        Ok(tally)
    }

    /// Waits until something changed since the last call.
    ///
    /// # Errors
    /// The engine is gone.
    pub async fn changed(&mut self) -> Result<(), Stopping> {
        self.changes.changed().await.map_err(|_| Stopping)
    }

    /// Waits for a turn of the engine since the last call.
    ///
    /// # Errors
    /// The engine is gone.
    pub async fn turned(&mut self) -> Result<(), Stopping> {
        self.turns.changed().await.map_err(|_| Stopping)
    }

    /// Time since the engine's last turn.
    #[must_use]
    pub fn still_for(&self) -> Duration {
        self.turns.borrow().elapsed()
    }
}
