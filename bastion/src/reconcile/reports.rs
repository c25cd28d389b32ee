//! What is known of all deliveries, told to whoever asks.
//!
//! What holds: a report is made when somebody asks, by the loop itself between two of its steps, so
//! it is as new as what is known, and whatever was answered before the question is in it; all who
//! ask by then get the same one, and it is told again while nothing happens; nobody waits longer
//! than [`PATIENCE`] for a loop that is held up; nothing is made while nobody asks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::{Entry, Reconciler};
use crate::plan::outlook::{Planned, outlook};
use crate::report::{Health, Report, Tally};
use crate::transport::Transport;
use crate::vault::Vault;

/// Who asks waits this long. Steps of the loop take milliseconds; one may hang at a disk that does
/// not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// As long as nothing happens a report is told again, until it is so old: only time has passed.
const TOLD_AGAIN: Duration = Duration::from_millis(250);
/// Who watches looks at most this often,
const WATCHED_EVERY: Duration = Duration::from_millis(250);
/// and for each line so much more rarely: making reports is to be a small part of all work.
const FOR_A_LINE: Duration = Duration::from_millis(1);
/// Questions that wait for the loop; further ones wait for their turn.
const WAITING: usize = 64;

/// What is asked.
#[derive(Debug)]
pub(super) enum Question {
    /// What is known of every delivery.
    Report(oneshot::Sender<Arc<Report>>),
    /// The same in a few numbers.
    Tally(oneshot::Sender<Tally>),
}

/// Where others ask what is known, while [`Reconciler::run`] runs.
#[derive(Clone, Debug)]
pub struct Reports {
    questions: mpsc::Sender<Question>,
    turns: watch::Receiver<Instant>,
}

/// The loop's side.
#[derive(Debug)]
pub(super) struct Told {
    questions: Option<mpsc::Receiver<Question>>,
    turns: watch::Sender<Instant>,
    /// The last report, and when it was made, until something happens.
    last: Option<(Instant, Arc<Report>)>,
}

/// Why a question was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The loop has ended.
    Stopping,
    /// The loop is held up in a step.
    HeldUp,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopping => f.write_str("the service is stopping; what is at the schedds stays"),
            Self::HeldUp => write!(
                f,
                "the service has not said within {} s what it knows, something holds it up, perhaps a disk that does \
                 not answer; ask again, and see `journalctl -u token-bastion` if that does not help",
                PATIENCE.as_secs()
            ),
        }
    }
}

impl std::error::Error for Unanswered {}

/// How long who watches so many deliveries waits before the next look, however much happens.
#[must_use]
pub fn pause_of_watchers(deliveries: usize) -> Duration {
    let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
    WATCHED_EVERY.saturating_add(FOR_A_LINE.saturating_mul(deliveries))
}

impl Reports {
    /// What is known now of every delivery.
    ///
    /// # Errors
    /// The loop has ended, or is held up.
    pub async fn now(&self) -> Result<Arc<Report>, Unanswered> {
        self.ask(Question::Report).await
    }

    /// The same in a few numbers, which cost next to nothing.
    ///
    /// # Errors
    /// The loop has ended, or is held up.
    pub async fn tally(&self) -> Result<Tally, Unanswered> {
        self.ask(Question::Tally).await
    }

    /// Waits until something may have happened since the last call, or the call before that.
    ///
    /// # Errors
    /// The loop's owner is gone.
    pub async fn turned(&mut self) -> Result<(), Unanswered> {
        self.turns.changed().await.map_err(|_| Unanswered::Stopping)
    }

    /// For how long nothing has happened, not even a glance at the clock.
    #[must_use]
    pub fn still_for(&self) -> Duration {
        self.turns.borrow().elapsed()
    }

    async fn ask<A>(
        &self,
        question: impl FnOnce(oneshot::Sender<A>) -> Question,
    ) -> Result<A, Unanswered> {
        let (answer, answered) = oneshot::channel();
        let question = question(answer);
        let asked = async {
            let sent = self.questions.send(question).await;
            sent.map_err(|_| Unanswered::Stopping)?;
            answered.await.map_err(|_| Unanswered::Stopping)
        };
        timeout(PATIENCE, asked)
            .await
            .unwrap_or(Err(Unanswered::HeldUp))
    }
}

impl Default for Told {
    fn default() -> Self {
        Self {
            questions: None,
            turns: watch::Sender::new(Instant::now()),
            last: None,
        }
    }
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// What is known of every delivery.
    #[must_use]
    pub fn report(&self) -> Report {
        let (now, ticks) = (self.now(), self.ticks());
        let lines = self.entries.values().map(Box::as_ref);
        let lines = lines.map(|entry| (entry, self.planned(entry, now, ticks)));
        let mut report = Report::new(lines, self.searches.problems(), now);
        report.grants = self.grant_lines(now);
        report.unwanted = self.unwanted(now);
        report.requests = self.parts.vault.requests_used().map(Into::into);
        report.health = Health {
            configuration: self.faults.clone(),
            state: self.parts.store.problem(),
        };
        report
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

    /// Where others ask what is known, once [`Self::run`] runs. Who asked elsewhere before is not
    /// answered any more.
    #[must_use]
    pub fn reports(&mut self) -> Reports {
        let (questions, asked) = mpsc::channel(WAITING);
        self.told.questions = Some(asked);
        Reports {
            questions,
            turns: self.told.turns.subscribe(),
        }
    }

    /// The questions of those who ask; none when nobody can.
    pub(super) fn questions(&mut self) -> mpsc::Receiver<Question> {
        let nobody = || mpsc::channel(1).1;
        self.told.questions.take().unwrap_or_else(nobody)
    }

    /// Something may have happened.
    pub(super) fn has_turned(&mut self) {
        self.told.last = None;
        self.told.turns.send_replace(Instant::now());
    }

    /// Answers a question, and all that wait behind it.
    pub(super) fn answer(&mut self, first: Question, questions: &mut mpsc::Receiver<Question>) {
        let mut next = Some(first);
        while let Some(question) = next {
            // Who asked may have gone away.
            match question {
                Question::Report(answer) => drop(answer.send(self.last_report())),
                Question::Tally(answer) => drop(answer.send(self.tally())),
            }
            next = questions.try_recv().ok();
        }
    }

    /// A report that is as new as what is known.
    fn last_report(&mut self) -> Arc<Report> {
        if let Some((made, report)) = &self.told.last
            && made.elapsed() < TOLD_AGAIN
        {
            return Arc::clone(report);
        }
        let report = Arc::new(self.report());
        self.told.last = Some((Instant::now(), Arc::clone(&report)));
        report
    }

    fn tally(&self) -> Tally {
        let searches = self.searches.problems();
        let entries = self.entries.values().map(Box::as_ref);
        Tally::new(entries, &searches, self.now())
    }
}
