//! A time to the second, in eight bytes: several are kept of each credential, of which there are
//! thousands.

use std::fmt;
use std::num::NonZero;

use jiff::Timestamp;

/// Whole seconds since 1970, within what a [`Timestamp`] can hold. `Option<Second>` is no larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
// Twice the seconds and one: never zero, and in the same order.
pub struct Second(NonZero<i64>);

impl Second {
    /// A number of seconds since 1970; at most what a [`Timestamp`] can hold.
    #[must_use]
    pub fn new(second: i64) -> Self {
        let least = Timestamp::MIN.as_second();
        let second = second.clamp(least, Timestamp::MAX.as_second());
        Self(NonZero::new(second.saturating_mul(2) | 1).unwrap_or(NonZero::<i64>::MIN))
    }

    /// The earliest of all.
    #[must_use]
    pub fn earliest() -> Self {
        Self::new(i64::MIN)
    }

    /// The latest of all.
    #[must_use]
    pub fn latest() -> Self {
        Self::new(i64::MAX)
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn as_second(self) -> i64 {
        self.0.get() >> 1
    }

    /// The beginning of the second.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        // Always within its bounds.
        Timestamp::from_second(self.as_second()).unwrap_or_default()
    }
}

impl From<Timestamp> for Second {
    /// The second that a time is in.
    fn from(time: Timestamp) -> Self {
        let second = time.as_second();
        let is_before = time.subsec_nanosecond() < 0;
        Self::new(if is_before { second - 1 } else { second })
    }
}

impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timestamp().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn seconds_are_kept_in_their_order_and_parts_of_them_are_not(
            a in -400_000_000_000i64..400_000_000_000,
            b in -400_000_000_000i64..400_000_000_000,
            nanosecond in 0i32..1_000_000_000,
        ) {
            let bounded = |s: i64| s.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
            let (kept, other) = (Second::new(a), Second::new(b));
            prop_assert_eq!(kept.as_second(), bounded(a));
            prop_assert_eq!(kept.cmp(&other), bounded(a).cmp(&bounded(b)));
            prop_assert_eq!(kept.timestamp().as_second(), bounded(a));
            let Ok(time) = Timestamp::new(a, nanosecond) else { return Ok(()) };
            prop_assert_eq!(Second::from(time), kept);
        }
    }

    #[test]
    fn it_is_as_small_as_it_says_and_shown_as_a_time() {
        assert_eq!(size_of::<Option<Second>>(), 8);
        assert_eq!(Second::new(3).to_string(), "1970-01-01T00:00:03Z");
    }
}
