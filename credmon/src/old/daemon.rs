//! The loop: look, decide, renew, report, wait.
//!
//! Whatever wakes it (a change in the directory, a signal, a renewal that ended, the clock) only
//! makes it decide anew from what is there. It never waits for a single renewal, and looks at the
//! whole directory each minute even if nothing wakes it (`looking` says what that finds).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use htvault::clock::Clock;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::old::copies::{Copies, TokenCopy};
use crate::old::directory::{Directory, DirectoryFault};
use crate::old::folders::Folders;
use crate::old::log;
use crate::old::looks::{Looks, Next, RESCAN};
use crate::old::metrics::Counters;
use crate::old::monitor::Monitor;
use crate::old::own_files;
use crate::old::renewal::{self, Ended, Outcome, Task};
use crate::old::rules::Rules;
use crate::old::source::TokenSource;
use crate::old::state::Note;
use crate::old::views::{ViewSettings, Views};
use crate::old::watch::Watch;
use crate::old::workers::Threads;

/// A pass counts as complete after this time, though something hangs: schedd and credd wait for
/// it at boot.
const PASS_LIMIT: Duration = Duration::from_secs(20);

/// What the loop is told from outside.
#[derive(Debug)]
pub enum Command<S> {
    /// Look now.
    Look,
    /// The configuration changed.
    Configure(Box<Configuration<S>>),
    /// Tell the metrics.
    Metrics(oneshot::Sender<String>),
    /// End.
    Stop,
}

/// What the loop works with.
#[derive(Debug)]
pub struct Configuration<S> {
    /// The credential directory; `None` when none is configured.
    pub directory: Option<PathBuf>,
    /// The rules.
    pub rules: Rules,
    /// Where tokens come from.
    pub source: Arc<S>,
    /// What others may see.
    pub views: ViewSettings,
    /// Copies of access tokens.
    pub copies: Vec<TokenCopy>,
}

/// The daemon.
pub struct Daemon<S> {
    configuration: Configuration<S>,
    clock: Arc<dyn Clock>,
    /// Called at each look: the log follows a rotated file.
    at_look: Box<dyn Fn() + Send>,
    monitor: Monitor,
    watch: Watch,
    folders: Folders,
    directory: Result<Arc<Directory>, DirectoryFault>,
    /// Whether it leaves `pid` and views to another.
    is_guest: bool,
    /// Device and inode of the directory that holds our `pid`.
    home: Option<(u64, u64)>,
    running: JoinSet<(Task, Ended)>,
    /// Where renewals run; unless said, on the loop's own thread.
    renewals: Threads,
    looks: Looks,
    /// Whether a look at everything has come to its end.
    has_looked: bool,
    pass: Option<Instant>,
    views: Views,
    copies: Copies,
    counters: Counters,
    started: Timestamp,
    looked: Option<Timestamp>,
}

impl<S: TokenSource> Daemon<S> {
    /// Makes it; nothing is done yet.
    #[must_use]
    pub fn new(
        configuration: Configuration<S>,
        clock: Arc<dyn Clock>,
        at_look: impl Fn() + Send + 'static,
    ) -> Self {
        let started = clock.now();
        Self {
            configuration,
            clock,
            at_look: Box::new(at_look),
            monitor: Monitor::default(),
            watch: Watch::new(),
            folders: Folders::default(),
            directory: Err(DirectoryFault::NotConfigured),
            is_guest: false,
            home: None,
            running: JoinSet::new(),
            renewals: Threads::default(),
            looks: Looks::new(Instant::now()),
            has_looked: false,
            pass: None,
            views: Views::new(Instant::now()),
            copies: Copies::default(),
            counters: Counters::default(),
            started,
            looked: None,
        }
    }

    /// Lets renewals run elsewhere.
    #[must_use]
    pub fn renew_on(self, threads: Threads) -> Self {
        Self {
            renewals: threads,
            ..self
        }
    }

