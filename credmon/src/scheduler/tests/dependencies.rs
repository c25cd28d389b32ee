//! What credentials share: hosts and issuers that fail, and accounts that must not harm others.

use std::sync::Arc;

use htvault::ErrorKind;

use super::site::{failure, strange};
use super::world::id;
use super::*;
use crate::model::{CredentialId, Failure, Outcome, State};

/// Accounts `good0` to `good4`, each with one token of 90 s.
fn with_good_accounts() -> World {
    let mut world = World::of_life(90, 60);
    for n in 0..5 {
        world.store(&format!("good{n}"), "cms");
    }
    world.pass(30);
    world
}

fn good(world: &World) -> impl Iterator<Item = String> + use<> {
    let users = world
        .scheduler
        .records
        .keys()
        .map(|id| id.user().to_string());
    let users: Vec<String> = users.filter(|user| user.starts_with("good")).collect();
    users.into_iter()
}

fn assert_good_are_served(world: &World) {
    for user in good(world) {
        assert!(world.left(&user, "cms") > 20, "{user}");
        let status = world.status(&user, "cms");
        assert_eq!(status.state, State::Fresh, "{user}: {}", status.why);
        assert!(!status.why.contains("evil"), "{user}: {}", status.why);
    }
}

/// Answers that an account may provoke at a Vault that it shares with others.
fn provoked() -> Vec<Outcome> {
    let id = id("evil", "s0");
    let kinds = [
        ErrorKind::Refused,
        ErrorKind::NotVault,
        ErrorKind::ServerError,
        ErrorKind::Forbidden,
        ErrorKind::NoneStored,
        ErrorKind::TimedOut,
        ErrorKind::IssuerDown,
        ErrorKind::NotLongEnough,
        ErrorKind::RateLimited,
        ErrorKind::Sealed,
        ErrorKind::Unreachable,
    ];
    let failed = kinds.map(|kind| Outcome::Failed(failure(kind, &id)));
    let limited = Outcome::Failed(Failure {
        retry_after: Some(std::time::Duration::from_secs(99_999)),
        ..failure(ErrorKind::RateLimited, &id)
    });
    let local = Outcome::Failed(Failure::local("EMFILE".to_owned(), ""));
    let others = [
        strange(&id),
        Outcome::TokenDead("dead".to_owned()),
        limited,
        local,
        Outcome::Changed,
        Outcome::Unchanged,
    ];
    failed.into_iter().chain(others).collect()
}

#[test]
fn three_bad_credentials_of_one_account_never_delay_others_at_the_host() {
    for outcome in provoked() {
        let mut world = with_good_accounts();
        world.site.accounts.insert("evil", outcome.clone());
        for service in ["s0", "s1", "s2"] {
            world.store("evil", service);
        }
        world.pass_with(600, |world| {
            assert_good_are_served(world);
            assert!(!world.is_open("a", None), "{outcome:?}");
            assert!(!world.is_open("a", Some("cms")), "{outcome:?}");
        });
        let requests = world.sent_by("evil", 0);
        // A file that changes all the time is worth a request every two seconds.
        let most = if matches!(outcome, Outcome::Changed) {
            300
        } else {
            150
        };
        assert!(requests <= 3 * most, "{outcome:?}: {requests}");
    }
}

#[test]
fn credentials_that_worked_and_then_fail_for_one_account_never_delay_others() {
    for outcome in provoked() {
        let mut world = with_good_accounts();
        for service in ["s0", "s1", "s2"] {
            world.store("evil", service);
        }
        world.pass(5);
        assert!(world.record("evil", "s0").proven);
        world.site.accounts.insert("evil", outcome.clone());
        world.pass_with(600, |world| {
            assert_good_are_served(world);
            assert!(!world.is_open("a", None), "{outcome:?}");
        });
    }
}

#[test]
fn an_account_that_alone_has_worked_at_a_vault_never_delays_a_new_one() {
    for outcome in provoked() {
        let mut world = World::of_life(90, 60);
        for service in ["s0", "s1", "s2"] {
            world.store("evil", service);
        }
        world.pass(30);
        world.site.accounts.insert("evil", outcome.clone());
        world.pass(120);
        world.store("good0", "cms");
        world.pass(3);
        assert!(world.left("good0", "cms") > 80, "{outcome:?}");
        world.pass_with(600, |world| assert_good_are_served(world));
    }
}

#[test]
fn new_accounts_at_a_host_that_is_down_are_served_when_it_is_back() {
    let mut world = World::of_life(90, 60);
    world.store("first", "cms");
    world.pass(30);
    world.site.hosts_down.insert("a", ErrorKind::Unreachable);
    world.pass(60);
    for n in 0..5 {
        world.store(&format!("good{n}"), "cms");
    }
    world.pass(300);
    assert!(world.is_open("a", None), "their failures say nothing of it");
    world.site.hosts_down.clear();
    world.pass(60);
    assert_good_are_served(&world);
}

