//! Revocation of one delivery: the desired state *absent*, reached by its task.
//!
//! Always true: the order is on disk before anything is revoked, so a restart pushes nothing; every order is
//! answered after the first attempt; what could not be done then is tried again, with back-off and under a
//! permit, until it is done or a person wants the delivery again.

use std::sync::Arc;
use std::time::Duration;

use super::desired::Revocation;
use super::env::Env;
use super::task::DeliveryTask;
use crate::engine::revoke::{
    RevocationReport, RevocationSettings, Step, StepObject, StepOutcome, UnreachableSchedds,
    kept_off_step, revoke,
};
use crate::limits::{Extent, Rank};
use crate::model::delivery::Delivery;
use crate::model::problem::{Cause, Kind, Problem};
use crate::schedd::Transport;
use crate::vault::Vault;

/// Time that a revocation waits for the disk of the state.
const ON_DISK: Duration = Duration::from_secs(5);

impl<V: Vault, T: Transport> DeliveryTask<V, T> {
    /// Revokes the delivery's tokens and deletes what is at the schedd, for all who ordered it.
    pub(super) async fn revoke(&mut self, env: &Env<V, T>, orders: Vec<Revocation>) {
        // On disk first: a restart must not push what was revoked.
        let not_stored = env.parts.store.written(ON_DISK).await.err();
        let leave_schedd = orders.iter().all(|order| order.leave_schedd);
        let unreachable = orders.last().map(|order| Arc::clone(&order.unreachable));
        let unreachable = unreachable.unwrap_or_default();
        let mut report = self.revoke_once(env, leave_schedd, &unreachable).await;
        let is_wanted = orders.iter().any(|order| order.is_wanted);
        let step = kept_off_step(&report.id, is_wanted, not_stored);
        report.steps.push(step);
        for order in orders {
            order.answer(&report);
        }
    }

    /// Goes on with a revocation that is not finished: at Vault first, for a schedd that does not answer keeps no token
    /// alive, however many wait for it.
    pub(super) async fn revoke_again(&mut self, env: &Env<V, T>, leave_schedd: bool) {
        let delivery = Arc::clone(&self.desired.status.borrow().delivery);
        let limits = &env.parts.limits;
        let rank = Rank {
            has_failed: true,
            expires: None,
        };
        let is_owned = self.tokens.owned().next().is_some();
        if is_owned && !leave_schedd {
            let permit = limits.admit_at_vault(&delivery.credential, rank);
            if let Some(permit) = self.admitted(env, permit).await {
                self.revoke_at_vault(env, &delivery).await;
                drop(permit);
            }
        }
        let permit = limits.admit(&delivery, Extent::Vault, rank);
        let Some(permit) = self.admitted(env, permit).await else {
            return;
        };
        let unreachable = UnreachableSchedds::default();
        self.revoke_once(env, leave_schedd, &unreachable).await;
        if let Some(problem) = unreachable.get(&delivery.id.schedd) {
            self.recovery = permit.failed(&delivery, &problem);
        }
    }

    /// Revokes the tokens that this process has, and asks nothing of the schedd.
    async fn revoke_at_vault(&mut self, env: &Env<V, T>, delivery: &Delivery) {
        let manner = RevocationSettings {
            leave_schedd: true,
            silent: &UnreachableSchedds::default(),
            then: "",
        };
        (self.tokens, _) = revoke(&env.parts, delivery, &self.tokens, manner).await;
        self.desired.change(|status| status.revoked(&self.tokens));
        let records = self.desired.status.borrow().to_records(&self.tokens);
        env.parts.store.record(&delivery.id, records, env.now());
    }

    async fn revoke_once(
        &mut self,
        env: &Env<V, T>,
        leave_schedd: bool,
        unreachable: &UnreachableSchedds,
    ) -> RevocationReport {
        self.leave_other_vaults();
        self.desired.change(|status| status.running = true);
        let delivery = Arc::clone(&self.desired.status.borrow().delivery);
        let then = if self.drive.logs() {
            "it is tried again until it is done"
        } else {
            "run this again then"
        };
        let manner = RevocationSettings {
            leave_schedd,
            silent: unreachable,
            then,
        };
        let (tokens, report) = revoke(&env.parts, &delivery, &self.tokens, manner).await;
        self.tokens = tokens;
        let now = env.now();
        // Tokens that are known by their names alone are left to Vault's admins.
        let is_left = |step: &&Step| match &step.what {
            StepObject::VaultToken { accessor } => self
                .tokens
                .former
                .iter()
                .any(|owned| owned.accessor == *accessor),
            StepObject::Stored => step.outcome == StepOutcome::NotDone,
            StepObject::KeptOff | StepObject::RefreshToken { .. } => false,
        };
        let problem = report.steps.iter().find(is_left).map(|step| {
            let message = format!("not revoked yet: {}: {}", step.what.words(), step.why);
            Problem::new(Cause::schedd(&delivery), Kind::NotRevoked, message)
        });
        self.unfinished = problem.is_some().then_some(leave_schedd);
        self.desired.change(|status| {
            status.revoked(&self.tokens);
            status.running = false;
            status.attempts += 1;
            match &problem {
                Some(problem) => status.record.fail(&delivery.id, problem.clone(), now),
                None => status.record.failure = None,
            }
        });
        if let Some(problem) = problem {
            self.raise(env, problem);
        }
        let records = self.desired.status.borrow().to_records(&self.tokens);
        env.parts.store.record(&delivery.id, records, now);
        env.parts.store.change(|content| match self.unfinished {
            Some(leave_schedd) => _ = content.unfinished.insert(delivery.id.clone(), leave_schedd),
            None => _ = content.unfinished.remove(&delivery.id),
        });
        report
    }
}
