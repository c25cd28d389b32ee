//! Schedds that come and go at a collector, on paused time.

use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot};

use super::super::{Command, Engine};
use super::isolation::log;
use super::run_for;
use crate::config::{Config, DeliveryTemplate, Glob, NameFilter};
use crate::engine::revoke::RevocationReport;
use crate::fakes::{FakeSchedds, Outside};
use crate::fixtures::{config, credential, search};
use crate::model::delivery::Selection;
use crate::policy::plan::State;
use crate::schedd::discovery::ScheddAd;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

fn ad(name: &str) -> ScheddAd {
    ScheddAd {
        name: name.to_owned(),
        machine: name.to_owned(),
        credd: Some(format!("<{name}>")),
        is_of_host: false,
        jobs: 1,
        matches: true,
    }
}

fn searching() -> Config {
    let credential = std::sync::Arc::new(credential("crabtw", "cms_crab"));
    let template = DeliveryTemplate {
        schedds: NameFilter::all(),
        at: None,
        authorize: std::sync::Arc::clone(&credential),
        credential,
        lifetime: 7 * DAY,
        renew_below: 3 * DAY,
    };
    Config {
        searches: vec![search(vec![template])],
        ..config(Vec::new())
    }
}

fn pool(outside: &Outside, names: &[&str]) {
    let ads = names.iter().map(|name| ad(name)).collect();
    outside.lock().pools.insert("crab".to_owned(), ads);
}

fn states(engine: &Engine<Outside, FakeSchedds>) -> Vec<(String, State)> {
    let report = engine.report();
    let lines = report.deliveries.into_iter();
    lines.map(|line| (line.wanted.schedd, line.state)).collect()
}

