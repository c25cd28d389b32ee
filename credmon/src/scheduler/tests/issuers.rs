//! Issuers behind a Vault that are down, and come back.

use htvault::ErrorKind;

use super::world::{Sent, id};
use super::*;
use crate::model::{Rules, State};

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
fn an_issuer_that_is_down_is_asked_by_probes_alone_after_its_host_was_down_too() {
    let mut world = World::of_life(90, 60);
    for n in 0..50 {
        world.store(&format!("good{n:02}"), "cms");
    }
    world.pass(60);
    world.site.issuers_down.insert("cms");
    world.pass(300);
    world.site.hosts_down.insert("a", ErrorKind::Sealed);
    world.pass_with(600, |world| assert!(world.is_open("a", Some("cms"))));
    assert!(world.is_open("a", None));
    world.site.hosts_down.clear();
    let before = world.elapsed();
    world.pass(120);
    assert!(!world.is_open("a", None) && world.is_open("a", Some("cms")));
    let sent = world.sent.iter().filter(|sent| sent.at >= before).count();
    assert!(sent <= 12, "{sent}");
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
fn during_an_issuers_outage_each_new_credential_is_tried_once_beside_the_probes() {
    let mut world = World::new();
    for n in 0..20 {
        world.store(&format!("u{n}"), "cms");
    }
    world.pass(1800);
    world.site.issuers_down.insert("cms");
    while !world.is_open("a", Some("cms")) {
        world.pass(10);
    }
    world.pass(60);
    let second = world.right_second();
    for n in 0..20 {
        // Vault has a token of half of them.
        let user = format!("new{n:02}");
        if n % 2 == 0 {
            let cached = (second - 600, second + 3000);
            world.site.cache.insert(id(&user, "cms"), cached);
        }
        world.store(&user, "cms");
    }
    let before = world.elapsed();
    world.pass(10);
    for n in (0..20).step_by(2) {
        assert!(world.left(&format!("new{n:02}"), "cms") > 2900, "{n}");
    }
    world.pass(600);
    assert!(world.is_open("a", Some("cms")), "it is still down");
    for n in (1..20).step_by(2) {
        let requests = world.sent_by(&format!("new{n:02}"), before);
        assert!(requests <= 20, "{n}: {requests}");
    }
    world.site.issuers_down.clear();
    world.pass(180);
    for n in 0..20 {
        assert!(world.left(&format!("new{n:02}"), "cms") > 0, "{n}");
    }
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

#[test]
fn what_vault_has_cached_is_no_sign_that_the_issuer_works() {
    let mut world = World::new();
    for n in 0..20 {
        world.store(&format!("u{n}"), "cms");
    }
    world.pass(1800);
    let second = world.right_second();
    world.pass(10);
    world.site.issuers_down.insert("cms");
    while !world.is_open("a", Some("cms")) {
        world.pass(10);
    }
    // Others read with most of these, too: Vault has newer tokens of them than are in place here.
    for (id, cached) in &mut world.site.cache {
        if !["u0", "u1"].contains(&&**id.user()) {
            *cached = (*cached).max((second, second + 3600));
        }
    }
    let before = world.elapsed();
    world.pass_with(900, |world| assert!(world.is_open("a", Some("cms"))));
    let sent: Vec<_> = world.sent.iter().filter(|s| s.at >= before).collect();
    assert!((20..=60).contains(&sent.len()), "{}", sent.len());
    world.site.issuers_down.clear();
    world.pass(35);
    assert!(!world.is_open("a", Some("cms")));
}

#[test]
fn troubles_are_bounded_and_those_of_many_accounts_come_first() {
    let mut world = World::new();
    for n in 0..50 {
        world.store_at("evil", &format!("s{n}"), &format!("v{n}.test"), "cms");
    }
    for user in ["u", "v"] {
        world.store_at(user, "cms", "z.test", "cms");
    }
    world.pass(60);
    world.site.issuers_down.insert("cms");
    world.pass(1500);
    assert!(world.is_open("z.test", Some("cms")));
    let (troubles, more) = world.scheduler.troubles(world.now);
    assert_eq!(troubles.len(), crate::scheduler::Scheduler::MOST_TROUBLES);
    assert_eq!(troubles.len() + more, 51);
    assert_eq!(troubles[0].host, "z.test");
}

/// Accounts at an issuer that says of its tokens that they were issued five minutes ago.
fn with_backdated_tokens() -> World {
    let mut world = World::new();
    world.site.backdated = 300;
    for n in 0..20 {
        world.store(&format!("u{n}"), "cms");
    }
    world
}

#[test]
fn an_issuer_that_backdates_its_tokens_is_not_down() {
    let mut world = with_backdated_tokens();
    world.pass_with(7200, |world| {
        assert!(!world.is_open("a", Some("cms")), "{}", world.elapsed());
    });
    assert!(world.scheduler.all_good(world.now));
}

#[test]
fn a_token_that_was_issued_after_a_breaker_opened_closes_it_though_it_is_backdated() {
    let mut world = with_backdated_tokens();
    world.pass(1500);
    world.site.issuers_down.insert("cms");
    while !world.is_open("a", Some("cms")) {
        world.pass(10);
    }
    world.pass(600);
    world.site.issuers_down.clear();
    world.pass(35);
    assert!(!world.is_open("a", Some("cms")));
    world.pass_with(3600, |world| assert!(!world.is_open("a", Some("cms"))));
    assert!(world.scheduler.all_good(world.now));
    // An outage of seconds is over when that is certain.
    world.site.issuers_down.insert("cms");
    while !world.is_open("a", Some("cms")) {
        world.pass(10);
    }
    world.site.issuers_down.clear();
    world.pass(300 + 60 + 35);
    assert!(!world.is_open("a", Some("cms")));
}

#[test]
fn lines_on_what_accounts_share_are_of_none_and_all_others_of_one() {
    let mut world = World::new();
    world.store("u", "cms");
    world.store("v", "cms");
    world.store_at("w", "cms", "own", "i");
    world.pass(60);
    for host in ["a", "own"] {
        world.site.hosts_down.insert(host, ErrorKind::Unreachable);
    }
    world.pass(3600);
    let rules = Rules {
        trusted_hosts: Some(Vec::new()),
        ..Rules::default()
    };
    let judged = world.scheduler.reconsider(rules, world.now);
    assert_eq!(judged.len(), 3, "{judged:?}");
    world.events.extend(judged);
    for (words, account) in [
        ("Vault a does not answer", None),
        ("Vault own does not answer", Some("w")),
        ("u/cms: ", Some("u")),
        ("v/cms: ", Some("v")),
        ("w/cms: ", Some("w")),
    ] {
        let found = world.events.iter().filter(|e| e.text.starts_with(words));
        let found: Vec<_> = found.map(|event| event.account.as_deref()).collect();
        assert!(!found.is_empty(), "{words}: {:?}", world.events);
        assert!(found.iter().all(|of| *of == account), "{words}: {found:?}");
    }
}
