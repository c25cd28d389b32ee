//! The engine: one task per delivery that brings it to its desired state and keeps it there.
//!
//! | module | what it is |
//! |---|---|
//! | `task`, `outcome`, `revocation` | the life of one delivery |
//! | `env`, `command` | what all deliveries share; commands to the engine |
//! | `desired` | its desired state, and the messages that change it |
//! | `status` | its published state |
//! | `configure`, `searches` | which deliveries there are to be |
//! | `orders` | what people ask for |
//! | `view` | reports for those who ask |
//! | `problem_log`, `grants`, `keytabs` | problems logged once; ages of grants; new keytabs |
//!
//! Always true: a delivery that fails, hangs or panics holds up no other. Time comes from the clock that the
//! parts bring, pauses from tokio, so tests run on paused time.

pub mod attempt;
mod command;
mod configure;
mod desired;
mod env;
mod grants;
mod keytabs;
pub mod offboard;
mod orders;
mod outcome;
mod problem_log;
pub(crate) mod real;
pub mod report;
mod revocation;
pub mod revoke;
mod searches;
mod status;
mod task;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

pub use self::command::{Command, OnboardedAnswer};
use self::desired::{Applied, Envelope, Message};
use self::env::{Env, Pace, Stop};
use self::grants::Warnings;
pub use self::orders::Order;
use self::problem_log::ProblemLog;
use self::searches::Searches;
pub(crate) use self::status::Status;
use self::task::{DeliveryTask, Drive};
use self::view::View;
pub use self::view::{Reports, Stopping, pause_of_watchers};
use crate::config::{Config, Cron};
use crate::engine::attempt::Parts;
use crate::engine::report::Report;
use crate::model::delivery::DeliveryId;
use crate::model::moment::until;
use crate::schedd::Transport;
use crate::vault::Vault;

/// The engine's loop turns at least this often, which systemd waits for; so it notices a clock that was set.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// A single run waits this long for Vault to elect a leader: 12 and 28 s were seen.
const ELECTION: Duration = Duration::from_mins(1);
/// Time that running attempts have to end when the service stops, and again so much after they were cancelled.
const DRAIN: Duration = Duration::from_millis(2500);

/// The engine's side of a delivery.
struct Owner {
    /// Not tokio's, which has room for 32 messages from the start: 0.8 kB for each delivery.
    mail: UnboundedSender<Envelope>,
    status: watch::Receiver<Status>,
    is_wanted: bool,
    /// Its task, once that was started.
    task: Option<Id>,
}

/// All deliveries.
pub struct Engine<V, T> {
    env: watch::Sender<Arc<Env<V, T>>>,
    /// Those that are wanted, and those that have living tokens.
    owners: BTreeMap<DeliveryId, Owner>,
    tasks: JoinSet<Box<DeliveryTask<V, T>>>,
    /// Tasks that do not run now.
    parked: Vec<DeliveryTask<V, T>>,
    /// Manner in which tasks run; `None` while none does.
    drive: Option<Drive>,
    searches: Searches,
    check: Cron,
    zone: TimeZone,
    longest_sleep: Duration,
    warnings: Warnings,
    view: Arc<View>,
}

impl<V: Vault, T: Transport> Engine<V, T> {
    /// Nothing is tried yet; what was before a restart is known from the parts' store.
    pub fn new(config: &Config, parts: Arc<Parts<V, T>>, zone: TimeZone) -> Self {
        let now = parts.clock.now();
        let view = Arc::new(View::new(&parts));
        let env = Env {
            parts,
            vaults: config.vault.servers().to_vec(),
            pace: Pace {
                spread: config.spread,
                ..Pace::default()
            },
            tick: now,
            next_tick: config.check.next(now, &zone),
            problems: ProblemLog::default(),
            stop: Stop::default(),
            changed: view.changes(),
        };
        let mut new = Self {
            env: watch::Sender::new(Arc::new(env)),
            owners: BTreeMap::new(),
            tasks: JoinSet::new(),
            parked: Vec::new(),
            drive: None,
            searches: Searches::default(),
            check: config.check.clone(),
            zone,
            longest_sleep: LONGEST_SLEEP,
            warnings: Warnings::default(),
            view,
        };
        new.searches.configure(config);
        drop(new.configure(true));
        new
    }

