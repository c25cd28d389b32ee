//! Arithmetic of times that cannot fail: results beyond the calendar are its first or last moment.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// `duration` after `moment`.
#[must_use]
pub fn after(moment: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| moment.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}

/// `duration` before `moment`.
#[must_use]
pub fn before(moment: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| moment.checked_sub(duration).ok())
        .unwrap_or(Timestamp::MIN)
}

/// The time from `now` until `then`; zero when that is past.
#[must_use]
pub fn until(now: Timestamp, then: Timestamp) -> Duration {
    then.duration_since(now)
        .try_into()
        .unwrap_or(Duration::ZERO)
}

/// The last whole second at `moment`. A process that wakes once for all that is due in a second takes a third of the
/// processor time of one that wakes for each.
#[must_use]
pub fn whole_second(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_ends_quietly() {
        assert_eq!(after(Timestamp::MAX, Duration::MAX), Timestamp::MAX);
        assert_eq!(before(Timestamp::MIN, Duration::MAX), Timestamp::MIN);
        assert_eq!(until(Timestamp::MAX, Timestamp::MIN), Duration::ZERO);
        let now = Timestamp::UNIX_EPOCH;
        let hour = Duration::from_hours(1);
        assert_eq!(until(now, after(now, hour)), hour);
    }
}