    /// Runs until told to stop.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command<S>>) {
        loop {
            self.step();
            let wake = self.sleep_until();
            // A timer may be a millisecond late, which would be many in a look at thousands of folders.
            let at_once = wake <= Instant::now();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Look) => self.looks.everything_soon(Instant::now()),
                    Some(Command::Configure(new)) => self.configure(*new),
                    Some(Command::Metrics(answer)) => {
                        // Who asked may be gone.
                        let _ = answer.send(self.metrics_text());
                    }
                    Some(Command::Stop) | None => break,
                },
                Some(ended) = self.running.join_next() => {
                    self.report(ended);
                    while let Some(ended) = self.running.try_join_next() {
                        self.report(ended);
                    }
                }
                change = self.watch.changed(&mut self.folders) => self.looks.note(change, Instant::now()),
                () = tokio::task::yield_now(), if at_once => {}
                () = tokio::time::sleep_until(wake), if !at_once => {}
            }
        }
        self.end();
    }

    /// Does one complete pass; whether all is good then.
    pub async fn run_once(mut self) -> bool {
        // The daemon that runs beside it, perhaps, is the one that signals and questions are for.
        self.is_guest = true;
        self.configuration.views = ViewSettings::default();
        self.step();
        while self.looks.is_under_way() {
            self.step();
        }
        while let Some(ended) = self.running.join_next().await {
            self.report(ended);
            self.start_renewals();
        }
        self.complete_pass();
        let good = self.directory.is_ok() && self.monitor.all_good();
        self.end();
        good
    }

    /// Does what is due now.
    fn step(&mut self) {
        let now = Instant::now();
        match self.looks.next(now, &self.folders) {
            Some(Next::Everything) => self.look_at_directory(now),
            Some(Next::Folders(folders)) => self.look_at_folders(now, &folders),
            None => {}
        }
        if let Some(began) = self.looks.full_look_over(Instant::now()) {
            self.full_look_over(began);
        }
        self.start_renewals();
        let over = |since: Instant| since.elapsed() >= PASS_LIMIT;
        if self
            .pass
            .is_some_and(|since| self.running.is_empty() || over(since))
        {
            self.complete_pass();
        }
        if self.has_looked && self.views.due().is_some_and(|at| at <= Instant::now()) {
            self.write_views(true);
        }
    }

    /// When there will be something to do, if nothing happens before.
    fn sleep_until(&mut self) -> Instant {
        let mut wake = self.looks.at(Instant::now());
        if let Some(since) = self.pass {
            wake = wake.min(since + PASS_LIMIT);
        }
        if let Some(at) = self.views.due().filter(|_| self.has_looked) {
            wake = wake.min(at);
        }
        if let Some(at) = self.monitor.next_decision(self.clock.now()) {
            let left = at.duration_since(self.clock.now());
            let left = Duration::try_from(left).unwrap_or_default();
            // A look is due before any time that an instant could not hold.
            wake = wake.min(Instant::now() + left.min(RESCAN) + Duration::from_millis(1));
        }
        wake
    }

    fn start_renewals(&mut self) {
        let Ok(directory) = &self.directory else {
            return;
        };
        let rules = &self.configuration.rules;
        let plan = (self.monitor).plan(rules, self.clock.now(), self.has_looked);
        for task in plan {
            tracing::debug!("{}: asks for {} s", task.id, task.ask);
            let directory = Arc::clone(directory);
            let source = Arc::clone(&self.configuration.source);
            let clock = Arc::clone(&self.clock);
            let renewal = async move {
                let ended = renewal::renew(directory, source, clock, task.clone()).await;
                (task, ended)
            };
            self.running.spawn_on(renewal, &self.renewals.idlest());
        }
    }

    fn report(&mut self, ended: Result<(Task, Ended), tokio::task::JoinError>) {
        let (task, ended) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // Cannot happen: no renewal panics, and none is aborted while the loop runs.
                tracing::error!("a renewal broke off: {error}");
                return;
            }
        };
        if matches!(ended.outcome, Outcome::TopChanged | Outcome::Vanished) {
            self.looks.folder_soon(task.id.user(), Instant::now());
        }
        self.counters.count(&ended.outcome);
        if matches!(ended.outcome, Outcome::Dead(_)) {
            self.delete_dead(&task);
        }
        if let Outcome::Renewed { folder, .. } = &ended.outcome {
            if let Some(change) = folder {
                self.folders.follow(task.id.user(), **change);
            }
            self.copy(Some(&task.id));
        }
        let now = self.clock.now();
        let rules = &self.configuration.rules;
        let notes = self.monitor.report(&task, ended, rules, now);
        self.views.outdate(notes.iter().any(Note::is_news));
        notes.iter().for_each(log::note);
    }

    fn configure(&mut self, new: Configuration<S>) {
        tracing::info!("the configuration changed");
        self.configuration = new;
        let now = self.clock.now();
        for note in self.monitor.judge_all(&self.configuration.rules, now) {
            log::note(&note);
        }
        self.looks.everything_now(Instant::now());
    }

    fn complete_pass(&mut self) {
        self.pass = None;
        if let Ok(directory) = &self.directory
            && let Err(error) = own_files::touch_complete(directory.root())
        {
            tracing::warn!("CREDMON_COMPLETE cannot be written: {error}");
        }
    }

    /// Takes the leave: what is under way is dropped, which loses nothing.
    fn end(mut self) {
        self.running.abort_all();
        if self.has_looked {
            self.write_views(false);
        }
        if let Ok(directory) = &self.directory {
            own_files::remove_pid(directory.root());
        }
        let counts = self.monitor.counts();
        let counts: Vec<String> = counts.iter().map(|(s, n)| format!("{n} {s}")).collect();
        let counts = if counts.is_empty() {
            "no credentials".to_owned()
        } else {
            counts.join(", ")
        };
        tracing::info!("ends; {counts}");
    }
}

mod aftermath;
mod looking;
mod telling;
#[cfg(test)]
mod tests;
