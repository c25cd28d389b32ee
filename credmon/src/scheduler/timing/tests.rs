//! The laws of the schedule, by examples and by properties.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

const T0: i64 = 1_795_331_348;

fn jitter(n: u64) -> Jitter {
    Jitter::of("ap.test", &format!("user{n}"), "cms_crab")
}

fn times(length: i64, left: i64) -> TokenTimes {
    TokenTimes {
        length,
        left,
        at_receipt: length,
    }
}

/// When a token that was issued and confirmed in one moment is renewed.
fn due_when_fresh(limits: Limits, jitter: Jitter, issued: i64, length: i64) -> i64 {
    next_renewal(limits, jitter, issued, issued, Some(times(length, length)))
}

/// A Vault whose issuer gives tokens of one length; returns the times of renewal.
fn simulate(limits: Limits, jitter: Jitter, length: i64, until: i64) -> Vec<i64> {
    let (mut expires, mut confirmed) = (T0 + length, T0);
    let mut renewals = Vec::new();
    loop {
        let token = times(length, expires - confirmed);
        let now = next_renewal(limits, jitter, confirmed, confirmed, Some(token));
        if now > T0 + until {
            return renewals;
        }
        let asked = seconds_to_ask(limits, Some(times(length, expires - now)));
        renewals.push(now);
        if expires - now < asked {
            assert!(asked <= length, "asked for {asked} of {length}");
            expires = now + length;
        }
        confirmed = now;
    }
}

#[test]
fn one_hour_tokens_are_renewed_as_the_reference_does_and_are_new_each_time() {
    for n in 0..50 {
        let renewals = simulate(Limits::default(), jitter(n), 3600, 86_400);
        for pair in renewals.windows(2) {
            let gap = pair[1] - pair[0];
            assert!((960..=1200).contains(&gap), "{gap}");
        }
    }
}

#[test]
fn long_lived_tokens_are_to_keep_two_thirds_of_their_life() {
    let margins = [1200, 3600, 5400, 7200, 10_800, 21_600, 388_800]
        .map(|length| comfort(Limits::default(), length));
    assert_eq!(margins, [800, 2400, 2400, 3600, 7200, 14_400, 259_200]);
    let small = Limits {
        minimum: 60,
        refresh: 30,
    };
    let margins = [60, 600, 3600, 3660, 7200].map(|length| comfort(small, length));
    assert_eq!(margins, [40, 60, 60, 60, 3600]);
}

#[test]
fn a_long_lived_token_is_confirmed_each_refresh_and_replaced_at_a_third_of_its_life() {
    let limits = Limits::default();
    let length = 388_800;
    let least = length / 3 * 2;
    let expires = T0 + length;
    let (mut confirmed, mut asked) = (T0, 0);
    while asked <= expires - confirmed {
        let left = expires - confirmed;
        confirmed = next_renewal(
            limits,
            jitter(1),
            confirmed,
            confirmed,
            Some(times(length, left)),
        );
        let left = expires - confirmed;
        assert!(left >= least);
        asked = seconds_to_ask(limits, Some(times(length, left)));
        assert!(asked > left || asked == limits.minimum);
    }
    assert!(confirmed > expires - least - 2 * limits.refresh);
}

#[test]
fn credentials_stored_in_one_moment_are_spread_from_the_first_renewal_on() {
    let mut minutes = std::collections::BTreeMap::<i64, u32>::new();
    for n in 0..10_000 {
        for time in simulate(Limits::default(), jitter(n), 3600, 7200) {
            *minutes.entry((time - T0) / 60).or_default() += 1;
        }
    }
    let total: u32 = minutes.values().sum();
    let mean = f64::from(total) / 120.0;
    let busiest = f64::from(*minutes.values().max().unwrap());
    assert!(
        busiest < 2.0 * mean,
        "busiest {busiest}, mean {mean}: {minutes:?}"
    );
}

#[test]
fn tokens_of_a_minute_are_renewed_in_time_whatever_the_minimum() {
    for minimum in [20, 40, 2400] {
        let limits = Limits {
            minimum,
            refresh: (minimum / 2).max(1),
        };
        for n in 0..20 {
            for pair in simulate(limits, jitter(n), 60, 3600).windows(2) {
                let gap = pair[1] - pair[0];
                assert!((8..=40).contains(&gap), "{minimum}: {gap}");
            }
        }
    }
}

#[test]
fn the_first_token_is_asked_for_with_the_minimum() {
    assert_eq!(seconds_to_ask(Limits::default(), None), 2400);
    let expired = times(3000, 0);
    assert_eq!(seconds_to_ask(Limits::default(), Some(expired)), 2400);
}