    fn env(&self) -> Arc<Env<V, T>> {
        Arc::clone(&self.env.borrow())
    }

    fn change_env(&self, change: impl FnOnce(&mut Env<V, T>)) {
        self.env.send_modify(|env| change(Arc::make_mut(env)));
    }

    fn now(&self) -> Timestamp {
        self.env.borrow().now()
    }

    fn parts(&self) -> Arc<Parts<V, T>> {
        Arc::clone(&self.env.borrow().parts)
    }

    /// Known state of every delivery.
    #[must_use]
    pub fn report(&self) -> Report {
        self.view.report()
    }

    /// Reports for others, while the engine runs.
    #[must_use]
    pub fn reports(&self) -> Reports {
        self.view.reports()
    }

    /// Tries every delivery once, until each is good or failed. While Vault elects a leader it is waited for,
    /// a while. `watcher` is called meanwhile, not too often.
    pub async fn settle(&mut self, mut watcher: impl FnMut(&Self)) {
        self.seek();
        while let Some(answer) = self.searches.next_answer().await {
            self.found(answer);
        }
        self.start(Drive::Once(Instant::now() + ELECTION));
        let pause = pause_of_watchers(self.owners.len());
        let mut next = Instant::now();
        while !self.tasks.is_empty() {
            if Instant::now() >= next {
                watcher(self);
                next = Instant::now() + pause;
            }
            tokio::select! {
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                () = tokio::time::sleep_until(next) => {}
            }
        }
        self.drive = None;
        // The store reports it.
        let _ = self.parts().store.written(DRAIN).await;
    }

    /// Keeps every delivery good until it is stopped, or nobody is left who could do that.
    pub async fn run(&mut self, commands: mpsc::Receiver<Command<V, T>>) {
        let now = self.now();
        self.change_env(|env| env.pace.started = Some(now));
        self.recall_unfinished();
        self.work(Drive::Keep, commands).await;
    }

    /// Carries out what is ordered and nothing else, until it is stopped.
    pub async fn run_orders(&mut self, commands: mpsc::Receiver<Command<V, T>>) {
        self.work(Drive::Orders, commands).await;
    }

