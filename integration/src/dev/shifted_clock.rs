//! A clock that goes wrong by a set amount, for tokens that are not valid yet or no longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use htvault::clock::Clock;
use jiff::{SignedDuration, Timestamp};

/// Another clock and an offset.
pub struct ShiftedClock {
    base: Arc<dyn Clock>,
    milliseconds: AtomicI64,
}

impl ShiftedClock {
    /// A clock that is right for now.
    #[must_use]
    pub fn new(base: Arc<dyn Clock>) -> Self {
        Self {
            base,
            milliseconds: AtomicI64::new(0),
        }
    }

    /// How far it is ahead.
    #[must_use]
    pub fn shift(&self) -> SignedDuration {
        SignedDuration::from_millis(self.milliseconds.load(Ordering::Relaxed))
    }

    /// Sets it ahead, or behind.
    pub fn set_shift(&self, shift: SignedDuration) {
        let milliseconds = i64::try_from(shift.as_millis()).unwrap_or(0);
        self.milliseconds.store(milliseconds, Ordering::Relaxed);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        let now = self.base.now();
        now.checked_add(self.shift()).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Zero;

    impl Clock for Zero {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
    }

    #[test]
    fn it_is_ahead_or_behind_by_what_it_is_told() {
        let clock = ShiftedClock::new(Arc::new(Zero));
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
        clock.set_shift(SignedDuration::from_hours(-2));
        assert_eq!(clock.now().as_second(), -7200);
    }
}
