//! Number of requests that may be sent to one HTVault: a limit of our own, and blocks after its 429s.
//!
//! htvault-config sets quotas such as 360 requests in 5 minutes for each client; who exceeds one
//! is refused for 5 minutes, with everything. So:
//! - With a [`RequestLimit`], at most `limit` requests are sent in *any* span of `per`, whatever
//!   the callers do. A caller that comes too early waits, or gets the time of the next free place.
//! - After a 429 nothing is sent until a block is over: as long as `Retry-After` says, else a time
//!   that grows with each 429 in a row. Then one request goes ahead of all others to find out; any answer
//!   but a 429 ends the block, and one that takes long holds up nobody.
//!
//! The laws hold in [`RequestLog`], which is pure; [`Budget`] shares one between callers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The first block after a 429 without `Retry-After`; doubled with each further 429 in a row.
const FIRST_BLOCK: Duration = Duration::from_secs(15);
/// The longest block, whatever `Retry-After` says: that of htvault-config.
const LONGEST_BLOCK: Duration = Duration::from_mins(5);
/// Longest time for which others wait for the probe: a server that refuses requests says so at once.
const PROBE_ALONE: Duration = Duration::from_secs(2);
/// Longest span of a limit, and longest wait for room below it: a time as far off as [`Duration::MAX`] cannot be told.
const LONGEST_SPAN: Duration = Duration::from_hours(365 * 24);
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// A limit on requests: at most `limit` in any span of `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimit {
    /// Number of requests; 0 counts as 1.
    pub limit: u32,
    /// The span; of a year at most.
    pub per: Duration,
}

/// Use of a limit on requests at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestsUsed {
    /// The limit.
    pub limit: RequestLimit,
    /// Requests sent in the span that ends now; never more than the limit.
    pub used: u32,
}

/// Reason why a request cannot be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// Our own bound is reached; there is room again at this time.
    Full(Instant),
    /// The server refuses requests; the block ends at this time.
    Blocked(Instant),
}

/// Counts requests and blocks. Pure: the time is passed in and must not go backwards.
#[derive(Debug)]
struct RequestLog {
    limit: Option<RequestLimit>,
    /// Send times of the requests of the latest span, the oldest first.
    sent: VecDeque<Instant>,
    /// Start of the latest block, which may be over.
    blocked_since: Option<Instant>,
    blocked_until: Option<Instant>,
    /// Planned end of the block that a person ended early: a refusal then says nothing new.
    planned: Option<Instant>,
    blocks: u32,
    /// Send time of the one request that probes the end of a block, while that is under way.
    probing: Option<Instant>,
}

impl RequestLog {
    fn new(limit: Option<RequestLimit>) -> Self {
        let bounded = |limit: RequestLimit| RequestLimit {
            per: limit.per.min(LONGEST_SPAN),
            ..limit
        };
        Self {
            limit: limit.map(bounded),
            sent: VecDeque::new(),
            blocked_since: None,
            blocked_until: None,
            planned: None,
            blocks: 0,
            probing: None,
        }
    }

    /// Counts a request in, when one may be sent. `true`: it is the one that finds out.
    fn take(&mut self, now: Instant) -> Result<bool, Denied> {
        let probe = match self.blocked_until {
            Some(until) if now < until => return Err(Denied::Blocked(until)),
            Some(_) => match self.probing {
                // The others wait for the one: a moment, then they ask again.
                Some(since) if now < since + PROBE_ALONE => {
                    return Err(Denied::Blocked(since + PROBE_ALONE));
                }
                probing => probing.is_none(),
            },
            None => false,
        };
        if let Some(RequestLimit { limit, per }) = self.limit {
            self.forget_before(now, per);
            let limit = usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
            if self.sent.len() >= limit
                && let Some(&oldest) = self.sent.front()
            {
                return Err(Denied::Full(oldest + per));
            }
            self.sent.push_back(now);
        }
        if probe {
            self.probing = Some(now);
        }
        Ok(probe)
    }

    /// Ends a block, so that one request finds out.
    fn retry_now(&mut self, now: Instant) {
        if let Some(until) = self.blocked_until.filter(|until| now < *until) {
            self.planned = Some(until);
            self.blocked_until = Some(now);
        }
    }

