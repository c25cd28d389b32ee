//! Bounds on requests: the gate's, and those that a server asks for.

use std::time::Duration;

use htvault::ErrorKind;

use super::super::gate::tests::questions;
use super::site::failure;
use super::world::{Sent, UnderWay, id};
use super::*;
use crate::model::{Failure, Outcome, Rules, State};

fn limited(user: &str, seconds: u64) -> Outcome {
    Outcome::Failed(Failure {
        retry_after: Some(Duration::from_secs(seconds)),
        ..failure(ErrorKind::RateLimited, &id(user, "cms"))
    })
}

#[test]
fn a_rate_limit_for_one_path_rests_only_it() {
    let mut world = World::of_life(90, 60);
    for user in ["evil", "u", "v"] {
        world.store(user, "cms");
    }
    world.pass(30);
    world.site.accounts.insert("evil", limited("evil", 99_999));
    world.pass_with(600, |world| {
        assert!(!world.is_open("a", None));
        assert!(world.left("u", "cms") > 20 && world.left("v", "cms") > 20);
    });
    world.site.accounts.clear();
    world.pass(62);
    assert_eq!(world.status("evil", "cms").state, State::Fresh);
}

#[test]
fn a_rate_limit_that_an_issuers_probes_meet_is_no_cause_to_ask_all_the_time() {
    let mut world = World::of_life(90, 60);
    world.store_at("u", "cms", "a", "x");
    for user in ["v", "w"] {
        world.store(user, "cms");
    }
    world.pass(30);
    world.site.issuers_down.insert("x");
    world.pass(60);
    world.site.accounts.insert("u", limited("u", 1));
    let before = world.elapsed();
    // Nothing is found out of the issuer.
    world.pass_with(300, |world| assert!(world.is_open("a", Some("x"))));
    assert!(!world.is_open("a", None));
    let requests = world.sent_by("u", before);
    assert!((10..=25).contains(&requests), "{requests}");
    world.site.accounts.clear();
    world.site.issuers_down.clear();
    world.pass(62);
    assert_eq!(world.status("u", "cms").state, State::Fresh);
}

#[test]
fn a_retry_after_is_bounded_by_a_third_of_the_lifetime_that_depends_on_it() {
    let mut world = World::new();
    world.store("u", "cms");
    world.store("v", "cms");
    world.pass(60);
    for seconds in [1, 60, 99_999] {
        world.site.accounts.insert("u", limited("u", seconds));
        world.site.accounts.insert("v", limited("v", seconds));
        world.pass(1300);
        assert!(world.is_open("a", None), "two accounts got it");
        let trouble = &world.scheduler.troubles(world.now).0[0];
        assert!(trouble.why.contains("limits requests"), "{}", trouble.why);
        let wait = trouble.rests_until.unwrap().as_second() - world.now.wall.as_second();
        assert!(wait <= 300, "{wait}");
        world.site.accounts.clear();
        world.pass(302);
        assert!(!world.is_open("a", None));
        // Those whose tokens live still are spread.
        world.pass(300);
        assert!(world.left("u", "cms") > 0 && world.scheduler.all_good(world.now));
    }
    // Seconds before its token's end, one that lives shortly asks each five.
    for lasts in 60..75 {
        let mut world = World::of_life(90, 60);
        world.store("u", "cms");
        world.pass(10);
        world.site.accounts.insert("u", limited("u", 99_999));
        world.pass(lasts);
        world.site.accounts.clear();
        world.pass_with(32, |world| assert!(world.left("u", "cms") > 0, "{lasts}"));
    }
}

#[test]
fn a_rate_limit_of_the_host_is_obeyed_for_all_and_asks_seldom() {
    let mut world = World::of_life(90, 60);
    for n in 0..50 {
        world.store(&format!("u{n:02}"), "cms");
    }
    world.pass(30);
    world.site.hosts_down.insert("a", ErrorKind::RateLimited);
    world.pass(60);
    let before = world.elapsed();
    world.pass(600);
    let requests = world.sent.iter().filter(|sent| sent.at >= before).count();
    assert!(requests <= 45, "{requests}");
    world.site.hosts_down.clear();
    world.pass(60);
    assert!(world.scheduler.all_good(world.now));
}

#[test]
fn the_sites_limit_on_requests_is_never_exceeded_not_even_by_probes() {
    let mut world = World::with(Rules {
        request_limit: Some((4, 60)),
        ..Rules::default()
    });
    for n in 0..10 {
        world.store(&format!("u{n:02}"), "cms");
    }
    world.pass(300);
    world.site.hosts_down.insert("a", ErrorKind::Sealed);
    world.pass(3600);
    world.site.hosts_down.clear();
    world.pass(3600);
    for from in &world.sent {
        let in_span = |sent: &&Sent| (from.at..from.at + 60).contains(&sent.at);
        let requests = world.sent.iter().filter(in_span).map(|sent| sent.requests);
        let requests: u32 = requests.sum();
        assert!(requests <= 4, "{requests} from {} s on", from.at);
    }
    assert!(world.scheduler.all_good(world.now));
}

