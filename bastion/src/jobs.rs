//! What jobs at a schedd have: whether there is a living access token, and until when there surely
//! is one. Pure.
//!
//! The end of the access token that a job has is known where `.use` can be read. A credd tells only
//! when it was made; two laws bound it from below then:
//! - What Vault gives only gets newer: an access token that was made after we read one ends no
//!   earlier than ours.
//! - A credmon asks for a token with a minimum of life (HTCondor's `CREDMON_OAUTH_TOKEN_MINIMUM`, by
//!   default 40 minutes), so one that it made lived that long, or two thirds of a life where that is less.

use std::time::Duration;

use jiff::Timestamp;

use crate::moment::after;

/// HTCondor's default for what an access token must have left when a credmon fetches it.
const MINIMUM: Duration = Duration::from_mins(40);
/// The life of access tokens where none was seen; the WLCG profile recommends less than six hours,
/// and issuers give one or more.
const USUAL_LIFE: Duration = Duration::from_hours(1);
/// What a credmon may take to serve what was stored.
const PROMPT: Duration = Duration::from_mins(3);

/// What was last seen of the access tokens of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// When the credmon last made one, by the schedd's clock.
    pub served: Option<Timestamp>,
    /// When that one ends, where it can be read.
    pub serves_until: Option<Timestamp>,
    /// When we last read one, and when that one ends.
    pub read: Option<(Timestamp, Timestamp)>,
    /// The whole life of the ones we read.
    pub life: Option<Duration>,
}

/// What the credmon makes of a stored vault token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credmon {
    /// It made an access token of it not long ago.
    Serves,
    /// It may still be at it.
    Begins,
    /// It should have made one by now and has not: it does not run, or the vault token is dead.
    Stopped,
}

/// Judges the credmon by the times that the schedd tells. Access tokens are renewed before half of
/// their `life` is over: HTCondor's default is 20 minutes after they were made.
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

/// Until when jobs surely have a living access token if nothing more succeeds; `None` when none was
/// ever seen there.
#[must_use]
pub fn safe_until(seen: &Seen) -> Option<Timestamp> {
    if seen.serves_until.is_some() {
        return seen.serves_until;
    }
    let served = seen.served?;
    let at_least = (seen.life.unwrap_or(USUAL_LIFE) / 3 * 2).min(MINIMUM);
    let ours = seen
        .read
        .filter(|(read, _)| served >= *read)
        .map(|(_, end)| end);
    Some(after(served, at_least).max(ours.unwrap_or(Timestamp::MIN)))
}

/// Whether jobs there have a living access token now: surely, or as it was at the last look, with
/// nothing known to be wrong since.
#[must_use]
pub fn have_token(seen: &Seen, looked: Option<Timestamp>, good: bool, now: Timestamp) -> bool {
    safe_until(seen)
        .is_some_and(|end| now < end || good && looked.is_some_and(|looked| looked < end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn what_can_be_read_is_believed() {
        let seen = Seen {
            served: Some(at(100)),
            serves_until: Some(at(110)),
            read: Some((at(90), at(5000))),
            life: Some(HOUR),
        };
        assert_eq!(safe_until(&seen), Some(at(110)));
        assert!(have_token(&seen, None, false, at(109)));
        assert!(
            !have_token(&seen, Some(at(105)), false, at(110)),
            "ended is ended"
        );
        assert!(
            have_token(&seen, Some(at(105)), true, at(110)),
            "the next look will tell"
        );
        assert!(
            !have_token(&seen, Some(at(110)), true, at(110)),
            "it was seen ended"
        );
    }

    #[test]
    fn nothing_served_is_nothing_had() {
        let seen = Seen {
            read: Some((at(90), at(5000))),
            ..Seen::default()
        };
        assert_eq!(safe_until(&seen), None);
        assert!(!have_token(&seen, Some(at(90)), true, at(100)));
    }

    #[test]
    fn the_credmon_is_judged_by_half_a_life() {
        let life = Some(HOUR);
        let judge = |stored, served, now| credmon(at(stored), served, life, at(now));
        assert_eq!(judge(0, None, 179), Credmon::Begins);
        assert_eq!(judge(0, None, 180), Credmon::Stopped);
        assert_eq!(judge(100, Some(at(99)), 120), Credmon::Begins, "of before");
        assert_eq!(judge(0, Some(at(10)), 1809), Credmon::Serves);
        assert_eq!(judge(0, Some(at(10)), 1810), Credmon::Stopped);
        assert_eq!(
            credmon(at(0), Some(at(0)), None, at(1800)),
            Credmon::Stopped
        );
    }

    proptest! {
        /// A Vault that keeps access tokens and gives them while `minimum` is left, a credmon that asks
        /// for 40 minutes: what is said of safety is never more than what is.
        #[test]
        fn safety_is_never_overstated(
            life in 2_401_i64..500_000,
            made in -500_000_i64..0,
            read in 0_i64..10_000,
            served in 0_i64..10_000,
        ) {
            let gives = |now: i64, minimum: i64, cached: i64| {
                let end = cached + life;
                if end - now >= minimum { end } else { now + life }
            };
            // In the order of time; both use one cache.
            let (ours, theirs) = if read <= served {
                let ours = gives(read, 30, made);
                (ours, gives(served, 2400, ours - life))
            } else {
                let theirs = gives(served, 2400, made);
                (gives(read, 30, theirs - life), theirs)
            };
            let seen = Seen {
                served: Some(at(served)),
                serves_until: None,
                read: Some((at(read), at(ours))),
                life: Some(Duration::from_secs(u64::try_from(life).unwrap())),
            };
            prop_assert!(safe_until(&seen).unwrap() <= at(theirs));
        }
    }
}
