//! Validity of the access tokens that jobs have: the time until which there surely is one. Pure.
//!
//! The expiry of a job's access token is known where `.use` can be read. A credd reports only when it was made. Vault's
//! access tokens only get newer, so one that was made after ours was read expires no earlier than ours; unless the
//! issuer begins to give shorter ones, which the next one that is read shows. Nothing else is assumed: the lifetime
//! of a credmon's token does not follow from its configuration, since during an outage of the issuer the credmon
//! takes the token that Vault still has.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::moment::{after, until};
use crate::model::records::AccessRead;

/// Assumed lifetime of access tokens before one was read: the WLCG profile recommends less than six hours, and
/// issuers grant one or more.
const USUAL_LIFE: Duration = Duration::from_hours(1);
/// Time within which a credmon serves a stored vault token.
const PROMPT: Duration = Duration::from_mins(3);

/// Assumed difference between the clocks of two hosts, where it was not measured.
const SKEW: SignedDuration = SignedDuration::from_mins(1);
/// Number of access tokens that are recorded for one delivery. Of three in a row the first and the last are a quarter
/// of a lifetime apart, so they reach back over more than the half in which a credmon renews.
const MOST_READS: usize = 6;

/// Observation of the access tokens of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessObservation<'a> {
    /// Time when the vault token was stored, by the schedd's clock.
    pub stored: Option<Timestamp>,
    /// Time when the credmon last made an access token, by the schedd's clock.
    pub served: Option<Timestamp>,
    /// Expiry of that, where it can be read.
    pub serves_until: Option<Timestamp>,
    /// Access tokens that we read.
    pub reads: &'a [AccessRead],
    /// Most by which the schedd's clock is ahead of ours, where a push measured it.
    pub ahead: Option<SignedDuration>,
}

/// Records an access token that was read.
pub fn record(reads: &mut Vec<AccessRead>, read: AccessRead) {
    // The same one again.
    if reads.iter().any(|known| known.expires == read.expires) {
        return;
    }
    // The issuer gives shorter ones now, or this host's clock was set back: what was read before says nothing of tokens that
    // are made later.
    reads.retain(|known| known.expires < read.expires && known.at <= read.at);
    if let [.., before, _] = reads.as_slice()
        && until(before.at, read.at) < until(read.at, read.expires) / 4
    {
        reads.pop();
    }
    reads.push(read);
    let surplus = reads.len().saturating_sub(MOST_READS);
    reads.drain(..surplus);
}

/// State of a credmon, judged by one stored vault token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credmon {
    /// It made an access token from it recently.
    Serves,
    /// It may still be making the first one.
    Begins,
    /// It should have made one by now and has not: it does not run, or the vault token is invalid.
    Stopped,
}

/// Judges the credmon by the times that the schedd reports. Access tokens are renewed before half of their lifetime
/// (`life`) is over: HTCondor's default is 20 minutes after they were made.
#[must_use]
pub fn credmon(
    stored: Timestamp,
    served: Option<Timestamp>,
    life: Option<Duration>,
    now: Timestamp,
) -> Credmon {
    let late = |since, by| now >= after(since, by);
    match served.filter(|served| *served >= stored) {
        Some(served) if late(served, life.unwrap_or(USUAL_LIFE) / 2) => Credmon::Stopped,
        Some(_) => Credmon::Serves,
        None if late(stored, PROMPT) => Credmon::Stopped,
        None => Credmon::Begins,
    }
}

