//! Times of proofs: reads of an access token that test a vault token. Pure.

use std::time::Duration;

use htvault::RequestLimit;
use jiff::Timestamp;

use super::{Policy, Record};
use crate::model::moment::{after, before};

/// Number of proofs in the lifetime of an access token, so that an invalid vault token is replaced long before jobs
/// are affected.
const PROOFS_IN_A_LIFE: u32 = 10;
/// Assumed lifetime of access tokens before one was read: issuers grant an hour or more.
const USUAL_LIFE: Duration = Duration::from_hours(1);
/// Least time between the proofs of all deliveries.
const BETWEEN_PROOFS: Duration = Duration::from_millis(125);
/// Salt of the proof's jitter.
const PROOF: u64 = 4;

/// Time of an observation before its schedule, since the jobs' access tokens, as far as known, expire soon.
pub(super) fn observe_early(record: &Record) -> Timestamp {
    let life = record.access_life.unwrap_or(USUAL_LIFE);
    let (Some(observed), Some(safe)) = (record.observed, record.safe_until) else {
        return Timestamp::MAX;
    };
    before(safe, life / 3).max(after(observed, life / PROOFS_IN_A_LIFE))
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

/// Least time between two proofs of one delivery, so that the proofs of all deliveries are bounded and take at most a
/// quarter of the requests that may be sent to Vault.
#[must_use]
pub fn prove_every(deliveries: usize, limit: Option<RequestLimit>) -> Duration {
    let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
    let least = BETWEEN_PROOFS.saturating_mul(deliveries);
    let Some(limit) = limit else {
        return least;
    };
    // Jitter shortens each pause by up to a quarter.
    let whole = limit.per.saturating_mul(deliveries).saturating_mul(6) / limit.limit.max(1);
    whole.max(least)
}
