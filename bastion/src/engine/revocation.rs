//! Revocation of one delivery: the desired state *absent*, reached by its task.
//!
//! Always true: the order is on disk before anything is revoked, so a restart pushes nothing; every order is
//! answered after the first attempt; what could not be done then is tried again, with back-off and under a
//! permit, until it is done or a person wants the delivery again.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::desired::Revocation;
use super::env::Env;
use super::task::DeliveryTask;
use crate::engine::revoke::{
    RevocationReport, Revoked, Step, StepObject, StepOutcome, kept_off_step, revoke,
};
use crate::limits::{Extent, Permit, Rank, resources};
use crate::model::delivery::Delivery;
use crate::model::problem::{Cause, Kind, Problem};
use crate::schedd::Transport;
use crate::store::Unfinished;
use crate::vault::Vault;

/// Time that a revocation waits for the disk of the state.
const ON_DISK: Duration = Duration::from_secs(5);

impl<V: Vault, T: Transport> DeliveryTask<V, T> {
    /// Revokes the delivery's tokens and deletes what is at the schedd, for all who ordered it.
    pub(super) async fn revoke(&mut self, env: &Env<V, T>, orders: Vec<Revocation>) {
        // On disk first: a restart must not push what was revoked.
        let not_stored = env.parts.store.written(ON_DISK).await.err();
        let leave_schedd = orders.iter().all(|order| order.leave_schedd);
        let (mut report, problem) = self.ask(env, leave_schedd, None).await;
        self.finish_revocation(env, leave_schedd, problem);
        let is_wanted = orders.iter().any(|order| order.is_wanted);
        let step = kept_off_step(&report.id, is_wanted, not_stored);
        report.steps.push(step);
        for order in orders {
            order.answer(&report);
        }
    }

    /// Goes on with a revocation that is not finished: at Vault first, for a schedd that does not answer keeps no token
    /// alive, however many wait for it. What a person orders meanwhile comes first.
    pub(super) async fn revoke_again(&mut self, env: &Env<V, T>, leave_schedd: bool) {
        self.leave_other_vaults(env);
        let delivery = Arc::clone(&self.desired.status.borrow().delivery);
        let limits = &env.parts.limits;
        let rank = Rank {
            has_failed: true,
            expires: None,
        };
        if leave_schedd || self.tokens.owned().next().is_some() {
            let permit = pin!(limits.admit_at_vault(&delivery.credential, rank));
            let Some(permit) = self.admitted(env, permit).await else {
                return;
            };
            let (_, problem) = self.ask(env, true, Some(&permit)).await;
            let is_overtaken = !self.is_revoked() || !self.desired.revocations.is_empty();
            if leave_schedd || problem.is_some() || is_overtaken {
                return self.finish_revocation(env, leave_schedd, problem);
            }
        }
        let asks_vault = delivery.target.needs_opener() || delivery.target.is_readable();
        let extent = if asks_vault {
            Extent::Vault
        } else {
            Extent::Schedd
        };
        let permit = pin!(limits.admit(&delivery, extent, rank));
        let Some(permit) = self.admitted(env, permit).await else {
            return;
        };
        let (_, problem) = self.ask(env, leave_schedd, Some(&permit)).await;
        self.finish_revocation(env, leave_schedd, problem);
    }

    /// Asks Vault and, unless it is left alone, the schedd. Takes over what is left; returns the problem of that. Under a
    /// permit the circuit breakers are told of the answers.
    async fn ask(
        &mut self,
        env: &Env<V, T>,
        leave_schedd: bool,
        permit: Option<&Permit>,
    ) -> (RevocationReport, Option<Problem>) {
        self.leave_other_vaults(env);
        self.desired.change(|status| status.running = true);
        let delivery = Arc::clone(&self.desired.status.borrow().delivery);
        let then = if self.drive.logs() {
            "it is tried again until it is done"
        } else {
            "run this again then"
        };
        let (tokens, asked) = {
            let parts = &env.parts;
            let mut work = pin!(revoke(parts, &delivery, &self.tokens, leave_schedd, then));
            loop {
                tokio::select! {
                    revoked = &mut work => break revoked,
                    () = self.desired.receive() => {}
                }
            }
        };
        self.tokens = tokens;
        self.desired.change(|status| {
            status.revoked(&self.tokens);
            status.running = false;
            status.attempts += 1;
        });
        let records = {
            let status = self.desired.status.borrow();
            status.to_records(&self.tokens, &status.access)
        };
        let store = &env.parts.store;
        store.record(&delivery.id, records, env.now());
        if let Some(permit) = permit {
            self.report(permit, &delivery, &asked);
        }
        let problem = self.unrevoked(&asked.report);
        (asked.report, problem)
    }

    /// Tells the circuit breakers what a revocation found out for others.
    fn report(&mut self, permit: &Permit, delivery: &Delivery, asked: &Revoked) {
        let credential = &delivery.credential;
        let servers = [resources::vault(credential), resources::schedd(delivery)];
        for (server, answer) in servers.iter().zip([&asked.at_vault, &asked.at_schedd]) {
            match answer {
                Some(Ok(())) => permit.worked(std::slice::from_ref(server)),
                Some(Err(problem)) => {
                    // What is wrong with one credential is found out by those who use it.
                    let blamed = resources::blamed(delivery, problem);
                    if blamed.is_some_and(|blamed| servers.contains(&blamed)) {
                        self.recovery = permit.failed(delivery, problem);
                    }
                }
                None => {}
            }
        }
    }

    /// Problem of what is not revoked or deleted. Tokens that are known by their names alone are left to Vault's admins.
    fn unrevoked(&self, report: &RevocationReport) -> Option<Problem> {
        let is_left = |step: &&Step| match &step.what {
            StepObject::VaultToken { accessor } => self
                .tokens
                .former
                .iter()
                .any(|owned| owned.accessor == *accessor),
            StepObject::Stored => step.outcome == StepOutcome::NotDone,
            StepObject::KeptOff | StepObject::RefreshToken { .. } => false,
        };
        let delivery = &self.desired.status.borrow().delivery;
        report.steps.iter().find(is_left).map(|step| {
            let message = format!("not revoked yet: {}: {}", step.what.words(), step.why);
            Problem::new(Cause::schedd(delivery), Kind::NotRevoked, message)
        })
    }

    /// `false` when a person wants it again meanwhile.
    fn is_revoked(&self) -> bool {
        self.desired.status.borrow().record.revoked.is_some()
    }

    /// Finishes a revocation, or plans the next try where something is left to do.
    fn finish_revocation(&mut self, env: &Env<V, T>, leave_schedd: bool, problem: Option<Problem>) {
        if !self.desired.revocations.is_empty() {
            // Ordered meanwhile, perhaps with other settings; carried out next.
            return;
        }
        let id = self.id();
        let problem = problem.filter(|_| self.is_revoked());
        self.unfinished = problem.is_some().then_some(Unfinished { leave_schedd });
        self.desired.change(|status| match &problem {
            Some(problem) => status.record.fail(&id, problem.clone(), env.now()),
            None => status.record.failure = None,
        });
        if let Some(problem) = problem {
            self.raise(env, problem);
        }
        env.parts.store.change(|content| {
            if let Some(record) = content.revoked.get_mut(&id) {
                record.unfinished = self.unfinished;
            }
        });
    }
}