/// Time until which jobs surely have a valid access token if nothing more succeeds; `None` when none is known to be
/// there. `before` is the result of the previous observation.
#[must_use]
pub fn safe_until(before: Option<Timestamp>, seen: &AccessObservation) -> Option<Timestamp> {
    if seen.serves_until.is_some() {
        return seen.serves_until;
    }
    // Without one, jobs have none.
    let served = seen.served?;
    let ahead = seen.ahead.unwrap_or(SKEW);
    let is_older = |read: &&AccessRead| {
        let stored = seen.stored.filter(|_| read.before_store);
        let by_clocks = read.at.checked_add(ahead);
        by_clocks.is_ok_and(|at| served >= at) || stored.is_some_and(|stored| served >= stored)
    };
    let older = seen.reads.iter().filter(is_older);
    let safe = before.max(older.map(|read| read.expires).max())?;
    // Jobs may have one as short as the latest that was read.
    let latest = seen.reads.last().map(|read| read.expires);
    Some(latest.map_or(safe, |latest| safe.min(latest)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const HOUR: Duration = Duration::from_hours(1);

    fn read(second: i64, expires: i64, before_store: bool) -> [AccessRead; 1] {
        [AccessRead {
            at: at(second),
            expires: at(expires),
            before_store,
        }]
    }

    #[test]
    fn what_can_be_read_is_believed() {
        let seen = AccessObservation {
            stored: Some(at(95)),
            served: Some(at(100)),
            serves_until: Some(at(110)),
            reads: &read(90, 5000, true),
            ahead: None,
        };
        assert_eq!(safe_until(Some(at(7000)), &seen), Some(at(110)));
    }

    #[test]
    fn nothing_served_is_nothing_had() {
        let seen = AccessObservation {
            reads: &read(90, 5000, true),
            ahead: None,
            ..AccessObservation::default()
        };
        assert_eq!(safe_until(Some(at(7000)), &seen), None);
    }

    #[test]
    fn an_expiry_counts_when_the_credmon_served_after_it_was_read() {
        let of = |before: Option<i64>, served, read: [AccessRead; 1]| {
            let seen = AccessObservation {
                stored: Some(at(100)),
                served: Some(at(served)),
                reads: &read,
                ..AccessObservation::default()
            };
            safe_until(before.map(at), &seen)
        };
        assert_eq!(of(None, 100, read(90, 500, true)), Some(at(500)));
        assert_eq!(of(None, 99, read(90, 500, true)), None, "from before");
        assert_eq!(of(Some(400), 99, read(90, 500, true)), Some(at(400)));
        // Two clocks are compared where the push does not tell the order.
        assert_eq!(of(None, 149, read(90, 500, false)), None);
        assert_eq!(of(None, 150, read(90, 500, false)), Some(at(500)));
        assert_eq!(of(Some(400), 150, read(90, 500, false)), Some(at(500)));
    }

    #[test]
    fn when_the_issuer_begins_to_give_shorter_ones_the_latest_bounds_all() {
        let mut reads = Vec::new();
        let mut safe = None;
        // Six hours, then one; the credmon renews in between.
        for (time, life, served) in [(0, 21_600, 100), (4000, 3600, 3000), (8000, 3600, 7000)] {
            let [one] = read(time, time + life, false);
            record(&mut reads, one);
            let seen = AccessObservation {
                served: Some(at(served)),
                reads: &reads,
                ..AccessObservation::default()
            };
            safe = safe_until(safe, &seen);
            assert!(safe <= Some(at(time + life)), "{safe:?}");
        }
        assert_eq!(safe, Some(at(7600)), "the one that was read before 7000");
    }

    #[test]
    fn a_push_tells_how_far_the_clocks_are_apart() {
        let reads = read(90, 500, false);
        for ahead in [-1000, 0, 3, 1000] {
            let seen = |served: i64| AccessObservation {
                served: Some(at(served + ahead)),
                reads: &reads,
                ahead: Some(SignedDuration::from_secs(ahead)),
                ..AccessObservation::default()
            };
            assert_eq!(safe_until(None, &seen(89)), None);
            assert_eq!(safe_until(None, &seen(90)), Some(at(500)));
        }
    }

    #[test]
    fn the_first_time_of_an_access_token_counts_and_few_are_remembered() {
        let mut reads = Vec::new();
        for second in 0..100 {
            let [read] = read(second, 1000 + second / 10, false);
            record(&mut reads, read);
        }
        let times: Vec<_> = reads.iter().map(|read| read.at.as_second()).collect();
        assert_eq!(times, [0, 90], "all within a quarter of a life");
    }

    #[test]
    fn reads_by_a_clock_that_was_ahead_are_forgotten() {
        let mut reads = Vec::new();
        for (time, expires) in [(9000, 3000), (9100, 3100), (100, 3200)] {
            let [read] = read(time, expires, false);
            record(&mut reads, read);
        }
        let times: Vec<_> = reads.iter().map(|read| read.at.as_second()).collect();
        assert_eq!(times, [100]);
    }

    #[test]
    fn however_often_one_is_read_more_than_half_a_life_is_remembered() {
        for pause in [1, 10, 90, 170, 249, 250, 333] {
            let mut reads = Vec::new();
            for time in (0..10_000).step_by(pause) {
                let [read] = read(time, time + 1000, false);
                record(&mut reads, read);
                let times: Vec<_> = reads.iter().map(|read| read.at.as_second()).collect();
                assert_eq!(times.last(), Some(&time));
                assert!(time < 500 || times[0] <= time - 500, "{pause}: {times:?}");
                assert!(reads.len() <= MOST_READS, "{pause}: {times:?}");
            }
        }
    }

    #[test]
    fn the_credmon_is_judged_by_half_a_life() {
        let life = Some(HOUR);
        let judge = |stored, served, now| credmon(at(stored), served, life, at(now));
        assert_eq!(judge(0, None, 179), Credmon::Begins);
        assert_eq!(judge(0, None, 180), Credmon::Stopped);
        assert_eq!(
            judge(100, Some(at(99)), 120),
            Credmon::Begins,
            "from before"
        );
        assert_eq!(judge(0, Some(at(10)), 1809), Credmon::Serves);
        assert_eq!(judge(0, Some(at(10)), 1810), Credmon::Stopped);
        assert_eq!(
            credmon(at(0), Some(at(0)), None, at(1800)),
            Credmon::Stopped
        );
    }

    proptest! {
        /// A Vault that caches access tokens and returns them while `minimum` is left, and a credmon that asks for
        /// any minimum: the reported safety is never more than the real one.
        #[test]
        fn safety_is_never_overstated(
            life in 60_i64..500_000,
            made in -500_000_i64..0,
            read in 0_i64..10_000,
            served in 0_i64..10_000,
            ours_asks in 0_i64..4_000,
            theirs_asks in 0_i64..4_000,
        ) {
            let gives = |now: i64, minimum: i64, cached: i64| {
                if cached - now >= minimum { cached } else { now + life }
            };
            // In the order of time; both use one cache.
            let (ours, theirs) = if read <= served {
                let ours = gives(read, ours_asks, made + life);
                (ours, gives(served, theirs_asks, ours))
            } else {
                let theirs = gives(served, theirs_asks, made + life);
                (gives(read, ours_asks, theirs), theirs)
            };
            let reads = [AccessRead { at: at(read), expires: at(ours), before_store: false }];
            let seen = AccessObservation { served: Some(at(served)), reads: &reads, ..AccessObservation::default() };
            prop_assert!(safe_until(None, &seen).is_none_or(|safe| safe <= at(theirs)));
        }
    }
}
