//! The loop that brings every delivery to good and keeps it there: observe, plan, execute, report.
//!
//! What holds: each delivery has its own record, tries and pauses, and one that fails holds up no
//! other; at most one try runs for a delivery, and a bounded number in all; while a shared cause
//! (Vault, a realm) is down, one try at a time finds out for everybody. Time comes from the clock
//! that the parts bring, pauses from tokio, so tests run on paused time.

mod agenda;
mod aside;
mod away;
mod begin;
mod configured;
mod cut;
mod entry;
mod finish;
mod found;
mod keeping;
mod keytabs;
mod order;
mod reports;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use htvault::RequestLimit;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use agenda::Agenda;
use aside::News;
use away::Away;
use cut::CutOrder;
pub(crate) use entry::Entry;
use found::Searches;
use keeping::Keeping;
use keytabs::Keytabs;
pub use order::Order;
use reports::Told;
pub use reports::{Reports, Unanswered, pause_of_watchers};

use crate::config::{Config, Cron};
use crate::delivery::{DeliveryId, Selection};
use crate::engine::limits::Permit;
use crate::moment::{ClockWatch, until};
use crate::problem::Kind;
use crate::push::{Outcome, Parts, Tokens};
use crate::revoke::{Cut, Step as Done};
use crate::transport::Transport;
use crate::vault::Vault;

/// The loop looks at the clock at least this often, so that a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// A single run waits this long for Vault to elect a leader: 12 and 28 s were seen.
const ELECTION: Duration = Duration::from_mins(1);
/// And looks again no sooner than this.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);
/// Time that running tries have to end when the service stops, and again so much after they were told to.
const DRAIN: Duration = Duration::from_millis(2500);

/// What the service is told.
pub enum Command<V, T> {
    /// Go on with another configuration; answered when it is in force.
    Reload(Arc<Config>, Arc<Parts<V, T>>, oneshot::Sender<()>),
    /// The configuration on disk has these faults, one in each line, or (`None`) none any more.
    Faults(Option<String>),
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
    Try(Box<Outcome>, Permit),
    Cut(Box<Tokens>, Cut),
    Forgotten(Vec<Done>, oneshot::Sender<Vec<Done>>),
}

/// All deliveries.
pub struct Reconciler<V, T> {
    parts: Arc<Parts<V, T>>,
    /// Boxed: the map has room for half as many again.
    entries: BTreeMap<DeliveryId, Box<Entry>>,
    /// What was wanted before.
    away: Away,
    agenda: Agenda,
    tries: JoinSet<Ended>,
    /// Which try is whose.
    owners: HashMap<Id, DeliveryId>,
    /// Problems are logged when they come; a single run reports them all at its end.
    logs_problems: bool,
    check: Cron,
    spread: Duration,
    zone: TimeZone,
    tick: Timestamp,
    next_tick: Timestamp,
    /// Orders to cut off that are not finished.
    cut_orders: Vec<CutOrder>,
    keeping: Keeping,
    /// Faults of the configuration on disk.
    faults: Option<String>,
    /// How many requests to Vault the configuration allows.
    requests: Option<RequestLimit>,
    watch: ClockWatch,
    /// The loop looks at the clock at least this often.
    glance: Duration,
    /// Failures are tried again.
    persistent: bool,
    searches: Searches,
    /// Keytabs that are waited for.
    keytabs: Keytabs,
    /// Where tasks beside the tries tell what they found out.
    tell: mpsc::UnboundedSender<News>,
    /// What is known, for whoever asks.
    told: Told,
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// Nothing is tried yet; what was before a restart is known from the parts' store.
    pub fn new(config: &Config, parts: Arc<Parts<V, T>>, zone: TimeZone) -> Self {
        let now = parts.clock.now();
        let mut new = Self {
            requests: config.vault.requests,
            watch: ClockWatch::new(now),
            glance: LONGEST_SLEEP,
            parts,
            entries: BTreeMap::new(),
            away: Away::default(),
            agenda: Agenda::default(),
            tries: JoinSet::new(),
            owners: HashMap::new(),
            logs_problems: true,
            check: config.check.clone(),
            spread: config.spread,
            next_tick: config.check.next(now, &zone),
            tick: now,
            zone,
            cut_orders: Vec::new(),
            keeping: Keeping::default(),
            faults: None,
            persistent: false,
            searches: Searches::default(),
            keytabs: Keytabs::default(),
            tell: mpsc::unbounded_channel().0,
            told: Told::default(),
        };
        new.take(config);
        new
    }

