//! Whatever happens, in whatever order: bounds hold, nothing is forgotten, and all becomes well again.

use std::time::Duration;

use htvault::ErrorKind;
use proptest::prelude::*;

use super::site::{failure, strange};
use super::world::id;
use super::*;
use crate::model::{CredentialId, Failure, Outcome, Rules, State, TopProblem};

const USERS: [&str; 4] = ["u", "v", "w", "x"];
/// Another account, with an issuer of its own.
const BYSTANDER: &str = "y";
const SERVICES: [&str; 3] = ["cms", "cms_crab", "dune"];
const HOSTS: [&str; 2] = ["a", "b"];
const ISSUERS: [&str; 2] = ["i", "j"];

#[derive(Clone, Copy, Debug)]
enum Act {
    Store {
        host: usize,
        issuer: usize,
    },
    Spoil {
        unreadable: bool,
    },
    Remove,
    PutToken(Option<i64>),
    Plan,
    End(Answer),
    Panic,
    Pass(i64),
    Wait(i64),
    StepClock(i64),
    Down {
        host: usize,
        kind: Option<ErrorKind>,
    },
    IssuerDown {
        issuer: usize,
        down: bool,
    },
    Refuse(Option<Answer>),
    Scanned,
    Reconsider {
        trusts_all: bool,
    },
}

/// How a task ends.
#[derive(Clone, Copy, Debug)]
enum Answer {
    OfSite,
    Unchanged,
    Changed,
    Dead,
    Strange,
    Local,
    Failed(ErrorKind, Option<u64>),
}

impl Answer {
    /// `true` for what a host says of itself, and counts for all there when several accounts get it.
    fn is_of_host(self) -> bool {
        use ErrorKind::{NotVault, RateLimited, Sealed, TimedOut, Unreachable};
        let Self::Failed(kind, _) = self else {
            return false;
        };
        matches!(
            kind,
            NotVault | RateLimited | Sealed | TimedOut | Unreachable
        )
    }

    fn outcome(self, id: &CredentialId) -> Option<Outcome> {
        Some(match self {
            Self::OfSite => return None,
            Self::Unchanged => Outcome::Unchanged,
            Self::Changed => Outcome::Changed,
            Self::Dead => Outcome::TokenDead("dead".to_owned()),
            Self::Strange => strange(id),
            Self::Local => Outcome::Failed(Failure::local("ENOSPC".to_owned(), "")),
            Self::Failed(kind, seconds) => Outcome::Failed(Failure {
                retry_after: seconds.map(Duration::from_secs),
                ..failure(kind, id)
            }),
        })
    }
}

fn kinds() -> impl Strategy<Value = ErrorKind> {
    prop_oneof![
        Just(ErrorKind::Sealed),
        Just(ErrorKind::Unreachable),
        Just(ErrorKind::RateLimited),
        Just(ErrorKind::NotLongEnough),
        Just(ErrorKind::IssuerDown),
        Just(ErrorKind::RefreshRefused),
        Just(ErrorKind::Forbidden),
        Just(ErrorKind::TimedOut),
        Just(ErrorKind::NotVault),
        Just(ErrorKind::LocalResource),
    ]
}

fn answers() -> impl Strategy<Value = Answer> {
    let seconds = prop_oneof![
        Just(None),
        Just(Some(1)),
        Just(Some(99_999)),
        Just(Some(u64::MAX))
    ];
    prop_oneof![
        4 => Just(Answer::OfSite),
        1 => Just(Answer::Unchanged),
        1 => Just(Answer::Changed),
        1 => Just(Answer::Dead),
        1 => Just(Answer::Strange),
        1 => Just(Answer::Local),
        5 => (kinds(), seconds).prop_map(|(kind, seconds)| Answer::Failed(kind, seconds)),
    ]
}