fn told(all: &[(&str, State)]) -> Vec<(String, State)> {
    let all = all.iter();
    all.map(|(name, state)| ((*name).to_owned(), *state))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn schedds_come_go_and_come_back() {
    let outside = Outside::new();
    pool(&outside, &["ap1", "ap2"]);
    let mut service = Engine::new(&searching(), outside.parts(), TimeZone::UTC);
    run_for(&mut service, MINUTE).await;
    let both = told(&[("ap1", State::Good), ("ap2", State::Good)]);
    assert_eq!(states(&service), both);

    // A new one is served after the next look, one that is gone is left alone.
    pool(&outside, &["ap1", "ap3"]);
    run_for(&mut service, 6 * MINUTE).await;
    let now = told(&[
        ("ap1", State::Good),
        ("ap2", State::Gone),
        ("ap3", State::Good),
    ]);
    assert_eq!(states(&service), now);
    assert!(service.report().is_good());
    let gone = service.report().deliveries[1].clone();
    assert!(gone.gone_since.is_some());
    assert!(
        !gone.takes_push_of(&Selection::default()),
        "nothing comes of it"
    );
    assert!(gone.is_settled_since(u64::MAX), "nobody waits for it");
    let id = service.report().deliveries[1].wanted.clone();
    let token = |outside: &Outside| {
        let world = outside.lock();
        let (_, stored) = world
            .stored
            .iter()
            .find(|(other, _)| other.schedd == id.schedd)
            .unwrap();
        stored.at
    };
    let before = token(&outside);
    run_for(&mut service, 5 * DAY).await;
    assert_eq!(token(&outside), before, "nothing is pushed to it");

    // Back, with a token whose margin has begun: it is renewed at once.
    pool(&outside, &["ap1", "ap2", "ap3"]);
    run_for(&mut service, 6 * MINUTE).await;
    assert!(
        states(&service)
            .iter()
            .all(|(_, state)| *state == State::Good)
    );
    assert!(token(&outside) > before);

    // Away for longer than its token lives: forgotten.
    pool(&outside, &["ap1", "ap3"]);
    run_for(&mut service, 8 * DAY).await;
    let rest = told(&[("ap1", State::Good), ("ap3", State::Good)]);
    assert_eq!(states(&service), rest);
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_fails_or_names_nobody_changes_nothing() {
    let (lines, _log) = log();
    let outside = Outside::new();
    let mut service = Engine::new(&searching(), outside.parts(), TimeZone::UTC);
    run_for(&mut service, MINUTE).await;
    assert_eq!(states(&service), []);
    assert!(!service.report().is_good());
    assert_eq!(
        service.report().problem_lines(),
        ["schedds of crab (0 deliveries): refused"]
    );

    pool(&outside, &["ap1"]);
    run_for(&mut service, 6 * MINUTE).await;
    let good = told(&[("ap1", State::Good)]);
    assert_eq!(states(&service), good);
    assert!(service.report().is_good());
    pool(&outside, &[]);
    run_for(&mut service, DAY).await;
    assert_eq!(states(&service), good);
    assert_eq!(lines.with("names no schedd"), 1);
    outside.lock().pools.clear();
    run_for(&mut service, DAY).await;
    assert_eq!(states(&service), good);
    assert_eq!(
        service.report().problem_lines(),
        ["schedds of crab: refused"]
    );
}

#[tokio::test(start_paused = true)]
async fn once_finds_schedds_before_it_tries() {
    let outside = Outside::new();
    pool(&outside, &["ap1"]);
    let mut once = Engine::new(&searching(), outside.parts(), TimeZone::UTC);
    once.settle(|_| {}).await;
    assert_eq!(states(&once), told(&[("ap1", State::Good)]));
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_was_found() {
    let outside = Outside::new();
    pool(&outside, &["ap1"]);
    let mut service = Engine::new(&searching(), outside.parts(), TimeZone::UTC);
    run_for(&mut service, MINUTE).await;
    let pushed = outside.lock().stores;
    let mut config = searching();
    config.searches[0].templates[0].renew_below = 2 * DAY;
    let parts = outside.parts();
    service.reload(&config, std::sync::Arc::clone(&parts));
    assert_eq!(*parts.transport.learned.lock().unwrap(), ["ap1"]);
    assert_eq!(states(&service), told(&[("ap1", State::Good)]));
    run_for(&mut service, MINUTE).await;
    assert_eq!(outside.lock().stores, pushed);
}

#[tokio::test(start_paused = true)]
async fn a_schedd_that_was_found_and_revoked_stays_so_over_a_restart_and_is_named_before_it_is_found()
 {
    let folder = tempfile::tempdir().unwrap();
    let start = |outside: &Outside| super::engine_in(folder.path(), &searching(), outside);
    let outside = Outside::new();
    pool(&outside, &["ap1", "ap2"]);
    let mut service = start(&outside);
    run_for(&mut service, MINUTE).await;
    revoke(&mut service, "ap1").await;
    let expected = told(&[("ap1", State::Revoked), ("ap2", State::Good)]);
    assert_eq!(states(&service), expected);
    let stores = outside.lock().stores;

    let mut service = start(&outside);
    run_for(&mut service, 2 * DAY).await;
    assert_eq!(states(&service), expected);
    assert_eq!(outside.lock().stores, stores);

    // At a start whose collector does not answer yet, an order holds as well.
    outside.lock().pools.clear();
    let mut service = start(&outside);
    let reports = revoke(&mut service, "ap2").await;
    assert_eq!(reports.len(), 1, "{reports:?}");
    let why = &reports[0].steps.last().unwrap().why;
    assert!(why.starts_with("not delivered again before"), "{why}");
    assert!(outside.lock().stored.is_empty());
    pool(&outside, &["ap1", "ap2"]);
    run_for(&mut service, DAY).await;
    let expected = told(&[("ap1", State::Revoked), ("ap2", State::Revoked)]);
    assert_eq!(states(&service), expected);
}

async fn revoke(service: &mut Engine<Outside, FakeSchedds>, schedd: &str) -> Vec<RevocationReport> {
    let (send, receive) = mpsc::channel(1);
    let order = async move {
        let (answer, answered) = oneshot::channel();
        let selection = Selection {
            schedd: Some(schedd.to_owned()),
            ..Selection::default()
        };
        let order = Command::Revoke(selection, false, answer);
        send.send(order).await.ok().unwrap();
        answered.await.unwrap()
    };
    tokio::join!(service.run(receive), order).1
}

#[tokio::test(start_paused = true)]
async fn a_schedd_that_moved_to_another_pool_is_served_there() {
    let outside = Outside::new();
    let mut config = searching();
    let mut other = config.searches[0].clone();
    other.group = "a_new_pool".to_owned();
    config.searches.push(other);
    let in_pool = |group: &str, names: &[&str]| {
        let ads = names.iter().map(|name| ad(name)).collect();
        outside.lock().pools.insert(group.to_owned(), ads);
    };
    in_pool("crab", &["ap1", "ap2"]);
    in_pool("a_new_pool", &["ap3"]);
    let mut service = Engine::new(&config, outside.parts(), TimeZone::UTC);
    run_for(&mut service, MINUTE).await;
    in_pool("crab", &["ap2"]);
    in_pool("a_new_pool", &["ap1", "ap3"]);
    run_for(&mut service, 11 * MINUTE).await;
    let all = told(&[
        ("ap1", State::Good),
        ("ap2", State::Good),
        ("ap3", State::Good),
    ]);
    assert_eq!(states(&service), all);
}

#[tokio::test(start_paused = true)]
async fn a_constraint_that_nothing_satisfies_is_not_good() {
    let outside = Outside::new();
    pool(&outside, &[]);
    let mut service = Engine::new(&searching(), outside.parts(), TimeZone::UTC);
    run_for(&mut service, MINUTE).await;
    let report = service.report();
    assert!(!report.is_good());
    let lines = report.problem_lines();
    assert!(
        lines[0].contains("names no schedd that satisfies"),
        "{lines:?}"
    );
    pool(&outside, &["ap1"]);
    run_for(&mut service, 6 * MINUTE).await;
    assert!(service.report().is_good());
}

#[tokio::test(start_paused = true)]
async fn schedds_that_are_left_out_are_not_good() {
    let outside = Outside::new();
    let answer = |name: &str, count: u32| {
        let ads = (0..count).map(|n| ad(&format!("{name}{n}"))).collect();
        outside.lock().pools.insert("crab".to_owned(), ads);
    };
    let mut config = searching();
    // Schedds that get nothing: how many there are is enough.
    config.searches[0].templates[0].schedds.include = vec![Glob::parse("none").unwrap()];
    let mut service = Engine::new(&config, outside.parts(), TimeZone::UTC);
    answer("ap", 1_900);
    run_for(&mut service, MINUTE).await;
    assert!(service.report().is_good());
    // Those that are gone are known still.
    answer("other", 200);
    run_for(&mut service, 6 * MINUTE).await;
    assert!(!service.report().is_good());
    let lines = service.report().problem_lines();
    let words = "100 schedds are left out, since 2000 are known";
    assert!(lines[0].contains(words), "{lines:?}");
    answer("ap", 1_900);
    run_for(&mut service, 6 * MINUTE).await;
    assert!(service.report().is_good());
}

#[tokio::test(start_paused = true)]
async fn what_a_person_revoked_stays_so_whatever_collectors_say_of_its_schedd() {
    for is_in_both in [true, false] {
        let outside = Outside::new();
        let mut config = searching();
        let mut other = config.searches[0].clone();
        other.group = "z".to_owned();
        other.collector = Some("other.test".to_owned());
        config.searches.push(other);
        pool(&outside, &["ap1", "ap2"]);
        let mut service = Engine::new(&config, outside.parts(), TimeZone::UTC);
        run_for(&mut service, MINUTE).await;
        revoke(&mut service, "ap1").await;
        let stores = outside.lock().stores;
        if !is_in_both {
            pool(&outside, &["ap2"]);
        }
        outside.lock().pools.insert("z".to_owned(), vec![ad("ap1")]);
        run_for(&mut service, DAY).await;
        let revoked = ("ap1".to_owned(), State::Revoked);
        assert!(states(&service).contains(&revoked), "{is_in_both}");
        assert_eq!(outside.lock().stores, stores, "{is_in_both}");
    }
}

#[tokio::test(start_paused = true)]
async fn collectors_are_asked_though_the_clock_was_set_back_by_a_year() {
    let outside = Outside::new();
    pool(&outside, &["ap1"]);
    outside.lock().clock_wrong_by = 365 * 86_400;
    let mut service = Engine::new(&searching(), outside.parts(), TimeZone::UTC);
    run_for(&mut service, MINUTE).await;
    outside.lock().clock_wrong_by = 0;
    pool(&outside, &["ap1", "ap2"]);
    run_for(&mut service, 11 * MINUTE).await;
    let both = told(&[("ap1", State::Good), ("ap2", State::Good)]);
    assert_eq!(states(&service), both);
}

#[tokio::test(start_paused = true)]
async fn a_search_that_is_not_answered_is_not_good_at_a_start_or_after_a_reload() {
    let outside = Outside::new();
    let mut service = Engine::new(&searching(), outside.parts(), TimeZone::UTC);
    assert!(!service.report().is_good(), "nothing is known yet");
    run_for(&mut service, MINUTE).await;
    assert!(!service.report().is_good());
    service.reload(&searching(), outside.parts());
    assert!(!service.report().is_good(), "nothing is known still");
    pool(&outside, &["ap1"]);
    run_for(&mut service, MINUTE).await;
    assert!(service.report().is_good());
    service.reload(&searching(), outside.parts());
    assert!(service.report().is_good());
}

#[tokio::test(start_paused = true)]
async fn a_search_that_breaks_off_is_reported_and_asked_again_and_stops_no_other() {
    let outside = Outside::new();
    pool(&outside, &["ap1"]);
    let mut two = searching();
    let mut other = two.searches[0].clone();
    other.group = "other".to_owned();
    two.searches.push(other);
    let ads = vec![ad("ap2")];
    outside.lock().pools.insert("other".to_owned(), ads);
    outside.lock().panics.insert("crab".to_owned());
    let mut engine = Engine::new(&two, outside.parts(), TimeZone::UTC);
    // A single run, and the service.
    engine.settle(|_| {}).await;
    assert_eq!(states(&engine), told(&[("ap2", State::Good)]));
    run_for(&mut engine, MINUTE).await;
    let report = engine.report();
    assert!(report.health.internal_faults > 0);
    let problems = report.problem_lines().concat();
    assert!(problems.contains("fault of token-bastion"), "{problems}");
    outside.lock().panics.clear();
    run_for(&mut engine, 6 * MINUTE).await;
    let both = told(&[("ap1", State::Good), ("ap2", State::Good)]);
    assert_eq!(states(&engine), both);
    let problems = engine.report().problem_lines();
    assert!(problems.is_empty(), "{problems:?}");
}
