//! The two clocks: monotonic time for pauses and deadlines, wall-clock time for the ends of tokens
//! and for what people read.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Seconds by which the clocks of this host and an issuer may differ: a token may seem to come from the future.
pub(crate) const CLOCK_TOLERANCE: i64 = 60;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Monotonic time.
    pub(crate) mono: Instant,
    /// Wall-clock time.
    pub(crate) wall: Timestamp,
}

impl Now {
    /// The instant that lies so many seconds ahead.
    pub(crate) fn after(self, seconds: i64) -> Instant {
        let ahead = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        // An instant that cannot be told apart from "never" would be centuries ahead.
        self.mono.checked_add(ahead).unwrap_or(self.mono)
    }

    /// Wall-clock time of an instant, by the present state of the clock.
    pub(crate) fn wall_of(self, at: Instant) -> Timestamp {
        let ahead = at.saturating_duration_since(self.mono);
        let behind = self.mono.saturating_duration_since(at);
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        let second = self.wall.as_second();
        let second = second
            .saturating_add(seconds(ahead))
            .saturating_sub(seconds(behind));
        Timestamp::from_second(second).unwrap_or(self.wall)
    }

    /// Seconds until a wall-clock time; below 0 for one that is past.
    pub(crate) fn until(self, at: Timestamp) -> i64 {
        at.as_second().saturating_sub(self.wall.as_second())
    }

    /// Seconds since an instant; 0 for one that lies ahead.
    pub(crate) fn since(self, at: Instant) -> i64 {
        i64::try_from(self.mono.saturating_duration_since(at).as_secs()).unwrap_or(i64::MAX)
    }
}
