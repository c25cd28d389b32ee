//! The laws of a start.

use proptest::prelude::*;

use super::*;
use crate::fixtures::id;
use crate::model::delivery::DeliveryId;
use crate::model::records::TokenRecord;
use crate::policy::plan::{Next, PlanStep, Record, next, renew_at};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const REQUESTED: &str = "https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:default";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn policy(id: &DeliveryId) -> Policy<'_> {
    Policy {
        id,
        lifetime: 7 * DAY,
        renew_below: 3 * DAY,
        spread: Duration::from_mins(5),
        prove_every: HOUR,
        started: None,
    }
}

fn installed() -> InstalledToken {
    InstalledToken {
        token: TokenRecord {
            accessor: "accessor".to_owned(),
            life: Life::new(at(0), 7 * DAY),
        },
        stored: Some(at(3)),
        requested: REQUESTED.to_owned(),
        access_seconds: Some(3600),
        access_reads: Vec::new(),
        subject: None,
        jobs_safe_until: None,
    }
}

/// What a start makes of it a day after the push, with the credmon at work.
fn decide(
    change: impl FnOnce(&mut InstalledToken),
    stored: i64,
    served: i64,
) -> Result<Inherited, PushReason> {
    let id = id("a");
    let mut installed = installed();
    change(&mut installed);
    let found = FoundToken {
        installed: Some(&installed),
        requested: REQUESTED,
        stored: at(stored),
        served: Some(at(served)),
    };
    inherit(&policy(&id), &found, at(86_400))
}

#[test]
fn what_is_noted_and_still_there_is_kept_with_its_exact_life() {
    let kept = Ok(Inherited {
        accessor: Some("accessor".to_owned()),
        life: Life {
            issued: at(0),
            expires: after(at(0), 7 * DAY),
        },
        stored: at(3),
        renew_by: None,
    });
    assert_eq!(decide(|_| {}, 3, 86_000), kept);
    assert_eq!(decide(|_| {}, 4, 86_000), Err(PushReason::Replaced));
    assert_eq!(
        decide(|p| p.stored = None, 3, 86_000),
        Err(PushReason::Replaced)
    );
    assert_eq!(
        decide(|p| p.requested = "else".to_owned(), 3, 86_000),
        Err(PushReason::Changed)
    );
    // The credmon should have made another by now.
    assert_eq!(decide(|_| {}, 3, 84_600), Err(PushReason::Stale));
    assert_eq!(
        decide(|_| {}, 3, 2),
        Err(PushReason::Stale),
        "of the token before"
    );
    assert_eq!(
        decide(|p| p.token.life.expires = at(86_400), 3, 86_000),
        Err(PushReason::Renewal)
    );
    assert_eq!(
        decide(|p| p.token.life.expires = after(at(0), 8 * DAY), 3, 86_000),
        Err(PushReason::Changed),
        "never longer than configured"
    );
    let clock_was_set_back = |p: &mut InstalledToken| {
        p.token.life.issued = at(100_000);
        p.token.life.expires = at(100_000 + 86_400);
    };
    assert_eq!(
        decide(clock_was_set_back, 3, 86_000),
        Err(PushReason::Renewal)
    );
}

#[test]
fn without_a_note_the_life_is_an_estimate_that_is_not_trusted_for_long() {
    let id = id("a");
    let decide = |stored: i64, served: Option<i64>, now: i64| {
        let found = FoundToken {
            installed: None,
            requested: REQUESTED,
            stored: at(stored),
            served: served.map(at),
        };
        inherit(&policy(&id), &found, at(now))
    };
    let Ok(Inherited {
        accessor: None,
        life,
        renew_by: Some(renew_by),
        ..
    }) = decide(0, Some(86_000), 86_400)
    else {
        panic!("it serves");
    };
    assert_eq!(life.expires, after(at(0), 7 * DAY));
    assert!(at(86_400) < renew_by && renew_by <= after(at(86_400), SETTLING));
    assert_eq!(decide(0, Some(80_000), 86_400), Err(PushReason::Stale));
    assert_eq!(decide(86_390, Some(86_000), 86_400), Err(PushReason::First));
    assert_eq!(decide(86_390, None, 86_400), Err(PushReason::First));
    assert_eq!(
        decide(90_000, Some(90_000), 86_400),
        Err(PushReason::Renewal),
        "to come"
    );
    let late = 86_400 * 4 + 10;
    assert_eq!(decide(0, Some(late), late), Err(PushReason::Renewal));
}

