//! Admission of attempts: bounded numbers of them at a time, and circuit breakers of what they share.
//!
//! Always true: an attempt runs only with a [`Permit`]; however it ends (success, failure, panic, abort, its
//! delivery is not wanted any more), dropping the permit frees its slots and ends its probe. An attempt gets
//! all of its slots or none: one that held a slot while it waited for another would make strangers wait.
//! Who waits is admitted in the order of [`Rank`]. Pauses are monotonic time.

mod breaker;
mod claims;
pub(crate) mod resources;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::delivery::{Credential, Delivery};
use crate::model::problem::{Cause, Problem};
use crate::system::locked::locked;
use breaker::{Breaker, Breakers};
pub(crate) use claims::Extent;
use claims::{Claims, Slots, needs};
use resources::{Resource, blamed, creation, login_by, principal, vault};

/// Limits and breakers of the whole program. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    slots: Slots,
    breakers: Breakers,
    waiting: BTreeMap<(Rank, u64), Waiter>,
    /// Number of attempts that had to wait so far.
    waited: u64,
}

/// An attempt that waits for room or for the end of a probe.
#[derive(Debug)]
struct Waiter {
    claims: Arc<Claims>,
    extent: Extent,
    /// It has waited for the end of a probe, not for room alone.
    waited_for_probe: bool,
    answer: Option<oneshot::Sender<Result<Permit, Refusal>>>,
}

/// Order of admission, the first one first: what failed gives way; then what has no token, and what ends
/// soonest, comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) has_failed: bool,
    /// Expiry of the vault token that is at the schedd.
    pub(crate) expires: Option<Timestamp>,
}

/// Refusal of an attempt: a breaker is open.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Problem that opened the breaker.
    pub(crate) problem: Box<Problem>,
    /// Time of the next probe.
    pub(crate) retry_at: Instant,
    /// Cancelled when an attempt is worthwhile earlier.
    pub(crate) retry: CancellationToken,
}

/// The right to make one attempt.
#[derive(Debug)]
#[must_use = "dropping it ends the attempt's right to run"]
pub(crate) struct Permit {
    limits: Limits,
    claims: Arc<Claims>,
    /// Identity of a probe: [`Breakers`] have weak references to it.
    probe: Arc<()>,
    /// It was waited for while another one's probe found out that all works again.
    is_after_recovery: bool,
}

