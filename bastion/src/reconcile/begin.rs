//! What is due is begun, as far as there is room for it.
//!
//! What holds: at most one try runs for a delivery, and none without a permit; what failed gives way to
//! what did not; then what has no token, and what ends soonest, goes first.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Ended, Reconciler};
use crate::delivery::{Delivery, DeliveryId};
use crate::engine::limits::Refusal;
use crate::moment::{after, before};
use crate::plan::{self, Failure, Next, Policy, Step};
use crate::problem::Kind;
use crate::push::bring;
use crate::transport::Transport;
use crate::vault::Vault;

/// What the policies of all deliveries share.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    spread: Duration,
    prove_every: Duration,
}

impl Pace {
    pub(super) fn policy(self, delivery: &Delivery) -> Policy<'_> {
        Policy {
            id: &delivery.id,
            lifetime: delivery.lifetime,
            renew_below: delivery.renew_below,
            spread: self.spread,
            prove_every: self.prove_every,
        }
    }
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    pub(super) fn pace(&self) -> Pace {
        Pace {
            spread: self.spread,
            prove_every: plan::prove_every(self.entries.len(), self.requests),
        }
    }

    /// Begins what is due, as far as there is room. When to look again.
    pub(super) fn begin(&mut self) -> Timestamp {
        let now = self.now();
        self.watch_clock(now);
        if now >= self.next_tick {
            self.tick = self.next_tick;
            self.next_tick = self.check.next(now, &self.zone);
            self.parts.store.drop_ended(now);
            self.away.drop_ended(now);
            self.warn_of_grants(now);
        }
        let pace = self.pace();
        let mut due = Vec::new();
        let all = self.entries.values().map(|entry| &entry.delivery);
        for delivery in self.agenda.take(now, all) {
            let Some(entry) = self.entries.get_mut(&delivery.id) else {
                continue;
            };
            // It is noted when that is over.
            if entry.running || entry.gone.is_some() {
                continue;
            }
            if entry.waits_until.is_some_and(|until| now < until) {
                continue;
            }
            if !self.persistent
                && let Some(failure) = &entry.record.failure
                && failure.problem.kind != Kind::NoLeader
            {
                continue;
            }
            let policy = pace.policy(&entry.delivery);
            let (tick, next_tick) = (self.tick, self.next_tick);
            match plan::next(now, &policy, &entry.record, false, tick, next_tick) {
                Next::Wait(until) => {
                    entry.waits_until = Some(until);
                    self.agenda.wait(delivery, until);
                }
                Next::Do(step) => {
                    let expires = entry.record.life.map(|life| life.expires);
                    due.push((entry.record.failure.is_some(), expires, delivery, step));
                }
            }
        }
        let mut wake = self.agenda.next();
        // What failed gives way; then what has no token, and what ends soonest, goes first.
        due.sort_by(|a, b| (a.0, a.1, &a.2.id).cmp(&(b.0, b.1, &b.2.id)));
        for (_, _, delivery, step) in due {
            if let Some(later) = self.begin_one(&delivery.id, step, now) {
                wake = wake.min(later);
                self.agenda.changed(delivery);
            }
        }
        wake
    }

    /// Whatever was decided for a delivery is decided anew.
    pub(super) fn think_again(&mut self) {
        for entry in self.entries.values_mut() {
            entry.waits_until = None;
        }
        self.agenda.everything();
    }

    /// A clock that was set back takes everything along that is known by it. One that was set
    /// forward is believed: time may have passed while the host slept; how far schedds' clocks are ahead
    /// is not known any more.
    fn watch_clock(&mut self, now: Timestamp) {
        let Some(step) = self.watch.step(now) else {
            return;
        };
        for (_, entry) in self.entries.iter_mut().chain(&mut self.away.0) {
            entry.tokens.sent = None;
        }
        if step.is_positive() {
            return;
        }
        let by = step.unsigned_abs();
        warn!(
            seconds = by.as_secs(),
            "the clock was set back; what is known by it moves along"
        );
        for (id, entry) in self.entries.iter_mut().chain(&mut self.away.0) {
            entry.set_back(by);
            if !entry.running {
                self.parts.store.note(id, entry.to_note(), now);
            }
        }
        self.think_again();
        self.tick = before(self.tick, by).min(now);
        self.next_tick = self.check.next(now, &self.zone);
    }

    /// Begins a try. Where that is not possible, the time to ask again: the latest, if something else
    /// has to end first.
    fn begin_one(&mut self, id: &DeliveryId, step: Step, now: Timestamp) -> Option<Timestamp> {
        let pace = self.pace();
        let entry = self.entries.get_mut(id)?;
        let limits = &self.parts.limits;
        let permit = match limits.admit(&entry.claims, entry.extent(step)) {
            Ok(permit) => permit,
            Err(Refusal::Busy) => return Some(Timestamp::MAX),
            Err(Refusal::Open(problem, retry_at)) => {
                let next_try = after(now, retry_at.saturating_duration_since(Instant::now()));
                entry.tries += 1;
                let before = entry.record.failure.take();
                let (since, attempts) =
                    before.map_or((now, 0), |failure| (failure.since, failure.attempts));
                entry.record.failure = Some(Failure {
                    problem: *problem,
                    since,
                    attempts,
                    next_try,
                });
                return Some(next_try);
            }
        };
        debug!(delivery = %id, ?step, "try");
        entry.running = true;
        entry.pushing = matches!(step, Step::Push(_));
        let delivery = Arc::clone(&entry.delivery);
        let tokens = std::mem::take(&mut entry.tokens);
        let (access, safe_until) = (entry.access.clone(), entry.record.safe_until);
        let parts = Arc::clone(&self.parts);
        let (sender, stopped) = oneshot::channel();
        entry.stop = Some(sender);
        let work = async move {
            let policy = pace.policy(&delivery);
            let stopped = async {
                // A delivery that is configured away meanwhile is no reason to end its try.
                if stopped.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let ended = bring(
                &parts, &policy, &delivery, step, tokens, &access, safe_until, permit, stopped,
            );
            let (outcome, permit) = ended.await;
            Ended::Try(Box::new(outcome), permit)
        };
        let handle = self.tries.spawn(work);
        self.owners.insert(handle.id(), id.clone());
        None
    }
}
