//! The engine against a Vault, credds and credmons that behave, on paused time.

mod alone;
mod asked;
mod away;
mod clock;
mod found;
mod gone;
mod health;
mod isolation;
mod keeping;
mod long;
mod meanwhile;
mod random;
mod recovery;
mod restart;
mod revoke;
mod service;
mod tokens;
mod unfinished;

use secrecy::SecretString;

use super::*;
use crate::config::Config;
use crate::engine::report::Report;
use crate::fakes::{FakeSchedds, Outside, Stored};
use crate::fixtures::{config, credd, delivery};
use crate::model::delivery::Selection;
use crate::model::delivery::{Delivery, Target};
use crate::model::problem::Kind;
use crate::policy::plan::State;
use crate::policy::plan::State::{Failed, Good};
use tokio::sync::oneshot;

pub(super) const MINUTE: Duration = Duration::from_mins(1);
pub(super) const DAY: Duration = Duration::from_hours(24);

/// Two accounts at two credds and in a directory.
pub(super) fn deliveries() -> Vec<Delivery> {
    let mut all = Vec::new();
    for (account, service) in [("cmsprod", "cms"), ("crabtw", "cms_crab")] {
        for schedd in ["ap1", "ap2"] {
            all.push(delivery(account, service, schedd, credd(schedd)));
        }
        all.push(delivery(
            account,
            service,
            "here",
            Target::Directory("/creds".into()),
        ));
    }
    all
}

/// The loop turns more rarely in tests of weeks.
pub(super) fn unhurried(mut engine: Engine<Outside, FakeSchedds>) -> Engine<Outside, FakeSchedds> {
    engine.longest_sleep = 20 * MINUTE;
    engine
}

pub(super) fn engine(config: &Config, outside: &Outside) -> Engine<Outside, FakeSchedds> {
    unhurried(Engine::new(config, outside.parts(), TimeZone::UTC))
}

/// The same with a state directory.
pub(super) fn engine_in(
    state: &std::path::Path,
    config: &Config,
    outside: &Outside,
) -> Engine<Outside, FakeSchedds> {
    let parts = outside.parts_with(crate::store::Store::open(state).unwrap());
    unhurried(Engine::new(config, parts, TimeZone::UTC))
}

/// Runs the service for a while, then tells it to stop.
pub(super) async fn run_for(engine: &mut Engine<Outside, FakeSchedds>, time: Duration) {
    let (send, receive) = mpsc::channel(1);
    let stop = async move {
        tokio::time::sleep(time).await;
        send.send(Command::Stop).await.ok();
    };
    tokio::join!(engine.run(receive), stop);
}

fn states(report: &Report) -> Vec<State> {
    report.deliveries.iter().map(|line| line.state).collect()
}

#[tokio::test(start_paused = true)]
async fn every_delivery_has_a_token_and_a_login_of_its_own() {
    let outside = Outside::new();
    let mut engine = engine(&config(deliveries()), &outside);
    engine.settle(|_| {}).await;
    let report = engine.report();
    assert!(report.is_good(), "{:?}", report.problem_lines());
    let world = outside.lock();
    let tokens: std::collections::BTreeSet<_> = deliveries()
        .iter()
        .map(|d| world.token_at(&d.id).unwrap())
        .collect();
    assert_eq!(tokens.len(), 6);
    // One for each delivery, and one for each account that opens credds; all are counted.
    assert_eq!(world.logins, 6 + 2);
    let counted = engine.parts().stages.snapshot();
    assert_eq!(counted[&crate::system::stages::Stage::Login].number, 6 + 2);
}

