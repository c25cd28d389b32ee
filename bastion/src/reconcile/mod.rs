//! The loop that brings every delivery to good and keeps it there: observe, plan, execute, report.
//!
//! What holds: each delivery has its own record, tries and pauses, and one that fails holds up no
//! other; at most one try runs for a delivery, and a bounded number in all; while a shared cause
//! (Vault, a realm) is down, one try at a time finds out for everybody. Time comes from the clock
//! that the parts bring, pauses from tokio, so tests run on paused time.

mod aside;
mod configured;
mod entry;
mod found;
mod held;
mod order;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinSet};
use tracing::{debug, error, info};

use aside::News;
pub(crate) use entry::Entry;
use entry::needs;
use found::Searches;
use held::Queues;
pub use order::Order;

use crate::announce::Announcer;
use crate::config::{Config, Cron};
use crate::delivery::DeliveryId;
use crate::gate::{Gates, Pass};
use crate::moment::until;
use crate::plan::{self, Failure, Next, Policy, Step};
use crate::problem::{Cause, Problem};
use crate::push::{Outcome, Parts, bring};
use crate::report::Report;
use crate::transport::Transport;
use crate::vault::Vault;

/// Tries at a time.
const AT_A_TIME: usize = 16;
/// The loop looks at the clock at least this often, so that a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// What running tries have to end when the service stops.
const DRAIN: Duration = Duration::from_secs(5);

/// What the service is told.
pub enum Command<V, T> {
    /// Go on with another configuration.
    Reload(Arc<Config>, Arc<Parts<V, T>>),
    /// Do what a person asks for; the answer is which deliveries that are.
    Order(Order, oneshot::Sender<Vec<DeliveryId>>),
    /// End.
    Stop,
}

/// All deliveries.
pub struct Reconciler<V, T> {
    parts: Arc<Parts<V, T>>,
    entries: BTreeMap<DeliveryId, Entry>,
    tries: JoinSet<Outcome>,
    /// Which try is whose.
    owners: HashMap<Id, DeliveryId>,
    gates: Gates,
    announcer: Announcer,
    check: Cron,
    spread: Duration,
    zone: TimeZone,
    tick: Timestamp,
    next_tick: Timestamp,
    /// Failures are tried again.
    persistent: bool,
    searches: Searches,
    held: Queues,
    /// Where tasks beside the tries tell what they found out.
    tell: mpsc::UnboundedSender<News>,
    /// What is known, for whoever looks.
    published: watch::Sender<Arc<Report>>,
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// Nothing is tried yet.
    pub fn new(config: &Config, parts: Arc<Parts<V, T>>, zone: TimeZone) -> Self {
        let now = parts.clock.now();
        let mut new = Self {
            parts,
            entries: BTreeMap::new(),
            tries: JoinSet::new(),
            owners: HashMap::new(),
            gates: Gates::default(),
            announcer: Announcer::default(),
            check: config.check.clone(),
            spread: config.spread,
            next_tick: config.check.next(now, &zone),
            tick: now,
            zone,
            persistent: false,
            searches: Searches::default(),
            held: Queues::default(),
            tell: mpsc::unbounded_channel().0,
            published: watch::Sender::default(),
        };
        new.take(config);
        new.publish();
        new
    }

    /// Tries every delivery once, until each is good or failed.
    pub async fn settle(&mut self) {
        self.persistent = false;
        self.announcer.silent = true;
        let mut inbox = self.listen();
        self.seek();
        self.hear_all(&mut inbox).await;
        loop {
            self.begin();
            if self.tries.is_empty() {
                return self.hear_all(&mut inbox).await;
            }
            self.finish_one().await;
        }
    }

    /// Keeps every delivery good until told to stop, or nobody is left to tell.
    pub async fn run(&mut self, mut commands: mpsc::Receiver<Command<V, T>>) {
        self.persistent = true;
        self.announcer.silent = false;
        let mut inbox = self.listen();
        loop {
            let wake = self.begin().min(self.seek());
            self.publish();
            let pause = until(self.now(), wake).min(LONGEST_SLEEP);
            tokio::select! {
                () = self.finish_one(), if !self.tries.is_empty() => {}
                () = tokio::time::sleep(pause) => {}
                Some(news) = inbox.recv() => self.hear(news),
                command = commands.recv() => match command {
                    Some(Command::Reload(config, parts)) => self.reload(&config, parts),
                    Some(Command::Order(order, answer)) => {
                        // Whoever asked may have gone away.
                        let _ = answer.send(self.obey(&order));
                    }
                    Some(Command::Stop) | None => break,
                },
            }
        }
        self.close().await;
    }

    /// What is known of every delivery.
    #[must_use]
    pub fn report(&self) -> Report {
        Report::new(self.entries.values(), self.searches.problems(), self.now())
    }

