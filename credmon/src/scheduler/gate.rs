//! The one admission gate before every request.
//!
//! Bounds what is under way in total, at each host and for each issuer there, and (where the site
//! wants it) the requests to each host in any span of time. At each of these levels an account may
//! have as many as are free: it leaves room for the others, however much it asks for, and k greedy
//! accounts leave one part in k + 1. So may an issuer at its host: one that hangs leaves room for
//! others. A [`Permit`] is a value: however the work ends, dropping it makes room.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::model::{RenewalTask, Route, Target, lock};

/// Requests under way at one host, at most.
const PER_HOST: usize = 24;

/// Admits requests. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Mutex<Use>>);

#[derive(Debug)]
struct Use {
    /// Requests under way in total, at most.
    most: usize,
    /// Requests to one host in any span of so long.
    limit: Option<(usize, Duration)>,
    under_way: Count,
    /// Hosts with requests under way, or of the latest span.
    hosts: BTreeMap<Arc<str>, AtHost>,
}

/// Requests at one host.
#[derive(Debug, Default)]
struct AtHost {
    under_way: Count,
    of_issuers: BTreeMap<Arc<str>, Count>,
    /// Requests of the latest span, the oldest first; none where they are not bounded.
    sent: VecDeque<Sent>,
    /// Those, and as many as each task under way may send to one address.
    counted: Count,
}

/// A request that was sent.
#[derive(Clone, Debug)]
struct Sent {
    at: Instant,
    account: Arc<str>,
}

/// Requests of accounts at one level.
#[derive(Debug, Default)]
struct Count {
    all: usize,
    by_account: BTreeMap<Arc<str>, usize>,
}

/// Right to do one task. Dropping it makes room.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Gate,
    /// `None` once it is counted.
    route: Option<Route>,
    /// Held by the probe of a circuit breaker: while it lives, there is no other.
    _probe: Option<Arc<()>>,
}