#[test]
fn a_start_without_notes_is_no_burst_and_begins_with_what_ends_first() {
    let mut begins = Vec::new();
    for n in 0..2000_i64 {
        let id = id(&format!("a{n}"));
        // Pushed evenly over the last four days.
        let stored = 86_400 * 4 - n * 170;
        let found = FoundToken {
            installed: None,
            requested: REQUESTED,
            stored: at(stored),
            served: Some(at(86_400 * 4)),
        };
        if let Ok(Inherited { renew_by, .. }) = inherit(&policy(&id), &found, at(86_400 * 4)) {
            begins.push((stored, renew_by.unwrap().as_second() - 86_400 * 4));
        }
    }
    assert!(begins.len() > 1900);
    let mut minutes = std::collections::BTreeMap::new();
    for (_, second) in &begins {
        *minutes.entry(second / 60).or_insert(0) += 1;
    }
    let most = minutes.values().max().unwrap();
    assert!(*most <= 25, "{most} in a minute of six hours");
    let mean = |part: &[(i64, i64)]| {
        let sum: i64 = part.iter().map(|(_, second)| second).sum();
        sum / i64::try_from(part.len()).unwrap()
    };
    begins.sort_unstable();
    let (old, young) = begins.split_at(begins.len() / 2);
    assert!(
        mean(old) * 2 < mean(young),
        "those that expire first, first"
    );
}

proptest! {
    /// Whatever a restart finds, no delivery runs out, and each is pushed at most once before its
    /// next proper renewal: with a state or without, whenever the token really expires.
    #[test]
    fn no_delivery_runs_out_and_none_is_pushed_twice(
        account in "[a-z]{1,8}",
        age in 0_i64..700_000,
        real_life in 3_600_i64..604_800,
        recorded: bool,
        serves_each in 60_i64..1_200,
    ) {
        let id = id(&account);
        let policy = policy(&id);
        let begin = 1_000_000;
        let stored = begin - age;
        let expires = stored + real_life;
        // Access tokens are valid for an hour, and the credmon renews them while the vault token is valid.
        let served_at = |now: i64| {
            let last = now.min(expires - 1);
            (last >= stored).then(|| at(stored + (last - stored) / serves_each * serves_each))
        };
        prop_assume!(expires > begin);
        let installed = InstalledToken {
            token: TokenRecord { accessor: "a".to_owned(), life: Life { issued: at(stored), expires: at(expires) } },
            stored: Some(at(stored)),
            ..installed()
        };
        let found = FoundToken {
            installed: recorded.then_some(&installed),
            requested: REQUESTED,
            stored: at(stored),
            served: served_at(begin),
        };
        let mut record = Record { observed: Some(at(begin)), good_since: Some(at(begin)), ..Record::default() };
        let mut pushed = None;
        match inherit(&policy, &found, at(begin)) {
            Err(_) => pushed = Some(begin),
            Ok(Inherited { life, renew_by, .. }) => {
                record.life = Some(life);
                record.renew_by = renew_by;
            }
        }
        // Observations every ten minutes, as planned, until something is pushed.
        let mut now = begin;
        while pushed.is_none() {
            let tick = now / 600 * 600;
            match next(at(now), &policy, &record, at(tick), at(tick + 600)) {
                Next::Do(PlanStep::Push(_)) => pushed = Some(now),
                Next::Do(_) => {
                    (record.observed, record.proved) = (Some(at(now)), Some(at(now)));
                    let life = recorded.then_some(HOUR);
                    if jobs::credmon(at(stored), served_at(now), life, at(now)) == jobs::Credmon::Stopped {
                        pushed = Some(now);
                    }
                }
                Next::Wait(later) => now = later.as_second().max(now + 1).min(tick + 600),
            }
        }
        let pushed = pushed.unwrap();
        // The last access token is valid for an hour: jobs had one at the time of the push.
        let served = served_at(pushed).unwrap();
        prop_assert!(at(pushed) < after(served, HOUR), "dark from {served} until {pushed}");
        // The new token is owned: nothing but its own renewal pushes again.
        let life = Life { issued: at(pushed), expires: after(at(pushed), 7 * DAY) };
        prop_assert!(renew_at(&policy, life) > after(at(pushed), 3 * DAY));
        if recorded && real_life > 400_000 && age < real_life - 300_000 {
            prop_assert!(pushed > begin, "what is good and known is not pushed at the start");
        }
    }
}