    /// What is known of every delivery, as it changes, while [`Self::run`] runs.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Arc<Report>> {
        self.published.subscribe()
    }

    fn publish(&self) {
        self.published.send_replace(Arc::new(self.report()));
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// Begins what is due, as far as there is room. When to look again.
    fn begin(&mut self) -> Timestamp {
        let now = self.now();
        if now >= self.next_tick {
            self.tick = self.next_tick;
            self.next_tick = self.check.next(now, &self.zone);
        }
        let mut wake = Timestamp::MAX;
        let mut due = Vec::new();
        for entry in self.entries.values() {
            let policy = Policy {
                id: &entry.delivery.id,
                lifetime: entry.delivery.lifetime,
                renew_below: entry.delivery.renew_below,
                spread: self.spread,
                readable: entry.delivery.target.is_readable(),
            };
            let given_up = !self.persistent && entry.record.failure.is_some();
            if given_up || entry.gone.is_some() {
                continue;
            }
            let (tick, next_tick) = (self.tick, self.next_tick);
            match plan::next(now, &policy, &entry.record, entry.running, tick, next_tick) {
                Next::Wait(until) => wake = wake.min(until),
                Next::Do(step) => {
                    let expires = entry.record.life.map(|life| life.expires);
                    due.push((expires, entry.delivery.id.clone(), step));
                }
            }
        }
        // What has no token, and what ends soonest, first.
        due.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        for (_, id, step) in due {
            if self.tries.len() >= AT_A_TIME {
                break;
            }
            if let Some(later) = self.begin_one(&id, step, now) {
                wake = wake.min(later);
            }
        }
        wake
    }

    /// Begins a try; when a gate is closed, says when to ask again.
    fn begin_one(&mut self, id: &DeliveryId, step: Step, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get_mut(id)?;
        if let Pass::Closed(problem, again) = self.gates.ask(&needs(entry, step), now) {
            entry.record.failure = Some(match entry.record.failure.take() {
                Some(failure) => Failure {
                    problem,
                    next_try: again,
                    ..failure
                },
                None => Failure {
                    problem,
                    since: now,
                    attempts: 0,
                    next_try: again,
                },
            });
            return Some(again);
        }
        debug!(delivery = %id, ?step, "try");
        entry.running = true;
        let delivery = Arc::clone(&entry.delivery);
        let tokens = std::mem::take(&mut entry.tokens);
        let parts = Arc::clone(&self.parts);
        let work = async move { bring(&parts, &delivery, step, tokens).await };
        let handle = self.tries.spawn(work);
        self.owners.insert(handle.id(), id.clone());
        None
    }

    /// Waits for a try to end and notes what came of it. Cancelled, it loses nothing.
    async fn finish_one(&mut self) {
        let (task, outcome) = match self.tries.join_next_with_id().await {
            Some(Ok((task, outcome))) => (task, Some(outcome)),
            Some(Err(error)) => {
                error!(%error, "a try ended by a fault of this program; please report it");
                (error.id(), None)
            }
            None => return,
        };
        let Some(id) = self.owners.remove(&task) else {
            return;
        };
        let now = self.now();
        // A delivery that was configured away meanwhile is left as it is.
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.running = false;
        let needed = needs(entry, Step::Push(plan::Why::First));
        let before = entry
            .record
            .failure
            .as_ref()
            .map(|failure| failure.problem.clone());
        let was_good = entry.record.good_since.is_some();
        let result = match outcome {
            Some(outcome) => entry.note(outcome, now),
            None => Err(Problem::internal(&entry.delivery, "the try broke off")),
        };
        match &result {
            Ok(()) => {
                entry.record.good_since = entry.record.good_since.or(Some(now));
                entry.record.changed = false;
                entry.record.asked = false;
                entry.record.failure = None;
                for cause in self.gates.succeeded(&needed) {
                    self.wake(&cause, now);
                }
            }
            Err(problem) => {
                entry.record.fail(&id, problem.clone(), now);
                self.gates.failed(problem, &needed, now);
                self.announcer.failed(&id, problem);
            }
        }
        if result.is_ok() {
            self.look_for_held(&id, !was_good);
        }
        if let Some(before) = before {
            self.announcer.over(&before, self.entries.values());
        }
    }

    /// Deliveries that waited for a cause that is over are tried at once.
    fn wake(&mut self, cause: &Cause, now: Timestamp) {
        for entry in self.entries.values_mut() {
            if let Some(failure) = &mut entry.record.failure
                && failure.problem.cause == *cause
            {
                failure.next_try = failure.next_try.min(now);
            }
        }
    }

    /// Lets tries end, for a while, and ends what serves nobody but this process. Jobs live on what
    /// is at the schedds; nothing of that is revoked.
    pub async fn close(&mut self) {
        let tries = async {
            while !self.tries.is_empty() {
                self.finish_one().await;
            }
        };
        if tokio::time::timeout(DRAIN, tries).await.is_err() {
            info!(tries = self.tries.len(), "stopped before all tries ended");
            self.tries.abort_all();
        }
        let openers = self.parts.openers.revoke_all(&self.parts.vault);
        if tokio::time::timeout(DRAIN, openers).await.is_err() {
            info!("logins that open credds are left to end by themselves");
        }
    }
}

#[cfg(test)]
mod tests;
