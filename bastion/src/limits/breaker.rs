//! Circuit breakers of shared dependencies (Vault, KDC realm, principal, credential, credd).
//!
//! Always true: while a breaker is open, one probe at a time tests the dependency for all; the probe is the
//! permit of an attempt, so however that ends, the next probe may begin.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::resources::Resource;
use crate::model::problem::{Kind, Problem};

/// Pause after the failure that opens a breaker; doubled at each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause while a server is down.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause while the issuer of a credential is down: there are many of these for one issuer.
const ISSUER_PAUSE: Duration = Duration::from_mins(2);
/// Longest pause where a person has to act.
const PERSON_PAUSE: Duration = Duration::from_mins(10);

/// All open breakers.
#[derive(Debug, Default)]
pub(super) struct Breakers(BTreeMap<Resource, Breaker>);

/// An open circuit breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    pub(super) problem: Problem,
    pub(super) retry_at: Instant,
    failures: u32,
    /// Lives as long as the permit of its probe.
    probe: Weak<()>,
    /// Cancelled when the breaker closes or lets a probe through at once.
    pub(super) retry: CancellationToken,
    /// Lives as long as somebody watches for a new keytab.
    watch: Weak<()>,
}

impl Breaker {
    pub(super) fn is_probed(&self) -> bool {
        self.probe.strong_count() > 0
    }

    fn retry_now(&mut self, now: Instant) {
        self.retry_at = self.retry_at.min(now);
        self.wake();
    }

    /// Wakes everybody who waits for it.
    fn wake(&mut self) {
        std::mem::take(&mut self.retry).cancel();
    }
}

impl Breakers {
    pub(super) fn get(&self, resource: &Resource) -> Option<&Breaker> {
        self.0.get(resource)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Notes that a permit tests these.
    pub(super) fn probe<'a>(
        &mut self,
        resources: impl Iterator<Item = &'a Resource>,
        probe: &Arc<()>,
    ) {
        for resource in resources {
            if let Some(breaker) = self.0.get_mut(resource) {
                breaker.probe = Arc::downgrade(probe);
            }
        }
    }

    /// Closes the breakers of what worked.
    pub(super) fn close(&mut self, resources: &[Resource]) {
        for resource in resources {
            if let Some(mut breaker) = self.0.remove(resource) {
                breaker.wake();
            }
        }
    }

    /// Opens a breaker, or opens it for longer when the failure is that of its `probe`. Attempts that
    /// began before it opened fail, too, and say nothing new.
    pub(super) fn open(&mut self, resource: Resource, problem: &Problem, probe: &Arc<()>) {
        let before = self.0.get(&resource);
        if before.is_some_and(|breaker| breaker.probe.as_ptr() != Arc::as_ptr(probe)) {
            return;
        }
        let failures = before.map_or(1, |breaker| breaker.failures.saturating_add(1));
        let retry_at = Instant::now() + pause(problem, failures);
        let breaker = self.0.entry(resource).or_insert_with(|| Breaker {
            problem: problem.clone(),
            retry_at,
            failures,
            probe: Weak::new(),
            retry: CancellationToken::new(),
            watch: Weak::new(),
        });
        breaker.problem = problem.clone();
        (breaker.retry_at, breaker.failures, breaker.probe) = (retry_at, failures, Weak::new());
    }

    /// Each open breaker lets its next probe through.
    pub(super) fn retry_all(&mut self) {
        let now = Instant::now();
        self.0
            .values_mut()
            .for_each(|breaker| breaker.retry_now(now));
    }

    /// One breaker lets its next probe through.
    pub(super) fn retry(&mut self, resource: &Resource) {
        if let Some(breaker) = self.0.get_mut(resource) {
            breaker.retry_now(Instant::now());
        }
    }

    /// Claims the watch for what would make a probe worthwhile, until the token is cancelled; `None` when
    /// the breaker is closed or another task watches.
    pub(super) fn watch(&mut self, resource: &Resource) -> Option<(Arc<()>, CancellationToken)> {
        let breaker = self.0.get_mut(resource)?;
        if breaker.watch.strong_count() > 0 {
            return None;
        }
        let watch = Arc::new(());
        breaker.watch = Arc::downgrade(&watch);
        Some((watch, breaker.retry.clone()))
    }

    /// Forgets what nobody needs any more.
    pub(super) fn keep(&mut self, needed: &BTreeSet<Resource>) {
        let forgotten = self
            .0
            .extract_if(.., |resource, _| !needed.contains(resource));
        forgotten.for_each(|(_, mut breaker)| breaker.wake());
    }
}

/// Pause before the next probe.
pub(super) fn pause(problem: &Problem, failures: u32) -> Duration {
    if let Some(wait) = problem.rate_limit_wait() {
        return wait;
    }
    let (first, longest) = match problem.kind {
        // A KDC counts wrong keys, and locks the principal. A new keytab ends the pause.
        Kind::Keytab => (PERSON_PAUSE, PERSON_PAUSE),
        Kind::LoginRefused
        | Kind::NotOnboarded
        | Kind::Forbidden
        | Kind::CreddUntrusted
        | Kind::CreddCertificate => (FIRST_PAUSE, PERSON_PAUSE),
        Kind::IssuerDown => (FIRST_PAUSE, ISSUER_PAUSE),
        _ => (FIRST_PAUSE, LONGEST_PAUSE),
    };
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(longest)
}