#[tokio::test(start_paused = true)]
async fn an_account_without_keytab_fails_alone_and_in_one_message() {
    let outside = Outside::new();
    outside.lock().no_keytab.insert("crabtw".to_owned());
    let mut engine = engine(&config(deliveries()), &outside);
    engine.settle(|_| {}).await;
    let report = engine.report();
    assert_eq!(states(&report), [Good, Good, Good, Failed, Failed, Failed]);
    assert_eq!(
        report.problem_lines(),
        ["account crabtw (3 deliveries): no such keytab"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_keytab_that_is_replaced_is_tried_at_once() {
    let outside = Outside::new();
    let mut engine = engine(&config(deliveries()), &outside);
    engine.settle(|_| {}).await;
    // New tokens are asked for; what is there needs no login to be looked at.
    outside.lock().no_keytab.insert("crabtw".to_owned());
    let only_one = Selection {
        account: Some("crabtw".to_owned()),
        schedd: Some("ap1".to_owned()),
        ..Selection::default()
    };
    engine.obey(&Order::Push(only_one));
    let story = async {
        tokio::time::sleep(61 * MINUTE).await;
        outside.lock().no_keytab.clear();
    };
    tokio::join!(run_for(&mut engine, 61 * MINUTE + MINUTE / 6), story);
    let report = engine.report();
    assert!(report.is_good(), "{:?}", report.problem_lines());
    assert_eq!(engine.parts().limits.open(), 0, "nobody waits any more");
    let line = &report.deliveries[3];
    assert!(
        line.tries < 20,
        "it was not tried all the time: {}",
        line.tries
    );
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_is_down_is_one_message_and_is_not_hammered() {
    let outside = Outside::new();
    outside.lock().vault_down = true;
    let many: Vec<Delivery> = (0..200)
        .map(|n| delivery(&format!("a{n}"), "cms", "ap1", credd("ap1")))
        .collect();
    let mut engine = engine(&config(many), &outside);
    engine.settle(|_| {}).await;
    let report = engine.report();
    assert!(states(&report).iter().all(|state| *state == Failed));
    assert_eq!(
        report.problem_lines(),
        ["Vault https://vault.test:8200 (200 deliveries): connection refused"]
    );
    assert!(outside.lock().calls <= 16, "{}", outside.lock().calls);

    // An hour of it costs few calls, and all are good soon after it ends.
    run_for(&mut engine, 60 * MINUTE).await;
    assert!(outside.lock().calls < 200, "{}", outside.lock().calls);
    outside.lock().vault_down = false;
    run_for(&mut engine, 2 * MINUTE).await;
    assert!(engine.report().is_good());
}

#[tokio::test(start_paused = true)]
async fn weeks_leave_no_moment_without_a_living_token_and_no_former_one() {
    let outside = Outside::new();
    outside.lock().access_life = DAY / 8;
    let mut engine = engine(&config(deliveries()), &outside);
    for _ in 0..16 {
        run_for(&mut engine, DAY).await;
        let world = outside.lock();
        for delivery in deliveries() {
            let token = world.token_at(&delivery.id).unwrap();
            assert!(world.is_alive(&token), "{}", delivery.id);
        }
        assert_eq!(world.living_children(), 6, "former tokens are revoked");
    }
    let stores = outside.lock().stores;
    assert!((6 * 4..=6 * 5).contains(&stores), "{stores}");
}

#[tokio::test(start_paused = true)]
async fn tokens_of_minutes_are_renewed_in_seconds() {
    let outside = Outside::new();
    let mut all = deliveries();
    for delivery in &mut all {
        delivery.lifetime = 3 * MINUTE;
        delivery.renew_below = MINUTE;
    }
    let mut engine = engine(&config(all), &outside);
    for _ in 0..30 {
        run_for(&mut engine, MINUTE).await;
        let report = engine.report();
        assert!(report.is_good(), "{:?}", report.problem_lines());
        for line in report.deliveries {
            assert!(line.vault_token_seconds_left.unwrap() > 50, "{line:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_credmon_a_delivery_is_not_good_and_the_former_token_lives() {
    let outside = Outside::new();
    let one = vec![delivery("cmsprod", "cms", "ap1", credd("ap1"))];
    let id = one[0].id.clone();
    let mut engine = engine(&config(one), &outside);
    engine.settle(|_| {}).await;
    let first = outside.lock().token_at(&id).unwrap();

    outside.lock().credmons = false;
    run_for(&mut engine, 4 * DAY + 60 * MINUTE).await;
    let report = engine.report();
    assert_eq!(
        report.problems[0].kind,
        Kind::NotServed,
        "{:?}",
        report.problems
    );
    {
        let world = outside.lock();
        assert_ne!(world.token_at(&id).unwrap(), first);
        assert!(world.is_alive(&first), "jobs may live on it");
        assert_eq!(
            world.stores, 2,
            "what is stored is waited for, not pushed again"
        );
    }
    outside.lock().credmons = true;
    run_for(&mut engine, 15 * MINUTE).await;
    assert!(engine.report().is_good());
    assert!(!outside.lock().is_alive(&first));
    assert_eq!(outside.lock().stores, 2);
}

#[tokio::test(start_paused = true)]
async fn a_credmon_that_serves_within_the_second_of_the_push_is_believed() {
    let outside = Outside::new();
    outside.lock().credmon_takes = Duration::from_millis(1);
    let mut one = delivery("cmsprod", "cms", "ap1", credd("ap1"));
    let config_of = |one: &Delivery| config(vec![one.clone()]);
    let mut first = engine(&config_of(&one), &outside);
    first.settle(|_| {}).await;
    assert!(first.report().is_good());
    assert_eq!(outside.lock().stores, 1);

    // Another token, stored in the very second in which the first was served.
    one.lifetime = 6 * DAY;
    first.reload(&config_of(&one), outside.parts());
    let begun = outside.lock().now();
    first.settle(|_| {}).await;
    assert!(first.report().is_good(), "{:?}", first.report().problems);
    assert_eq!(outside.lock().stores, 3, "stored once more, a second later");
    assert!(until(begun, outside.lock().now()) < Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_schedd_that_is_down_costs_no_new_logins_and_holds_up_nobody() {
    let outside = Outside::new();
    outside.lock().schedds_down.insert("ap2".to_owned());
    let mut engine = engine(&config(deliveries()), &outside);
    run_for(&mut engine, 60 * MINUTE).await;
    assert_eq!(
        states(&engine.report()),
        [Good, Failed, Good, Good, Failed, Good]
    );
    // One for each delivery of the first schedd and the directory, and two that open credds.
    let logins = outside.lock().logins;
    assert!(logins <= 8, "{logins}");
    outside.lock().schedds_down.clear();
    run_for(&mut engine, 3 * MINUTE).await;
    assert!(engine.report().is_good());
}

#[tokio::test(start_paused = true)]
async fn what_vanishes_or_is_replaced_at_a_schedd_is_pushed_again() {
    let outside = Outside::new();
    let all = deliveries();
    let mut engine = engine(&config(all.clone()), &outside);
    engine.settle(|_| {}).await;
    {
        let mut world = outside.lock();
        world.stored.remove(&all[0].id);
        let at = crate::model::moment::after(world.now(), MINUTE);
        let top = SecretString::from("{\"vault_token\": \"somebody's\"}");
        for id in [&all[1].id, &all[2].id] {
            let stored = Stored {
                top: top.clone(),
                at,
                served: None,
                ends: None,
                is_new: true,
            };
            world.stored.insert(id.clone(), stored);
        }
    }
    run_for(&mut engine, 16 * MINUTE).await;
    let world = outside.lock();
    for delivery in &all {
        assert!(
            world.is_alive(&world.token_at(&delivery.id).unwrap()),
            "{}",
            delivery.id
        );
    }
    assert_eq!(world.stores, 6 + 3);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_directory_keeps_its_token() {
    let outside = Outside::new();
    let one = vec![delivery(
        "cmsprod",
        "cms",
        "here",
        Target::Directory("/creds".into()),
    )];
    let id = one[0].id.clone();
    let config = config(one);
    let mut first = engine(&config, &outside);
    run_for(&mut first, MINUTE).await;
    drop(first);
    let token = outside.lock().token_at(&id).unwrap();
    assert!(outside.lock().is_alive(&token), "a stop revokes nothing");

    let mut second = engine(&config, &outside);
    second.settle(|_| {}).await;
    assert!(second.report().is_good());
    assert_eq!(outside.lock().token_at(&id).unwrap(), token);
    assert_eq!(outside.lock().logins, 1);
    // It is renewed when its margin begins, and revoked like one of our own.
    run_for(&mut second, 5 * DAY).await;
    assert!(!outside.lock().is_alive(&token));
    assert_eq!(outside.lock().living_children(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_without_the_scopes_asked_for_is_not_pushed() {
    let outside = Outside::new();
    let mut one = delivery("cmsprod", "cms", "ap1", credd("ap1"));
    let mut credential = (*one.credential).clone();
    credential.scopes = vec!["storage.modify:/".to_owned()];
    one.credential = Arc::new(credential);
    let mut engine = engine(&config(vec![one]), &outside);
    engine.settle(|_| {}).await;
    let report = engine.report();
    assert_eq!(report.problems[0].kind, Kind::WrongToken);
    assert!(
        report.problems[0]
            .message
            .contains("scope storage.modify:/ is missing")
    );
    assert_eq!(outside.lock().stores, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reload_pushes_what_changed_and_leaves_what_is_no_longer_wanted() {
    let outside = Outside::new();
    let all = deliveries();
    let mut engine = engine(&config(all.clone()), &outside);
    engine.settle(|_| {}).await;
    let before: Vec<_> = all.iter().map(|d| outside.lock().token_at(&d.id)).collect();

    let mut new = all.clone();
    let gone = new.remove(5);
    let mut credential = (*new[0].credential).clone();
    credential.scopes = vec!["storage.read:/".to_owned()];
    new[0].credential = Arc::new(credential);
    let (send, receive) = mpsc::channel(1);
    let commands = async {
        let config = Arc::new(config(new));
        let reload = Command::Reload(config, outside.parts(), oneshot::channel().0);
        send.send(reload).await.ok();
        tokio::time::sleep(MINUTE).await;
        send.send(Command::Stop).await.ok();
    };
    tokio::join!(engine.run(receive), commands);

    assert_eq!(engine.report().deliveries.len(), 5);
    assert!(engine.report().is_good());
    let world = outside.lock();
    let after: Vec<_> = all.iter().map(|d| world.token_at(&d.id)).collect();
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1..], before[1..]);
    assert!(world.is_alive(&world.token_at(&gone.id).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn no_secret_is_in_a_report_or_in_debug_output() {
    let outside = Outside::new();
    outside.lock().schedds_down.insert("ap2".to_owned());
    let mut engine = engine(&config(deliveries()), &outside);
    engine.settle(|_| {}).await;
    let report = engine.report();
    let tokens: Vec<String> = engine
        .owners
        .values()
        .map(|owner| format!("{:?}", owner.status.borrow()))
        // Part of a path at Vault.
        .map(|status| status.replace("/secret/oauth/", ""))
        .collect();
    let all = format!(
        "{report:?}{tokens:?}{}",
        serde_json::to_string(&report).unwrap()
    );
    assert!(!all.contains("secret"), "{all}");
    assert!(all.contains("accessor1") || all.contains("accessor2"));
}
