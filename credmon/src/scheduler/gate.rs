//! The one admission gate before every request.
//!
//! Bounds what is under way in total, at each host and for each issuer there, and (where the site
//! wants it) the requests to each host in any span of time. At each of these levels an account may
//! have as many as are free: it leaves room for the others, however much it asks for, and k greedy
//! accounts leave one part in k + 1. So may an issuer at its host: one that hangs leaves room for
//! others. A [`Permit`] is a value: however the work ends, dropping it makes room.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::model::{RenewalTask, Route, Target, lock};

/// Requests under way at one host, at most.
const PER_HOST: usize = 24;

/// Admits requests. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Mutex<Use>>);

/// Room at each level as of one moment. The same question costs little the next time.
pub(crate) struct Rooms {
    gate: Gate,
    now: Instant,
    total: Room,
    at_hosts: BTreeMap<Arc<str>, Vec<Room>>,
    for_issuers: BTreeMap<Target, Room>,
}

impl Rooms {
    /// `true` when an account may ask a host once more, for some issuer.
    pub(crate) fn have(&mut self, account: &Arc<str>, host: &Arc<str>) -> bool {
        if !self.total.has(account) {
            return false;
        }
        let count = || lock(&self.gate.0).rooms_at(host, self.now);
        let mut there = self
            .at_hosts
            .entry(host.clone())
            .or_insert_with(count)
            .iter();
        there.all(|room| room.has(account))
    }

    /// `true` when a request may be sent.
    pub(crate) fn admit(&mut self, route: &Route) -> bool {
        self.have(&route.account, &route.host)
            && self.for_issuer(&route.target()).has(&route.account)
    }

    /// `true` when nobody may ask a host for an issuer now.
    pub(crate) fn are_full(&mut self, target: &Target) -> bool {
        self.for_issuer(target).free == 0
    }

    fn for_issuer(&mut self, target: &Target) -> &Room {
        let count = || lock(&self.gate.0).room_for_issuer(target);
        self.for_issuers.entry(target.clone()).or_insert_with(count)
    }
}

/// Room at one level: an account may have as many requests as are free.
struct Room {
    free: usize,
    used: BTreeMap<Arc<str>, usize>,
}

impl Room {
    /// `used`: requests of accounts.
    fn of<'r>(bound: usize, used: impl Iterator<Item = (&'r Arc<str>, usize)>) -> Self {
        #[cfg(test)]
        tests::count_room();
        let mut by_account: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for (account, requests) in used {
            *by_account.entry(account.clone()).or_default() += requests;
        }
        Self {
            free: bound.saturating_sub(by_account.values().sum()),
            used: by_account,
        }
    }

    /// `true` when an account may send one more.
    fn has(&self, account: &Arc<str>) -> bool {
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
        })))
    }

    /// Sets the bound on requests to one host: a number, and a span in seconds.
    pub(crate) fn set_limit(&self, limit: Option<(u32, u64)>) {
        let limit = limit.map(|(requests, seconds)| {
            (
                usize::try_from(requests).unwrap_or(usize::MAX),
                Duration::from_secs(seconds),
            )
        });
        lock(&self.0).limit = limit;
    }

    /// Room for each account.
    pub(crate) fn rooms(&self, now: Instant) -> Rooms {
        let state = lock(&self.0);
        let all = state.under_way.values().map(|route| (&route.account, 1));
        Rooms {
            gate: self.clone(),
            now,
            total: Room::of(state.total, all),
            at_hosts: BTreeMap::new(),
            for_issuers: BTreeMap::new(),
        }
    }

    /// Admits a request.
    pub(crate) fn enter(&self, route: Route, probe: Option<Arc<()>>) -> Permit {
        let mut state = lock(&self.0);
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
        let state = lock(&self.0);
        let (_, span) = state.limit?;
        let next = |sent: &VecDeque<Sent>| sent.iter().map(|s| s.at + span).find(|&at| at > now);
        state.sent.values().filter_map(next).min()
    }

    /// Forgets hosts without requests.
    pub(crate) fn forget_idle(&self, now: Instant) {
        let mut state = lock(&self.0);
        let Some((_, span)) = state.limit else {
            return state.sent.clear();
        };
        state
            .sent
            .retain(|_, sent| sent.back().is_some_and(|sent| sent.at + span > now));
    }
}

impl Use {
    fn at_host(&self, host: &str) -> impl Iterator<Item = &Route> {
        let all = self.under_way.values();
        all.filter(move |route| *route.host == *host)
    }

    /// Room at a host, and within the bound on requests there.
    fn rooms_at(&mut self, host: &Arc<str>, now: Instant) -> Vec<Room> {
        let all = self.at_host(host).map(|route| (&route.account, 1));
        let mut rooms = vec![Room::of(PER_HOST, all)];
        rooms.extend(self.room_within_limit(host, now));
        rooms
    }

    /// An issuer may have as many as are free at its host.
    fn room_for_issuer(&self, (host, issuer): &Target) -> Room {
        let (own, others): (Vec<_>, Vec<_>) = self.at_host(host).partition(|r| r.issuer == *issuer);
        let bound = PER_HOST.saturating_sub(others.len()).div_ceil(2);
        Room::of(bound, own.into_iter().map(|route| (&route.account, 1)))
    }

    /// The bound on requests, by the same rule. A task under way counts for as many as it may send to one address.
    fn room_within_limit(&mut self, host: &Arc<str>, now: Instant) -> Option<Room> {
        let (limit, span) = self.limit?;
        let sent = self.sent.entry(host.clone()).or_default();
        while sent.front().is_some_and(|sent| sent.at + span <= now) {
            sent.pop_front();
        }
        let most = RenewalTask::MOST_REQUESTS;
        let sent = self.sent.get(host).into_iter().flatten();
        let sent = sent.map(|sent| (&sent.account, 1));
        let tasks = self.at_host(host).map(|route| (&route.account, most));
        let room = Room::of(limit, sent.chain(tasks));
        let has_room_for_a_task = most.min(limit) <= room.free;
        Some(Room {
            free: if has_room_for_a_task { room.free } else { 0 },
            ..room
        })
    }
}

impl Permit {
    /// The task is done, and sent so many requests.
    pub(crate) fn finish(self, requests: u32, now: Instant) {
        self.count(usize::try_from(requests).unwrap_or(usize::MAX), now);
    }

    fn count(&self, requests: usize, at: Instant) {
        let mut state = lock(&self.gate.0);
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
pub(super) mod tests;