fn acts() -> impl Strategy<Value = Vec<(u16, Act)>> {
    let act = prop_oneof![
        6 => (0usize..2, 0usize..2).prop_map(|(host, issuer)| Act::Store { host, issuer }),
        1 => any::<bool>().prop_map(|unreadable| Act::Spoil { unreadable }),
        2 => Just(Act::Remove),
        1 => proptest::option::of(-100i64..10_000).prop_map(Act::PutToken),
        4 => Just(Act::Plan),
        6 => answers().prop_map(Act::End),
        1 => Just(Act::Panic),
        3 => (0i64..200).prop_map(Act::Pass),
        1 => Just(Act::Pass(4000)),
        2 => (0i64..100).prop_map(Act::Wait),
        1 => prop_oneof![Just(-86_400), Just(-600), Just(600), Just(3600), Just(86_400)]
            .prop_map(Act::StepClock),
        2 => (0usize..2, proptest::option::of(kinds()))
            .prop_map(|(host, kind)| Act::Down { host, kind }),
        1 => (0usize..2, any::<bool>())
            .prop_map(|(issuer, down)| Act::IssuerDown { issuer, down }),
        2 => proptest::option::of(answers()).prop_map(Act::Refuse),
        1 => Just(Act::Scanned),
        1 => any::<bool>().prop_map(|trusts_all| Act::Reconsider { trusts_all }),
    ];
    proptest::collection::vec((any::<u16>(), act), 0..120)
}

fn do_it(world: &mut World, pick: u16, act: &Act) {
    let pick = usize::from(pick);
    let (user, service) = (USERS[pick % 4], SERVICES[pick / 4 % 3]);
    let id = id(user, service);
    let is_known = world.scheduler.records.contains_key(&id);
    let count = world.under_way.len();
    match *act {
        Act::Store { host, issuer } => {
            world.store_at(user, service, HOSTS[host], ISSUERS[issuer]);
        }
        Act::Spoil { unreadable } if is_known => {
            let problem = if unreadable {
                TopProblem::Unreadable("EIO".into())
            } else {
                TopProblem::Unusable("no JSON".into())
            };
            world.spoil(&id, problem);
        }
        Act::Remove => world.remove(&id),
        Act::PutToken(left) if is_known => {
            let second = world.right_second();
            world.put_token(&id, left.map(|left| (second - 10, second + left)));
        }
        Act::Plan => _ = world.plan(),
        Act::End(answer) if count > 0 => {
            let place = pick % count;
            let outcome = answer.outcome(&world.under_way[place].task.id);
            world.end(place, outcome);
        }
        Act::Panic if count > 0 => world.panic(pick % count),
        Act::Pass(seconds) => world.pass_with(seconds, check_always),
        Act::Wait(seconds) => world.step_time(seconds),
        Act::StepClock(seconds) => world.step_clock(seconds),
        Act::Down { host, kind } => {
            world.site.hosts_down.remove(HOSTS[host]);
            world
                .site
                .hosts_down
                .extend(kind.map(|kind| (HOSTS[host], kind)));
        }
        Act::IssuerDown { issuer, down } => {
            world.site.issuers_down.remove(ISSUERS[issuer]);
            world
                .site
                .issuers_down
                .extend(down.then_some(ISSUERS[issuer]));
        }
        Act::Refuse(answer) => {
            world.site.accounts.remove(user);
            let outcome = answer.and_then(|answer| answer.outcome(&id));
            world
                .site
                .accounts
                .extend(outcome.map(|outcome| (user, outcome)));
        }
        Act::Scanned => world.scheduler.scanned(world.now),
        Act::Reconsider { trusts_all } => {
            let rules = Rules {
                trusted_hosts: (!trusts_all).then(|| vec!["a".to_owned()]),
                ..world.scheduler.rules().clone()
            };
            world.scheduler.reconsider(rules, world.now);
        }
        Act::Spoil { .. } | Act::PutToken(_) | Act::End(_) | Act::Panic => {}
    }
    check_always(world);
}

/// What is always true.
fn check_always(world: &mut World) {
    let under_way = &world.under_way;
    assert!(under_way.len() <= 64);
    for host in HOSTS {
        let at_host = under_way.iter().filter(|t| &*t.task.route.host == host);
        assert!(at_host.count() <= 24);
    }
    let clock_is_right = world.now.wall.as_second() == world.right_second();
    for status in world.scheduler.statuses(world.now).iter() {
        let left = world.left(&status.user, &status.service);
        let is_fresh = status.state == State::Fresh;
        assert!(!is_fresh || left > 0 || !clock_is_right, "{status:?}");
        let needs_reason = matches!(status.state, State::Degraded | State::Dead | State::Ignored);
        assert_eq!(needs_reason, !status.why.is_empty(), "{status:?}");
    }
    let _ = world.scheduler.troubles(world.now);
}

