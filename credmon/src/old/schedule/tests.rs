//! The laws of the schedule, by examples and by properties.

use proptest::prelude::*;

use super::*;

const T0: i64 = 1_795_331_348;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn second(second: i64) -> Second {
    Second::new(second)
}

fn spread(n: u64) -> Spread {
    let id = CredentialId::new(&format!("user{n}"), "cms_crab").unwrap();
    Spread::of("ap.test", &id)
}

fn life(issued: i64, length: i64) -> Life {
    Life {
        issued: second(issued),
        expires: second(issued + length),
    }
}

fn fresh(issued: i64, length: i64) -> Held {
    Held {
        life: Some(life(issued, length)),
        confirmed: second(issued),
    }
}

/// A Vault whose issuer gives tokens of one length; returns the times of renewal.
fn simulate(limits: Limits, spread: Spread, length: i64, until: i64) -> Vec<i64> {
    let mut held = fresh(T0, length);
    let mut times = Vec::new();
    loop {
        let now = next_renewal(limits, spread, held).as_second();
        if now > T0 + until {
            return times;
        }
        let asked = seconds_to_ask(limits, held.life, at(now));
        times.push(now);
        let cached = held.life.unwrap();
        if cached.left(at(now)) < asked {
            assert!(asked <= length, "asked for {asked} of {length}");
            held.life = Some(life(now, length));
        }
        held.confirmed = second(now);
    }
}

#[test]
fn one_hour_tokens_are_renewed_as_the_reference_does_and_are_new_each_time() {
    for n in 0..50 {
        let times = simulate(Limits::default(), spread(n), 3600, 86_400);
        for pair in times.windows(2) {
            let gap = pair[1] - pair[0];
            assert!((960..=1200).contains(&gap), "{gap}");
        }
    }
}

#[test]
fn a_long_lived_token_is_confirmed_each_refresh_and_replaced_before_its_minimum() {
    let limits = Limits::default();
    let length = 388_800;
    let mut held = fresh(T0, length);
    let mut now = T0;
    while held.life.unwrap().issued == second(T0) {
        now = next_renewal(limits, spread(1), held).as_second();
        let asked = seconds_to_ask(limits, held.life, at(now));
        let left = held.life.unwrap().left(at(now));
        assert!(left >= limits.minimum);
        if asked > left {
            held.life = Some(life(now, length));
        } else {
            assert_eq!(asked, limits.minimum);
        }
        held.confirmed = second(now);
    }
    assert!(now > T0 + length - limits.minimum - limits.refresh);
}

#[test]
fn credentials_stored_in_one_moment_are_spread_from_the_first_renewal_on() {
    let mut minutes = std::collections::BTreeMap::<i64, u32>::new();
    for n in 0..10_000 {
        for time in simulate(Limits::default(), spread(n), 3600, 7200) {
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
            let times = simulate(limits, spread(n), 60, 3600);
            for pair in times.windows(2) {
                assert!(
                    (8..=40).contains(&(pair[1] - pair[0])),
                    "{minimum}: {pair:?}"
                );
            }
        }
    }
}

#[test]
fn the_first_token_is_asked_for_with_the_minimum() {
    assert_eq!(seconds_to_ask(Limits::default(), None, at(T0)), 2400);
    let expired = life(T0 - 3600, 3000);
    assert_eq!(
        seconds_to_ask(Limits::default(), Some(expired), at(T0)),
        2400
    );
}

#[test]
fn the_draw_is_the_same_for_ever_and_differs_by_host_user_and_service() {
    let id = |user, service| CredentialId::new(user, service).unwrap();
    let base = Spread::of("h", &id("a", "bc"));
    assert_eq!(base, Spread::of("h", &id("a", "bc")));
    assert_eq!(base.part(1_000_000), 839_473);
    assert_ne!(base, Spread::of("h", &id("ab", "c")));
    assert_ne!(base, Spread::of("i", &id("a", "bc")));
}

fn limits() -> impl Strategy<Value = Limits> {
    (1i64..1_000_000, 1i64..1_000_000).prop_map(|(minimum, refresh)| Limits { minimum, refresh })
}

