//! Pauses before the next attempt: after a failure, and after an outage that many waited for.

use std::time::Duration;

use jiff::Timestamp;

use super::{Failure, Policy, Record};
use crate::model::delivery::DeliveryId;
use crate::model::moment::{after, until};
use crate::model::problem::{Kind, Remedy};
use crate::model::records::Life;

/// First pause after a failure.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause during an outage, so that deliveries recover soon after it.
pub(super) const OUTAGE_CAP: Duration = Duration::from_mins(2);
/// Longest pause while a person has to act.
pub(super) const PERSON_CAP: Duration = Duration::from_mins(10);
/// Longest time over which attempts are spread once Vault, issuer or KDC work again, so that an outage that is over
/// is not followed by a burst at Vault.
const RECOVERY_SPREAD: Duration = Duration::from_mins(7);
/// What a delivery that was put off already must have left to be put off again: a slow Vault must not put it off until its
/// tokens end.
const LAST_CALL: Duration = Duration::from_mins(20);
/// Salt of the jitter after an outage.
const RECOVERY: u64 = 5;
/// Longest time over which first looks are spread after the start of the service.
const FIRST_LOOKS: Duration = Duration::from_mins(2);
/// Salt of the first look's jitter.
const FIRST_LOOK: u64 = 7;

/// Pause after `attempts` failed attempts: exponential back-off with jitter, capped, and at most a quarter of the
/// remaining lifetime (`left`).
#[must_use]
pub fn pause(id: &DeliveryId, kind: Kind, attempts: u32, left: Option<Duration>) -> Duration {
    let cap = match (kind, kind.remedy()) {
        // It may pass before an admin comes.
        (Kind::Local, _) | (_, Remedy::Wait) => OUTAGE_CAP,
        _ => PERSON_CAP,
    };
    let cap = match left {
        Some(left) if !left.is_zero() => cap.min(left / 4),
        _ => cap,
    };
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1)));
    let whole = doubled.min(cap).max(FIRST_PAUSE);
    whole.saturating_sub(id.share_of(whole / 5, u64::from(attempts)))
}

/// Returns the time of the next attempt once what failed works again, or what others waited for: at once where jobs may
/// need it, a person asks for it or has mended something, else spread over a part of the time that is left. `again`: it
/// was put off before, and nothing was attempted since.
#[must_use]
pub fn after_recovery(id: &DeliveryId, record: &Record, now: Timestamp, again: bool) -> Timestamp {
    let is_outage = |failure: &Failure| {
        matches!(
            failure.problem.kind,
            Kind::VaultDown | Kind::NoLeader | Kind::RateLimited | Kind::IssuerDown | Kind::KdcDown
        )
    };
    let (true, Some(life), Some(safe_until)) = (
        !record.asked && record.failure.as_deref().is_none_or(is_outage),
        record.life,
        record.safe_until,
    ) else {
        return now;
    };
    let kept = if again { LAST_CALL } else { Duration::ZERO };
    let left = until(now, life.expires.min(safe_until)).saturating_sub(kept);
    after(now, id.share_of((left / 2).min(RECOVERY_SPREAD), RECOVERY))
}

/// Earliest renewal of a token after the start of the service: those that became due while it did not run are spread as
/// others are.
pub(super) fn after_start(policy: &Policy<'_>, life: Life) -> Timestamp {
    policy.started.map_or(Timestamp::MIN, |started| {
        let left = until(started, life.expires);
        let share = policy.id.share_of((left / 4).min(policy.spread), RECOVERY);
        after(started, share)
    })
}

/// Time of the first look at a token that was there before the start of the service. A look is a proof, and often a login
/// and the read of a token that opens the credd.
pub(super) fn first_look(policy: &Policy<'_>) -> Timestamp {
    policy.started.map_or(Timestamp::MIN, |started| {
        let spread = (2 * policy.prove_every).min(FIRST_LOOKS);
        after(started, policy.id.share_of(spread, FIRST_LOOK))
    })
}
