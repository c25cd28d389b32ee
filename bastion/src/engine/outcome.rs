//! Outcomes of a delivery's work: what becomes of its status, the store, the circuit breakers and the log.
//!
//! Always true: the store has the tokens that were there at the end of an attempt, whatever its outcome.

use tokio::time::Instant;

use super::desired::same_content;
use super::env::Env;
use super::status::Status;
use super::task::DeliveryTask;
use super::{grants, keytabs};
use crate::engine::attempt::Outcome;
use crate::limits::{Permit, Refusal};
use crate::model::moment::after;
use crate::model::problem::{Cause, Kind, Problem};
use crate::policy::plan::Failure;
use crate::schedd::Transport;
use crate::vault::Vault;

impl<V: Vault, T: Transport> DeliveryTask<V, T> {
    /// An open breaker did not let an attempt begin.
    pub(super) fn refused(&mut self, env: &Env<V, T>, refusal: Refusal) {
        let now = env.now();
        let pause = refusal.retry_at.saturating_duration_since(Instant::now());
        let problem = *refusal.problem;
        self.desired.change(|status| {
            let before = status.record.failure.take();
            let (since, attempts) =
                before.map_or((now, 0), |failure| (failure.since, failure.attempts));
            status.record.failure = Some(Box::new(Failure {
                problem: problem.clone(),
                since,
                attempts,
                next_try: after(now, pause),
            }));
            status.attempts += 1;
        });
        self.recovery = Some(refusal.retry);
        // Of a revocation it is known that it is not finished.
        if self.unfinished.is_none() {
            self.raise(env, problem);
        }
    }

    pub(super) fn raise(&mut self, env: &Env<V, T>, problem: Problem) {
        let is_logged = self.drive.logs();
        let id = &self.desired.status.borrow().delivery.id;
        let raised = env.problems.raise(id, problem, is_logged);
        if let Some(before) = self.raised.replace(raised) {
            before.recovered(is_logged);
        }
    }

    /// Takes over the outcome of an attempt. `begun` is the status that it began with, `pushes` how often a person had asked
    /// for a push by then.
    pub(super) fn finish(
        &mut self,
        env: &Env<V, T>,
        begun: &Status,
        pushes: u64,
        outcome: Outcome,
        permit: Permit,
    ) {
        let now = env.now();
        let was_asked_since = self.desired.pushes != pushes;
        self.tokens.lost.retain(|token| token.life.expires > now);
        let result = outcome.result.clone();
        let refused_since = {
            let status = self.desired.status.borrow();
            let failure = status.record.failure.as_ref();
            let refused = failure.filter(|failure| failure.problem.kind == Kind::NotOnboarded);
            refused.map(|failure| failure.since)
        };
        self.desired.change(|status| {
            if outcome.pushed {
                // Whatever comes of it, this is done; what came meanwhile is still to be done.
                let is_same = same_content(&begun.delivery, &status.delivery);
                let record = &mut status.record;
                record.changed &= !is_same;
                record.asked &= was_asked_since;
            }
            status.observe(&self.tokens, outcome, now);
            status.running = false;
            status.attempts += 1;
        });
        let status = self.desired.status.borrow().clone();
        let delivery = &status.delivery;
        self.recovery = match &result {
            Some(Err(problem)) => permit.failed(delivery, problem),
            Some(Ok(())) => {
                permit.succeeded();
                None
            }
            None => None,
        };
        drop(permit);
        let store = &env.parts.store;
        let records = status.to_records(&self.tokens, &status.access);
        store.record(&delivery.id, records, now);
        // Nobody wants to know how it went any more.
        if !self.desired.revocations.is_empty() || !self.desired.is_wanted {
            return;
        }
        match result {
            Some(Ok(())) => {
                self.desired.change(|status| {
                    let record = &mut status.record;
                    record.good_since = record.good_since.or(Some(now));
                    record.failure = None;
                    status.succeeded = Some(now);
                });
                if let Some(raised) = self.raised.take() {
                    raised.recovered(self.drive.logs());
                }
                grants::worked(store, &delivery.credential, refused_since, now);
            }
            Some(Err(problem)) => {
                let fail = |status: &mut Status| {
                    status.record.fail(&delivery.id, problem.clone(), now);
                };
                self.desired.change(fail);
                if problem.kind == Kind::Keytab && self.drive.logs() {
                    keytabs::watch(&env.parts, delivery);
                }
                self.raise(env, problem);
            }
            None => {}
        }
    }

    /// Takes over the status of an owner that broke off by a fault of this program.
    pub(super) fn resume(&mut self, env: &Env<V, T>, before: &Status) {
        let (id, now) = (before.delivery.id.clone(), env.now());
        let problem = Problem::internal(Cause::schedd(&before.delivery), "the attempt broke off");
        self.desired.change(|status| {
            status.attempts = before.attempts + 1;
            status.succeeded = before.succeeded;
            status.record.asked = before.record.asked;
            status.record.failure.clone_from(&before.record.failure);
            status.record.fail(&id, problem.clone(), now);
        });
        self.raise(env, problem);
    }
}
