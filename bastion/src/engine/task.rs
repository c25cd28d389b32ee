//! The life of one delivery: a task that owns its vault tokens, from the first login to their end.
//!
//! Always true: nobody else has the tokens; at most one attempt or revocation runs for the delivery, and no
//! attempt without a permit; messages are applied at any time, also while an attempt runs, and change what is
//! desired, never the tokens.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::desired::{Desired, Revocation, same_content};
use super::env::Env;
use super::problem_log::Raised;
use super::status::Status;
use crate::engine::attempt::{AtSchedd, Tokens, bring};
use crate::limits::{Extent, Permit, Rank, Refusal};
use crate::model::delivery::{Delivery, DeliveryId};
use crate::model::moment::until;
use crate::model::problem::Kind;
use crate::policy::plan::{self, Next, PlanStep};
use crate::schedd::Transport;
use crate::store::Unfinished;
use crate::vault::Vault;

/// Wait for a permit that is so long that what is waited for does not work as usual.
const LONG_WAIT: Duration = Duration::from_secs(10);

/// Owner of one delivery.
pub(super) struct DeliveryTask<V, T> {
    pub(super) tokens: Tokens,
    pub(super) desired: Desired<V, T>,
    /// The problem of the last attempt.
    pub(super) raised: Option<Raised>,
    /// Cancelled when an attempt is worthwhile earlier than the back-off says.
    pub(super) recovery: Option<CancellationToken>,
    /// The next attempt was put off before, since many waited together.
    is_put_off: bool,
    /// A revocation that is not finished.
    pub(super) unfinished: Option<Unfinished>,
    pub(super) drive: Drive,
    /// The delivery as it was configured at the last attempt, and how often a person had asked for a push by then.
    attempted: Option<(Arc<Delivery>, u64)>,
}

/// Extent of a task's work.
#[derive(Clone, Copy, Debug)]
pub(super) enum Drive {
    /// Until the delivery is good or failed; while Vault elects a leader it is tried again until then.
    Once(Instant),
    /// Until it is stopped.
    Keep,
    /// Until it is stopped; nothing is done but what is ordered now: revocations.
    Orders,
}

impl Drive {
    /// Problems are logged when they come; a single run reports them all at its end.
    pub(super) fn logs(self) -> bool {
        matches!(self, Self::Keep)
    }
}

/// Next action for the delivery.
enum Action {
    Attempt(PlanStep),
    Revoke(Vec<Revocation>),
    /// A revocation is not finished.
    RevokeAgain(Unfinished),
    Wait(Timestamp),
    End,
}

impl<V: Vault, T: Transport> DeliveryTask<V, T> {
    /// Owner of these tokens, perhaps with a revocation that was not finished before a restart.
    pub(super) fn new(
        tokens: Tokens,
        desired: Desired<V, T>,
        unfinished: Option<Unfinished>,
    ) -> Self {
        Self {
            tokens,
            desired,
            raised: None,
            recovery: None,
            is_put_off: false,
            unfinished,
            drive: Drive::Orders,
            attempted: None,
        }
    }

    /// Published status.
    pub(super) fn subscribe(&self) -> watch::Receiver<Status> {
        self.desired.status.subscribe()
    }

    /// Name of the delivery.
    pub(super) fn id(&self) -> DeliveryId {
        self.desired.status.borrow().delivery.id.clone()
    }