impl Limits {
    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.0)
    }

    /// Waits for the permit of an attempt. While a breaker is open it is refused at once.
    pub(crate) async fn admit(
        &self,
        delivery: &Delivery,
        extent: Extent,
        rank: Rank,
    ) -> Result<Permit, Refusal> {
        let claims = Claims::new(delivery, &mut self.state().slots);
        self.admit_claims(claims, extent, rank).await
    }

    /// Waits for the permit of requests to a credential's Vault alone.
    pub(crate) async fn admit_at_vault(
        &self,
        credential: &Credential,
        rank: Rank,
    ) -> Result<Permit, Refusal> {
        let claims = Claims::without_slots([vault(credential)]);
        self.admit_claims(claims, Extent::Vault, rank).await
    }

    async fn admit_claims(
        &self,
        claims: Claims,
        extent: Extent,
        rank: Rank,
    ) -> Result<Permit, Refusal> {
        let claims = Arc::new(claims);
        let answered = {
            let mut state = self.state();
            match state.admit(&claims, extent) {
                None => state.wait(claims, extent, rank),
                Some(answer) => return answer.map(|probe| self.permit(claims, probe, false)),
            }
        };
        match answered.await {
            Ok(answer) => answer,
            // Waiters are only dropped with all of this.
            Err(_) => std::future::pending().await,
        }
    }

    fn permit(&self, claims: Arc<Claims>, probe: Arc<()>, is_after_recovery: bool) -> Permit {
        let limits = self.clone();
        Permit {
            limits,
            claims,
            probe,
            is_after_recovery,
        }
    }

    /// Waits for the permit of a login: while a KDC or a keytab is known not to work, one login at a time
    /// tests it, and others wait for that one.
    pub(crate) async fn admit_login(&self, credential: &Credential) -> Result<Permit, Problem> {
        let [_, of_login @ ..] = login_by(credential);
        self.admit_to(of_login).await
    }

    /// The same of the creation of a vault token.
    pub(crate) async fn admit_creation(&self, credential: &Credential) -> Result<Permit, Problem> {
        self.admit_to([creation(credential)]).await
    }

    async fn admit_to<const N: usize>(&self, needs: [Resource; N]) -> Result<Permit, Problem> {
        let claims = Claims::without_slots(needs);
        let admitted = self.admit_claims(claims, Extent::Login, Rank::default());
        admitted.await.map_err(|refusal| *refusal.problem)
    }

    /// Changes the state; those that wait and are admitted or refused by that are answered.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let unclaimed = state.answer_waiting(self);
        // Dropping a permit takes the lock.
        drop(state);
        drop(unclaimed);
    }

    /// Closes the breakers of resources that were used and worked.
    pub(crate) fn worked(&self, used: &[Resource]) {
        // Most often none is open, and nothing changes for those that wait.
        let is_open = |resource| self.recovery_of(resource).is_some();
        if used.iter().any(is_open) {
            self.change(|state| state.breakers.close(used));
        }
    }

    /// A person or a new configuration wants an attempt now: each open breaker lets its next probe through.
    pub(crate) fn retry_now(&self) {
        self.change(|state| state.breakers.retry_all());
    }

    /// The same for what these deliveries need: what others fail by, a wrong keytab above all, is not tried again for them.
    pub(crate) fn retry_for<'a>(&self, deliveries: impl IntoIterator<Item = &'a Arc<Delivery>>) {
        self.change(|state| {
            for (_, resource) in deliveries.into_iter().flat_map(|delivery| needs(delivery)) {
                state.breakers.retry(&resource);
            }
        });
    }

    /// The next attempt that needs the resource may probe at once.
    pub(crate) fn retry(&self, resource: &Resource) {
        self.change(|state| state.breakers.retry(resource));
    }

    /// Token that is cancelled when a resource works again or may be tried; `None` when no breaker is open.
    pub(crate) fn recovery_of(&self, resource: &Resource) -> Option<CancellationToken> {
        let state = self.state();
        let breaker = state.breakers.get(resource)?;
        Some(breaker.retry.clone())
    }

    /// Claims the task of watching for what would make a probe of an open breaker worthwhile (a new
    /// keytab), until the token is cancelled.
    pub(crate) fn watch(&self, resource: &Resource) -> Option<(Arc<()>, CancellationToken)> {
        self.state().breakers.watch(resource)
    }

    /// Forgets what none of these deliveries needs.
    pub(crate) fn keep(&self, wanted: impl Iterator<Item = Arc<Delivery>>) {
        self.change(|state| {
            let needed = wanted.flat_map(|delivery| needs(&delivery));
            let needed: BTreeSet<Resource> = needed.map(|(_, resource)| resource).collect();
            state.breakers.keep(&needed);
            state.slots.forget_unused();
        });
    }

    /// Number of open breakers.
    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        self.state().breakers.len()
    }
}

impl State {
    /// Decides on one attempt; `None` while something else has to end first.
    fn admit(&mut self, claims: &Claims, extent: Extent) -> Option<Result<Arc<()>, Refusal>> {
        let now = Instant::now();
        let needs = claims.needs(extent);
        let open = needs.filter_map(|need| self.breakers.get(need));
        let waiting = open.filter(|breaker| now < breaker.retry_at);
        if let Some(breaker) = waiting.max_by_key(|breaker| breaker.retry_at) {
            return Some(Err(Refusal {
                problem: Box::new(breaker.problem.clone()),
                retry_at: breaker.retry_at,
                retry: breaker.retry.clone(),
            }));
        }
        if claims.is_full() || self.is_under_probe(claims, extent) {
            return None;
        }
        claims.occupy();
        let probe = Arc::new(());
        self.breakers.probe(probed(claims, extent), &probe);
        Some(Ok(probe))
    }

    fn is_under_probe(&self, claims: &Claims, extent: Extent) -> bool {
        self.open(claims, extent).any(Breaker::is_probed)
    }

