//! What a start makes of what a credd has: kept as it is, or replaced. Pure.
//!
//! A credd tells when a token was stored and when the credmon last made an access token, never the
//! token. The laws:
//! - A token that the state names, stored at the very second that it names, for what is
//!   asked for now, is kept with its exact life.
//! - Where the state has nothing, the life is an estimate from above: stored now minus age, for as
//!   long as is configured now. Such a token is kept for a while only: it is replaced within
//!   [`SETTLING`], those closest to their end first, so that a start without a state is no burst.
//! - Whatever is known: an access token that the credmon should have renewed and did not shows that
//!   the vault token may be dead. It is replaced at once.
//! - Nothing that is replaced for these reasons is replaced for them twice: the new token is held.

use std::time::Duration;

use jiff::Timestamp;

use super::{Life, Policy, Why, margin, renew_at};
use crate::model::moment::{after, until};
use crate::model::note::Placed;
use crate::policy::jobs;

/// Clocks of two hosts may differ by this much.
const SKEW: Duration = Duration::from_mins(1);
/// Tokens whose life is an estimate are replaced within this time, or a quarter of a life.
pub const SETTLING: Duration = Duration::from_hours(6);
/// The part of the settling time that is drawn by name; the rest follows the life that is left.
const DRAWN: f64 = 0.25;
/// Salt of that draw.
const SETTLE: u64 = 3;

/// What a credd has of a delivery that this process has not pushed.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The state on disk of what is there.
    pub placed: Option<&'a Placed>,
    /// What is asked for now: see `store::asks`.
    pub asks: &'a str,
    /// When what is there was stored, by the schedd's clock.
    pub stored: Timestamp,
    /// When the credmon last made an access token.
    pub served: Option<Timestamp>,
}

/// What to make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inherit {
    /// It stays.
    Keep {
        /// Its name at Vault, when it is known.
        accessor: Option<String>,
        /// Its life; an estimate when there is no name.
        life: Life,
        /// When it is replaced at the latest, however long it may live.
        renew_by: Option<Timestamp>,
    },
    /// A new one is pushed.
    Push(Why),
}

/// Decides.
#[must_use]
pub fn inherit(policy: &Policy<'_>, found: &Found<'_>, now: Timestamp) -> Inherit {
    let access = found.placed.and_then(|placed| placed.access_seconds);
    let access = access.map(Duration::from_secs);
    if jobs::credmon(found.stored, found.served, access, now) == jobs::Credmon::Stopped {
        return Inherit::Push(Why::Stale);
    }
    match found.placed {
        Some(placed) => remembered(policy, found, placed, now),
        None => estimated(policy, found, now),
    }
}

fn remembered(policy: &Policy<'_>, found: &Found<'_>, placed: &Placed, now: Timestamp) -> Inherit {
    if placed.asks != found.asks {
        return Inherit::Push(Why::Changed);
    }
    if placed.stored != Some(found.stored) {
        return Inherit::Push(Why::Replaced);
    }
    let token = &placed.token;
    let life = Life {
        issued: token.issued,
        expires: token.expires,
    };
    // Never longer than configured.
    if until(life.issued, life.expires) > policy.lifetime.saturating_add(SKEW) {
        return Inherit::Push(Why::Changed);
    }
    // Ended, or the clock was set back since: nothing is known of its life then.
    if now >= life.expires || life.issued > after(now, SKEW) {
        return Inherit::Push(Why::Renewal);
    }
    Inherit::Keep {
        accessor: Some(token.accessor.clone()),
        life,
        renew_by: None,
    }
}

fn estimated(policy: &Policy<'_>, found: &Found<'_>, now: Timestamp) -> Inherit {
    let life = Life {
        issued: found.stored,
        expires: after(found.stored, policy.lifetime),
    };
    let renewal = renew_at(policy, life);
    // A time to come is a clock's fault and bounds nothing.
    if found.stored > after(now, SKEW) || now >= renewal {
        return Inherit::Push(Why::Renewal);
    }
    // Nobody saw what it is for and nothing was made of it yet.
    if found.served.is_none_or(|served| served < found.stored) {
        return Inherit::Push(Why::First);
    }
    let whole = policy.lifetime.saturating_sub(margin(
        policy.lifetime,
        policy.renew_below,
        policy.lifetime,
    ));
    let window = SETTLING.min(whole / 4);
    let left = until(now, renewal);
    let part = (left.as_secs_f64() / whole.as_secs_f64().max(1.0)).clamp(0.0, 1.0);
    let wait =
        window.mul_f64((1.0 - DRAWN) * part) + policy.id.share_of(window.mul_f64(DRAWN), SETTLE);
    Inherit::Keep {
        accessor: None,
        life,
        renew_by: Some(after(now, wait.min(left))),
    }
}

#[cfg(test)]
mod tests;
