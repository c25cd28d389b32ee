//! When an access token is renewed, how much lifetime is asked for, and when a failure is retried.
//!
//! Pure arithmetic in whole seconds. The laws, for a token of `length` seconds with `left` seconds to
//! go, and the configuration's MINIMUM and REFRESH:
//!
//! 1. The *margin* is MINIMUM, but never more than two thirds of the token's length: when a site
//!    asks for more than its issuer gives, tokens are still renewed at a third of their lifetime.
//! 2. A renewal is due at the latest when `left` reaches the margin, and at the latest REFRESH after
//!    the token was last fetched or confirmed (so that a dead vault token is noticed while the access
//!    token still lives). With one-hour tokens, 2400 and 1200, both say: 1200 s after issue.
//! 3. Renewals keep to *slots*: a credential has its own phase in a period of 80 to 90 % of the
//!    usual time between its renewals, and a renewal is due in the last slot before the time of
//!    law 2. So credentials that were all stored in one moment are spread over the whole period
//!    from their first renewal on and stay so. The phase is drawn from who the credential is
//!    (host, user, service), not from a random source: a restart changes nothing.
//! 4. It is never due within a tenth of the usual time after the last success, unless the time of
//!    law 2 itself comes earlier, and never within [`GAP`].
//! 5. A renewal asks for more lifetime than the present token has (by a quarter of the usual time, which
//!    absorbs differences of clocks), since Vault would answer its cached token otherwise, which during
//!    an outage of the issuer may be newer by seconds, time and again; while a long-lived token is only
//!    confirmed (law 2, REFRESH), it asks for MINIMUM. Never for more than the present token had when it
//!    was received, unless that is less than it takes to get another one.
//!    Long-lived is one with more than two thirds of its length left, or that is less than an hour
//!    old: a token of six hours is replaced before it has less than four left. Nothing is wrong when
//!    Vault has no newer one then.
//! 6. After a failure the wait doubles up to a bound that depends on the sort of failure, varied by
//!    a quarter either way. It is never longer than a third of the lifetime that is left, and short
//!    once a token has expired.

use crate::model::Limits;

/// Least time between two requests for one credential, in seconds.
pub(super) const GAP: i64 = 2;

/// Times of a token, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenTimes {
    /// From issue to expiry.
    pub(super) length: i64,
    /// From now to expiry; 0 when it has expired.
    pub(super) left: i64,
    /// From the time when it was received to expiry: less than its length where it was received late, or
    /// its issuer backdates the time of issue.
    pub(super) at_receipt: i64,
}

/// Place of a credential among all: 64 bits drawn from its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Jitter(u64);

impl Jitter {
    /// Draws it for a credential, or for a Vault without a service, on a host: FNV-1a over the names with separators,
    /// mixed; stable for ever.
    pub(super) fn of(hostname: &str, owner: &str, service: &str) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for part in [hostname, owner, service] {
            for byte in part.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Self(mix(hash))
    }

    /// A part of `whole`: from 0 to `whole - 1`, evenly drawn.
    pub(super) fn part(self, whole: i64) -> i64 {
        let scaled = (i128::from(self.0) * i128::from(whole.max(1))) >> 64;
        i64::try_from(scaled).unwrap_or_default()
    }

    /// Another draw for the same credential.
    pub(super) fn redrawn(self, salt: u64) -> Self {
        Self(mix(
            self.0 ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1)
        ))
    }
}

/// The finaliser of splitmix64.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn two_thirds(length: i64) -> i64 {
    i64::try_from(i128::from(length) * 2 / 3).unwrap_or(i64::MAX)
}

/// Law 1: what a token must have left, in seconds.
pub(super) fn margin(limits: Limits, length: i64) -> i64 {
    limits.minimum.min(two_thirds(length))
}

/// Least age of a token that is replaced though it has its margin still, in seconds.
const LEAST_AGE: i64 = 3600;

/// Law 5: what a token should have left, so that most of a long life is there to carry jobs through an
/// outage.
fn comfort(limits: Limits, length: i64) -> i64 {
    margin(limits, length).max(two_thirds(length).min(length - LEAST_AGE))
}

/// The usual time between two renewals, in seconds.
pub(super) fn usual(limits: Limits, length: Option<i64>) -> i64 {
    let interval = |length| limits.refresh.min(length - margin(limits, length));
    length.map_or(limits.refresh, interval).max(1)
}

/// Laws 2 to 4: Unix time at which the next renewal is due. It may lie in the past: then it is due
/// now. `now` and `confirmed` are Unix times; `token` is `None` for one that does not say.
pub(super) fn next_renewal(
    limits: Limits,
    jitter: Jitter,
    now: i64,
    confirmed: i64,
    token: Option<TokenTimes>,
) -> i64 {
    let usual = usual(limits, token.map(|token| token.length));
    let mut latest = confirmed.saturating_add(limits.refresh);
    if let Some(token) = token {
        latest = latest.min(now.saturating_add(token.left) - margin(limits, token.length));
    }
    let period = slot_period(usual);
    let slot = last_slot(latest, period, jitter.part(period));
    let is_early = slot < confirmed.saturating_add((usual / 10).max(1));
    let due = if is_early { latest } else { slot };
    due.max(confirmed.saturating_add(GAP))
}

