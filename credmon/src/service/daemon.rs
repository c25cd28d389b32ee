//! The loop: observations, plans, tasks, reports.
//!
//! Whatever wakes it (an observation of the scanner, a task that ended, a command, the clock) only
//! makes the scheduler decide anew. It touches no disk and no socket itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use htvault::clock::Clock;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::task::{self, JoinSet};
use tokio::time::Instant;

use super::reporting::{HANGING, Reporting};
use crate::config::{Outputs, Settings};
use crate::model::{
    CredentialId, Failure, Heartbeat, InUse, Now, Outcome, RenewalTask, TaskKind, TokenCopy,
};
use crate::renewal::{self, Vault};
use crate::report::log::Log;
use crate::report::{AccountLines, Publisher};
use crate::scheduler::{Gate, Permit, Scheduler};
use crate::store::copies::Copier;
use crate::store::{Directory, Installed, Observation, Wake, Waker};

/// A pass counts as complete after this time, though something hangs: schedd and credd wait for it at
/// boot.
const PASS_LIMIT: Duration = Duration::from_secs(20);

/// Longest sleep of the loop.
const TICK: Duration = Duration::from_secs(10);

/// Requests from outside.
#[derive(Debug)]
pub(crate) enum Command {
    /// Scan everything now.
    Rescan,
    Configure(Box<Settings>),
    /// The configuration cannot be read, or can again.
    ConfigurationProblem(Option<String>),
    /// The certificate authorities cannot be read, or can again.
    Trust(Option<String>),
    Stop,
}

/// Parts that the loop works with.
pub(crate) struct Parts<V> {
    pub(crate) vault: Arc<V>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) gate: Gate,
    /// Requests to the scanner.
    pub(crate) scanner: Waker,
    pub(crate) installed: Installed,
    pub(crate) scanning: Heartbeat,
    pub(crate) observed: UnboundedReceiver<Observation>,
    pub(crate) publisher: Publisher,
    pub(crate) log: Option<Log>,
}

/// The daemon.
pub(crate) struct Daemon<V> {
    pub(super) parts: Parts<V>,
    /// Without the rules, which the scheduler has.
    pub(super) settings: Settings,
    pub(super) scheduler: Scheduler,
    directory: Option<Arc<Directory>>,
    /// Each ends with the requests that it sent, too, and its permit: until its outcome is heard it is under way.
    running: JoinSet<(Outcome, u32, Permit)>,
    /// Tasks under way.
    tasks: HashMap<task::Id, RenewalTask>,
    pub(super) copier: Option<Copier>,
    /// Start of the pass that is not complete yet.
    pass: Option<Instant>,
    pub(super) report: Reporting,
    pub(super) lines: AccountLines,
}

impl<V: Vault> Daemon<V> {
    /// `trust`: problem of the certificate authorities at the start.
    pub(crate) fn new(parts: Parts<V>, mut settings: Settings, trust: Option<String>) -> Self {
        let now = now(&*parts.clock);
        log_warnings(&settings);
        let report = Reporting {
            started: now.wall,
            trust,
            dirty: true,
            ..Reporting::default()
        };
        Self {
            scheduler: Scheduler::new(std::mem::take(&mut settings.rules), parts.gate.clone(), now),
            settings,
            parts,
            directory: None,
            running: JoinSet::new(),
            tasks: HashMap::new(),
            copier: None,
            pass: None,
            report,
            lines: AccountLines::new(now.mono),
        }
    }

    pub(super) fn now(&self) -> Now {
        now(&*self.parts.clock)
    }