impl Gate {
    /// `descriptors`: what this process may have open.
    pub(crate) fn new(descriptors: u64) -> Self {
        // Half of them is ours to use here; a request needs a socket and a file.
        let most = usize::try_from(descriptors / 4)
            .unwrap_or(usize::MAX)
            .clamp(4, 64);
        Self(Arc::new(Mutex::new(Use {
            most,
            limit: None,
            under_way: Count::default(),
            hosts: BTreeMap::new(),
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

    /// `true` when an account may ask a host once more, for some issuer.
    pub(crate) fn has_room(&self, account: &Arc<str>, host: &Arc<str>, now: Instant) -> bool {
        lock(&self.0).has_room(account, host, now)
    }

    /// `true` when a request may be sent.
    pub(crate) fn admits(&self, route: &Route, now: Instant) -> bool {
        let mut state = lock(&self.0);
        state.has_room(&route.account, &route.host, now)
            && state.at_issuer(&route.target(), |count, bound| {
                count.leaves_room(&route.account, bound)
            })
    }

    /// `true` when nobody may ask a host for an issuer now.
    pub(crate) fn is_full(&self, target: &Target) -> bool {
        lock(&self.0).at_issuer(target, |count, bound| count.all >= bound)
    }

    /// Counts a task in.
    pub(crate) fn enter(&self, route: Route, probe: Option<Arc<()>>) -> Permit {
        let state = &mut *lock(&self.0);
        let Route {
            account,
            host,
            issuer,
        } = &route;
        state.under_way.add(account, 1);
        let there = state.hosts.entry(host.clone()).or_default();
        there.under_way.add(account, 1);
        there.counted.add(account, RenewalTask::MOST_REQUESTS);
        let of_issuer = there.of_issuers.entry(issuer.clone()).or_default();
        of_issuer.add(account, 1);
        Permit {
            gate: self.clone(),
            route: Some(route),
            _probe: probe,
        }
    }

    /// Next time at which the bound on requests has more room at a host. Hosts that nobody asks now still have requests
    /// whose time is over.
    pub(crate) fn next_room(&self, now: Instant) -> Option<Instant> {
        let state = lock(&self.0);
        let (_, span) = state.limit?;
        let next = |there: &AtHost| {
            let mut ends = there.sent.iter().map(|sent| sent.at + span);
            ends.find(|&at| at > now)
        };
        state.hosts.values().filter_map(next).min()
    }

    /// Forgets requests whose span is over, and hosts without any.
    pub(crate) fn forget_idle(&self, now: Instant) {
        let state = &mut *lock(&self.0);
        let span = state.limit.map_or(Duration::ZERO, |(_, span)| span);
        state.hosts.retain(|_, there| {
            there.forget(span, now);
            !there.is_idle()
        });
    }
}

impl Use {
    fn has_room(&mut self, account: &Arc<str>, host: &Arc<str>, now: Instant) -> bool {
        let limit = self.limit;
        self.under_way.leaves_room(account, self.most)
            && self.hosts.get_mut(host).is_none_or(|there| {
                there.under_way.leaves_room(account, PER_HOST)
                    && limit.is_none_or(|limit| there.is_within(limit, account, now))
            })
    }

    /// Asks for the requests for an issuer that are under way, and their bound: half of what those for others leave at
    /// the host.
    fn at_issuer(&self, (host, issuer): &Target, ask: impl FnOnce(&Count, usize) -> bool) -> bool {
        #[cfg(test)]
        tests::count_question();
        let none = Count::default();
        let there = self.hosts.get(host);
        let count = there.and_then(|there| there.of_issuers.get(issuer));
        let count = count.unwrap_or(&none);
        let all = there.map_or(0, |there| there.under_way.all);
        let others = all.saturating_sub(count.all);
        ask(count, PER_HOST.saturating_sub(others).div_ceil(2))
    }
}

impl AtHost {
    /// `true` when an account may start one more task within the bound on requests.
    fn is_within(
        &mut self,
        (limit, span): (usize, Duration),
        account: &Arc<str>,
        now: Instant,
    ) -> bool {
        self.forget(span, now);
        let free = limit.saturating_sub(self.counted.all);
        RenewalTask::MOST_REQUESTS.min(limit) <= free && self.counted.leaves_room(account, limit)
    }

    /// Forgets requests whose span is over.
    fn forget(&mut self, span: Duration, now: Instant) {
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.at + span <= now) {
            self.counted.remove(&sent.account, 1);
        }
    }

    fn is_idle(&self) -> bool {
        self.under_way.all == 0 && self.sent.is_empty()
    }
}

impl Count {
    fn add(&mut self, account: &Arc<str>, requests: usize) {
        self.all += requests;
        *self.by_account.entry(account.clone()).or_default() += requests;
    }

    fn remove(&mut self, account: &Arc<str>, requests: usize) {
        self.all = self.all.saturating_sub(requests);
        if let Entry::Occupied(mut own) = self.by_account.entry(account.clone()) {
            *own.get_mut() = own.get().saturating_sub(requests);
            if *own.get() == 0 {
                own.remove();
            }
        }
    }

    /// `true` when an account may have one more: it may have as many as are free.
    fn leaves_room(&self, account: &Arc<str>, bound: usize) -> bool {
        let own = self.by_account.get(account).copied().unwrap_or(0);
        own < bound.saturating_sub(self.all)
    }
}

impl Permit {
    /// The task is done, and sent so many requests.
    pub(crate) fn finish(mut self, requests: u32, now: Instant) {
        self.leave(usize::try_from(requests).unwrap_or(usize::MAX), now);
    }

    fn leave(&mut self, requests: usize, at: Instant) {
        let Some(route) = self.route.take() else {
            return;
        };
        let Route {
            account,
            host,
            issuer,
        } = &route;
        let state = &mut *lock(&self.gate.0);
        state.under_way.remove(account, 1);
        let Some(there) = state.hosts.get_mut(host) else {
            return;
        };
        there.under_way.remove(account, 1);
        there.counted.remove(account, RenewalTask::MOST_REQUESTS);
        if let Entry::Occupied(mut of_issuer) = there.of_issuers.entry(issuer.clone()) {
            of_issuer.get_mut().remove(account, 1);
            if of_issuer.get().all == 0 {
                of_issuer.remove();
            }
        }
        if state.limit.is_some() {
            there.counted.add(account, requests);
            let account = account.clone();
            there
                .sent
                .extend(std::iter::repeat_n(Sent { at, account }, requests));
        }
        if there.is_idle() {
            state.hosts.remove(host);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Cut short: it may have sent as many as any. After `finish` there is nothing left to count.
        self.leave(RenewalTask::MOST_REQUESTS, Instant::now());
    }
}

#[cfg(test)]
pub(super) mod tests;