/// Everything is well again: what is stored now, and no other, becomes fresh in bounded time.
fn assert_all_become_fresh(world: &mut World) {
    world.site.hosts_down.clear();
    world.site.issuers_down.clear();
    world.site.accounts.clear();
    // What is under way has its answer already.
    while !world.under_way.is_empty() {
        world.end(0, None);
    }
    world.set_clock_right();
    let rules = Rules {
        trusted_hosts: None,
        ..world.scheduler.rules().clone()
    };
    world.scheduler.reconsider(rules, world.now);
    // What never gets well by itself is stored anew.
    let spoiled = world.scheduler.records.values();
    let spoiled = spoiled.filter(|record| record.top.route.is_err());
    let spoiled: Vec<_> = spoiled.map(|record| record.top.id.clone()).collect();
    for id in spoiled {
        world.store(id.user(), id.service());
    }
    world.scheduler.scanned(world.now);
    // The longest wait of all is for a vault token that was dead.
    world.pass(3600 + 900 + 300);
    for status in world.scheduler.statuses(world.now).iter() {
        assert_eq!(status.state, State::Fresh, "{status:?}");
    }
    for user in USERS {
        for service in SERVICES {
            if world.scheduler.records.contains_key(&id(user, service)) {
                assert!(world.left(user, service) > 0);
            }
        }
    }
    assert_eq!(world.scheduler.troubles(world.now).0, []);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn bounds_hold_and_all_becomes_fresh_when_all_is_well_again(
        acts in acts(), minutes in any::<bool>(), limited in any::<bool>(),
    ) {
        let mut world = if minutes { World::of_life(90, 60) } else { World::new() };
        if limited {
            let rules = Rules { request_limit: Some((30, 60)), ..world.scheduler.rules().clone() };
            world.scheduler.reconsider(rules, world.now);
        }
        for (pick, act) in acts {
            do_it(&mut world, pick, &act);
        }
        assert_all_become_fresh(&mut world);
        let ids: Vec<_> = world.scheduler.records.keys().cloned().collect();
        for id in ids {
            world.remove(&id);
        }
        while !world.under_way.is_empty() {
            world.end(0, None);
        }
        world.scheduler.scanned(world.now);
        let scheduler = &world.scheduler;
        prop_assert!(scheduler.records.is_empty() && scheduler.breakers.is_empty());
        prop_assert!(scheduler.ahead.is_empty());
        prop_assert!(scheduler.short_lived.is_empty());
        prop_assert_eq!(scheduler.next_wake(world.now), None);
    }

    #[test]
    fn an_account_is_never_touched_by_what_befalls_others(
        acts in acts(), shares_host in any::<bool>(),
    ) {
        let mut world = World::new();
        let host = if shares_host { HOSTS[0] } else { "own" };
        world.store_at(BYSTANDER, "cms", host, "own");
        world.pass(60);
        for (number, (pick, act)) in acts.into_iter().enumerate() {
            let is_theirs = match act {
                // What hits whoever is there.
                Act::Wait(_) | Act::StepClock(_) | Act::Reconsider { .. } => false,
                Act::Down { host: 0, kind: Some(_) } => !shares_host,
                Act::Refuse(Some(answer)) if answer.is_of_host() => !shares_host,
                Act::End(answer) if shares_host && answer.is_of_host() => false,
                Act::End(_) | Act::Panic => {
                    let count = world.under_way.len().max(1);
                    let task = world.under_way.get(usize::from(pick) % count);
                    task.is_some_and(|one| &**one.task.id.user() != BYSTANDER)
                }
                _ => true,
            };
            if !is_theirs {
                continue;
            }
            do_it(&mut world, pick, &act);
            if number % 7 == 0 {
                world.store_at(BYSTANDER, &format!("new{number}"), host, "own");
                world.pass(3);
            }
            for status in world.scheduler.statuses(world.now).iter() {
                if &*status.user == BYSTANDER {
                    prop_assert_eq!(status.state, State::Fresh, "{:?}", status);
                    prop_assert!(world.left(BYSTANDER, &status.service) > 0);
                }
            }
        }
    }
}