#[test]
fn a_failure_text_of_one_account_never_shows_in_anothers_status() {
    let mut world = World::of_life(90, 60);
    for user in ["u0", "u1", "u2"] {
        world.store(user, "cms");
    }
    world.pass(30);
    world.site.hosts_down.insert("a", ErrorKind::Sealed);
    world.pass_with(300, |world| {
        for status in world.scheduler.statuses(world.now).iter() {
            let error = status.last_error.map(|error| error.text);
            let texts: Vec<_> = error.into_iter().chain([status.why]).collect();
            let others = ["u0", "u1", "u2"].into_iter();
            for other in others.filter(|user| **user != *status.user) {
                let names = |text: &Arc<str>| text.contains(&format!("{other}/"));
                assert!(!texts.iter().any(names), "{}: {texts:?}", status.user);
            }
        }
        for trouble in world.scheduler.troubles(world.now).0 {
            assert!(!trouble.why.contains("creds/"), "{}", trouble.why);
        }
        let breaker = |event: &&crate::model::Event| event.text.starts_with("Vault");
        for event in world.events.iter().filter(breaker) {
            assert!(!event.text.contains("creds/"), "{}", event.text);
        }
    });
    assert!(world.is_open("a", None));
}

#[test]
fn a_host_is_down_only_when_credentials_of_two_accounts_say_so() {
    let mut world = with_good_accounts();
    let fails = |user| Outcome::Failed(failure(ErrorKind::Unreachable, &id(user, "cms")));
    world.site.accounts.insert("good0", fails("good0"));
    world.pass(120);
    assert!(!world.is_open("a", None));
    world.site.accounts.insert("good1", fails("good1"));
    // Each success of the others clears the suspicion, so they have to fail side by side.
    world.site.accounts.insert("good2", fails("good2"));
    world.site.accounts.insert("good3", fails("good3"));
    world.site.accounts.insert("good4", fails("good4"));
    world.pass(60);
    assert!(world.is_open("a", None));
    world.site.accounts.clear();
    world.pass(40);
    assert!(!world.is_open("a", None));
    assert_good_are_served(&world);
}

#[test]
fn the_only_account_of_a_host_is_believed() {
    let mut world = World::of_life(90, 60);
    world.store("u", "cms");
    world.pass(30);
    world.site.hosts_down.insert("a", ErrorKind::Unreachable);
    world.pass(60);
    assert!(world.is_open("a", None));
    let (trouble, _) = world.scheduler.troubles(world.now);
    assert_eq!(trouble[0].host, "a");
    let before = world.elapsed();
    world.pass(600);
    let requests = world.sent_by("u", before);
    assert!(
        (20..=60).contains(&requests),
        "a probe now and then: {requests}"
    );
    world.site.hosts_down.clear();
    world.pass(35);
    assert!(world.left("u", "cms") > 30 && !world.is_open("a", None));
}

#[test]
fn while_a_host_is_down_one_request_at_a_time_finds_out_and_accounts_take_turns() {
    let mut world = with_good_accounts();
    world.store_at("elsewhere", "cms", "b", "cms");
    world.site.hosts_down.insert("a", ErrorKind::Unreachable);
    world.pass(60);
    assert!(world.is_open("a", None));
    // What never worked there waits, too, and its status says for what.
    world.store("new", "cms");
    let status = world.status("new", "cms");
    let stored = world.now.wall;
    assert_eq!((status.state, status.since), (State::Degraded, stored));
    assert!(
        status.why.starts_with("it waits for Vault a, "),
        "{}",
        status.why
    );
    let before = world.elapsed();
    world.pass_with(600, |world| {
        let at_host = world
            .under_way
            .iter()
            .filter(|t| &*t.task.route.host == "a");
        assert!(at_host.count() <= 1);
    });
    let probes: Vec<_> = world
        .sent
        .iter()
        .filter(|s| s.at >= before && &*s.host == "a")
        .collect();
    assert!((20..=60).contains(&probes.len()), "{}", probes.len());
    assert!(
        probes.windows(2).all(|pair| pair[0].id != pair[1].id),
        "they take turns"
    );
    assert!(
        probes.iter().all(|sent| &**sent.id.user() != "new"),
        "it never worked"
    );
    assert_eq!(world.status("elsewhere", "cms").state, State::Fresh);
    world.site.hosts_down.clear();
    world.pass(35);
    assert_good_are_served(&world);
    assert_eq!(world.status("new", "cms").state, State::Fresh);
}

