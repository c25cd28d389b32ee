//! Limits of what runs at a time, and circuit breakers of what deliveries share.
//!
//! Always true: a try runs only with a [`Permit`]; however it ends (success, failure, panic, abort,
//! its delivery is not wanted any more), dropping the permit frees its slots and ends its probe. So no
//! slot is lost, and no breaker waits for a probe that nobody makes. Pauses are monotonic time.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::resources::{Resource, blamed, login_by, opened_by, principal, read_by, schedd};
use crate::delivery::{Credential, Delivery, Target};
use crate::problem::{Cause, Kind, Problem};
use crate::store::asks;

/// Tries at a time. Requests to Vault, to KDCs and runs of HTCondor's tools have limits of their own.
const TOTAL: usize = 64;
/// Tries at a time whose tokens one issuer makes.
const PER_ISSUER: usize = 48;
/// Tries at a time for one credential at Vault, whatever the schedds: if it hangs, room is left.
const PER_CREDENTIAL: usize = 16;
/// Tries at a time at one credd: one that is slow leaves room for all others.
const PER_CREDD: usize = 4;
/// Tries at a time in one directory: most of the time each waits for its credmon.
const PER_DIRECTORY: usize = 32;

/// Pause after the failure that opens a breaker; doubled at each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause while a server is down.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// First pause after Vault asked for fewer requests; its block lasts minutes.
const RATE_LIMIT_PAUSE: Duration = Duration::from_mins(1);
/// Longest wait that a server may ask for.
const LONGEST_RATE_LIMIT: Duration = Duration::from_mins(5);
/// Longest pause where a person has to act.
const PERSON_PAUSE: Duration = Duration::from_mins(10);

/// Limits and breakers of the whole program. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A permit ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<Slot, usize>,
    /// Those that are open.
    breakers: BTreeMap<Resource, Breaker>,
    /// Those that were closed since somebody asked.
    closed: Vec<Resource>,
}

/// A bounded number of tries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Program,
    Issuer(String, String),
    Credential(String),
    Schedd(String),
}

/// An open circuit breaker.
#[derive(Debug)]
struct Breaker {
    problem: Problem,
    failures: u32,
    retry_at: Instant,
    /// Lives as long as the permit of its probe.
    probe: Weak<()>,
}

/// Why a try may not begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Something else has to end first: there is no room, or a probe is under way.
    Busy,
    /// A breaker is open: with that problem, and until then.
    Open(Box<Problem>, Instant),
}

/// Everything that tries of a delivery take part in.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    slots: Vec<(Slot, usize)>,
    /// What a try needs, in the order of [`Extent`].
    needs: Vec<(Extent, Resource)>,
}

/// Extent of a try; each includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// Nothing but the schedd is asked.
    Schedd,
    /// Vault is asked, with tokens that are there.
    Vault,
    /// Somebody logs in.
    Login,
}

/// The right to make one try.
#[derive(Debug)]
#[must_use = "dropping it ends the try's right to run"]
pub(crate) struct Permit {
    limits: Limits,
    claims: Arc<Claims>,
    /// Held by the permit of a probe alone.
    probe: Arc<()>,
}

impl Claims {
    pub(crate) fn of(delivery: &Delivery) -> Self {
        let credential = &delivery.credential;
        let vault = credential.url.server().to_string();
        let mut needs = Vec::new();
        let mut add = |extent, resources: &[Resource]| {
            needs.extend(resources.iter().map(|resource| (extent, resource.clone())));
        };
        let per_schedd = match delivery.target {
            Target::Credd { .. } => {
                add(Extent::Schedd, &[schedd(delivery)]);
                PER_CREDD
            }
            Target::Directory(_) => PER_DIRECTORY,
        };
        add(Extent::Vault, &read_by(credential));
        add(Extent::Login, &login_by(credential));
        if delivery.target.needs_opener() {
            add(Extent::Vault, &opened_by(&delivery.authorize));
            add(Extent::Login, &login_by(&delivery.authorize));
        }
        needs.sort();
        needs.dedup();
        Self {
            // The one that is full most often is asked first.
            slots: vec![
                (Slot::Schedd(delivery.id.schedd.clone()), per_schedd),
                (Slot::Program, TOTAL),
                (Slot::Credential(asks(credential)), PER_CREDENTIAL),
                (Slot::Issuer(vault, credential.issuer.clone()), PER_ISSUER),
            ],
            needs,
        }
    }