    /// Open breakers that an attempt probes.
    fn open<'a>(&'a self, claims: &'a Claims, extent: Extent) -> impl Iterator<Item = &'a Breaker> {
        probed(claims, extent).filter_map(|need| self.breakers.get(need))
    }

    fn wait(
        &mut self,
        claims: Arc<Claims>,
        extent: Extent,
        rank: Rank,
    ) -> oneshot::Receiver<Result<Permit, Refusal>> {
        let (answer, answered) = oneshot::channel();
        let waiter = Waiter {
            waited_for_probe: self.is_under_probe(&claims, extent),
            claims,
            extent,
            answer: Some(answer),
        };
        self.waited += 1;
        self.waiting.insert((rank, self.waited), waiter);
        answered
    }

    /// Answers those that can be admitted or are refused by now. Returns permits that nobody waits for any
    /// more.
    fn answer_waiting(&mut self, limits: &Limits) -> Vec<Permit> {
        let mut unclaimed = Vec::new();
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|_, waiter| {
            let Some(answer) = waiter.answer.take_if(|answer| !answer.is_closed()) else {
                return false;
            };
            let Some(decision) = self.admit(&waiter.claims, waiter.extent) else {
                waiter.waited_for_probe |= self.is_under_probe(&waiter.claims, waiter.extent);
                waiter.answer = Some(answer);
                return true;
            };
            let works = self.open(&waiter.claims, waiter.extent).next().is_none();
            let is_after_recovery = waiter.waited_for_probe && works;
            let claims = Arc::clone(&waiter.claims);
            let decision = decision.map(|probe| limits.permit(claims, probe, is_after_recovery));
            unclaimed.extend(answer.send(decision).err().and_then(Result::ok));
            false
        });
        self.waiting = waiting;
        unclaimed
    }
}

/// What an attempt of this extent probes: logins have probes of their own.
fn probed(claims: &Claims, extent: Extent) -> impl Iterator<Item = &Resource> + Clone {
    claims.needs(extent.min(Extent::Vault))
}

impl Permit {
    /// `true` when it was waited for while another one's probe found out that all works again.
    pub(crate) fn is_after_recovery(&self) -> bool {
        self.is_after_recovery
    }

    /// Closes the breakers of resources that were used and worked.
    pub(crate) fn worked(&self, used: &[Resource]) {
        self.limits.worked(used);
    }

    /// The attempt ended well, so what stood in its way at a credential does not any more. Of servers it
    /// says nothing, unless one was asked ([`Self::worked`]).
    pub(crate) fn succeeded(&self) {
        let needs = self.claims.needs(Extent::Vault);
        let is_credential = |resource: &&Resource| matches!(resource, Resource::Credential(_));
        let credentials: Vec<_> = needs.filter(is_credential).cloned().collect();
        self.worked(&credentials);
    }

    /// The attempt failed: opens the breaker of what its problem speaks of. What came before that on the
    /// way of a probe worked, or was not reached; others may try. Returns a token that is cancelled when
    /// another attempt is worthwhile earlier than by the delivery's own back-off.
    pub(crate) fn failed(
        &self,
        delivery: &Delivery,
        problem: &Problem,
    ) -> Option<CancellationToken> {
        let resource = blamed(delivery, problem)?;
        self.open(resource.clone(), problem);
        self.limits.recovery_of(&resource)
    }

    /// A login failed.
    pub(crate) fn login_failed(&self, credential: &Credential, problem: &Problem) {
        match &problem.cause {
            Cause::Realm(realm) => self.open(Resource::Realm(realm.clone()), problem),
            Cause::Account(_) => self.open(principal(&credential.identity), problem),
            cause @ Cause::Login(_) => self.open(Resource::Login(cause.clone()), problem),
            _ => {}
        }
    }

    fn open(&self, resource: Resource, problem: &Problem) {
        let open = |state: &mut State| state.breakers.open(resource, problem, &self.probe);
        self.limits.change(open);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // The probe ends before others are admitted.
        self.probe = Arc::new(());
        self.limits.change(|_| self.claims.release());
    }
}

#[cfg(test)]
mod tests;
