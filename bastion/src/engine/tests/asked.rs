//! What is known is asked for while the loop runs, on paused time.

use super::super::*;
use super::service::{Service, at};
use super::{MINUTE, deliveries, run_for};
use crate::engine::report::Line;
use crate::fakes::Outside;
use crate::fixtures::config;
use crate::model::delivery::{Delivery, Selection, Target};
use crate::policy::plan::State;

#[tokio::test(start_paused = true)]
async fn an_order_that_was_answered_is_in_the_next_report() {
    let outside = Outside::new();
    let service = Service::good(&outside, deliveries()).await;
    let reports = &service.reports;
    let of = |service: &str| Selection {
        service: Some(service.to_owned()),
        ..Selection::default()
    };
    // Each right after another one, when a report of just before is at hand.
    service.order(Order::Push(of("cms"))).await;
    let report = reports.now().unwrap();
    let asked = report.deliveries.iter().filter(|line| line.asked);
    assert_eq!(asked.count(), 3);

    assert_eq!(service.revoke(of("cms_crab")).await.len(), 3);
    let report = reports.now().unwrap();
    let revoked = |line: &&Line| line.state == State::Revoked;
    assert_eq!(report.deliveries.iter().filter(revoked).count(), 3);

    service.reload(deliveries().split_off(5)).await;
    assert_eq!(reports.now().unwrap().deliveries.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_try_found_is_told_at_the_moment_at_which_it_ends() {
    let outside = Outside::new();
    let service = Service::good(&outside, deliveries()).await;
    let reports = &service.reports;
    outside.lock().vault_down = true;
    service.order(Order::Push(Selection::default())).await;
    let mut reports = reports.clone();
    let begin = outside.lock().now();
    while reports.now().unwrap().is_good() {
        reports.changed().await.unwrap();
    }
    let seen = reports.now().unwrap();
    let since = seen.deliveries.iter();
    let since = since.filter_map(|line| Some(line.problem.as_ref()?.since));
    assert_eq!(since.min(), Some(outside.lock().now()), "from {begin}");
}

#[tokio::test(start_paused = true)]
async fn all_who_ask_at_once_get_one_report_and_it_ages_no_more_than_a_moment() {
    let outside = Outside::new();
    let service = Service::good(&outside, deliveries()).await;
    let reports = &service.reports;
    let (one, two) = (reports.now(), reports.now());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(Arc::ptr_eq(&one, &two));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let later = reports.now().unwrap();
    assert_eq!(later.at, outside.lock().now());
}

#[tokio::test(start_paused = true)]
async fn reports_need_no_engine_that_runs_and_end_with_it() {
    let outside = Outside::new();
    let mut engine = super::engine(&config(deliveries()), &outside);
    let reports = engine.reports();
    let report = reports.now().unwrap();
    assert!(
        report
            .deliveries
            .iter()
            .all(|line| line.state == State::New)
    );
    run_for(&mut engine, MINUTE).await;
    assert_eq!(reports.now(), Err(Stopping));
    assert_eq!(reports.tally(), Err(Stopping));
}

#[tokio::test(start_paused = true)]
async fn the_tally_says_in_numbers_what_the_report_says_in_names() {
    let outside = Outside::new();
    outside.lock().no_keytab.insert("crabtw".to_owned());
    let service = Service::start(&outside, deliveries());
    let reports = &service.reports;
    tokio::time::sleep(MINUTE).await;
    let (report, tally) = (reports.now().unwrap(), reports.tally().unwrap());
    let next = report.deliveries.iter().filter_map(|line| line.next_try);
    assert_eq!((tally.deliveries, tally.good), (6, 3));
    assert_eq!(
        tally.to_do.into_iter().collect::<Vec<_>>(),
        [("fix here", 3)]
    );
    assert_eq!(tally.next_try, next.min());
}

#[tokio::test(start_paused = true)]
async fn another_way_to_log_in_or_to_reach_a_schedd_is_used_and_pushes_nothing() {
    let other_keytab = |mut delivery: Delivery| {
        let mut credential = (*delivery.credential).clone();
        let mut identity = (*credential.identity).clone();
        identity.keytab = "/another.keytab".into();
        credential.identity = Arc::new(identity);
        delivery.credential = Arc::new(credential);
        delivery
    };
    let other_collector = |mut delivery: Delivery| {
        if let Target::Credd(credd) = &mut delivery.target {
            credd.collector = Some("other.test".to_owned());
        }
        delivery
    };
    let ways: [&dyn Fn(Delivery) -> Delivery; 2] = [&other_keytab, &other_collector];
    for other_way in ways {
        let outside = Outside::new();
        let service = Service::good(&outside, vec![at("a", "ap1")]).await;
        let state = || {
            let stores = outside.lock().stores;
            (stores, service.state("a", "ap1"))
        };
        service.reload(vec![other_way(at("a", "ap1"))]).await;
        tokio::time::sleep(MINUTE / 2).await;
        assert_eq!(state(), (1, State::Good));
        // What was lost on the way is seen at once.
        outside.lock().stored.clear();
        service.reload(vec![at("a", "ap1")]).await;
        tokio::time::sleep(15 * MINUTE).await;
        assert_eq!(state(), (2, State::Good));
        service.stop().await;
    }
}
