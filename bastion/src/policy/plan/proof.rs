//! Times of proofs: reads of an access token that test a vault token. Pure.

use std::time::Duration;

use htvault::RequestLimit;
use jiff::Timestamp;

use super::{Policy, Record};
use crate::model::delivery::Credential;
use crate::model::moment::{after, before, until};

/// Number of proofs in the lifetime of an access token, so that an invalid vault token is replaced long before jobs
/// are affected.
const PROOFS_IN_A_LIFE: u32 = 10;
/// Assumed lifetime of access tokens before one was read: issuers grant an hour or more.
const USUAL_LIFE: Duration = Duration::from_hours(1);
/// Least time between the proofs of all deliveries.
const BETWEEN_PROOFS: Duration = Duration::from_millis(125);
/// Salt of the proof's jitter.
const PROOF: u64 = 4;
/// Least of what an access token may have lived when it proves the grant: requests take their time.
const LEAST_AGE: Duration = Duration::from_secs(5);
/// Times of issue are in whole seconds, and clocks differ.
const ROUNDING: Duration = Duration::from_secs(2);

/// Returns how long an access token with lifetime `life` may have lived to prove that its issuer still gives some:
/// less than the time between two proofs, so that each asks the issuer, unless somebody else did since the last one.
/// Of the deliveries of one credential one asks for all.
fn greatest_age(life: Duration) -> Duration {
    (life / (2 * PROOFS_IN_A_LIFE)).max(LEAST_AGE).min(life / 3)
}

/// Returns the remaining lifetime that an access token must have to prove the grant. Vault has its issuer give a new
/// one where the cached one has less, so that a grant that was revoked at the issuer is reported.
#[must_use]
pub fn at_least(life: Duration) -> Duration {
    life.saturating_sub(greatest_age(life))
}

/// Returns the time at which the issuer gave an access token that was read at `read`, so far as clocks can be believed.
#[must_use]
pub fn granted(read: Timestamp, issued: Timestamp, life: Duration) -> Timestamp {
    if until(issued, read) <= greatest_age(life) + ROUNDING {
        issued.min(read)
    } else {
        read
    }
}

/// Time of an observation before its schedule, since the jobs' access tokens, as far as known, expire soon.
pub(super) fn observe_early(record: &Record) -> Timestamp {
    let life = record.access_life.unwrap_or(USUAL_LIFE);
    let (Some(observed), Some(safe)) = (record.observed, record.safe_until) else {
        return Timestamp::MAX;
    };
    before(safe, life / 3).max(after(observed, life / PROOFS_IN_A_LIFE))
}

/// Time of the next proof, counted from when the issuer gave the access token of the last one; the first one comes at
/// once.
pub(super) fn prove_at(policy: &Policy<'_>, record: &Record) -> Timestamp {
    let Some(proved) = record.proved else {
        return Timestamp::MIN;
    };
    let jittered = |every: Duration| every.saturating_sub(policy.id.share_of(every / 4, PROOF));
    let life = record.access_life.unwrap_or(USUAL_LIFE);
    let granted = record.granted.unwrap_or(proved);
    let next = after(granted, jittered(life / PROOFS_IN_A_LIFE));
    next.max(after(proved, jittered(policy.prove_every)))
}

/// Returns the number of requests to Vault of one proof: what is exchanged takes two.
#[must_use]
pub fn requests_of_proof(credential: &Credential) -> usize {
    if credential.url.is_cached() { 1 } else { 2 }
}

/// Least time between two proofs of one delivery, so that the proofs of all deliveries, `requests` in all if each is
/// proved once, are bounded and take at most a quarter of the requests that may be sent to Vault.
#[must_use]
pub fn prove_every(requests: usize, limit: Option<RequestLimit>) -> Duration {
    let requests = u32::try_from(requests).unwrap_or(u32::MAX);
    let least = BETWEEN_PROOFS.saturating_mul(requests);
    let Some(limit) = limit else {
        return least;
    };
    // Jitter shortens each pause by up to a quarter.
    let whole = limit.per.saturating_mul(requests).saturating_mul(6) / limit.limit.max(1);
    whole.max(least)
}

#[cfg(test)]
mod tests {
    use htvault::CredentialUrl;

    use super::*;
    use crate::fixtures::{credential, id};

    const MINUTE: Duration = Duration::from_mins(1);
    const HOUR: Duration = Duration::from_hours(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_proof_asks_the_issuer_or_comes_a_tenth_after_somebody_else_did() {
        for name in ["a", "b", "c", "d"] {
            let id = id(name);
            let policy = Policy {
                id: &id,
                lifetime: 100 * HOUR,
                renew_below: 50 * HOUR,
                spread: 5 * MINUTE,
                prove_every: Duration::ZERO,
                started: None,
            };
            for life in [5 * MINUTE / 3, HOUR, 6 * HOUR] {
                let age = life.saturating_sub(at_least(life));
                let issued = before(at(100_000), age);
                let granted = granted(at(100_000), issued, life);
                assert_eq!(granted, issued);
                let record = Record {
                    proved: Some(at(100_000)),
                    granted: Some(granted),
                    access_life: Some(life),
                    ..Record::default()
                };
                let next = prove_at(&policy, &record);
                assert!(next <= after(issued, life / 10), "{next}");
                // One of that age is not enough then.
                assert!(until(issued, next) > age, "{next}");
                // However early, not more often than all deliveries together may.
                let policy = Policy {
                    prove_every: 8 * HOUR,
                    ..policy
                };
                assert!(prove_at(&policy, &record) >= after(at(100_000), 6 * HOUR));
            }
        }
    }

    #[test]
    fn an_issuer_whose_clock_is_wrong_makes_no_proofs_more_frequent() {
        let now = at(100_000);
        for wrong in [HOUR, 5 * MINUTE] {
            assert_eq!(granted(now, before(now, wrong), HOUR), now);
            assert_eq!(granted(now, after(now, wrong), HOUR), now);
        }
        // A token that lives shortly is given time for the way.
        let seconds = Duration::from_secs;
        assert_eq!(at_least(seconds(16)), seconds(11));
        assert_eq!(at_least(seconds(6)), seconds(4));
    }

    #[test]
    fn a_proof_of_what_is_exchanged_counts_twice() {
        let mut credential = credential("a", "cms");
        assert_eq!(requests_of_proof(&credential), 1);
        let server = credential.url.server();
        credential.url = CredentialUrl::sts(&server, "cms", "a", "default").unwrap();
        assert_eq!(requests_of_proof(&credential), 2);
    }
}
