//! The loop that brings every delivery to good and keeps it there: observe, plan, execute, report.
//!
//! What holds: each delivery has its own record, tries and pauses, and one that fails holds up no
//! other; at most one try runs for a delivery, and a bounded number in all; while a shared cause
//! (Vault, a realm) is down, one try at a time finds out for everybody. Time comes from the clock
//! that the parts bring, pauses from tokio, so tests run on paused time.

mod aside;
mod configured;
mod cut;
mod entry;
mod found;
mod held;
mod keeping;
mod order;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use htvault::RequestLimit;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use aside::News;
use cut::CutOrder;
pub(crate) use entry::Entry;
use entry::needs;
use found::Searches;
use held::Queues;
use keeping::Keeping;
pub use order::Order;

use crate::announce::Announcer;
use crate::config::{Config, Cron};
use crate::delivery::{Delivery, DeliveryId, Selection};
use crate::gate::{Gates, Pass};
use crate::ledger::{Keeper, Ledger};
use crate::moment::{ClockWatch, before, until};
use crate::plan::outlook::{Planned, outlook};
use crate::plan::{self, Failure, Next, Policy, Step};
use crate::problem::{Cause, Kind, Problem};
use crate::push::{Outcome, Parts, Tokens, bring};
use crate::report::Report;
use crate::revoke::{Cut, Step as Done};
use crate::transport::Transport;
use crate::vault::Vault;

/// Tries at a time. Requests to Vault, to KDCs and runs of HTCondor's tools have bounds of their own.
const AT_A_TIME: usize = 48;
/// Tries at a time at one credd: one that is slow leaves room for all others.
const AT_A_CREDD: usize = 4;
/// Tries at a time in one directory.
const AT_A_DIRECTORY: usize = 16;
/// The loop looks at the clock at least this often, so that a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// A single run waits this long for Vault to elect a leader: 12 and 28 s were seen.
const ELECTION: Duration = Duration::from_mins(1);
/// And looks again no sooner than this.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);
/// A report is made at most this often,
const PUBLISHED_EVERY: Duration = Duration::from_millis(250);
/// and for each of its lines so much more rarely: making it is to be a small part of all work.
const FOR_A_LINE: Duration = Duration::from_millis(1);
/// What running tries have to end when the service stops.
const DRAIN: Duration = Duration::from_secs(5);

/// What the service is told.
pub enum Command<V, T> {
    /// Go on with another configuration.
    Reload(Arc<Config>, Arc<Parts<V, T>>),
    /// Do what a person asks for; the answer is which deliveries that are.
    Order(Order, oneshot::Sender<Vec<DeliveryId>>),
    /// Cut these deliveries off; the answer is what was done, when all of it is. With `true`
    /// nothing is asked of the schedds.
    CutOff(Selection, bool, oneshot::Sender<Vec<Cut>>),
    /// Somebody logged in for these; when the refresh token ends, if that was said. The answer
    /// is what could not be kept of it.
    Onboarded(
        Selection,
        Option<Timestamp>,
        oneshot::Sender<Result<(), String>>,
    ),
    /// Make Vault forget the refresh tokens of an account; the answer is what was done.
    Forget(String, oneshot::Sender<Vec<Done>>),
    /// End.
    Stop,
}

/// What ended.
enum Ended {
    Try(Outcome),
    Cut(Tokens, Cut),
    Forgotten(Vec<Done>, oneshot::Sender<Vec<Done>>),
}

/// All deliveries.
pub struct Reconciler<V, T> {
    parts: Arc<Parts<V, T>>,
    entries: BTreeMap<DeliveryId, Entry>,
    tries: JoinSet<Ended>,
    /// Which try is whose.
    owners: HashMap<Id, DeliveryId>,
    gates: Gates,
    announcer: Announcer,
    check: Cron,
    spread: Duration,
    zone: TimeZone,
    tick: Timestamp,
    next_tick: Timestamp,
    /// Orders to cut off that are not finished.
    cut_orders: Vec<CutOrder>,
    keeping: Keeping,
    /// How many requests to Vault the configuration allows.
    requests: Option<RequestLimit>,
    /// What outlives a restart.
    ledger: Keeper,
    watch: ClockWatch,
    /// The loop looks at the clock at least this often.
    glance: Duration,
    /// Failures are tried again.
    persistent: bool,
    searches: Searches,
    held: Queues,
    /// Where tasks beside the tries tell what they found out.
    tell: mpsc::UnboundedSender<News>,
    /// What is known, for whoever looks.
    published: watch::Sender<Arc<Report>>,
    /// When that was made.
    published_at: Option<Instant>,
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// Nothing is tried yet, and nothing is known of before or kept for a restart.
    pub fn new(config: &Config, parts: Arc<Parts<V, T>>, zone: TimeZone) -> Self {
        Self::with_ledger(config, parts, zone, Keeper::forgetful())
    }

