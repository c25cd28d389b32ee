//! No token is forgotten, and none that jobs live on is revoked.

use super::service::{HOUR, Service, at, of, outcome};
use super::*;
use crate::engine::revoke::StepOutcome;
use crate::fakes::World;
use crate::model::delivery::Delivery;
use crate::model::records::TokenRecords;
use crate::store::Store;

fn one() -> Vec<Delivery> {
    vec![at("a", "ap1")]
}

/// Accessors of the living tokens that are no logins.
fn living(outside: &Outside) -> Vec<String> {
    outside.lock().living_accessors()
}

/// Accessors that the state directory names.
fn recorded(state: &std::path::Path) -> Vec<String> {
    let store = Store::read_only(state);
    let mut names: Vec<String> = store.read(|content| {
        let names = content.deliveries.values().flat_map(TokenRecords::iter);
        names.map(|named| named.accessor.clone()).collect()
    });
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn a_stop_at_any_moment_of_a_push_forgets_no_token() {
    let mut unknown_moments = 0;
    for milliseconds in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        let outside = Outside::new();
        let service = Service::start_in(Some(folder.path()), &outside, one());
        outside.lock().credmons = false;
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        service.stop().await;
        let (living, recorded) = (living(&outside), recorded(folder.path()));
        assert_eq!(living, recorded, "stopped after {milliseconds} ms");
        unknown_moments += u32::from(living.is_empty());
    }
    assert!(
        unknown_moments < 50,
        "most stops come when there is a token"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_stopped_push_had_stored_is_found_by_a_later_revocation() {
    let folder = tempfile::tempdir().unwrap();
    let outside = Outside::new();
    outside.lock().credmons = false;
    let service = Service::start_in(Some(folder.path()), &outside, one());
    tokio::time::sleep(MINUTE).await;
    service.stop().await;
    let [delivered] = &living(&outside)[..] else {
        panic!("one token is at the schedd");
    };
    let service = Service::start_in(Some(folder.path()), &outside, one());
    let reports = service.revoke(of(None, None)).await;
    let text = format!("{reports:?}");
    assert!(text.contains(delivered), "{text}");
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_replaced_token_is_known_until_its_end_is_seen() {
    let outside = Outside::new();
    let mut service = Service::good(&outside, one()).await;
    outside.lock().revoke_refused = true;
    service.order(Order::Push(of(None, None))).await;
    tokio::time::sleep(MINUTE).await;
    let report = service.reports.now().unwrap();
    assert_eq!(living(&outside).len(), 2);
    let line = &report.deliveries[0];
    assert_eq!(line.state, Good);
    assert_eq!(line.other_accessors.len(), 1, "{line:?}");
    let reports = service.revoke(of(None, None)).await;
    assert_eq!(
        outcome(&reports[0])[..2],
        [StepOutcome::NotDone, StepOutcome::NotDone],
        "{reports:?}"
    );
    outside.lock().revoke_refused = false;
    let reports = service.revoke(of(None, None)).await;
    assert_eq!(
        outcome(&reports[0])[..2],
        [StepOutcome::Done, StepOutcome::Done]
    );
    assert!(living(&outside).is_empty());
    service.reports.changed().await.unwrap();
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_repeats_an_old_answer_costs_no_working_token() {
    let outside = Outside::new();
    let service = Service::good(&outside, one()).await;
    outside.lock().create_repeats = true;
    service.order(Order::Push(of(None, None))).await;
    tokio::time::sleep(10 * MINUTE).await;
    assert!(service.has("a", "ap1"), "jobs have the token that they had");
    let report = service.reports.now().unwrap();
    let problem = report.problem_lines().concat();
    assert!(problem.contains("is there already"), "{problem}");
    outside.lock().create_repeats = false;
    tokio::time::sleep(5 * MINUTE).await;
    assert_eq!(service.state("a", "ap1"), Good);
    assert_eq!(living(&outside).len(), 1);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_young_token_that_a_lagging_standby_refuses_is_tried_again_before_another_is_made() {
    let outside = Outside::new();
    outside.lock().lag = Duration::from_secs(2);
    let here = vec![delivery(
        "a",
        "cms",
        "here",
        Target::Directory("/creds".into()),
    )];
    let mut engine = engine(&config(here), &outside);
    engine.settle(|_| {}).await;
    assert!(engine.report().is_good(), "{:?}", engine.report().problems);
    let world = outside.lock();
    assert_eq!((world.logins, world.stores), (1, 1));
    assert_eq!(world.living_children(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_or_the_configuration_asks_for_is_pushed_once_whatever_comes_of_it() {
    let no_credmon: fn(&mut World) = |world| world.credmons = false;
    let no_issuer: fn(&mut World) = |world| world.issuer_down = true;
    for (stop, is_asked) in [
        (no_credmon, true),
        (no_credmon, false),
        (no_issuer, true),
        (no_issuer, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let outside = Outside::new();
        let service = Service::start_in(Some(folder.path()), &outside, one());
        tokio::time::sleep(MINUTE).await;
        stop(&mut outside.lock());
        if is_asked {
            service.order(Order::Push(of(None, None))).await;
        } else {
            let mut other = one();
            other[0].lifetime = 6 * DAY;
            service.reload(other).await;
        }
        tokio::time::sleep(DAY / 2).await;
        let stores = outside.lock().stores;
        assert!(stores <= 3, "{stores} stores");
        assert!(living(&outside).len() <= 3, "{:?}", living(&outside));
        assert_eq!(living(&outside), recorded(folder.path()));
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_lags_for_longer_than_an_attempt_costs_no_further_logins() {
    let outside = Outside::new();
    outside.lock().lag = Duration::from_secs(10);
    let here = Target::Directory("/creds".into());
    let wanted = vec![delivery("a", "cms", "here", here)];
    let service = Service::start(&outside, wanted);
    tokio::time::sleep(5 * MINUTE).await;
    let report = service.reports.now().unwrap();
    assert!(report.is_good(), "{:?}", report.problem_lines());
    assert_eq!(outside.lock().logins, 1);
    // And when it lags for ever, no tokens pile up.
    outside.lock().lag = DAY;
    service.order(Order::Push(of(None, None))).await;
    tokio::time::sleep(3 * HOUR).await;
    assert!(living(&outside).len() <= 2, "{:?}", living(&outside));
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_repeats_an_old_answer_leaves_no_logins() {
    let outside = Outside::new();
    let service = Service::good(&outside, one()).await;
    let before = outside.lock().living();
    outside.lock().create_repeats = true;
    service.order(Order::Push(of(None, None))).await;
    tokio::time::sleep(HOUR).await;
    assert!(outside.lock().logins > 5);
    assert_eq!(outside.lock().living(), before);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn reloads_while_attempts_run_leave_no_logins() {
    let outside = Outside::new();
    let wanted = || vec![at("a", "ap1"), at("b", "ap1")];
    let service = Service::good(&outside, wanted()).await;
    let before = outside.lock().living();
    outside.lock().credmons = false;
    service.order(Order::Push(of(None, None))).await;
    for _ in 0..10 {
        tokio::time::sleep(MINUTE / 3).await;
        service.reload(wanted()).await;
    }
    outside.lock().credmons = true;
    tokio::time::sleep(HOUR).await;
    assert_eq!(outside.lock().living(), before);
    service.stop().await;
    assert_eq!(
        outside.lock().living(),
        4,
        "what was pushed, and its logins"
    );
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_repeats_a_login_costs_no_working_token() {
    for creation_too in [false, true] {
        let outside = Outside::new();
        let service = Service::good(&outside, one()).await;
        {
            let mut world = outside.lock();
            (world.login_repeats, world.create_repeats) = (true, creation_too);
        }
        service.order(Order::Push(of(None, None))).await;
        for _ in 0..20 {
            tokio::time::sleep(MINUTE / 2).await;
            assert!(service.has("a", "ap1"), "{creation_too}");
        }
        {
            let mut world = outside.lock();
            (world.login_repeats, world.create_repeats) = (false, false);
        }
        tokio::time::sleep(5 * MINUTE).await;
        assert_eq!(service.state("a", "ap1"), Good);
        assert!(service.has("a", "ap1"));
        assert_eq!(living(&outside).len(), 1);
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_made_for_another_configuration_is_not_delivered() {
    let outside = Outside::new();
    outside.lock().stores_refused = true;
    let service = Service::start(&outside, vec![at("a", "ap1")]);
    tokio::time::sleep(MINUTE).await;
    let mut shorter = at("a", "ap1");
    (shorter.lifetime, shorter.renew_below) = (DAY, DAY / 2);
    service.reload(vec![shorter]).await;
    tokio::time::sleep(HOUR).await;
    // One for the token and one that opens the credd, for each configuration.
    assert_eq!(outside.lock().logins, 4);
    outside.lock().stores_refused = false;
    tokio::time::sleep(15 * MINUTE).await;
    assert_eq!(service.state("a", "ap1"), Good);
    let line = service.reports.now().unwrap().deliveries[0].clone();
    let left = line.vault_token_seconds_left.unwrap();
    assert!(left <= DAY.as_secs(), "{left}");
    assert_eq!(outside.lock().living_children(), 1);
    service.stop().await;
}

pub(super) fn in_a_directory() -> Vec<Delivery> {
    let here = Target::Directory("/creds".into());
    vec![delivery("a", "cms", "here", here)]
}

/// Passes so much time, in which jobs have a living token.
async fn watch(service: &Service, time: Duration) {
    for _ in 0..time.as_secs() / 5 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(service.has("a", "here"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_storing_seemed_to_fail_is_the_one_of_the_delivery() {
    for seconds in [3, 60] {
        let outside = Outside::new();
        outside.lock().stores_unanswered = true;
        let service = Service::start(&outside, in_a_directory());
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        outside.lock().stores_unanswered = false;
        watch(&service, HOUR).await;
        assert_eq!(service.state("a", "here"), Good);
        assert_eq!(outside.lock().logins, 1);
        service.order(Order::Push(of(None, None))).await;
        watch(&service, HOUR).await;
        assert_eq!(outside.lock().logins, 2, "a new one");
        assert_eq!(living(&outside).len(), 1);
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_back_at_its_schedd_is_not_revoked() {
    let outside = Outside::new();
    let service = Service::good(&outside, in_a_directory()).await;
    let id = &in_a_directory()[0].id;
    let stored = outside.lock().stored.remove(id).unwrap();
    outside.lock().no_keytab.insert("a".to_owned());
    tokio::time::sleep(HOUR / 2).await;
    outside.lock().stored.insert(id.clone(), stored);
    watch(&service, HOUR).await;
    assert_eq!(service.state("a", "here"), Good);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_lost_are_nobody_elses_tokens() {
    for wanted in [one(), in_a_directory()] {
        let outside = Outside::new();
        let id = wanted[0].id.clone();
        let service = Service::good(&outside, wanted).await;
        for _ in 0..3 {
            {
                let mut world = outside.lock();
                world.stores_unanswered = true;
                let token = world.token_at(&id).unwrap();
                world.kill(&token);
            }
            tokio::time::sleep(5 * MINUTE).await;
            outside.lock().stores_unanswered = false;
            tokio::time::sleep(HOUR / 2).await;
        }
        let report = service.reports.now().unwrap();
        assert!(report.is_good(), "{:?}", report.problem_lines());
        assert_eq!(living(&outside).len(), 1);
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_before_a_restart_that_was_away_is_no_other_one() {
    let folder = tempfile::tempdir().unwrap();
    let outside = Outside::new();
    let service = Service::start_in(Some(folder.path()), &outside, in_a_directory());
    tokio::time::sleep(MINUTE).await;
    service.stop().await;
    let id = &in_a_directory()[0].id;
    let stored = outside.lock().stored.remove(id).unwrap();
    outside.lock().no_keytab.insert("a".to_owned());
    let service = Service::start_in(Some(folder.path()), &outside, in_a_directory());
    tokio::time::sleep(HOUR / 2).await;
    let others = || {
        service.reports.now().unwrap().deliveries[0]
            .other_accessors
            .clone()
    };
    assert_eq!(others(), living(&outside));
    outside.lock().stored.insert(id.clone(), stored);
    watch(&service, HOUR).await;
    assert_eq!(service.state("a", "here"), Good);
    assert!(others().is_empty());
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_who_asks_for_a_new_token_gets_none_that_was_made_before() {
    let outside = Outside::new();
    let service = Service::good(&outside, one()).await;
    let id = &one()[0].id;
    let stored = || outside.lock().token_at(id).unwrap();
    outside.lock().stores_unanswered = true;
    let dead = stored();
    outside.lock().kill(&dead);
    tokio::time::sleep(5 * MINUTE).await;
    let before = stored();
    assert!(outside.lock().is_alive(&before));
    service.order(Order::Push(of(None, None))).await;
    outside.lock().stores_unanswered = false;
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(service.state("a", "ap1"), Good);
    assert_ne!(stored(), before);
    assert!(!outside.lock().is_alive(&before));
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_schedd_that_loses_what_it_takes_costs_no_further_logins() {
    for wanted in [one(), in_a_directory()] {
        let outside = Outside::new();
        outside.lock().credmons = false;
        let service = Service::start(&outside, wanted);
        for _ in 0..12 * 60 {
            tokio::time::sleep(MINUTE).await;
            outside.lock().stored.clear();
        }
        assert!(outside.lock().stores > 20);
        assert_eq!(outside.lock().living_children(), 1);
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedd_that_takes_nothing_for_days_costs_few_tokens_at_a_time() {
    let outside = Outside::new();
    outside.lock().stores_refused = true;
    let mut wanted = one();
    (wanted[0].lifetime, wanted[0].renew_below) = (HOUR, HOUR / 3);
    let service = Service::start(&outside, wanted);
    tokio::time::sleep(3 * DAY).await;
    let line = service.reports.now().unwrap().deliveries[0].clone();
    let known = line.other_accessors.len();
    assert!((1..=4).contains(&known), "{known}");
    let living = outside.lock().living();
    assert!(living <= 2 * 4 + 1, "{living}");
    service.stop().await;
}
