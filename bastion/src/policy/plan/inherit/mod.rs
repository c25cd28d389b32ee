//! Adoption of tokens after a start: a token that a credd has is kept or replaced. Pure.
//!
//! A credd reports when a token was stored and when the credmon last made an access token, never the token itself.
//! The rules:
//! - A token that is recorded in the state, with the same second of storing and the same requested content, is kept
//!   with its exact lifetime.
//! - Without a record the lifetime is an upper bound: the configured lifetime, from the time of storing. Such a token
//!   is replaced within [`SETTLING`], those closest to their expiry first, so that a start without state causes no
//!   burst.
//! - In any case: an access token that the credmon should have renewed and did not shows that the vault token may be
//!   invalid. It is replaced at once.
//! - No token is replaced twice for these reasons: the new one is owned by this process.

use std::time::Duration;

use jiff::Timestamp;

use super::{Policy, PushReason, SKEW, is_void};
use crate::model::moment::{after, before, until};
use crate::model::records::{InstalledToken, Life};
use crate::policy::jobs;

/// Time within which tokens with an estimated lifetime are replaced, or a quarter of the lifetime if that is less.
pub const SETTLING: Duration = Duration::from_hours(6);
/// Part of the settling time that is jitter; the rest depends on the remaining lifetime.
const DRAWN: f64 = 0.25;
/// Salt of that jitter.
const SETTLE: u64 = 3;

/// A token at a credd that this process has not pushed.
#[derive(Clone, Copy, Debug)]
pub struct FoundToken<'a> {
    /// Record of the token in the state on disk.
    pub installed: Option<&'a InstalledToken>,
    /// Content that is requested now: see [`requested_content`](crate::model::records::requested_content).
    pub requested: &'a str,
    /// Time when it was stored, by the schedd's clock.
    pub stored: Timestamp,
    /// Time when the credmon last made an access token, by the schedd's clock.
    pub served: Option<Timestamp>,
}

/// A vault token of before a restart that is at a credd: nobody can read it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// Names it to Vault's admins; `None` when its life is an estimate.
    pub accessor: Option<String>,
    /// Its life: as recorded at its issue, or at most.
    pub life: Life,
    /// Time when it was stored, by the schedd's clock.
    pub stored: Timestamp,
    /// Latest time of its replacement, whatever its life.
    pub renew_by: Option<Timestamp>,
}

/// Decides whether a token is kept; if not, the reason why a new one is pushed.
///
/// # Errors
/// That reason.
pub fn inherit(
    policy: &Policy<'_>,
    found: &FoundToken<'_>,
    now: Timestamp,
) -> Result<Inherited, PushReason> {
    let access = found
        .installed
        .and_then(|installed| installed.access_seconds);
    let access = access.map(Duration::from_secs);
    if jobs::credmon(found.stored, found.served, access, now) == jobs::Credmon::Stopped {
        return Err(PushReason::Stale);
    }
    match found.installed {
        Some(installed) => recorded(policy, found, installed, now),
        None => estimated(policy, found, now),
    }
}

fn recorded(
    policy: &Policy<'_>,
    found: &FoundToken<'_>,
    installed: &InstalledToken,
    now: Timestamp,
) -> Result<Inherited, PushReason> {
    if installed.requested != found.requested {
        return Err(PushReason::Changed);
    }
    if installed.stored != Some(found.stored) {
        return Err(PushReason::Replaced);
    }
    let token = &installed.token;
    let life = token.life;
    // Never longer than configured.
    if life.length() > policy.lifetime.saturating_add(SKEW) {
        return Err(PushReason::Changed);
    }
    // Expired, or the clock was set back since: its lifetime is unknown then.
    if now >= life.expires || is_void(life.issued, now) {
        return Err(PushReason::Renewal);
    }
    Ok(Inherited {
        accessor: Some(token.accessor.clone()),
        life,
        stored: found.stored,
        renew_by: None,
    })
}

fn estimated(
    policy: &Policy<'_>,
    found: &FoundToken<'_>,
    now: Timestamp,
) -> Result<Inherited, PushReason> {
    let life = Life::new(found.stored, policy.lifetime);
    let latest = before(life.expires, policy.renew_below);
    // A time in the future is a wrong clock and bounds nothing.
    if is_void(found.stored, now) || now >= latest {
        return Err(PushReason::Renewal);
    }
    // Its content is unknown, and no access token was made from it yet.
    if found.served.is_none_or(|served| served < found.stored) {
        return Err(PushReason::First);
    }
    let whole = policy.lifetime.saturating_sub(policy.renew_below);
    let window = SETTLING.min(whole / 4);
    let left = until(now, latest);
    let part = (left.as_secs_f64() / whole.as_secs_f64().max(1.0)).clamp(0.0, 1.0);
    let wait =
        window.mul_f64((1.0 - DRAWN) * part) + policy.id.share_of(window.mul_f64(DRAWN), SETTLE);
    Ok(Inherited {
        accessor: None,
        life,
        stored: found.stored,
        renew_by: Some(after(now, wait.min(left))),
    })
}

#[cfg(test)]
mod tests;