    /// Drops those that are no longer within the span that ends now.
    fn forget_before(&mut self, now: Instant, per: Duration) {
        while self.sent.front().is_some_and(|&sent| now >= sent + per) {
            self.sent.pop_front();
        }
    }

    fn used(&mut self, now: Instant) -> Option<RequestsUsed> {
        let limit = self.limit?;
        self.forget_before(now, limit.per);
        let used = u32::try_from(self.sent.len()).unwrap_or(u32::MAX);
        Some(RequestsUsed { limit, used })
    }

    /// The server answered 429 to a request that was sent at `sent`. Returns the rest of the block.
    fn refused(&mut self, sent: Instant, now: Instant, retry_after: Option<Duration>) -> Duration {
        let until = self.blocked_until.filter(|until| now < *until);
        // Requests that were under way together teach the same thing once, however late an answer comes.
        if until.is_some() || self.blocked_since.is_some_and(|since| sent < since) {
            return until.map_or(Duration::ZERO, |until| until - now);
        }
        let planned = self.planned.take().filter(|until| now < *until);
        if let Some(until) = planned.filter(|_| retry_after.is_none()) {
            self.blocked_until = Some(until);
            return until - now;
        }
        let grown = FIRST_BLOCK.saturating_mul(2_u32.saturating_pow(self.blocks.min(8)));
        let block = retry_after.map_or(grown.min(LONGEST_BLOCK), |asked| asked.min(LONGEST_BLOCK));
        (self.blocked_since, self.blocked_until) = (Some(now), Some(now + block));
        // One that still hangs was sent before this block.
        self.probing = None;
        self.blocks = self.blocks.saturating_add(1);
        block
    }

    /// The server answered a request that was sent at `sent` with anything else.
    fn answered(&mut self, sent: Instant) {
        // An answer to a request that was sent before the end of the block says nothing about it.
        if self.blocked_until.is_none_or(|until| sent >= until) {
            self.blocked_until = None;
            self.planned = None;
            self.blocks = 0;
        }
    }
}

/// The budget of one HTVault, shared by all who ask it.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Mutex<RequestLog>>);

/// Leave to send one request.
pub(crate) struct Permit {
    budget: Budget,
    /// Send time of the request.
    sent: Instant,
    /// It probes the end of a block.
    probes: bool,
}

impl Budget {
    pub(crate) fn new(limit: Option<RequestLimit>) -> Self {
        Self(Arc::new(Mutex::new(RequestLog::new(limit))))
    }

    fn log(&self) -> MutexGuard<'_, RequestLog> {
        // A panic elsewhere leaves the counts as they are, which is good enough.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Use of the limit; `None` without one.
    pub(crate) fn used(&self) -> Option<RequestsUsed> {
        self.log().used(Instant::now())
    }

    /// Lets one request through, though the server asked to wait.
    pub(crate) fn retry_now(&self) {
        self.log().retry_now(Instant::now());
    }

    /// Waits, `wait` at most, until a request may be sent. A server's block is never waited
    /// for: it may last minutes.
    pub(crate) async fn permit(&self, wait: Duration) -> Result<Permit, Denied> {
        let deadline = Instant::now() + wait.min(LONGEST_WAIT);
        loop {
            let now = Instant::now();
            let taken = self.log().take(now);
            match taken {
                Ok(probes) => {
                    return Ok(Permit {
                        budget: self.clone(),
                        sent: now,
                        probes,
                    });
                }
                Err(Denied::Full(until)) if until <= deadline => {
                    tokio::time::sleep_until(until).await;
                }
                Err(denied) => return Err(denied),
            }
        }
    }
}

impl Permit {
    /// Reports a 429. Returns the rest of the block.
    pub(crate) fn refused(&self, retry_after: Option<Duration>) -> Duration {
        let mut log = self.budget.log();
        log.refused(self.sent, Instant::now(), retry_after)
    }

    /// Reports any other answer.
    pub(crate) fn answered(&self) {
        self.budget.log().answered(self.sent);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Also when the caller was cancelled: the next one finds out then.
        if self.probes {
            let mut log = self.budget.log();
            if log.probing == Some(self.sent) {
                log.probing = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