proptest! {
    #[test]
    fn never_later_than_the_margin_before_the_end_nor_than_refresh(
        limits in limits(), n in any::<u64>(), length in 6i64..3_000_000, age in 0i64..3_000_000,
    ) {
        let held = Held { life: Some(life(T0 - age, length)), confirmed: second(T0) };
        let due = next_renewal(limits, spread(n), held).as_second();
        let end = T0 - age + length;
        let latest = (end - margin(limits, held.life.unwrap())).min(T0 + limits.refresh);
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
        let due = next_renewal(limits, spread(n), fresh(T0, length)).as_second();
        let usual = usual(limits, Some(life(T0, length)));
        prop_assert!(due >= T0 + GAP);
        prop_assert!(due >= T0 + usual / 10);
    }

    #[test]
    fn a_token_that_ends_later_is_never_renewed_earlier(
        limits in limits(), n in any::<u64>(), length in 1i64..1_000_000,
        shift in 0i64..1_000_000, more in 0i64..10_000,
    ) {
        let due = |shift| {
            let held = Held { life: Some(life(T0 - 500_000 + shift, length)), confirmed: second(T0) };
            next_renewal(limits, spread(n), held)
        };
        prop_assert!(due(shift) <= due(shift + more));
    }

    #[test]
    fn slots_take_eighty_to_ninety_percent(usual in 100i64..1_000_000_000) {
        let period = slot_period(usual);
        prop_assert!(period * 10 <= usual * 9 + 10, "{period} of {usual}");
        prop_assert!(period * 10 >= usual * 8 - 10, "{period} of {usual}");
        prop_assert!(2 * period > usual);
    }

    #[test]
    fn a_due_renewal_gets_a_newer_token_from_a_vault_that_can_give_one(
        minimum in 1i64..10_000, n in any::<u64>(), length in 30i64..100_000,
        ahead in -1i64..=1,
    ) {
        let limits = Limits { minimum, refresh: (minimum / 2).max(1) };
        let held = fresh(T0, length);
        let due = next_renewal(limits, spread(n), held);
        let asked = seconds_to_ask(limits, held.life, due.timestamp());
        // Vault's clock may differ a little.
        let tolerated = (usual(limits, held.life) / 20).max(1) - 1;
        let vault_left = held.life.unwrap().left(due.timestamp()) + ahead * tolerated;
        if asked != limits.minimum {
            prop_assert!(asked <= length);
            prop_assert!(asked > vault_left);
        }
    }

    #[test]
    fn waits_grow_are_bounded_and_never_outlive_the_token(
        n in any::<u64>(), failures in 1u32..1000, left in 0i64..100_000,
    ) {
        for (patience, first, most) in [
            (Patience::Transient, 5, 300), (Patience::Person, 60, 600), (Patience::Dead, 1800, 3600),
        ] {
            let wait = retry_delay(patience, failures, spread(n), left);
            prop_assert!(wait <= most + most / 4 + 1);
            prop_assert!(wait >= 3);
            if left > 15 && patience != Patience::Dead {
                prop_assert!(wait <= left / 3);
            }
            if left == 0 {
                prop_assert!(wait >= first * 3 / 4);
                let later = retry_delay(patience, failures + 2, spread(n), 0);
                prop_assert!(later >= wait || wait >= most * 3 / 4);
            }
        }
    }

    #[test]
    fn nothing_overflows(
        minimum in 1i64..=i64::from(i32::MAX), refresh in 1i64..=i64::from(i32::MAX),
        issued in Timestamp::MIN.as_second()..=Timestamp::MAX.as_second(),
        expires in Timestamp::MIN.as_second()..=Timestamp::MAX.as_second(),
        confirmed in Timestamp::MIN.as_second()..=Timestamp::MAX.as_second(),
        now in Timestamp::MIN.as_second()..=Timestamp::MAX.as_second(),
    ) {
        let limits = Limits { minimum, refresh };
        let life = Life { issued: second(issued), expires: second(expires) };
        let held = Held { life: Some(life), confirmed: second(confirmed) };
        let _ = next_renewal(limits, spread(1), held);
        let asked = seconds_to_ask(limits, held.life, at(now));
        prop_assert!(asked > 0);
        let _ = after(at(now), asked);
    }
}