    /// Runs until it is stopped.
    pub(crate) async fn run(mut self, mut commands: Receiver<Command>) -> bool {
        loop {
            self.step();
            let wake = self.wake_at();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Stop) | None => break,
                    Some(command) => self.obey(command),
                },
                observation = self.parts.observed.recv() => {
                    let Some(observation) = observation else {
                        tracing::error!("the scanner broke off: stops with exit code 1, so that it is started anew");
                        break;
                    };
                    self.observe(observation);
                    while let Ok(observation) = self.parts.observed.try_recv() {
                        self.observe(observation);
                    }
                }
                Some(ended) = self.running.join_next_with_id() => {
                    self.ended(ended);
                    while let Some(ended) = self.running.try_join_next_with_id() {
                        self.ended(ended);
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.stop()
    }

    /// Does one complete pass; `true` when all is good then.
    pub(crate) async fn run_once(mut self) -> bool {
        // The daemon that runs beside it, perhaps, is the one that questions are for.
        self.settings.outputs = Outputs::default();
        loop {
            self.start_tasks();
            if self.report.scan.is_some() && self.running.is_empty() {
                break;
            }
            tokio::select! {
                observation = self.parts.observed.recv() => {
                    let Some(observation) = observation else {
                        tracing::error!("the scanner broke off");
                        self.stop();
                        return false;
                    };
                    self.observe(observation);
                }
                Some(ended) = self.running.join_next_with_id() => self.ended(ended),
            }
        }
        if let Some(copier) = &mut self.copier {
            copier.finish(HANGING).await;
        }
        let left = self.scheduler.waiting_for_room().count();
        if left > 0 {
            self.settings.problems.push(format!(
                "{left} credentials are due and were not renewed: CREDMON_HTVAULT_REQUEST_LIMIT \
                 leaves no room for them now; run it again later"
            ));
        }
        self.stop()
    }

    /// Does what is due now.
    fn step(&mut self) {
        self.start_tasks();
        self.lines.follow(self.now().mono);
        if let Some(since) = self.pass
            && (self.running.is_empty() || since.elapsed() >= PASS_LIMIT)
        {
            self.pass = None;
            self.parts.scanner.send(Wake::Complete);
        }
        self.log_problems();
        if self.publish_at().is_some_and(|at| at <= Instant::now()) {
            self.publish(true);
        }
    }

    /// Time of the next writing of the status. Before the first scan is over it is not known how many credentials there
    /// are: there is nothing to say but that the scan hangs.
    fn publish_at(&self) -> Option<Instant> {
        let hangs = || self.parts.scanning.hanging(HANGING).is_some();
        let is_known = self.report.scan.is_some() || hangs();
        is_known.then(|| self.report.publish_at().unwrap_or_else(Instant::now))
    }

    /// Time at which there is something to do, if nothing happens before.
    fn wake_at(&self) -> Instant {
        let now = self.now();
        let mut wake = Instant::now() + TICK;
        // Without a directory nothing is planned, however much is due.
        if let (Some(at), true) = (self.scheduler.next_wake(now), self.directory.is_some()) {
            wake = wake.min(Instant::from_std(at));
        }
        wake = self.publish_at().map_or(wake, |at| wake.min(at));
        self.pass.map_or(wake, |since| wake.min(since + PASS_LIMIT))
    }

    fn start_tasks(&mut self) {
        let Some(directory) = self.directory.clone() else {
            return;
        };
        let (tasks, events) = self.scheduler.plan(self.now());
        self.log(&events);
        for (task, permit) in tasks {
            if let TaskKind::Renew {
                minimum_seconds, ..
            } = &task.kind
            {
                tracing::debug!("{}: asks for {minimum_seconds} s", task.id);
            }
            let (vault, clock) = (self.parts.vault.clone(), self.parts.clock.clone());
            let run = renewal::run(task.clone(), directory.clone(), vault, clock);
            // Boxed: tokio aligns a task to 128 bytes, for which glibc seeks a larger place than it then keeps. The place of
            // one that ended is too small for the next, and stays unused where it is large.
            let handle = self.running.spawn(Box::pin(async move {
                let (outcome, requests) = run.await;
                (outcome, requests, permit)
            }));
            self.tasks.insert(handle.id(), task);
        }
    }

    fn ended(&mut self, ended: Result<(task::Id, (Outcome, u32, Permit)), task::JoinError>) {
        let now = self.now();
        let (id, outcome) = match ended {
            Ok((id, (outcome, requests, permit))) => {
                permit.finish(requests, now.mono);
                (id, outcome)
            }
            Err(error) => {
                let text = format!("a renewal broke off: {error}");
                tracing::error!("{text}");
                let failure = Failure::local(text, "report this as an error of this program");
                (error.id(), Outcome::Failed(failure))
            }
        };
        let Some(task) = self.tasks.remove(&id) else {
            return;
        };
        let installed = match &outcome {
            Outcome::Renewed { token, .. } => Some(token.file),
            _ => None,
        };
        let may_be_dead = matches!(outcome, Outcome::TokenDead(_));
        if matches!(outcome, Outcome::Changed) {
            self.parts.scanner.send(Wake::Scan(task.id.user().clone()));
        }
        let events = self.scheduler.report(&task, outcome, now);
        self.log(&events);
        if may_be_dead && self.scheduler.rules().delete_dead && self.scheduler.is_dead(&task.id) {
            self.delete(&task);
        }
        if installed.is_some()
            && let Some(observed) = self.scheduler.observed(&task.id)
        {
            // Somebody else may have replaced it meanwhile.
            if observed.in_use.as_ref().map(InUse::file) == installed {
                self.parts.installed.add(observed);
            }
            self.copy(Some(&task.id));
        }
        // When a vault token expires can wait for the next writing.
        self.report.dirty |= !matches!(task.kind, TaskKind::LookUp);
    }

    /// Deletes a dead credential, as the site asks for.
    fn delete(&self, task: &RenewalTask) {
        let Some(directory) = self.directory.clone() else {
            return;
        };
        let (id, stamp) = (task.id.clone(), task.stamp.clone());
        task::spawn_blocking(move || match directory.delete(&id, &stamp) {
            Ok(()) => tracing::warn!("{id}: deleted, since its vault token is dead"),
            Err(errno) => tracing::error!("{id}: cannot be deleted: {}", errno.desc()),
        });
    }

    fn observe(&mut self, observation: Observation) {
        let now = self.now();
        match observation {
            Observation::Directory(directory) => self.directory = directory.ok(),
            Observation::Changed(observed) => {
                let events = self.scheduler.observe(observed, now);
                self.log(&events);
                self.report.dirty = true;
            }
            Observation::Gone(id) => {
                self.scheduler.gone(&id);
                self.report.dirty = true;
            }
            Observation::Scanned(report) => {
                if report.is_complete {
                    self.scheduler.scanned(now);
                    self.report.scanned = Some(now.wall);
                    self.pass = self.pass.or_else(|| Some(Instant::now()));
                }
                self.report.scan = Some(report);
                self.copy(None);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Rescan => self.parts.scanner.send(Wake::ScanAll),
            Command::Configure(settings) => {
                tracing::info!("the configuration changed");
                self.settings = *settings;
                log_warnings(&self.settings);
                let rules = std::mem::take(&mut self.settings.rules);
                let events = self.scheduler.reconsider(rules, self.now());
                self.log(&events);
                self.parts
                    .scanner
                    .send(Wake::Use(self.settings.directory.clone()));
                self.parts.scanner.send(Wake::ScanAll);
            }
            Command::ConfigurationProblem(problem) => self.report.configuration_source = problem,
            Command::Trust(problem) => self.report.trust = problem,
            Command::Stop => {}
        }
        self.report.dirty = true;
    }

    /// Brings copies up to date: those of one credential, or all. While their file system hangs, none
    /// is asked for: the next full scan does.
    fn copy(&mut self, only: Option<&CredentialId>) {
        let wanted = |copy: &&TokenCopy| only.is_none_or(|id| copy.id == *id);
        let all = self.settings.copies.iter();
        let wanted: Vec<_> = all.filter(wanted).cloned().collect();
        let (false, Some(directory)) = (wanted.is_empty(), self.directory.clone()) else {
            return;
        };
        let copier = match self.copier.take().map_or_else(Copier::start, Ok) {
            Ok(copier) => self.copier.insert(copier),
            Err(error) => return tracing::error!("copies are not written: {error}"),
        };
        if copier.heartbeat.hanging(HANGING).is_none() {
            copier.update(directory, wanted);
        }
    }

    /// Ends: what is under way is dropped, which loses nothing. `true` when all is good.
    fn stop(mut self) -> bool {
        self.running.abort_all();
        self.lines.end();
        self.log_problems();
        self.parts.scanner.send(Wake::Stop);
        if self.report.scan.is_some() || self.report.published.is_some() {
            self.publish(false);
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for status in self.scheduler.statuses(self.now()).iter() {
            *counts.entry(status.state.to_string()).or_default() += 1;
        }
        let counts = counts.iter().map(|(state, n)| format!("{n} {state}"));
        let counts: Vec<_> = counts.collect();
        let counts = if counts.is_empty() {
            "no credentials".to_owned()
        } else {
            counts.join(", ")
        };
        tracing::info!("stopped; {counts}");
        self.problems().is_empty() && self.scheduler.all_good(self.now())
    }
}

fn log_warnings(settings: &Settings) {
    for warning in &settings.warnings {
        tracing::error!("{warning}");
    }
}

fn now(clock: &dyn Clock) -> Now {
    Now {
        mono: Instant::now().into_std(),
        wall: clock.now(),
    }
}

#[cfg(test)]
mod tests;
