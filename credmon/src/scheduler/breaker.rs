//! Circuit breakers for what credentials share: a Vault host, and an issuer at it.
//!
//! A failure that speaks of the host or issuer is believed only from a credential that worked before,
//! and opens the breaker only when those of two accounts have it (or of the only one there, which it then
//! holds up alone): one account's failures never make another wait. While it is open, one probe at a time,
//! by a credential that worked before, finds out for all; those of different accounts take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Dependency, dependencies};
use crate::model::{Route, Target};

/// Circuit breakers of all dependencies.
pub(super) type Breakers = BTreeMap<Dependency, Breaker>;

/// The open breakers of a host and of an issuer at it.
pub(super) fn open_at<'b>(
    breakers: &'b Breakers,
    (host, issuer): &Target,
) -> impl Iterator<Item = (Dependency, &'b Breaker)> + use<'b> {
    let both = dependencies(host, issuer).into_iter();
    let all = both.filter_map(|one| Some((one.clone(), breakers.get(&one)?)));
    all.filter(|(_, breaker)| breaker.open().is_some())
}

/// The open breaker that a request would meet first.
pub(super) fn open_for<'b>(
    breakers: &'b Breakers,
    route: &Route,
) -> Option<(Dependency, &'b Open)> {
    open_at(breakers, &route.target())
        .find_map(|(dependency, breaker)| Some((dependency, breaker.open_for(&route.account)?)))
}

/// Circuit breaker of one dependency.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    /// Accounts whose working credentials have failed since the last success.
    suspects: BTreeSet<Arc<str>>,
    open: Option<Open>,
}

/// State of an open breaker.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// Reason in words, without anything of a single credential.
    pub(super) why: Arc<str>,
    pub(super) since: Timestamp,
    /// Time of the next probe.
    pub(super) retry_at: Instant,
    /// Failed probes in a row, the failure that opened it included.
    pub(super) failures: u32,
    /// Probes in a row that found out nothing.
    inconclusive: u32,
    /// Alive while a probe is under way.
    probe: Weak<()>,
    /// Account of the last probe.
    pub(super) prober: Option<Arc<str>>,
}

/// Effect of a failure on a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// Nothing: the credential waits alone.
    Credential,
    /// It is open; the credential waits for the probe.
    Open { just_opened: bool },
}

impl Breaker {
    /// A credential that has worked failed. `proven`: accounts with such credentials. `delay`: time to
    /// the next probe after so many failures in a row.
    pub(super) fn failed(
        &mut self,
        account: &Arc<str>,
        proven: &BTreeSet<Arc<str>>,
        why: &str,
        now: (Instant, Timestamp),
        delay: impl FnOnce(u32) -> Duration,
    ) -> Charge {
        self.suspects.retain(|suspect| proven.contains(suspect));
        self.suspects.insert(account.clone());
        match &mut self.open {
            // Requests that were under way together teach the same thing once.
            Some(open) if now.0 < open.retry_at => return Charge::Open { just_opened: false },
            Some(open) => {
                open.failures = open.failures.saturating_add(1);
                open.inconclusive = 0;
                open.retry_at = now.0 + delay(open.failures);
                open.why = why.into();
                return Charge::Open { just_opened: false };
            }
            None if self.suspects.len() < 2.min(proven.len()) => return Charge::Credential,
            None => {}
        }
        self.open = Some(Open {
            why: why.into(),
            since: now.1,
            retry_at: now.0 + delay(1),
            failures: 1,
            inconclusive: 0,
            probe: Weak::new(),
            prober: Some(account.clone()),
        });
        Charge::Open { just_opened: true }
    }

    /// A request succeeded, as far as this dependency is concerned; `true` if that closed it.
    pub(super) fn succeeded(&mut self) -> bool {
        self.suspects.clear();
        self.open.take().is_some()
    }

    /// A probe found out nothing, such as one that got a cached token: another one follows soon. After
    /// some of these all may try. `false` when it is not open.
    pub(super) fn inconclusive(&mut self, retry_at: Instant) -> bool {
        const MOST: u32 = 5;
        let Some(open) = &mut self.open else {
            return false;
        };
        open.retry_at = open.retry_at.max(retry_at);
        open.inconclusive += 1;
        if open.inconclusive >= MOST {
            self.succeeded();
        }
        true
    }

    /// A probe did not get there: another one follows after as long as if it had failed. `delay`: as of
    /// [`failed`](Self::failed).
    pub(super) fn missed(&mut self, now: Instant, delay: impl FnOnce(u32) -> Duration) {
        if let Some(open) = &mut self.open {
            open.retry_at = open.retry_at.max(now + delay(open.failures));
        }
    }

    /// Starts a probe by an account.
    pub(super) fn probe(&mut self, account: &Arc<str>) -> Option<Arc<()>> {
        let open = self.open.as_mut()?;
        let probe = Arc::new(());
        open.probe = Arc::downgrade(&probe);
        open.prober = Some(account.clone());
        Some(probe)
    }

    /// `true` when a probe is due.
    pub(super) fn wants_probe(&self, now: Instant) -> bool {
        let is_due = |open: &Open| open.retry_at <= now && open.probe.strong_count() == 0;
        self.open.as_ref().is_some_and(is_due)
    }

    /// Number of accounts whose working credentials have failed since the last success.
    pub(super) fn suspects(&self) -> usize {
        self.suspects.len()
    }

    /// Its state while it holds up an account.
    pub(super) fn open_for(&self, account: &Arc<str>) -> Option<&Open> {
        let holds = self.suspects.len() > 1 || self.suspects.contains(account);
        self.open.as_ref().filter(|_| holds)
    }

    /// Its state while it is open.
    pub(super) fn open(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// A person asks to try now.
    pub(super) fn retry_now(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            open.retry_at = now;
        }
    }
}

#[cfg(test)]
mod tests;