#[test]
fn an_account_with_more_credentials_than_the_sites_limit_carries_makes_nobody_else_late() {
    let mut world = World::with(Rules {
        request_limit: Some((6, 60)),
        ..Rules::default()
    });
    world.store("v", "cms");
    world.pass(60);
    for n in 0..300 {
        world.store("greedy", &format!("s{n}"));
    }
    world.pass_with(4 * 3600, |world| {
        assert_eq!(world.status("v", "cms").state, State::Fresh);
        assert!(world.left("v", "cms") > 600, "it is renewed in its time");
    });
    let of_others = world.sent.iter().filter(|sent| **sent.id.user() != *"v");
    assert!(of_others.count() > 600, "it has its share");
}

#[test]
fn a_host_that_was_asked_once_delays_nobody_who_waits_for_room_at_another() {
    let mut world = World::with(Rules {
        request_limit: Some((3, 2)),
        ..Rules::default()
    });
    world.store_at("once", "cms", "once", "cms");
    world.pass(30);
    for n in 0..10 {
        world.store("u", &format!("s{n}"));
    }
    world.pass(25);
    assert!(world.scheduler.all_good(world.now), "one in two seconds");
}

#[test]
fn a_probe_is_admitted_like_any_request_and_by_an_account_that_has_room() {
    let mut world = World::of_life(90, 60);
    for user in ["busy", "u", "v"] {
        world.store(user, "cms");
    }
    world.pass(30);
    // One account has as many requests under way as it may have, and they hang.
    world.site.latency.insert("hangs", 100_000);
    for n in 0..100 {
        world.store_at("busy", &format!("s{n}"), "hangs", &format!("i{n}"));
        world.store_at("busy", &format!("t{n}"), "hangs2", &format!("i{n}"));
    }
    world.site.latency.insert("hangs2", 100_000);
    world.pass(1);
    assert!(world.under_way.len() >= 16, "{}", world.under_way.len());
    world.site.hosts_down.insert("a", ErrorKind::Sealed);
    world.pass(120);
    assert!(world.is_open("a", None));
    world.site.hosts_down.clear();
    world.pass(35);
    assert!(!world.is_open("a", None));
    assert!(world.left("u", "cms") > 20 && world.left("v", "cms") > 20);
}

#[test]
fn one_account_with_thousands_of_credentials_that_hang_delays_nobody() {
    let mut world = World::of_life(90, 60);
    world.store("u", "cms");
    world.pass(10);
    for n in 0..30 {
        let host: &'static str = format!("hangs{n}").leak();
        world.site.latency.insert(host, 30);
        for service in 0..20 {
            world.store_at(
                "evil",
                &format!("s{n}-{service}"),
                host,
                &format!("i{service}"),
            );
        }
    }
    world.pass_with(300, |world| {
        assert!(world.left("u", "cms") > 20, "{}", world.left("u", "cms"));
        let own = world
            .under_way
            .iter()
            .filter(|t| &*t.task.route.account == "evil");
        assert!(own.count() <= 32);
        assert!(world.under_way.len() <= 64);
    });
    world.store("new", "cms");
    world.pass(1);
    assert!(world.left("new", "cms") > 60, "served in under a second");
}

#[test]
fn thousands_of_issuers_of_one_account_that_fail_cost_no_question_each() {
    let mut world = World::of_life(90, 60);
    for n in 0..300 {
        world.store_at("evil", &format!("s{n}"), "evil", &format!("i{n}"));
    }
    world.pass(60);
    let fails = Outcome::Failed(failure(ErrorKind::NotLongEnough, &id("evil", "x")));
    world.site.accounts.insert("evil", fails);
    world.pass(90);
    while world.plan() > 0 {}
    let before = questions();
    world.plan();
    let asked = questions() - before;
    assert!(asked <= 64, "{asked} questions while there is room");
    world.site.latency.insert("evil", 30);
    world.pass(60);
    let breakers = world.scheduler.breakers.values();
    let due = breakers.filter(|breaker| breaker.wants_probe(world.now.mono));
    assert!(due.count() > 200);
    let before = questions();
    world.plan();
    let asked = questions() - before;
    assert!(asked <= 64, "{asked} questions for one plan");
}