    /// Nothing is tried yet; `ledger` is what is known of before a restart.
    pub fn with_ledger(
        config: &Config,
        parts: Arc<Parts<V, T>>,
        zone: TimeZone,
        ledger: Keeper,
    ) -> Self {
        let now = parts.clock.now();
        let mut new = Self {
            requests: config.vault.requests,
            ledger,
            watch: ClockWatch::new(now),
            published_at: None,
            glance: LONGEST_SLEEP,
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
            cut_orders: Vec::new(),
            keeping: Keeping::default(),
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

    /// Tries every delivery once, until each is good or failed. While Vault elects a leader it is
    /// waited for, a while.
    pub async fn settle(&mut self) {
        self.persistent = false;
        self.announcer.silent = true;
        self.think_again();
        let mut inbox = self.listen();
        self.seek();
        self.hear_all(&mut inbox).await;
        let patience = Instant::now() + ELECTION;
        loop {
            let wake = self.begin();
            self.publish_if_due();
            if !self.tries.is_empty() {
                self.finish_one().await;
            } else if let Some(again) = self.after_election(wake)
                && Instant::now() < patience
            {
                tokio::time::sleep(again).await;
            } else {
                break;
            }
        }
        self.hear_all(&mut inbox).await;
        self.ledger.save_all().await;
    }

    /// How long to wait for a leader, if that is all that is missing to try again.
    fn after_election(&self, wake: Timestamp) -> Option<Duration> {
        let mut failures = self
            .entries
            .values()
            .filter_map(|e| e.record.failure.as_ref());
        let waits = failures.any(|failure| failure.problem.kind == Kind::NoLeader);
        waits.then(|| until(self.now(), wake).clamp(SHORTEST_WAIT, LONGEST_SLEEP))
    }

    /// Keeps every delivery good until told to stop, or nobody is left to tell.
    pub async fn run(&mut self, mut commands: mpsc::Receiver<Command<V, T>>) {
        self.persistent = true;
        self.announcer.silent = false;
        let mut inbox = self.listen();
        self.think_again();
        loop {
            let wake = self.begin().min(self.seek());
            let unsaid = self.publish_if_due();
            let unsaved = self.ledger.save_if_due();
            let pause = until(self.now(), wake)
                .min(self.glance)
                .min(unsaid)
                .min(unsaved);
            tokio::select! {
                () = self.finish_one(), if !self.tries.is_empty() => self.finish_more(),
                () = tokio::time::sleep(pause) => {}
                Some(news) = inbox.recv() => self.hear(news),
                command = commands.recv() => {
                    match command {
                        Some(Command::Reload(config, parts)) => self.reload(&config, parts),
                        Some(Command::Order(order, answer)) => {
                            // Whoever asked may have gone away.
                            let _ = answer.send(self.obey(&order));
                        }
                        Some(Command::CutOff(selection, leave_schedds, answer)) => {
                            self.cut_off(&selection, leave_schedds, answer);
                        }
                        Some(Command::Onboarded(selection, ends, answer)) => {
                            // Whoever asked may have gone away, here and below.
                            let _ = answer.send(self.onboarded(&selection, ends));
                        }
                        Some(Command::Forget(account, answer)) => self.forget(account, answer),
                        Some(Command::Stop) | None => break,
                    }
                    self.think_again();
                }
            }
        }
        self.close().await;
    }

    /// What is known of every delivery.
    #[must_use]
    pub fn report(&self) -> Report {
        let (now, ticks) = (self.now(), self.ticks());
        let lines = self.entries.values();
        let lines = lines.map(|entry| (entry, self.planned(entry, now, ticks)));
        let mut report = Report::new(lines, self.searches.problems(), now);
        report.grants = self.grant_lines(now);
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
        outlook(now, &self.policy(&entry.delivery), &entry.record, ticks)
    }

    fn policy<'a>(&self, delivery: &'a Delivery) -> Policy<'a> {
        Policy {
            id: &delivery.id,
            lifetime: delivery.lifetime,
            renew_below: delivery.renew_below,
            spread: self.spread,
            prove_every: plan::prove_every(self.entries.len(), self.requests),
        }
    }

