//! The one admission gate before every request.
//!
//! Bounds what is under way in total, at each host and for each issuer there, and (where the site
//! wants it) the requests to each host in any span of time. At each of these levels an account may
//! have as many as are free: it leaves room for the others, however much it asks for, and k greedy
//! accounts leave one part in k + 1. So may an issuer at its host: one that hangs leaves room for
//! others. A [`Permit`] is a value: however the work ends, dropping it makes room.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::{RenewalTask, Route, Target};

/// Requests under way at one host, at most.
const PER_HOST: usize = 24;

/// Admits requests. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Mutex<Use>>);

/// Room at one level: an account may have as many requests under way as are free.
pub(crate) struct Room {
    free: usize,
    used: BTreeMap<Arc<str>, usize>,
}

impl Room {
    fn of<'r>(bound: usize, under_way: impl Iterator<Item = &'r Route>) -> Self {
        let mut used: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for route in under_way {
            *used.entry(route.account.clone()).or_default() += 1;
        }
        let free = bound.saturating_sub(used.values().sum());
        Self { free, used }
    }

    /// `true` when an account may send one more.
    pub(crate) fn has(&self, account: &Arc<str>) -> bool {
        self.used.get(account).copied().unwrap_or(0) < self.free
    }
}

#[derive(Debug)]
struct Use {
    /// Requests under way in total, at most.
    total: usize,
    /// Requests to one host in any span of so long.
    limit: Option<(usize, Duration)>,
    under_way: BTreeMap<u64, Route>,
    /// Requests of the latest span, by host, the oldest first.
    sent: BTreeMap<Arc<str>, VecDeque<Sent>>,
    next: u64,
    /// Questions for a request.
    #[cfg(test)]
    asked: usize,
}

/// A request that was sent.
#[derive(Clone, Debug)]
struct Sent {
    at: Instant,
    account: Arc<str>,
}

/// Right to do one task. Dropping it makes room.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Gate,
    number: u64,
    /// Held by the probe of a circuit breaker: while it lives, there is no other.
    _probe: Option<Arc<()>>,
}

impl Gate {
    /// `descriptors`: what this process may have open.
    pub(crate) fn new(descriptors: u64) -> Self {
        // Half of them is ours to use here; a request needs a socket and a file.
        let total = usize::try_from(descriptors / 4)
            .unwrap_or(usize::MAX)
            .clamp(4, 64);
        Self(Arc::new(Mutex::new(Use {
            total,
            limit: None,
            under_way: BTreeMap::new(),
            sent: BTreeMap::new(),
            next: 0,
            #[cfg(test)]
            asked: 0,
        })))
    }