    fn needs(&self, extent: Extent) -> impl Iterator<Item = &Resource> + Clone {
        let needs = self.needs.iter().filter(move |(of, _)| *of <= extent);
        needs.map(|(_, resource)| resource)
    }
}

impl Limits {
    fn state(&self) -> MutexGuard<'_, State> {
        let state = &self.0.state;
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a try.
    pub(crate) fn admit(&self, claims: &Arc<Claims>, extent: Extent) -> Result<Permit, Refusal> {
        let mut state = self.state();
        let State {
            running, breakers, ..
        } = &mut *state;
        let needs = claims.needs(extent);
        // Logins have probes of their own.
        let probed = claims.needs(extent.min(Extent::Vault));
        let now = Instant::now();
        let waiting = needs
            .filter_map(|need| breakers.get(need))
            .filter(|breaker| now < breaker.retry_at);
        if let Some(breaker) = waiting.max_by_key(|breaker| breaker.retry_at) {
            let problem = Box::new(breaker.problem.clone());
            return Err(Refusal::Open(problem, breaker.retry_at));
        }
        let is_full = |(slot, limit): &(Slot, usize)| running.get(slot).is_some_and(|n| n >= limit);
        let is_probed = |need| breakers.get(need).is_some_and(Breaker::is_probed);
        if claims.slots.iter().any(is_full) || probed.clone().any(is_probed) {
            return Err(Refusal::Busy);
        }
        for (slot, _) in &claims.slots {
            *running.entry(slot.clone()).or_default() += 1;
        }
        let probe = Arc::new(());
        for need in probed {
            if let Some(breaker) = breakers.get_mut(need) {
                breaker.probe = Arc::downgrade(&probe);
            }
        }
        drop(state);
        Ok(Permit {
            limits: self.clone(),
            claims: Arc::clone(claims),
            probe,
        })
    }

    /// Asks for a login: while a KDC or a keytab is known not to work, one at a time finds out, and others
    /// wait for it.
    pub(crate) async fn admit_login(&self, credential: &Credential) -> Result<Permit, Problem> {
        let [_, of_login @ ..] = login_by(credential);
        let claims = Arc::new(Claims {
            slots: Vec::new(),
            needs: of_login.map(|need| (Extent::Schedd, need)).into(),
        });
        loop {
            let mut ended = pin!(self.0.ended.notified());
            // From here on none is missed.
            ended.as_mut().enable();
            match self.admit(&claims, Extent::Login) {
                Ok(permit) => return Ok(permit),
                Err(Refusal::Open(problem, _)) => return Err(*problem),
                Err(Refusal::Busy) => ended.await,
            }
        }
    }

    /// Resources that work again, since the last call.
    pub(crate) fn take_closed(&self) -> Vec<Resource> {
        std::mem::take(&mut self.state().closed)
    }

    /// A person or a new configuration wants a try now: each open breaker lets its next probe through.
    pub(crate) fn retry_now(&self) {
        let now = Instant::now();
        for breaker in self.state().breakers.values_mut() {
            breaker.retry_at = breaker.retry_at.min(now);
        }
    }

    /// The next try that needs it may probe at once.
    pub(crate) fn retry(&self, resource: &Resource) {
        if let Some(breaker) = self.state().breakers.get_mut(resource) {
            breaker.retry_at = breaker.retry_at.min(Instant::now());
        }
    }

