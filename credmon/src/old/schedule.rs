//! When an access token is renewed, how much life is asked for, and when a failure is tried again.
//!
//! Pure arithmetic in whole seconds; the time is passed in. The laws, for a token of `life` seconds
//! from `iat` to `exp`, and the configuration's MINIMUM and REFRESH:
//!
//! 1. The *margin* is MINIMUM, but never more than two thirds of the token's life: when a site
//!    asks for more than its issuer gives, tokens are still renewed at a third of their life.
//! 2. A renewal is due at the latest at `exp - margin`, and at the latest REFRESH after the token
//!    was last got or confirmed (so that a dead vault token is noticed while the access token
//!    still lives). With one-hour tokens, 2400 and 1200, both say: 1200 s after issue.
//! 3. Renewals keep to *slots*: a credential has its own phase in a period of 80 to 90 % of the
//!    usual time between its renewals, and a renewal is due in the last slot before the time of
//!    law 2. So credentials that were all stored in one moment are spread over the whole period
//!    from their first renewal on and stay so. The phase is drawn from who the credential is
//!    (host, user, service), not from a random source: a restart changes nothing.
//! 4. It is never due within a tenth of the usual time after the last success, unless the time of
//!    law 2 itself comes earlier, and never within [`GAP`].
//! 5. A renewal asks for a little more life than the present token has (a twentieth of the usual
//!    time, which absorbs differences of clocks), since Vault would answer its cached token
//!    otherwise; while a long-lived token is only confirmed (law 2, REFRESH), it asks for MINIMUM.
//! 6. After a failure the wait doubles up to a bound that depends on the sort of failure, varied by
//!    a quarter either way, and is never longer than a third of the life that is left.

use jiff::Timestamp;

use crate::old::second::Second;
use crate::old::service_name::CredentialId;

/// Least time between two requests for one credential that both succeed, in seconds.
pub const GAP: i64 = 2;

/// The configuration's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `CREDMON_OAUTH_TOKEN_MINIMUM`: what a token must have left when it is got, in seconds.
    pub minimum: i64,
    /// `CREDMON_OAUTH_TOKEN_REFRESH`: time between requests, in seconds.
    pub refresh: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            minimum: 2400,
            refresh: 1200,
        }
    }
}

/// The life of a token, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it was issued.
    pub issued: Second,
    /// When it ends.
    pub expires: Second,
}

impl Life {
    /// Its whole length in seconds; 0 for nonsense.
    #[must_use]
    pub fn length(self) -> i64 {
        self.expires
            .as_second()
            .saturating_sub(self.issued.as_second())
            .max(0)
    }

    /// Seconds that are left; 0 when it is over.
    #[must_use]
    pub fn left(self, now: Timestamp) -> i64 {
        self.expires
            .as_second()
            .saturating_sub(now.as_second())
            .max(0)
    }
}

/// The access token in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its life; `None` for an opaque token.
    pub life: Option<Life>,
    /// When it was got, or last confirmed to be the newest that Vault has.
    pub confirmed: Second,
}

/// A credential's own place among all: 64 bits drawn from its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread(u64);

impl Spread {
    /// Draws it for a credential on a host.
    #[must_use]
    pub fn of(host: &str, id: &CredentialId) -> Self {
        Self::drawn([host, id.user(), id.service()])
    }

    /// Draws it for a Vault, as seen from a host.
    #[must_use]
    pub fn of_vault(host: &str, vault: &str) -> Self {
        Self::drawn([host, vault, ""])
    }

    /// FNV-1a over the names with separators, then mixed: stable for ever.
    fn drawn(names: [&str; 3]) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for part in names {
            for byte in part.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Self(mix(hash))
    }

    /// A part of `whole`: from 0 to `whole - 1`, evenly drawn.
    fn part(self, whole: i64) -> i64 {
        let scaled = (i128::from(self.0) * i128::from(whole.max(1))) >> 64;
        i64::try_from(scaled).unwrap_or_default()
    }

    /// Another draw of the same credential.
    fn redrawn(self, salt: u64) -> Self {
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

/// Law 1: what a token must have left, in seconds.
#[must_use]
pub fn margin(limits: Limits, life: Life) -> i64 {
    let two_thirds = i64::try_from(i128::from(life.length()) * 2 / 3).unwrap_or(i64::MAX);
    limits.minimum.min(two_thirds)
}

/// The usual time between two renewals, in seconds.
fn usual(limits: Limits, life: Option<Life>) -> i64 {
    life.map_or(limits.refresh, |life| {
        limits.refresh.min(life.length() - margin(limits, life))
    })
    .max(1)
}

/// Laws 2 to 4: when the next renewal is due. It may lie in the past: then it is due now.
#[must_use]
pub fn next_renewal(limits: Limits, spread: Spread, held: Held) -> Second {
    let usual = usual(limits, held.life);
    let confirmed = held.confirmed.as_second();
    let mut latest = confirmed.saturating_add(limits.refresh);
    if let Some(life) = held.life {
        latest = latest.min(life.expires.as_second() - margin(limits, life));
    }
    let period = slot_period(usual);
    let slot = last_slot(latest, period, spread.part(period));
    let due = if slot >= confirmed.saturating_add((usual / 10).max(1)) {
        slot
    } else {
        latest
    };
    Second::new(due.max(confirmed.saturating_add(GAP)))
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

/// Law 5: seconds of life to ask Vault for, when the token in place (if any) shall be replaced by a
/// newer one.
#[must_use]
pub fn seconds_to_ask(limits: Limits, life: Option<Life>, now: Timestamp) -> i64 {
    let Some(life) = life.filter(|life| life.left(now) > 0) else {
        return limits.minimum;
    };
    let usual = usual(limits, Some(life));
    let left = life.left(now);
    if left - margin(limits, life) > usual {
        return limits.minimum;
    }
    left.saturating_add((usual / 20).max(1))
}

/// How a failure is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It may pass by itself any moment: 5 s to 5 min.
    Transient,
    /// Somebody has to act, at Vault or here: 1 to 10 min.
    Person,
    /// The vault token is dead; only a new `.top` helps, which is noticed at once: 30 min to 1 h.
    Dead,
    /// A whole host does not answer; one request finds out: 5 s to 1 min.
    Host,
    /// A host's rate limit is reached; every request makes it worse: 30 s to 5 min.
    RateLimit,
}

/// Law 6: seconds to wait after the `failures`-th failure in a row (1 for the first), with `left`
/// seconds of the token in place.
#[must_use]
pub fn retry_delay(patience: Patience, failures: u32, spread: Spread, left: i64) -> i64 {
    let (first, most): (i64, i64) = match patience {
        Patience::Transient => (5, 300),
        Patience::Person => (60, 600),
        Patience::Dead => (1800, 3600),
        Patience::Host => (5, 60),
        Patience::RateLimit => (30, 300),
    };
    let doubled = first
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(most);
    let varied = doubled - doubled / 4 + spread.redrawn(u64::from(failures)).part(doubled / 2 + 1);
    if left > 0 && patience != Patience::Dead {
        varied.min((left / 3).max(5))
    } else {
        varied
    }
}

/// `now` and some seconds.
#[must_use]
pub fn after(now: Timestamp, seconds: i64) -> Second {
    Second::new(now.as_second().saturating_add(seconds))
}

#[cfg(test)]
mod tests;
