//! Proofs: when a token is tried by reading an access token with it. Pure.

use std::time::Duration;

use htvault::RequestLimit;
use jiff::Timestamp;

use super::{Policy, Record};
use crate::model::moment::{after, before};

/// A token is proved so many times in the life of an access token: one that died is replaced long before
/// jobs feel it.
const PROOFS_IN_A_LIFE: u32 = 10;
/// Life of access tokens where none was seen: issuers give an hour or more.
const USUAL_LIFE: Duration = Duration::from_hours(1);
/// Least time between the proofs of all deliveries.
const BETWEEN_PROOFS: Duration = Duration::from_millis(125);
/// Salt of the proof's share.
const PROOF: u64 = 4;

/// Time at which the schedd is looked at before its turn: jobs' access tokens, as far as is known, come to
/// their end.
pub(super) fn look_early(record: &Record) -> Timestamp {
    let life = record.access_life.unwrap_or(USUAL_LIFE);
    let (Some(looked), Some(safe)) = (record.looked, record.safe_until) else {
        return Timestamp::MAX;
    };
    before(safe, life / 3).max(after(looked, life / PROOFS_IN_A_LIFE))
}

/// Time of the next proof; the first one comes at once.
pub(super) fn prove_at(policy: &Policy<'_>, record: &Record) -> Timestamp {
    let Some(proved) = record.proved else {
        return Timestamp::MIN;
    };
    let life = record.access_life.unwrap_or(USUAL_LIFE);
    let every = (life / PROOFS_IN_A_LIFE).max(policy.prove_every);
    after(
        proved,
        every.saturating_sub(policy.id.share_of(every / 4, PROOF)),
    )
}

/// Least time between two proofs of one delivery: all of them together are bounded, and take no more than
/// a quarter of the requests that may be sent to Vault.
#[must_use]
pub fn prove_every(deliveries: usize, limit: Option<RequestLimit>) -> Duration {
    let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
    let least = BETWEEN_PROOFS.saturating_mul(deliveries);
    let Some(limit) = limit else {
        return least;
    };
    // A share of up to a quarter is taken off each pause.
    let whole = limit.per.saturating_mul(deliveries).saturating_mul(6) / limit.limit.max(1);
    whole.max(least)
}