    /// Forgets what no delivery needs any more.
    pub(crate) fn keep<'a>(&self, all: impl Iterator<Item = &'a Claims>) {
        let needed = all.flat_map(|claims| claims.needs(Extent::Login));
        let needed: BTreeSet<&Resource> = needed.collect();
        let breakers = &mut self.state().breakers;
        breakers.retain(|resource, _| needed.contains(resource));
    }

    /// Number of open breakers.
    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        self.state().breakers.len()
    }
}

impl Breaker {
    fn is_probed(&self) -> bool {
        self.probe.strong_count() > 0
    }
}

impl Permit {
    /// What was used worked: its breakers are closed.
    pub(crate) fn worked(&self, used: &[Resource]) {
        let mut state = self.limits.state();
        for used in used {
            if state.breakers.remove(used).is_some() {
                state.closed.push(used.clone());
            }
        }
    }

    /// The try ended well, so what stood in its way at a credential does not any more. Of servers it says
    /// nothing, unless one was asked ([`Self::worked`]).
    pub(crate) fn succeeded(&self) {
        let needs = self.claims.needs(Extent::Vault);
        let is_credential = |resource: &&Resource| matches!(resource, Resource::Credential(_));
        let credentials: Vec<_> = needs.filter(is_credential).cloned().collect();
        self.worked(&credentials);
    }

    /// The try failed: opens the breaker of what its problem speaks of. What came before that on the
    /// way of a probe worked, or was not reached; others may try.
    pub(crate) fn failed(&self, delivery: &Delivery, problem: &Problem) {
        if let Some(resource) = blamed(delivery, problem) {
            self.open(resource, problem);
        }
    }

    /// A login failed.
    pub(crate) fn login_failed(&self, credential: &Credential, problem: &Problem) {
        match &problem.cause {
            Cause::Realm(realm) => self.open(Resource::Realm(realm.clone()), problem),
            Cause::Account(_) => self.open(principal(&credential.identity), problem),
            _ => {}
        }
    }

    fn open(&self, resource: Resource, problem: &Problem) {
        let mut state = self.limits.state();
        let now = Instant::now();
        let failures = match state.breakers.get(&resource) {
            Some(breaker) if breaker.probe.as_ptr() == Arc::as_ptr(&self.probe) => {
                breaker.failures.saturating_add(1)
            }
            // Tries that began before it opened fail, too, and say nothing new.
            Some(_) => return,
            None => 1,
        };
        let breaker = Breaker {
            problem: problem.clone(),
            failures,
            retry_at: now + pause(problem, failures),
            probe: Weak::new(),
        };
        state.breakers.insert(resource, breaker);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // The probe ends before others are told.
        self.probe = Arc::new(());
        let mut state = self.limits.state();
        for (slot, _) in &self.claims.slots {
            if let Some(running) = state.running.get_mut(slot) {
                *running -= 1;
                if *running == 0 {
                    state.running.remove(slot);
                }
            }
        }
        drop(state);
        self.limits.0.ended.notify_waiters();
    }
}

fn pause(problem: &Problem, failures: u32) -> Duration {
    let (first, longest) = match problem.kind {
        Kind::RateLimited => {
            let asked = problem.retry_after.unwrap_or(RATE_LIMIT_PAUSE);
            (asked, LONGEST_RATE_LIMIT)
        }
        // A KDC counts wrong keys, and locks the principal. A new keytab ends the pause.
        Kind::Keytab => (PERSON_PAUSE, PERSON_PAUSE),
        Kind::LoginRefused | Kind::NotOnboarded | Kind::Forbidden => (FIRST_PAUSE, PERSON_PAUSE),
        _ => (FIRST_PAUSE, LONGEST_PAUSE),
    };
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1));
    first
        .saturating_mul(doubled.unwrap_or(u32::MAX))
        .min(longest)
}

#[cfg(test)]
mod tests;
