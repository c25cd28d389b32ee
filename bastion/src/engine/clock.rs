//! Steps of the wall clock, noticed by a clock that is never set.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

use crate::model::moment::after;

/// Notices a wall clock that was set, by a clock that never is.
#[derive(Debug)]
pub(super) struct ClockWatch {
    wall: Timestamp,
    steady: Instant,
}

/// So much is no step: clocks are slewed, and two are never read at once.
const STEP: Duration = Duration::from_secs(2);

impl ClockWatch {
    /// Begins at this wall time.
    pub(super) fn new(wall: Timestamp) -> Self {
        Self {
            wall,
            steady: Instant::now(),
        }
    }

    /// Step of the clock since the last call, if it was set: forward, or (negative) back.
    pub(super) fn step(&mut self, wall: Timestamp) -> Option<SignedDuration> {
        let expected = after(self.wall, self.steady.elapsed());
        *self = Self::new(wall);
        Some(wall.duration_since(expected)).filter(|by| by.unsigned_abs() > STEP)
    }
}