#[test]
fn the_draw_is_the_same_for_ever_and_differs_by_host_user_and_service() {
    let base = Jitter::of("h", "a", "bc");
    assert_eq!(base, Jitter::of("h", "a", "bc"));
    assert_eq!(base.part(1_000_000), 839_473);
    assert_ne!(base, Jitter::of("h", "ab", "c"));
    assert_ne!(base, Jitter::of("i", "a", "bc"));
    assert_ne!(base, base.redrawn(0));
    assert_ne!(base.redrawn(1), base.redrawn(2));
}

#[test]
fn a_probe_comes_within_thirty_seconds_however_long_the_outage_is() {
    for n in 0..100 {
        let first = probe_delay(1, jitter(n));
        assert!((1..=3).contains(&first), "{first}");
        for failures in 2..50 {
            let delay = probe_delay(failures, jitter(n));
            assert!((2..=30).contains(&delay), "{failures}: {delay}");
        }
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    (1i64..1_000_000, 1i64..1_000_000).prop_map(|(minimum, refresh)| Limits { minimum, refresh })
}

fn policies() -> [(RetryPolicy, i64, i64); 4] {
    [
        (RetryPolicy::Transient, 5, 300),
        (RetryPolicy::NeedsPerson, 60, 600),
        (RetryPolicy::Dead, 1800, 3600),
        (RetryPolicy::Quota, 30, 300),
    ]
}

#[test]
fn a_renewal_asks_for_what_is_worth_a_request_and_an_issuer_can_give() {
    let limits = Limits {
        minimum: 2400,
        refresh: 1200,
    };
    let asked = |length, left| seconds_to_ask(limits, Some(times(length, left)));
    // Vault's cached token that is newer by less than five minutes would be due again at once.
    assert_eq!(asked(3600, 2400), 2700);
    assert_eq!(asked(3600, 1800), 2100);
    // No issuer gives more than a whole life, and what is in place is not asked for again.
    assert_eq!(asked(3600, 3500), 3590);
    assert_eq!(asked(3600, 3595), 3596);
    // A long-lived one is only confirmed.
    assert_eq!(asked(21_600, 20_000), 2400);
}

proptest! {
    /// So jobs are carried through a long outage, and the issuer is asked at most once an hour for what MINIMUM alone
    /// would not ask for.
    #[test]
    fn what_a_token_should_have_left_is_bounded(
        limits in limits(), length in 0i64..3_000_000, more in 0i64..100_000,
    ) {
        let of = |length| comfort(limits, length);
        prop_assert!(of(length) >= margin(limits, length));
        prop_assert!(of(length) <= length * 2 / 3);
        prop_assert!(of(length) == margin(limits, length) || length - of(length) >= LEAST_AGE);
        prop_assert!(of(length) <= of(length + more), "a longer life carries as much");
    }

    /// With confirmations more often than a tenth of a life: what a long-lived token has left at every time.
    #[test]
    fn a_long_lived_token_always_has_what_it_should(
        n in any::<u64>(), length in 7200i64..1_000_000,
    ) {
        let limits = Limits { minimum: 600, refresh: 300 };
        let (mut expires, mut confirmed) = (T0 + length, T0);
        while confirmed < T0 + 2 * length {
            let token = times(length, expires - confirmed);
            let now = next_renewal(limits, jitter(n), confirmed, confirmed, Some(token));
            prop_assert!(expires - now >= comfort(limits, length));
            if seconds_to_ask(limits, Some(times(length, expires - now))) > expires - now {
                prop_assert!(now + length - expires >= LEAST_AGE - 2 * limits.refresh);
                expires = now + length;
            }
            confirmed = now;
        }
    }

    #[test]
    fn never_later_than_the_margin_before_the_end_nor_than_refresh(
        limits in limits(), n in any::<u64>(), length in 6i64..3_000_000, age in 0i64..3_000_000,
    ) {
        let end = T0 - age + length;
        let due = next_renewal(limits, jitter(n), T0, T0, Some(times(length, end - T0)));
        let latest = (end - margin(limits, length)).min(T0 + limits.refresh);
        prop_assert!(due <= latest.max(T0 + GAP));
        // A fresh token is renewed with at least a third of its life left, or two seconds' worth.
        if age == 0 && length >= 12 {
            prop_assert!(end - due >= limits.minimum.min(length / 3));
        }
    }

    #[test]
    fn never_too_soon_after_a_success(
        limits in limits(), n in any::<u64>(), length in 6i64..3_000_000,
    ) {
        let due = due_when_fresh(limits, jitter(n), T0, length);
        prop_assert!(due >= T0 + GAP);
        prop_assert!(due >= T0 + usual(limits, Some(length)) / 10);
    }

    #[test]
    fn a_token_that_ends_later_is_never_renewed_earlier(
        limits in limits(), n in any::<u64>(), length in 1i64..1_000_000,
        left in -500_000i64..1_000_000, more in 0i64..10_000,
    ) {
        let due = |left| next_renewal(limits, jitter(n), T0, T0, Some(times(length, left)));
        prop_assert!(due(left) <= due(left + more));
    }

    #[test]
    fn the_time_of_a_renewal_does_not_depend_on_when_it_is_computed(
        limits in limits(), n in any::<u64>(), length in 100i64..1_000_000, later in 0i64..100,
    ) {
        let first = due_when_fresh(limits, jitter(n), T0, length);
        let token = Some(times(length, length - later));
        prop_assert_eq!(first, next_renewal(limits, jitter(n), T0 + later, T0, token));
    }

    #[test]
    fn slots_take_eighty_to_ninety_percent(usual in 100i64..1_000_000_000) {
        let period = slot_period(usual);
        prop_assert!(period * 10 <= usual * 9 + 10, "{period} of {usual}");
        prop_assert!(period * 10 >= usual * 8 - 10, "{period} of {usual}");
        prop_assert!(2 * period > usual);
    }

    #[test]
    fn a_renewal_that_is_due_gets_a_newer_token_from_a_vault_that_can_give_one(
        minimum in 1i64..10_000, n in any::<u64>(), length in 30i64..100_000, ahead in -1i64..=1,
    ) {
        let limits = Limits { minimum, refresh: (minimum / 2).max(1) };
        let due = due_when_fresh(limits, jitter(n), T0, length);
        let left = (T0 + length - due).max(0);
        let asked = seconds_to_ask(limits, Some(times(length, left)));
        // Vault's clock may differ a little.
        let tolerated = (usual(limits, Some(length)) / 20).max(1) - 1;
        let left_at_vault = left + ahead * tolerated;
        if asked != limits.minimum {
            prop_assert!(asked <= length);
            prop_assert!(asked > left_at_vault);
        }
    }

    #[test]
    fn waits_grow_are_bounded_and_never_outlive_the_token(
        n in any::<u64>(), failures in 1u32..1000, left in 0i64..100_000,
    ) {
        for (policy, first, most) in policies() {
            let wait = retry_delay(policy, failures, jitter(n), Some(left));
            prop_assert!(wait <= most + most / 4 + 1);
            prop_assert!(wait >= 3);
            if left > 15 && policy != RetryPolicy::Dead {
                prop_assert!(wait <= left / 3);
            }
            let without = retry_delay(policy, failures, jitter(n), None);
            prop_assert!(without >= first * 3 / 4 && without <= most + most / 4 + 1);
            let later = retry_delay(policy, failures + 2, jitter(n), None);
            prop_assert!(later >= without || without >= most * 3 / 4);
        }
    }

    #[test]
    fn waits_are_short_once_a_token_has_expired(n in any::<u64>(), failures in 1u32..1000) {
        for (policy, longest) in [
            (RetryPolicy::Transient, 60),
            (RetryPolicy::Quota, 60),
            (RetryPolicy::NeedsPerson, 120),
        ] {
            let wait = retry_delay(policy, failures, jitter(n), Some(0));
            prop_assert!((3..=longest).contains(&wait), "{policy:?}: {wait}");
        }
    }

    #[test]
    fn nothing_overflows(
        minimum in 1i64..=i64::from(i32::MAX), refresh in 1i64..=i64::from(i32::MAX),
        length in 0i64..=2 * Timestamp::MAX.as_second(),
        left in 0i64..=2 * Timestamp::MAX.as_second(),
        confirmed in Timestamp::MIN.as_second()..=Timestamp::MAX.as_second(),
        now in Timestamp::MIN.as_second()..=Timestamp::MAX.as_second(),
        failures in any::<u32>(),
    ) {
        let limits = Limits { minimum, refresh };
        let token = Some(times(length, left));
        let _ = next_renewal(limits, jitter(1), now, confirmed, token);
        let _ = next_renewal(limits, jitter(1), now, confirmed, None);
        prop_assert!(seconds_to_ask(limits, token) > 0);
        prop_assert!(usual(limits, Some(length)) > 0);
        for (policy, ..) in policies() {
            prop_assert!(retry_delay(policy, failures, jitter(1), Some(left)) > 0);
        }
        prop_assert!(probe_delay(failures, jitter(1)) > 0);
    }
}
