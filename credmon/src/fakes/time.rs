//! Wall-clock time for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use htvault::clock::{Clock, SystemClock};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Wall time that goes with tokio's (paused) time, and jumps when told to.
#[derive(Clone, Debug)]
pub(crate) struct TestClock {
    base: Timestamp,
    start: Instant,
    shift: Arc<AtomicI64>,
}

impl TestClock {
    pub(crate) fn new() -> Self {
        Self {
            base: Timestamp::from_second(SystemClock.now().as_second()).unwrap(),
            start: Instant::now(),
            shift: Arc::default(),
        }
    }

    /// A clock that shows the same now, and jumps by itself.
    pub(crate) fn apart(&self) -> Self {
        let shift = self.shift.load(Ordering::Relaxed);
        Self {
            shift: Arc::new(shift.into()),
            ..self.clone()
        }
    }

    /// Jumps by some seconds.
    pub(crate) fn jump(&self, seconds: i64) {
        self.shift.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let shift = SignedDuration::from_secs(self.shift.load(Ordering::Relaxed));
        self.base + self.start.elapsed() + shift
    }
}
