//! Issuers behind a Vault that are down, and come back.

use htvault::ErrorKind;

use super::world::{Sent, id};
use super::*;
use crate::model::State;

#[test]
fn after_an_issuers_outage_that_outlasted_all_tokens_all_are_back_within_a_minute() {
    let mut world = World::of_life(90, 60);
    for n in 0..50 {
        world.store(&format!("good{n:02}"), "cms");
        world.store_at(&format!("good{n:02}"), "dune", "a", "dune");
    }
    world.pass(60);
    world.site.issuers_down.insert("cms");
    world.pass(300);
    assert!(world.left("good00", "cms") < 0, "its token has expired");
    assert!(world.is_open("a", Some("cms")) && !world.is_open("a", None));
    let before = world.elapsed();
    world.pass(3600);
    let at_cms = |sent: &&Sent| &**sent.id.service() == "cms" && sent.at >= before;
    let probes = world.sent.iter().filter(at_cms).count();
    assert!((100..=400).contains(&probes), "one probe for all: {probes}");
    let status = world.status("good07", "cms");
    assert_eq!(status.state, State::Degraded);
    assert!(world.left("good07", "dune") > 0, "another issuer works");
    world.site.issuers_down.clear();
    world.pass(60);
    assert!(world.scheduler.all_good(world.now));
}

#[test]
fn an_outage_that_is_over_is_followed_by_no_burst() {
    let mut world = World::new();
    for n in 0..200 {
        world.store(&format!("good{n:03}"), "cms");
    }
    world.pass(1500);
    world.site.hosts_down.insert("a", ErrorKind::Unreachable);
    world.pass(1500);
    assert!(world.is_open("a", None) && world.left("good000", "cms") > 0);
    world.site.hosts_down.clear();
    for _ in 0..6 {
        let before = world.elapsed();
        world.pass(60);
        let requests = world.sent.iter().filter(|sent| sent.at >= before).count();
        assert!(requests <= 90, "{requests} in a minute");
    }
    assert!(world.scheduler.all_good(world.now));
}

#[test]
fn during_an_issuers_outage_a_new_credential_gets_the_cached_token() {
    let mut world = World::new();
    world.store("u", "cms");
    world.store("v", "cms");
    world.pass(1800);
    world.site.issuers_down.insert("cms");
    world.pass(1200);
    let before = world.elapsed();
    world.put_token(&id("u", "cms"), None);
    world.pass(60);
    assert!(world.left("u", "cms") > 0, "{}", world.left("u", "cms"));
    assert!(world.sent_by("u", before) <= 30);
}

#[test]
fn a_few_probes_find_out_when_nobody_needs_an_issuer_any_more() {
    let mut world = World::new();
    world.store("u", "cms");
    world.pass(60);
    world.site.issuers_down.insert("cms");
    world.pass(1300);
    assert!(world.is_open("a", Some("cms")));
    // Who made it open is gone; another one has a token that lives long.
    world.site.issuers_down.clear();
    world.store("v", "cms");
    let second = world.right_second();
    world.put_token(&id("v", "cms"), Some((second, second + 3600)));
    world
        .scheduler
        .change(&id("v", "cms"), world.now, |record, _| {
            record.proven = true;
            record.in_place.served = true;
            record.in_place.confirmed = world.now.mono;
            record.condition.set_plain(State::Fresh, world.now);
            record.plan(crate::model::Limits::default(), world.now);
        });
    world.remove(&id("u", "cms"));
    while !world.under_way.is_empty() {
        world.end(0, None);
    }
    let before = world.elapsed();
    world.pass(1300);
    let requests = world.sent_by("v", before);
    assert!(requests <= 12, "{requests}");
    assert!(!world.is_open("a", Some("cms")));
}