    async fn work(&mut self, drive: Drive, mut commands: mpsc::Receiver<Command<V, T>>) {
        self.start(drive);
        loop {
            let wake = self.turn();
            tokio::select! {
                command = commands.recv() => {
                    if !self.follow(command.unwrap_or(Command::Stop)) {
                        break;
                    }
                }
                Some(answer) = self.searches.next_answer() => self.found(answer),
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.close().await;
    }

    /// Does what time asks for. Returns the time of the next turn.
    fn turn(&mut self) -> Instant {
        self.view.turned();
        let now = self.now();
        let next = self.check.next(now, &self.zone);
        let (last, expected) = {
            let env = self.env.borrow();
            (env.tick, env.next_tick)
        };
        // It has come, or the clock was set.
        if next != expected || now < last {
            self.change_env(|env| (env.tick, env.next_tick) = (now, next));
            self.show();
            self.parts().store.drop_expired(now);
            self.warnings.log(&self.view.grants(now));
        }
        let search = match self.drive {
            Some(Drive::Keep) => self.seek(),
            _ => None,
        };
        let wake = Instant::now() + until(now, next).min(self.longest_sleep);
        search.map_or(wake, |search| search.min(wake))
    }

    /// Has all owners work.
    fn start(&mut self, drive: Drive) {
        self.change_env(|env| env.stop = Stop::default());
        self.drive = Some(drive);
        for task in std::mem::take(&mut self.parked) {
            self.spawn(task);
        }
    }

    fn spawn(&mut self, task: DeliveryTask<V, T>) {
        let Some(drive) = self.drive else {
            return self.parked.push(task);
        };
        let id = task.id();
        let handle = self.tasks.spawn(Box::new(task).run(drive));
        if let Some(owner) = self.owners.get_mut(&id) {
            owner.task = Some(handle.id());
        }
    }

    /// An owner's task has ended.
    fn ended(&mut self, ended: Result<Box<DeliveryTask<V, T>>, JoinError>) {
        match ended {
            Ok(mut task) => {
                let is_stopped = self.env.borrow().stop.begin_nothing.is_cancelled();
                let is_kept = !is_stopped && !matches!(self.drive, Some(Drive::Once(_)));
                if task.is_done() {
                    self.owners.remove(&task.id());
                } else if is_kept {
                    // A message came as it ended.
                    self.spawn(*task);
                } else {
                    self.parked.push(*task);
                }
            }
            Err(error) if error.is_panic() => self.restart(&error),
            // Aborted at the stop.
            Err(_) => {}
        }
    }

    /// An owner broke off by a fault of this program: another one takes over with what is in the store.
    fn restart(&mut self, error: &JoinError) {
        let mut owners = self.owners.iter();
        let Some((id, owner)) = owners.find(|(_, owner)| owner.task == Some(error.id())) else {
            return;
        };
        self.broke_off(&id.to_string(), error);
        let (before, is_wanted) = (owner.status.borrow().clone(), owner.is_wanted);
        let mut task = self.own(Arc::clone(&before.delivery), is_wanted, before.gone);
        task.resume(&self.env(), &before);
        self.spawn(task);
        // It may have broken off before it read of another configuration.
        drop(self.configure(false));
    }

    fn broke_off(&self, task: &str, error: &JoinError) {
        self.view.count_fault();
        error!(task, %error, "a task ended by a fault of this program, and is started anew; please report it");
    }

    /// Lets attempts end, for a while, and ends what serves nobody but this process. Jobs live on what is at
    /// the schedds; nothing of that is revoked.
    pub async fn close(&mut self) {
        let stop = self.env.borrow().stop.clone();
        stop.begin_nothing.cancel();
        if timeout(DRAIN, self.join_all()).await.is_err() {
            // Each ends with the tokens that it knows, and they are recorded.
            stop.end_attempts.cancel();
        }
        if timeout(DRAIN, self.join_all()).await.is_err() {
            warn!(
                attempts = self.tasks.len(),
                "stopped before all attempts ended; tokens that they were making are not known"
            );
            self.tasks.abort_all();
        }
        self.drive = None;
        let parts = self.parts();
        if timeout(DRAIN, parts.sessions.close_all()).await.is_err() {
            info!(
                "login tokens for credd access are not revoked at the stop; they expire by themselves"
            );
        }
        if let Err(problem) = parts.store.written(DRAIN).await {
            warn!("what was pushed last is not recorded: {problem}");
        }
        self.view.stopped();
    }

    async fn join_all(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended);
        }
    }
}

impl Owner {
    fn send(&self, message: Message, applied: &Applied) {
        let applied = applied.clone();
        // An owner that has ended has nothing to change.
        let _ = self.mail.unbounded_send(Envelope { message, applied });
    }
}

/// Wait for messages to be applied.
struct Barrier(mpsc::Receiver<std::convert::Infallible>);

fn barrier() -> (Applied, Barrier) {
    let (applied, all) = mpsc::channel(1);
    (applied, Barrier(all))
}

impl Barrier {
    /// Waits until every message is applied, or its owner has ended.
    async fn passed(mut self) {
        let _ = self.0.recv().await;
    }
}

#[cfg(test)]
mod tests;