#[test]
fn a_probe_is_done_by_a_credential_that_works_not_by_a_dead_one() {
    let mut world = with_good_accounts();
    world
        .site
        .accounts
        .insert("good0", Outcome::TokenDead("dead".to_owned()));
    world.pass(120);
    assert_eq!(world.status("good0", "cms").state, State::Dead);
    world.site.hosts_down.insert("a", ErrorKind::Unreachable);
    world.pass(60);
    assert!(world.is_open("a", None));
    let before = world.elapsed();
    world.pass(300);
    assert_eq!(world.sent_by("good0", before), 0);
}

#[test]
fn a_probe_that_panics_or_is_not_needed_any_more_frees_the_breaker() {
    let mut world = with_good_accounts();
    world.site.hosts_down.insert("a", ErrorKind::Unreachable);
    world.pass(60);
    let start_probe = |world: &mut World| {
        for _ in 0..60 {
            if world.plan() > 0 {
                return world.under_way[0].task.id.clone();
            }
            let wake = world.scheduler.next_wake(world.now).unwrap();
            let seconds = wake.saturating_duration_since(world.now.mono).as_secs();
            world.step_time(i64::try_from(seconds).unwrap() + 1);
        }
        panic!("no probe");
    };
    while !world.under_way.is_empty() {
        world.end(0, None);
    }
    let first = start_probe(&mut world);
    world.panic(0);
    let second = start_probe(&mut world);
    assert_ne!(first, second, "another account tries");
    // Its credential is removed meanwhile, and it ends without a verdict.
    world.remove(&second);
    world.end(0, Some(Outcome::Changed));
    let third = start_probe(&mut world);
    assert!(third != second);
    world.end(
        0,
        Some(Outcome::Failed(Failure::local("EIO".to_owned(), ""))),
    );
    start_probe(&mut world);
    world.site.hosts_down.clear();
    world.end(0, None);
    world.pass(60);
    assert!(!world.is_open("a", None));
    assert_good_are_served(&world);
}

#[test]
fn what_waits_for_a_breaker_says_so_and_is_fresh_until_its_renewal_is_due() {
    let mut world = World::new();
    world.store("u", "cms");
    world.store("v", "cms");
    world.pass(60);
    world.site.hosts_down.insert("a", ErrorKind::Sealed);
    world.pass_with(7200, |world| {
        for user in ["u", "v"] {
            let status = world.status(user, "cms");
            let is_fresh = status.state == State::Fresh;
            assert!(
                !is_fresh || world.left(user, "cms") > 0,
                "{user} has expired"
            );
            let due = world.record(user, "cms").due.unwrap();
            let is_overdue = due <= world.now.mono && world.is_open("a", None);
            assert!(!(is_fresh && is_overdue), "{user} cannot be renewed now");
        }
    });
    for user in ["u", "v"] {
        let status = world.status(user, "cms");
        assert_eq!(status.state, State::Degraded);
        assert!(status.why.contains("Sealed"), "{}", status.why);
    }
}

#[test]
fn a_breaker_whose_credentials_are_gone_or_not_ours_any_more_holds_nobody_up() {
    let close_by: [fn(&mut World); 2] = [
        |world| {
            world.remove(&id("u", "cms"));
            world.remove(&id("v", "cms"));
        },
        |world| {
            let mut rules = world.scheduler.rules().clone();
            rules.routing.others = ["cms".to_owned()].into();
            world.scheduler.reconsider(rules, world.now);
        },
    ];
    for act in close_by {
        let mut world = World::of_life(90, 60);
        world.store("u", "cms");
        world.store("v", "cms");
        world.pass(30);
        world.site.hosts_down.insert("a", ErrorKind::Sealed);
        world.pass(60);
        assert!(world.is_open("a", None));
        world.store("w", "dune");
        world.site.hosts_down.clear();
        // Nothing is asked while nobody who worked there could probe.
        act(&mut world);
        world.scheduler.scanned(world.now);
        world.pass(60);
        assert_eq!(world.status("w", "dune").state, State::Fresh);
    }
}

#[test]
fn who_moves_to_another_host_does_not_wait_for_the_old_one() {
    let mut world = World::of_life(90, 60);
    world.store("u", "cms");
    world.store("v", "cms");
    world.pass(30);
    world.site.hosts_down.insert("a", ErrorKind::Unreachable);
    world.pass(120);
    assert!(world.is_open("a", None));
    world.store_at("u", "cms", "b", "cms");
    world.pass(1);
    assert!(world.left("u", "cms") > 60);
    let own: Vec<CredentialId> = world.scheduler.records.keys().cloned().collect();
    for id in &own {
        world.remove(id);
    }
    world.scheduler.scanned(world.now);
    assert!(
        world.scheduler.breakers.is_empty(),
        "what nobody uses is forgotten"
    );
}