    /// Brings the delivery to its desired state and keeps it there. Returns itself when it is stopped, or
    /// nothing is to be done any more. Boxed, since a future holds its arguments twice.
    pub(super) async fn run(mut self: Box<Self>, drive: Drive) -> Box<Self> {
        self.drive = drive;
        loop {
            let env = self.desired.read_mail();
            if env.stop.begin_nothing.is_cancelled() {
                return self;
            }
            self.forget_what_is_over();
            // Work is boxed: its memory is not kept while the delivery waits.
            match self.next(&env) {
                Action::Attempt(step) => {
                    let (extent, rank) = self.claim(step);
                    let delivery = Arc::clone(&self.desired.status.borrow().delivery);
                    let admitted = {
                        let permit = pin!(env.parts.limits.admit(&delivery, extent, rank));
                        Box::pin(self.admitted(&env, permit)).await
                    };
                    if let Some(permit) = admitted {
                        Box::pin(self.attempt(&env, step, permit)).await;
                    }
                }
                Action::Revoke(orders) => Box::pin(self.revoke(&env, orders)).await,
                Action::RevokeAgain(Unfinished { leave_schedd }) => {
                    Box::pin(self.revoke_again(&env, leave_schedd)).await;
                }
                Action::Wait(until) => self.wait(&env, until).await,
                Action::End => return self,
            }
        }
    }

    /// `true` when nothing is left of a delivery that is not wanted any more.
    pub(super) fn is_done(&mut self) -> bool {
        let now = self.desired.read_mail().now();
        let lives = self.tokens.end().is_some_and(|end| end > now);
        let is_revoked = self.desired.revocations.is_empty() && self.unfinished.is_none();
        !self.desired.is_wanted && !lives && is_revoked
    }

    fn next(&mut self, env: &Env<V, T>) -> Action {
        let orders = std::mem::take(&mut self.desired.revocations);
        if !orders.is_empty() {
            return Action::Revoke(orders);
        }
        let now = env.now();
        let status = self.desired.status.borrow();
        let failure = status.record.failure.as_ref();
        let waits_for_leader = failure.is_some_and(|f| f.problem.kind == Kind::NoLeader);
        let is_settled = match self.drive {
            Drive::Once(deadline) => !waits_for_leader || Instant::now() >= deadline,
            Drive::Keep | Drive::Orders => false,
        };
        let end = self.tokens.end().filter(|end| *end > now);
        let until = if matches!(self.drive, Drive::Orders) {
            Timestamp::MAX
        } else if let Some(unfinished) = self.unfinished {
            match failure.and_then(|failure| failure.paused_until(now)) {
                Some(until) => until,
                None => return Action::RevokeAgain(unfinished),
            }
        } else if !self.desired.is_wanted && end.is_none() {
            return Action::End;
        } else if let Some(end) = end.filter(|_| !self.desired.is_wanted) {
            end
        } else if status.gone.is_some() {
            Timestamp::MAX
        } else if !env
            .vaults
            .contains(&status.delivery.credential.url.server())
        {
            // The message with its new configuration is on the way. What is of the old one would be made at the new
            // Vault, and nobody would revoke it there.
            Timestamp::MAX
        } else if is_settled && failure.is_some() {
            return Action::End;
        } else {
            let policy = env.pace.policy(&status.delivery);
            match plan::next(now, &policy, &status.record, env.tick, env.next_tick) {
                Next::Do(step) => return Action::Attempt(step),
                Next::Wait(until) => until,
            }
        };
        if is_settled {
            Action::End
        } else {
            Action::Wait(until)
        }
    }

