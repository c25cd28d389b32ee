//! What would come in one moment is spread.

use super::*;

#[test]
fn what_was_pushed_in_one_moment_is_renewed_over_half_a_day() {
    let life = good(7 * DAY).life.unwrap();
    let mut hours = std::collections::BTreeMap::new();
    for n in 0..1200 {
        let id = id(&format!("a{n}"));
        let renewal = renew_at(&policy(&id, 3 * DAY), life);
        *hours.entry(renewal.as_second() / 3600).or_insert(0) += 1;
    }
    assert_eq!(hours.keys().min(), Some(&84));
    assert_eq!(hours.keys().max(), Some(&95));
    assert!(
        hours.values().all(|number| (60..140).contains(number)),
        "{hours:?}"
    );
}

#[test]
fn what_was_put_off_is_put_off_again_only_while_it_has_time() {
    let record = |left| Record {
        safe_until: Some(after(at(0), left)),
        ..good(7 * DAY)
    };
    let waits = |left, again| {
        let ids = (0..100).map(|n| id(&format!("a{n}")));
        let times = ids.map(|id| after_recovery(&id, &record(left), at(0), again));
        until(at(0), times.max().unwrap())
    };
    for again in [false, true] {
        assert!((6 * MINUTE..=7 * MINUTE).contains(&waits(HOUR, again)));
    }
    assert!((4 * MINUTE..=5 * MINUTE).contains(&waits(10 * MINUTE, false)));
    assert!(waits(24 * MINUTE, true) <= 2 * MINUTE);
    assert_eq!(waits(20 * MINUTE, true), Duration::ZERO);
}

#[test]
fn renewals_that_became_due_while_the_service_did_not_run_are_spread() {
    for (ends, spread) in [(7 * DAY, 5 * MINUTE), (6 * DAY + 4 * MINUTE, MINUTE)] {
        let start = after(at(0), 6 * DAY);
        let mut times = Vec::new();
        for number in 0..100 {
            let id = id(&format!("a{number}"));
            let started = Some(start);
            let policy = Policy {
                started,
                ..policy(&id, 3 * DAY)
            };
            let at_start = Some(start);
            let record = Record {
                observed: at_start,
                proved: at_start,
                ..good(ends)
            };
            times.push(renewal(&policy, &record, start));
            let single = Policy {
                started: None,
                ..policy
            };
            assert_eq!(renewal(&single, &record, start), start);
            let asked = Record {
                asked: true,
                ..record
            };
            let now = next(start, &policy, &asked, start, Timestamp::MAX);
            assert_eq!(now, Next::Do(PlanStep::Push(PushReason::Asked)));
        }
        times.sort_unstable();
        let last = times.last().unwrap();
        assert!(*last <= after(start, spread), "{last}");
        assert!(times[50] >= after(start, spread / 3), "{}", times[50]);
    }
}

#[test]
fn first_looks_after_a_start_are_spread_by_their_number_and_a_single_run_has_them_at_once() {
    for (number, longest) in [(4, 1), (400, 100), (4000, 120)] {
        let mut times = Vec::new();
        for one in 0..100 {
            let id = id(&format!("a{one}"));
            let service = Policy {
                started: Some(at(0)),
                prove_every: prove_every(number, None),
                ..policy(&id, 3 * DAY)
            };
            let record = Record {
                observed: None,
                good_since: None,
                ..good(7 * DAY)
            };
            let step = |policy: &Policy<'_>, now| next(now, policy, &record, at(0), Timestamp::MAX);
            let look = match step(&service, at(0)) {
                Next::Wait(look) => look,
                Next::Do(_) => at(0),
            };
            assert_eq!(step(&service, look), Next::Do(PlanStep::Observe));
            let single = Policy {
                started: None,
                ..service
            };
            assert_eq!(step(&single, at(0)), Next::Do(PlanStep::Observe));
            times.push(look);
        }
        times.sort_unstable();
        assert!(times[99] <= at(longest), "{number}: {}", times[99]);
        assert!(times[50] >= after(at(0), Duration::from_secs(longest) / 3));
    }
}

