//! Order of several addresses: the preferred one first, those in back-off last.
//!
//! Pure: the time is passed in. The laws:
//! - Every address is in every order, so a call fails only after all were tried.
//! - A call that succeeds elsewhere moves the preference there, where it stays put for
//!   [`STAY`]; then it returns to the first address. So neither does every call begin with a dead
//!   address, nor do clients drift away from the order that the admin wrote down.
//! - An address that failed goes to the end of the order for a time that grows with each failure
//!   in a row, and never exceeds [`STAY`].

use std::time::Duration;

use tokio::time::Instant;

/// Life of a preference for another than the first address.
pub(crate) const STAY: Duration = Duration::from_mins(5);
/// Back-off of an address after its first failure; doubled after each further one.
const BACK_OFF: Duration = Duration::from_secs(15);

/// The health of addresses, by their index.
#[derive(Clone, Debug)]
pub(crate) struct Preference(Vec<Health>);

/// The health of one address.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    /// Failures in a row.
    failures: u32,
    /// End of its back-off: until then it goes to the end of the order.
    backs_off_until: Option<Instant>,
    /// Time at which the preference moved here; one address at most has it.
    preferred_since: Option<Instant>,
}

impl Health {
    fn backs_off(&self, now: Instant) -> bool {
        self.backs_off_until.is_some_and(|until| now < until)
    }

    /// Time since which it is preferred, while it is.
    fn preferred_since(&self, now: Instant) -> Option<Instant> {
        self.preferred_since.filter(|since| now < *since + STAY)
    }
}

impl Preference {
    /// For as many addresses as there are health records.
    pub(crate) fn new(health: Vec<Health>) -> Self {
        Self(health)
    }

    /// Health of an address, to be carried over to another list that holds it.
    pub(crate) fn health(&self, index: usize) -> Health {
        self.0.get(index).copied().unwrap_or_default()
    }

    /// The order in which to try the addresses at `now`.
    pub(crate) fn order(&self, now: Instant) -> Vec<usize> {
        let preferred = |health: &Health| health.preferred_since(now).is_some();
        let first = self.0.iter().position(preferred).unwrap_or(0);
        let count = self.0.len();
        let mut order: Vec<usize> = (0..count).map(|step| (first + step) % count).collect();
        // Stable: healthy addresses keep their order, those in back-off follow, the soonest first.
        order.sort_by_key(|&index| {
            let health = self.health(index);
            health.backs_off(now).then_some(health.backs_off_until)
        });
        order
    }

    /// A call at this address gave no useful answer.
    pub(crate) fn failed(&mut self, index: usize, now: Instant) {
        if let Some(health) = self.0.get_mut(index) {
            // Calls that were under way together count as one failure.
            if health.backs_off(now) {
                return;
            }
            let growth = 2_u32.saturating_pow(health.failures.min(8));
            health.backs_off_until = Some(now + BACK_OFF.saturating_mul(growth).min(STAY));
            health.failures = health.failures.saturating_add(1);
        }
    }

    /// A call at this address was answered.
    pub(crate) fn succeeded(&mut self, index: usize, now: Instant) {
        let since = self.health(index).preferred_since(now).unwrap_or(now);
        for health in &mut self.0 {
            health.preferred_since = None;
        }
        if let Some(health) = self.0.get_mut(index) {
            *health = Health {
                preferred_since: (index > 0).then_some(since),
                ..Health::default()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn three() -> Preference {
        Preference::new(vec![Health::default(); 3])
    }

    #[test]
    fn the_first_is_tried_first_until_it_fails() {
        let now = Instant::now();
        let mut preference = three();
        assert_eq!(preference.order(now), [0, 1, 2]);
        preference.failed(0, now);
        assert_eq!(preference.order(now), [1, 2, 0]);
    }

    #[test]
    fn a_preference_stays_put_for_five_minutes_and_then_returns() {
        let now = Instant::now();
        let mut preference = three();
        preference.failed(0, now);
        preference.succeeded(1, now);
        // The back-off of the first is over, and yet nothing changes.
        assert_eq!(preference.order(now + Duration::from_mins(1)), [1, 2, 0]);
        preference.succeeded(1, now + Duration::from_mins(4));
        assert_eq!(preference.order(now + STAY), [0, 1, 2]);
        // It is still dead: one call finds out, then five minutes more.
        preference.failed(0, now + STAY);
        preference.succeeded(1, now + STAY);
        assert_eq!(
            preference.order(now + STAY + Duration::from_mins(2)),
            [1, 2, 0]
        );
    }

    #[test]
    fn resting_ones_come_last_the_soonest_first() {
        let now = Instant::now();
        let mut preference = three();
        preference.failed(1, now);
        preference.failed(0, now + Duration::from_secs(1));
        assert_eq!(preference.order(now + Duration::from_secs(2)), [2, 1, 0]);
    }

    proptest! {
        #[test]
        fn every_address_is_in_every_order(
            events in prop::collection::vec((0_usize..4, any::<bool>(), 0_u64..400), 0..40)
        ) {
            let mut now = Instant::now();
            let mut preference = Preference::new(vec![Health::default(); 4]);
            for (index, good, seconds) in events {
                now += Duration::from_secs(seconds);
                if good {
                    preference.succeeded(index, now);
                    prop_assert!(!preference.health(index).backs_off(now));
                } else {
                    preference.failed(index, now);
                    // Never backs off for longer than the preference stays.
                    prop_assert!(!preference.health(index).backs_off(now + STAY));
                }
                let mut order = preference.order(now);
                order.sort_unstable();
                prop_assert_eq!(order, vec![0, 1, 2, 3]);
            }
        }
    }
}