    /// What is kept over a restart.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        self.ledger.ledger()
    }

    /// What is known of every delivery, as it changes, while [`Self::run`] runs.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Arc<Report>> {
        // Nothing is published while nobody looks.
        self.published.send_replace(Arc::new(self.report()));
        self.published.subscribe()
    }

    fn publish(&mut self) {
        self.published.send_replace(Arc::new(self.report()));
        self.published_at = Some(Instant::now());
    }

    /// Publishes, not too often: a report of thousands of deliveries has its price. How long until
    /// it is due.
    fn publish_if_due(&mut self) -> Duration {
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

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// Begins what is due, as far as there is room. When to look again.
    fn begin(&mut self) -> Timestamp {
        let now = self.now();
        self.watch_clock(now);
        if now >= self.next_tick {
            self.tick = self.next_tick;
            self.next_tick = self.check.next(now, &self.zone);
            self.ledger.drop_ended(now);
            self.warn_of_grants(now);
        }
        let prove_every = plan::prove_every(self.entries.len(), self.requests);
        let mut wake = Timestamp::MAX;
        let mut due = Vec::new();
        let mut busy: HashMap<String, usize> = HashMap::new();
        for entry in self.entries.values_mut() {
            if entry.running {
                *busy.entry(entry.delivery.id.schedd.clone()).or_default() += 1;
                continue;
            }
            if entry.gone.is_some() {
                continue;
            }
            // Thousands of deliveries wait; only what changed is thought about again.
            if let Some(until) = entry.waits_until
                && now < until
            {
                wake = wake.min(until);
                continue;
            }
            if !self.persistent
                && let Some(failure) = &entry.record.failure
                && failure.problem.kind != Kind::NoLeader
            {
                continue;
            }
            let policy = Policy {
                id: &entry.delivery.id,
                lifetime: entry.delivery.lifetime,
                renew_below: entry.delivery.renew_below,
                spread: self.spread,
                prove_every,
            };
            let (tick, next_tick) = (self.tick, self.next_tick);
            match plan::next(now, &policy, &entry.record, false, tick, next_tick) {
                Next::Wait(until) => {
                    entry.waits_until = Some(until);
                    wake = wake.min(until);
                }
                Next::Do(step) => {
                    let expires = entry.record.life.map(|life| life.expires);
                    due.push((expires, Arc::clone(&entry.delivery), step));
                }
            }
        }
        // What has no token, and what ends soonest, first.
        due.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
        for (_, delivery, step) in due {
            if self.tries.len() >= AT_A_TIME {
                break;
            }
            let there = busy.entry(delivery.id.schedd.clone()).or_default();
            if *there >= most_at(&delivery) {
                continue;
            }
            match self.begin_one(&delivery.id, step, now) {
                Some(later) => wake = wake.min(later),
                None => *there += 1,
            }
        }
        wake
    }

    /// Whatever was decided for a delivery is decided anew.
    fn think_again(&mut self) {
        for entry in self.entries.values_mut() {
            entry.waits_until = None;
        }
    }

    /// A clock that was set back takes everything along that is known by it. One that was set
    /// forward is believed: time may have passed while the host slept.
    fn watch_clock(&mut self, now: Timestamp) {
        let Some(by) = self.watch.set_back(now) else {
            return;
        };
        warn!(
            seconds = by.as_secs(),
            "the clock was set back; what is known by it moves along"
        );
        for (id, entry) in &mut self.entries {
            entry.set_back(by);
            if !entry.running {
                self.ledger.note(id, entry.to_note(), now);
            }
        }
        self.think_again();
        self.gates.clear();
        self.tick = before(self.tick, by).min(now);
        self.next_tick = self.check.next(now, &self.zone);
    }

    /// Begins a try; when a gate is closed, says when to ask again.
    fn begin_one(&mut self, id: &DeliveryId, step: Step, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get_mut(id)?;
        if let Pass::Closed(problem, again) = self.gates.ask(&needs(entry, step), now) {
            entry.tries += 1;
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
        entry.pushing = matches!(step, Step::Push(_));
        let delivery = Arc::clone(&entry.delivery);
        let tokens = std::mem::take(&mut entry.tokens);
        let access = entry.access.clone();
        let parts = Arc::clone(&self.parts);
        let (sender, stopped) = oneshot::channel();
        entry.stop = Some(sender);
        let (spread, prove_every) = (
            self.spread,
            plan::prove_every(self.entries.len(), self.requests),
        );
        let work = async move {
            let policy = Policy {
                id: &delivery.id,
                lifetime: delivery.lifetime,
                renew_below: delivery.renew_below,
                spread,
                prove_every,
            };
            let stopped = async {
                // A delivery that is configured away meanwhile is no reason to end its try.
                if stopped.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let ended = bring(&parts, &policy, &delivery, step, tokens, &access, stopped);
            Ended::Try(ended.await)
        };
        let handle = self.tries.spawn(work);
        self.owners.insert(handle.id(), id.clone());
        None
    }

    /// Waits for a try to end and notes what came of it. Cancelled, it loses nothing.
    async fn finish_one(&mut self) {
        if let Some(ended) = self.tries.join_next_with_id().await {
            self.finish(ended);
        }
    }

    /// Notes what came of all tries that have ended by now.
    fn finish_more(&mut self) {
        while let Some(ended) = self.tries.try_join_next_with_id() {
            self.finish(ended);
        }
    }

    fn finish(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (task, outcome) = match ended {
            Ok((task, outcome)) => (task, Some(outcome)),
            Err(error) => {
                error!(%error, "a try ended by a fault of this program; please report it");
                (error.id(), None)
            }
        };
        let outcome = match outcome {
            Some(Ended::Forgotten(steps, answer)) => return self.note_forgotten(steps, answer),
            outcome => outcome,
        };
        let Some(id) = self.owners.remove(&task) else {
            return;
        };
        let outcome = match outcome {
            Some(Ended::Cut(tokens, cut)) => return self.note_cut(&id, tokens, &cut),
            Some(Ended::Try(outcome)) => Some(outcome),
            Some(Ended::Forgotten(..)) => return,
            None if self.is_being_cut(&id) => {
                return self.not_cut(&id, cut::BROKE_OFF);
            }
            None => None,
        };
        let now = self.now();
        // A delivery that was configured away meanwhile is left as it is.
        let Some(entry) = self.entries.get_mut(&id) else {
            return self.not_cut(&id, cut::GONE);
        };
        entry.running = false;
        entry.tries += 1;
        entry.waits_until = None;
        let needed = needs(entry, Step::Push(plan::Why::First));
        let failure = entry.record.failure.as_ref();
        let refused = failure.map(|failure| (failure.problem.kind, failure.since));
        let before = entry
            .record
            .failure
            .as_ref()
            .map(|failure| failure.problem.clone());
        let result = match outcome {
            Some(outcome) => entry.note(outcome, now),
            None => Err(Problem::internal(&entry.delivery, "the try broke off")),
        };
        let note = entry.to_note();
        entry.stop = None;
        if entry.to_cut.is_some() {
            self.ledger.note(&id, note, now);
            return self.begin_cuts();
        }
        let turned_good = entry.record.good_since.is_none();
        match &result {
            Ok(()) => {
                entry.record.good_since = entry.record.good_since.or(Some(now));
                entry.record.changed = false;
                // What was asked for while something else ran is still to be done.
                entry.record.asked &= !entry.pushing;
                entry.succeeded = Some(now);
                entry.record.failure = None;
                self.grant_worked(&id, refused, now);
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
        self.ledger.note(&id, note, now);
        if result.is_ok() {
            self.look_for_held(&id, turned_good);
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
                entry.waits_until = None;
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
        if tokio::time::timeout(DRAIN, self.ledger.save_all())
            .await
            .is_err()
        {
            warn!(
                "the disk of the state directory does not answer; what was pushed last is not noted"
            );
        }
    }
}

/// How many tries may run at a delivery's schedd.
fn most_at(delivery: &Delivery) -> usize {
    if delivery.target.needs_opener() {
        AT_A_CREDD
    } else {
        AT_A_DIRECTORY
    }
}

#[cfg(test)]
mod cut_tests;
#[cfg(test)]
mod keeping_tests;
#[cfg(test)]
mod long_tests;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod tests;