    async fn wait(&mut self, env: &Env<V, T>, then: Timestamp) {
        let recovery = self.recovery.clone();
        let recovered = async {
            match recovery {
                Some(recovery) => recovery.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep(until(env.now(), then)) => {}
            () = recovered => {
                self.recovery = None;
                let at = self.after_recovery(env, false);
                self.desired.retry_at(at);
            }
            () = self.desired.changed() => {}
        }
    }

    /// Drops what belongs to a failure or a revocation that is over.
    fn forget_what_is_over(&mut self) {
        if self.desired.status.borrow().record.failure.is_none() {
            self.raised = None;
            self.recovery = None;
        }
        if self.desired.status.borrow().record.revoked.is_none() {
            self.unfinished = None;
        }
    }

    /// Extent and rank of an attempt.
    fn claim(&self, step: PlanStep) -> (Extent, Rank) {
        let status = self.desired.status.borrow();
        let (record, target) = (&status.record, &status.delivery.target);
        let is_owned = matches!(self.tokens.at_schedd, Some(AtSchedd::Owned(..)));
        let extent = match step {
            PlanStep::Push(_) if self.tokens.candidate.is_none() => Extent::Login,
            PlanStep::Observe if target.is_readable() && is_owned => Extent::Schedd,
            _ => Extent::Vault,
        };
        let rank = Rank {
            has_failed: record.failure.is_some() && !record.asked,
            expires: record.life.map(|life| life.expires),
        };
        (extent, rank)
    }

    /// Waits for the permit of work; `None` when something changed meanwhile, or a circuit breaker is open.
    pub(super) async fn admitted(
        &mut self,
        env: &Env<V, T>,
        permit: Pin<&mut impl Future<Output = Result<Permit, Refusal>>>,
    ) -> Option<Permit> {
        let asked = Instant::now();
        let admitted = tokio::select! {
            biased;
            () = self.desired.changed() => return None,
            admitted = permit => admitted,
        };
        let permit = admitted
            .map_err(|refusal| self.refused(env, refusal))
            .ok()?;
        // Many wait where everything takes long, too, and would all go on at once when that is over.
        let waited = permit.is_after_recovery() || asked.elapsed() > LONG_WAIT;
        let at = self.after_recovery(env, self.is_put_off);
        self.is_put_off = waited && env.now() < at;
        if self.is_put_off {
            // Others need the room meanwhile.
            drop(permit);
            self.desired.retry_at(at);
            Box::pin(self.wait(env, at)).await;
            return None;
        }
        Some(permit)
    }

    /// Time of the next attempt, now that what failed works again.
    fn after_recovery(&self, env: &Env<V, T>, again: bool) -> Timestamp {
        let status = self.desired.status.borrow();
        let (id, record) = (&status.delivery.id, &status.record);
        match self.drive {
            Drive::Keep => plan::after_recovery(id, record, env.now(), again),
            Drive::Once(_) | Drive::Orders => env.now(),
        }
    }

    /// Leaves tokens of a Vault that is not configured any more to its admins.
    pub(super) fn leave_other_vaults(&mut self, env: &Env<V, T>) {
        for accessor in self.tokens.leave_other_vaults(&env.vaults) {
            warn!(
                delivery = %self.id(), accessor,
                "a vault token lives at the Vault of before the reload until it ends: its admins can revoke it"
            );
        }
    }

    /// Makes one attempt.
    async fn attempt(&mut self, env: &Env<V, T>, step: PlanStep, permit: Permit) {
        let begun = self.desired.status.borrow().clone();
        let (status, pushes) = (&begun, self.desired.pushes);
        debug!(delivery = %status.delivery.id, ?step, "attempt");
        self.leave_other_vaults(env);
        let attempted = (self.attempted).replace((Arc::clone(&status.delivery), pushes));
        let is_other = |(before, asked): (Arc<Delivery>, u64)| {
            asked != pushes || !same_content(&before, &status.delivery)
        };
        if attempted.is_some_and(is_other) {
            // It was made for other content, or before a person asked for a new one.
            let candidate = self.tokens.candidate.take();
            self.tokens.former.extend(candidate.map(|owned| *owned));
        }
        self.desired.change(|status| status.running = true);
        let policy = env.pace.policy(&status.delivery);
        let end = CancellationToken::new();
        let ended = end.clone();
        let outcome = {
            let mut work = pin!(bring(
                &env.parts,
                &policy,
                status,
                step,
                &mut self.tokens,
                &permit,
                ended.cancelled(),
            ));
            loop {
                tokio::select! {
                    outcome = &mut work => break outcome,
                    () = self.desired.receive() => {
                        if !self.desired.revocations.is_empty() {
                            end.cancel();
                        }
                    }
                    () = env.stop.end_attempts.cancelled(), if !end.is_cancelled() => end.cancel(),
                }
            }
        };
        self.finish(env, &begun, pushes, outcome, permit);
    }
}