    /// Tries every delivery once, until each is good or failed. While Vault elects a leader it is
    /// waited for, a while.
    pub async fn settle(&mut self) {
        self.settle_before(|_| {}).await;
    }

    /// The same, while `watcher` looks on: whenever something happened, and not too often.
    pub async fn settle_before(&mut self, mut watcher: impl FnMut(&Self)) {
        let mut shown: Option<Instant> = None;
        self.persistent = false;
        self.logs_problems = false;
        self.think_again();
        let mut inbox = self.listen();
        self.seek();
        self.hear_all(&mut inbox).await;
        let patience = Instant::now() + ELECTION;
        loop {
            let wake = self.begin();
            if shown.is_none_or(|at| at.elapsed() >= pause_of_watchers(self.entries.len())) {
                watcher(self);
                shown = Some(Instant::now());
            }
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
        // The store reports it.
        let _ = self.parts.store.written(DRAIN).await;
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
        self.logs_problems = true;
        let (mut inbox, mut questions) = (self.listen(), self.questions());
        self.think_again();
        loop {
            let wake = self.begin().min(self.seek());
            let pause = until(self.now(), wake).min(self.glance);
            let pause = Instant::now() + pause;
            self.has_turned();
            let command = loop {
                tokio::select! {
                    () = self.finish_one(), if !self.tries.is_empty() => {
                        self.finish_more();
                        break None;
                    }
                    () = sleep_until(pause) => break None,
                    Some(news) = inbox.recv() => {
                        self.hear(news);
                        break None;
                    }
                    command = commands.recv() => break Some(command.unwrap_or(Command::Stop)),
                    // Changes nothing.
                    Some(question) = questions.recv() => self.answer(question, &mut questions),
                }
            };
            if let Some(command) = command
                && !self.follow(command)
            {
                break;
            }
        }
        drop(questions);
        self.close().await;
    }

    /// Does what it is told; whether the loop goes on. Whoever asked may have gone away.
    fn follow(&mut self, command: Command<V, T>) -> bool {
        match command {
            Command::Reload(config, parts, answer) => {
                self.reload(&config, parts);
                let _ = answer.send(());
            }
            Command::Faults(faults) => self.faults = faults,
            Command::Order(order, answer) => {
                let _ = answer.send(self.obey(&order));
            }
            Command::CutOff(selection, leave_schedds, answer) => {
                self.cut_off(&selection, leave_schedds, answer);
            }
            Command::Onboarded(selection, ends, answer) => {
                self.onboarded(&selection, ends);
                let store = self.parts.store.clone();
                tokio::spawn(async move {
                    let _ = answer.send(store.written(DRAIN).await);
                });
            }
            Command::Forget(account, answer) => self.forget(account, answer),
            Command::Stop => return false,
        }
        self.think_again();
        true
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    async fn finish_all(&mut self) {
        while !self.tries.is_empty() {
            self.finish_one().await;
        }
    }

    /// Lets tries end, for a while, and ends what serves nobody but this process. Jobs live on what
    /// is at the schedds; nothing of that is revoked.
    pub async fn close(&mut self) {
        self.keytabs.clear();
        if tokio::time::timeout(DRAIN, self.finish_all())
            .await
            .is_err()
        {
            // Each ends with the tokens that it knows, and they are noted.
            for (_, entry) in self.all_mut() {
                if let Some(stop) = entry.stop.take() {
                    // One that has ended already needs no telling.
                    let _ = stop.send(());
                }
            }
        }
        if tokio::time::timeout(DRAIN, self.finish_all())
            .await
            .is_err()
        {
            warn!(
                tries = self.tries.len(),
                "stopped before all tries ended; tokens that they were making are not known"
            );
            self.tries.abort_all();
        }
        let openers = self.parts.close_openers();
        if tokio::time::timeout(DRAIN, openers).await.is_err() {
            info!("logins that open credds are left to end by themselves");
        }
        if let Err(problem) = self.parts.store.written(DRAIN).await {
            warn!("what was pushed last is not noted: {problem}");
        }
    }
}

#[cfg(test)]
mod tests;