#[test]
fn issuers_of_one_account_that_wait_for_its_room_at_a_host_cost_no_question_each() {
    let mut world = World::new();
    world.site.latency.insert("evil", 100_000);
    // The most urgent is the last by name.
    for n in 0..300 {
        world.store_at("evil", &format!("s{n}"), "evil", &format!("i{}", 999 - n));
    }
    let before = questions();
    assert_eq!(world.plan(), 12);
    let asked = questions() - before;
    assert!(asked <= 64, "{asked} questions for a full host");
    let before = questions();
    assert_eq!(world.plan(), 0);
    let asked = questions() - before;
    assert!(asked <= 64, "{asked} questions for one plan");
    world.store("u", "cms");
    world.pass(1);
    assert_eq!(world.status("u", "cms").state, State::Fresh);
}

#[test]
fn credentials_that_wait_for_the_sites_limit_stop_no_look_up_of_another_account() {
    let mut world = World::with(Rules {
        request_limit: Some((6, 60)),
        ..Rules::default()
    });
    world.store("u", "cms");
    world.pass(60);
    for n in 0..100 {
        world.store("greedy", &format!("s{n}"));
    }
    world.pass(1300);
    assert!(world.status("u", "cms").vault_token.is_some());
}

#[test]
fn credentials_that_hang_stop_no_look_up_of_another_account() {
    for request_limit in [None, Some((300, 300))] {
        let mut world = World::with(Rules {
            request_limit,
            ..Rules::default()
        });
        for n in 0..40 {
            let host: &'static str = format!("hangs{n}").leak();
            world.site.latency.insert(host, 100_000);
            for service in 0..20 {
                world.store_at("evil", &format!("s{n}-{service}"), host, "i");
            }
        }
        world.store("u", "cms");
        world.pass(1300);
        assert!(world.status("u", "cms").vault_token.is_some());
    }
}

#[test]
fn look_ups_that_must_wait_hold_up_none_behind_them() {
    let mut world = World::new();
    for n in 0..50 {
        world.store("busy", &format!("s{n}"));
        world.store(&format!("u{n}"), "cms");
    }
    world.pass(60);
    // Its access tokens wait for its own room.
    for n in 0..100 {
        let host: &'static str = format!("hangs{n}").leak();
        world.site.latency.insert(host, 100_000);
        world.store_at("busy", "new", host, "i");
        world.store_at("busy", &format!("new{n}"), host, "i");
    }
    world.step_time(700);
    let before = world.elapsed();
    while world.plan() > 0 {
        let answers = |under_way: &UnderWay| &*under_way.task.route.host == "a";
        while let Some(place) = world.under_way.iter().position(answers) {
            world.end(place, None);
        }
    }
    let is_its = |sent: &&Sent| sent.is_look_up && sent.at == before;
    let looked_up: Vec<_> = world.sent.iter().filter(is_its).collect();
    assert!(looked_up.iter().all(|sent| &**sent.id.user() != "busy"));
    assert!(looked_up.len() > 10, "{}", looked_up.len());
    let next = world.scheduler.queues.look_ups.first().map(|(at, _)| *at);
    assert!(next > Some(world.now.mono), "none that is due is left");
}

#[test]
fn the_failing_credentials_of_one_account_share_their_attempts() {
    let mut world = World::of_life(90, 60);
    let outcome = Outcome::Failed(failure(ErrorKind::Refused, &id("evil", "x")));
    world.site.accounts.insert("evil", outcome);
    for n in 0..500 {
        world.store("evil", &format!("s{n}"));
    }
    world.store("u", "cms");
    world.pass(600);
    let before = world.elapsed();
    world.pass(3600);
    let requests = world.sent_by("evil", before);
    assert!(requests <= 3000, "{requests} an hour");
    assert!(world.left("u", "cms") > 20);
}

#[test]
fn a_use_that_is_another_one_time_and_again_is_tried_ever_less_often() {
    let mut world = World::new();
    world.store("u", "cms");
    world.store("v", "cms");
    world.pass(60);
    world.put_token(&id("u", "cms"), None);
    world.site.accounts.insert("u", Outcome::Changed);
    let before = world.elapsed();
    world.pass(600);
    let requests = world.sent_by("u", before);
    assert!((8..=25).contains(&requests), "{requests}");
    // What changes once is tried again at once.
    world.site.accounts.clear();
    world.pass(80);
    assert_eq!(world.status("u", "cms").state, State::Fresh);
    world.site.accounts.insert("u", Outcome::Changed);
    world.put_token(&id("u", "cms"), None);
    world.pass(1);
    world.site.accounts.clear();
    world.pass(4);
    assert_eq!(world.status("u", "cms").state, State::Fresh);
}
