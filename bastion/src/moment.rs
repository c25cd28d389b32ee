//! Arithmetic of moments that cannot fail: what lies beyond the calendar is its end.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

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

/// Notices a wall clock that was set, by a clock that never is.
#[derive(Debug)]
pub struct ClockWatch {
    wall: Timestamp,
    steady: Instant,
}

/// So much is no step: clocks are slewed, and two are never read at once.
const STEP: Duration = Duration::from_secs(2);

impl ClockWatch {
    /// Begins at this wall time.
    #[must_use]
    pub fn new(wall: Timestamp) -> Self {
        Self {
            wall,
            steady: Instant::now(),
        }
    }

    /// Step of the clock since the last call, if it was set: forward, or (negative) back.
    pub fn step(&mut self, wall: Timestamp) -> Option<SignedDuration> {
        let expected = after(self.wall, self.steady.elapsed());
        *self = Self::new(wall);
        Some(wall.duration_since(expected)).filter(|by| by.unsigned_abs() > STEP)
    }
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