/// The time between slots: about nine tenths of the usual time, rounded down to one of eight steps
/// in each power of two, so that a token that lives a second less does not move all slots.
fn slot_period(usual: i64) -> i64 {
    let tenths = (usual - usual / 10).max(1);
    let step = tenths.ilog2().saturating_sub(3);
    ((tenths >> step) << step).max(1)
}

/// The last slot that is not after `latest`.
fn last_slot(latest: i64, period: i64, phase: i64) -> i64 {
    latest - (latest - phase).rem_euclid(period)
}

/// One of [`seconds_to_ask`] and [`seconds_of_a_new_one`].
pub(super) type SecondsToAsk = fn(Limits, Option<TokenTimes>) -> i64;

/// Law 5: seconds of lifetime to ask Vault for. `token`: the one that shall be replaced by a newer.
pub(super) fn seconds_to_ask(limits: Limits, token: Option<TokenTimes>) -> i64 {
    let Some(token) = token.filter(|token| token.left > 0) else {
        return limits.minimum;
    };
    let usual = usual(limits, Some(token.length));
    if token.left - comfort(limits, token.length) > usual {
        return limits.minimum;
    }
    let worthwhile = token.left.saturating_add((usual / 4).max(1));
    worthwhile
        .min(newest(token.at_receipt))
        .max(token.left.saturating_add(1))
}

/// Seconds that a token surely has which the issuer has just given, if new ones have so many.
fn newest(seconds: i64) -> i64 {
    seconds - NEW.min(seconds / 3)
}

/// Oldest token that shows that its issuer works, in seconds: requests take their time.
const NEW: i64 = 10;

/// Seconds of lifetime that only a token has which the issuer has just given: what a probe of the issuer asks for, since
/// Vault would answer its cached token otherwise, which says nothing of the issuer. `token`: the one in place.
pub(super) fn seconds_of_a_new_one(limits: Limits, token: Option<TokenTimes>) -> i64 {
    let usual = seconds_to_ask(limits, token);
    token.map_or(usual, |token| usual.max(newest(token.length)))
}

/// Retry policy for a failure of one credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryPolicy {
    /// It may pass by itself at any moment: 5 s (more for a token that lives for long) to 5 min.
    Transient,
    /// Somebody has to act, at Vault or here: 1 to 10 min.
    NeedsPerson,
    /// The vault token is dead; only a new `.top` helps, which is noticed at once: 30 min to 1 h.
    Dead,
    /// A rate limit is reached; every request makes it worse: 30 s to 5 min.
    Quota,
}

/// Longest wait after a first failure that may pass by itself, in seconds.
const LONGEST_FIRST: i64 = 60;

/// Longest wait while a token of jobs has expired, in seconds; [`RetryPolicy::NeedsPerson`] waits
/// twice as long.
const LONGEST_AFTER_EXPIRY: i64 = 60;

/// Law 6: seconds to wait after the `failures`-th failure in a row (1 for the first). `left`: seconds
/// of the token in place; `None` when there is none.
pub(super) fn retry_delay(
    policy: RetryPolicy,
    failures: u32,
    jitter: Jitter,
    left: Option<i64>,
) -> i64 {
    let (first, most): (i64, i64) = match policy {
        RetryPolicy::Transient => (5, 300),
        RetryPolicy::NeedsPerson => (60, 600),
        RetryPolicy::Dead => (1800, 3600),
        RetryPolicy::Quota => (30, 300),
    };
    // Who has a token for long need not ask often, beside all others that have the same failure.
    let unhurried = left.map_or(0, |left| (left / 120).min(LONGEST_FIRST));
    let varied = varied(first.max(unhurried), most, failures, jitter);
    match (policy, left) {
        (RetryPolicy::Dead, _) | (_, None) => varied,
        (RetryPolicy::NeedsPerson, Some(0)) => varied.min(2 * LONGEST_AFTER_EXPIRY),
        (_, Some(0)) => varied.min(LONGEST_AFTER_EXPIRY),
        (_, Some(left)) => varied.min((left / 3).max(5)),
    }
}

/// Seconds to wait when so many tasks in a row found another file than they were decided from: the
/// scan that follows tells what is there, unless it cannot.
pub(super) fn after_change(changes: u32, jitter: Jitter) -> i64 {
    varied(GAP, 60, changes, jitter).max(GAP)
}

/// Seconds until the next probe of a dependency that has failed so often in a row: 2 to 30 s, so that
/// all are served again within a minute of its return.
pub(super) fn probe_delay(failures: u32, jitter: Jitter) -> i64 {
    varied(2, 24, failures, jitter)
}

/// Longest time over which renewals are spread once a host or issuer works again, in seconds.
const LONGEST_SPREAD: i64 = 420;

/// Seconds until a renewal that was due while a host or issuer did not work, now that it does. `left`: seconds of the
/// token in place, of which a quarter is used at most.
pub(super) fn after_outage(jitter: Jitter, left: i64) -> i64 {
    jitter.redrawn(0).part((left / 4).min(LONGEST_SPREAD))
}

fn varied(first: i64, most: i64, failures: u32, jitter: Jitter) -> i64 {
    let doublings = failures.saturating_sub(1).min(16);
    let doubled = first.saturating_mul(1 << doublings).min(most);
    doubled - doubled / 4 + jitter.redrawn(u64::from(failures)).part(doubled / 2 + 1)
}

#[cfg(test)]
mod tests;