#[test]
fn first_looks_are_spread_though_the_clock_was_set_back_since_the_start() {
    let mut at_once = 0;
    for number in 0..100 {
        let id = id(&format!("a{number}"));
        let service = Policy {
            started: Some(after(at(100), DAY)),
            prove_every: prove_every(4000, None),
            ..policy(&id, 3 * DAY)
        };
        let record = Record {
            observed: None,
            good_since: None,
            ..good(7 * DAY)
        };
        let step = next(at(100), &service, &record, at(100), Timestamp::MAX);
        at_once += usize::from(matches!(step, Next::Do(_)));
    }
    assert!(at_once < 5, "{at_once}");
}

/// Time of the push for a renewal, from a time on.
fn renewal(policy: &Policy<'_>, record: &Record, mut now: Timestamp) -> Timestamp {
    loop {
        match next(now, policy, record, at(0), Timestamp::MAX) {
            Next::Do(PlanStep::Push(PushReason::Renewal)) => return now,
            Next::Do(step) => panic!("{step:?}"),
            Next::Wait(until) => now = until,
        }
    }
}

#[test]
fn what_lies_in_the_future_is_done_anew_and_spread() {
    for age in [Duration::ZERO, DAY] {
        // By a clock that was ahead: the token was issued, proved and observed in the future.
        let ahead = after(at(100), 365 * DAY);
        let mut pushes = Vec::new();
        for number in 0..100 {
            let id = id(&format!("a{number}"));
            let policy = Policy {
                started: Some(before(ahead, age)),
                ..policy(&id, 3 * DAY)
            };
            let mut record = Record {
                life: Some(Life::new(before(ahead, age), 7 * DAY)),
                observed: Some(ahead),
                proved: Some(ahead),
                ..good(7 * DAY)
            };
            record.fail(&id, problem(Kind::VaultDown), ahead);
            record.failure = record.failure.filter(|_| number % 2 == 0);
            let mut now = at(100);
            loop {
                match next(now, &policy, &record, at(100), Timestamp::MAX) {
                    Next::Do(PlanStep::Push(PushReason::Renewal)) => break,
                    Next::Do(_) => {
                        (record.proved, record.observed) = (Some(now), Some(now));
                        record.failure = None;
                    }
                    Next::Wait(later) => now = later,
                }
            }
            assert!(now <= after(at(100), policy.spread));
            pushes.push(now);
        }
        let in_first_minute = pushes.iter().filter(|time| **time < at(160)).count();
        assert!((5..40).contains(&in_first_minute), "{in_first_minute}");
    }
}

#[test]
fn what_was_set_back_by_less_than_a_tokens_age_is_proved_and_observed_and_renewed_in_time() {
    let id = id("a");
    let policy = policy(&id, 3 * DAY);
    let hours = |hours: u32| after(Timestamp::UNIX_EPOCH, hours * HOUR);
    let record = Record {
        proved: Some(hours(24)),
        observed: Some(hours(24)),
        ..good(7 * DAY)
    };
    let plan_of = |record: &Record, now| next(now, &policy, record, hours(19), hours(20));
    let Next::Wait(later) = plan_of(&record, hours(19)) else {
        panic!("spread")
    };
    assert!(later <= after(hours(19), policy.spread));
    assert_eq!(plan_of(&record, later), Next::Do(PlanStep::Prove));
    let proved = Record {
        proved: Some(later),
        ..record
    };
    assert_eq!(plan_of(&proved, later), Next::Do(PlanStep::Observe));
}

#[test]
fn where_the_clock_was_set_beyond_the_next_check_nothing_waits_for_the_past() {
    let id = id("a");
    let policy = policy(&id, 3 * DAY);
    // The check at 600 is not noticed yet.
    let now = at(5000);
    let record = Record {
        proved: Some(now),
        observed: Some(now),
        ..good(7 * DAY)
    };
    let Next::Wait(later) = next(now, &policy, &record, at(0), at(600)) else {
        panic!("all was done just now");
    };
    assert!(later > now, "{later}");
}