    /// Questions for a request so far.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> usize {
        self.state().asked
    }

    fn state(&self) -> MutexGuard<'_, Use> {
        // A panic elsewhere leaves the counts as they are.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the bound on requests to one host: a number, and a span in seconds.
    pub(crate) fn set_limit(&self, limit: Option<(u32, u64)>) {
        let limit = limit.map(|(requests, seconds)| {
            (
                usize::try_from(requests).unwrap_or(usize::MAX),
                Duration::from_secs(seconds),
            )
        });
        self.state().limit = limit;
    }

    /// Room for each account, whomever it asks.
    pub(crate) fn room(&self) -> Room {
        let state = self.state();
        Room::of(state.total, state.under_way.values())
    }

    /// Room for each account at a host, whichever issuer it asks for.
    pub(crate) fn room_at(&self, host: &Arc<str>) -> Room {
        let state = self.state();
        let at_host = state.under_way.values().filter(|route| route.host == *host);
        Room::of(PER_HOST, at_host)
    }

    /// `true` when nobody may ask a host or issuer now.
    pub(crate) fn is_full(&self, (host, issuer): &Target) -> bool {
        let state = self.state();
        let at_host = state.under_way.values().filter(|route| route.host == *host);
        let (own, others): (Vec<_>, Vec<_>) = at_host.partition(|route| route.issuer == *issuer);
        own.len() >= most_for_issuer(others.len())
    }

    /// `true` when a request may be sent.
    pub(crate) fn admits(&self, route: &Route, now: Instant) -> bool {
        let mut state = self.state();
        #[cfg(test)]
        {
            state.asked += 1;
        }
        let at_host = || state.under_way.values().filter(|r| r.host == route.host);
        let (at_issuer, others): (Vec<_>, Vec<_>) =
            at_host().partition(|r| r.issuer == route.issuer);
        let rooms = [
            Room::of(state.total, state.under_way.values()),
            Room::of(PER_HOST, at_host()),
            Room::of(most_for_issuer(others.len()), at_issuer.into_iter()),
        ];
        rooms.iter().all(|room| room.has(&route.account)) && state.is_within_limit(route, now)
    }

    /// Admits a request.
    pub(crate) fn enter(&self, route: Route, probe: Option<Arc<()>>) -> Permit {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.under_way.insert(number, route);
        Permit {
            gate: self.clone(),
            number,
            _probe: probe,
        }
    }

    /// Next time at which the bound on requests has more room at a host. Hosts that nobody asks now still have requests
    /// whose time is over.
    pub(crate) fn next_room(&self, now: Instant) -> Option<Instant> {
        let state = self.state();
        let (_, span) = state.limit?;
        let next = |sent: &VecDeque<Sent>| sent.iter().map(|s| s.at + span).find(|&at| at > now);
        state.sent.values().filter_map(next).min()
    }

    /// Forgets hosts without requests.
    pub(crate) fn forget_idle(&self, now: Instant) {
        let mut state = self.state();
        let Some((_, span)) = state.limit else {
            return state.sent.clear();
        };
        state
            .sent
            .retain(|_, sent| sent.back().is_some_and(|sent| sent.at + span > now));
    }
}

/// Most requests under way for an issuer at a host, where other issuers have so many: none where these fill it.
fn most_for_issuer(others: usize) -> usize {
    PER_HOST.saturating_sub(others).div_ceil(2)
}

impl Use {
    /// The bound on requests, by the same rule. A task under way counts for as many as it may send to one address.
    fn is_within_limit(&mut self, route: &Route, now: Instant) -> bool {
        let Some((limit, span)) = self.limit else {
            return true;
        };
        let sent = self.sent.entry(route.host.clone()).or_default();
        while sent.front().is_some_and(|sent| sent.at + span <= now) {
            sent.pop_front();
        }
        let is_own = |account: &Arc<str>| *account == route.account;
        let at_host = self
            .under_way
            .values()
            .filter(|other| other.host == route.host);
        let (own_tasks, other_tasks): (Vec<_>, Vec<_>) =
            at_host.partition(|task| is_own(&task.account));
        let own_sent = sent.iter().filter(|sent| is_own(&sent.account)).count();
        let own = own_sent + RenewalTask::MOST_REQUESTS * own_tasks.len();
        let others = sent.len() - own_sent + RenewalTask::MOST_REQUESTS * other_tasks.len();
        let needed = RenewalTask::MOST_REQUESTS.min(limit);
        let free = limit.saturating_sub(own + others);
        needed <= free && own < free
    }
}

impl Permit {
    /// The task is done, and sent so many requests.
    pub(crate) fn finish(self, requests: u32, now: Instant) {
        self.count(usize::try_from(requests).unwrap_or(usize::MAX), now);
    }

    fn count(&self, requests: usize, at: Instant) {
        let mut state = self.gate.state();
        let Some(Route { account, host, .. }) = state.under_way.remove(&self.number) else {
            return;
        };
        if state.limit.is_some() {
            let sent = state.sent.entry(host).or_default();
            sent.extend(std::iter::repeat_n(Sent { at, account }, requests));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Cut short: it may have sent as many as any. After `finish` there is nothing left to count.
        self.count(RenewalTask::MOST_REQUESTS, Instant::now());
    }
}

#[cfg(test)]
mod tests;
