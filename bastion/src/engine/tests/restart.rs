//! Restarts, tokens that die before their time, elections: on paused time.

use std::collections::BTreeMap;

use super::super::*;
use super::service::{HOUR, Service, at};
use super::{DAY, MINUTE, credd, deliveries, engine, engine_in, run_for};
use crate::engine::report::Report;
use crate::fakes::{FakeSchedds, Outside};
use crate::fixtures::{config, delivery};
use crate::model::problem::Kind;
use crate::model::records::TokenRecords;
use crate::policy::plan::{Basis, State};
use crate::vault::AccessKind;

/// The service stops and starts again, with its state.
fn restart(
    config: &Config,
    outside: &Outside,
    before: &Engine<Outside, FakeSchedds>,
) -> Engine<Outside, FakeSchedds> {
    let parts = outside.parts_with(before.parts().store.clone());
    Engine::new(config, parts, TimeZone::UTC)
}

fn stored(outside: &Outside) -> BTreeMap<DeliveryId, String> {
    let world = outside.lock();
    let all = deliveries();
    let all = all.iter();
    all.map(|d| (d.id.clone(), world.token_at(&d.id).unwrap_or_default()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_what_is_good_with_its_exact_life_and_name() {
    let outside = Outside::new();
    outside.lock().access_life = DAY / 4;
    let config = config(deliveries());
    let state = tempfile::tempdir().unwrap();
    let start = || engine_in(state.path(), &config, &outside);
    let mut first = start();
    run_for(&mut first, DAY).await;
    let (was, tokens) = (first.report(), stored(&outside));
    drop(first);

    let mut second = start();
    let names = |report: &Report| -> Vec<_> {
        let lines = report.deliveries.iter();
        lines.map(|l| l.accessor.clone()).collect()
    };
    let unlooked = second.report();
    assert_eq!(
        names(&unlooked)[..2],
        names(&was)[..2],
        "known before anything was asked"
    );
    second.settle(|_| {}).await;
    let is = second.report();
    assert!(is.is_good(), "{:?}", is.problem_lines());
    assert_eq!(stored(&outside), tokens, "nothing is pushed that is good");
    assert_eq!(names(&is)[..2], names(&was)[..2]);
    for (is, was) in is.deliveries.iter().zip(&was.deliveries) {
        let readable = is.wanted.transport == "directory";
        assert_eq!(
            is.life,
            if readable {
                Basis::Owned
            } else {
                Basis::Recorded
            }
        );
        assert_eq!(
            is.vault_token_expires.unwrap().as_second(),
            was.vault_token_expires.unwrap().as_second()
        );
        assert!(is.jobs_have_token, "{is:?}");
    }

    // All are replaced in time, and those of before the restart stay named until they end.
    run_for(&mut second, 4 * DAY).await;
    for line in second.report().deliveries {
        assert_eq!(line.life, Basis::Owned);
        let expected = usize::from(line.wanted.transport == "condor");
        assert_eq!(line.other_accessors.len(), expected, "{line:?}");
    }
    assert!(outside.lock().dark.is_empty());
    run_for(&mut second, 3 * DAY).await;
    let lines = second.report().deliveries;
    assert!(lines.iter().all(|line| line.other_accessors.is_empty()));
    assert_eq!(outside.lock().living_children(), 6);
}

#[tokio::test(start_paused = true)]
async fn what_is_configured_away_is_named_until_it_ends() {
    let outside = Outside::new();
    outside.lock().access_life = DAY / 4;
    let mut all = deliveries();
    let mut first = engine(&config(all.clone()), &outside);
    first.settle(|_| {}).await;
    let gone = all.remove(0);
    let mut second = restart(&config(all), &outside, &first);
    run_for(&mut second, 6 * DAY).await;
    let records = second.parts().store.records_of(&gone.id).unwrap();
    assert!(
        records.current.is_some(),
        "people may still want it revoked"
    );
    run_for(&mut second, 2 * DAY).await;
    assert_eq!(second.parts().store.records_of(&gone.id), None);
}

#[tokio::test(start_paused = true)]
async fn without_a_state_lives_are_estimated_and_each_token_replaced_once() {
    let outside = Outside::new();
    let config = config(deliveries());
    let mut first = engine(&config, &outside);
    run_for(&mut first, DAY).await;
    assert_eq!(outside.lock().stores, 6);

    let mut second = engine(&config, &outside);
    // Good is said when the credmon has served after an access token was read.
    run_for(&mut second, 16 * MINUTE).await;
    let report = second.report();
    assert!(report.is_good(), "{:?}", report.problem_lines());
    assert_eq!(outside.lock().stores, 6, "nothing at the start");
    assert_eq!(report.deliveries[0].life, Basis::Estimated);
    assert_eq!(report.deliveries[0].accessor, None);
    run_for(&mut second, DAY / 4).await;
    assert_eq!(outside.lock().stores, 6 + 4, "each credd's token once");
    assert!(
        second
            .report()
            .deliveries
            .iter()
            .all(|line| line.life == Basis::Owned)
    );
    run_for(&mut second, 3 * DAY).await;
    assert!(outside.lock().stores <= 6 + 4 + 2);
    assert!(outside.lock().dark.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_dies_before_its_time_is_replaced_before_jobs_feel_it() {
    let outside = Outside::new();
    let config = config(deliveries());
    let mut first = engine(&config, &outside);
    run_for(&mut first, DAY).await;
    let kill = |outside: &Outside| {
        for token in stored(outside).values() {
            outside.lock().kill(token);
        }
    };
    let alive = |outside: &Outside| {
        let world = outside.lock();
        let all = deliveries();
        all.iter()
            .filter(|d| world.is_alive(&world.token_at(&d.id).unwrap()))
            .count()
    };
    // Access tokens live twenty minutes here, so the credmon is missed after ten.
    kill(&outside);
    run_for(&mut first, 25 * MINUTE).await;
    assert_eq!(alive(&outside), 6);
    assert!(
        first.report().is_good(),
        "{:?}",
        first.report().problem_lines()
    );

    // The same for tokens of before a restart, which cannot be asked.
    let mut second = restart(&config, &outside, &first);
    run_for(&mut second, MINUTE).await;
    kill(&outside);
    run_for(&mut second, 25 * MINUTE).await;
    assert_eq!(alive(&outside), 6);
    assert!(
        second.report().is_good(),
        "{:?}",
        second.report().problem_lines()
    );
}

#[tokio::test(start_paused = true)]
async fn what_jobs_have_is_told_apart_from_what_the_bastion_has() {
    let outside = Outside::new();
    let config = config(deliveries());
    let mut engine = engine(&config, &outside);
    let told = |engine: &Engine<Outside, FakeSchedds>| -> Vec<bool> {
        let lines = engine.report().deliveries.into_iter();
        lines.map(|line| line.jobs_have_token).collect()
    };
    assert_eq!(told(&engine), [false; 6]);
    engine.settle(|_| {}).await;
    assert_eq!(told(&engine), [true; 6]);
    // Vault is down: deliveries fail sooner or later, jobs live on what they have, and then do not.
    {
        let mut world = outside.lock();
        (world.vault_down, world.credmons) = (true, false);
    }
    run_for(&mut engine, 5 * MINUTE).await;
    assert_eq!(told(&engine), [true; 6]);
    run_for(&mut engine, 25 * MINUTE).await;
    assert_eq!(told(&engine), [false; 6]);
    let line = &engine.report().deliveries[0];
    assert!(line.jobs_safe_until.unwrap() < outside.lock().now());
    // Vault gives access tokens again, and the credmon makes none: that is somebody's to mend.
    outside.lock().vault_down = false;
    run_for(&mut engine, 15 * MINUTE).await;
    let report = engine.report();
    assert!(
        report.problems.iter().any(|p| p.kind == Kind::NotServed),
        "{:?}",
        report.problems
    );
    outside.lock().credmons = true;
    run_for(&mut engine, 15 * MINUTE).await;
    assert!(engine.report().is_good(), "{:?}", engine.report().problems);
    assert_eq!(told(&engine), [true; 6]);
}

#[tokio::test(start_paused = true)]
async fn a_single_run_waits_out_an_election_and_not_for_ever() {
    let outside = Outside::new();
    outside.lock().no_leader = true;
    let mut engine = engine(&config(deliveries()), &outside);
    let elected = outside.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(28)).await;
        elected.lock().no_leader = false;
    });
    engine.settle(|_| {}).await;
    assert!(engine.report().is_good(), "{:?}", engine.report().problems);

    let outside = Outside::new();
    outside.lock().no_leader = true;
    let mut engine = tests::engine(&config(deliveries()), &outside);
    let begun = Instant::now();
    engine.settle(|_| {}).await;
    assert_eq!(engine.report().problems[0].kind, Kind::NoLeader);
    assert!(begun.elapsed() < 2 * ELECTION, "{:?}", begun.elapsed());
    assert!(outside.lock().calls < 60, "{}", outside.lock().calls);
}

#[tokio::test(start_paused = true)]
async fn a_schedd_that_hangs_holds_up_no_other_and_is_one_message() {
    let outside = Outside::new();
    outside.lock().schedds_hang.insert("ap1".to_owned());
    let mut all = Vec::new();
    for n in 0..50 {
        for schedd in ["ap1", "ap2", "ap3"] {
            all.push(delivery(&format!("a{n}"), "cms", schedd, credd(schedd)));
        }
    }
    let mut engine = engine(&config(all), &outside);
    run_for(&mut engine, 50 * Duration::from_secs(1)).await;
    let report = engine.report();
    let not_good = report
        .deliveries
        .iter()
        .filter(|line| line.state != State::Good);
    let not_good: Vec<_> = not_good.map(|line| line.wanted.schedd.as_str()).collect();
    assert_eq!(not_good, ["ap1"; 50]);
    run_for(&mut engine, 5 * MINUTE).await;
    assert_eq!(
        engine.report().problem_lines(),
        ["schedd ap1 (50 deliveries): no answer"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_schedd_that_is_down_over_restarts_does_not_have_its_tokens_names_forgotten() {
    let outside = Outside::new();
    let config = config(vec![delivery("cmsprod", "cms", "ap1", credd("ap1"))]);
    let state = tempfile::tempdir().unwrap();
    let start = || engine_in(state.path(), &config, &outside);
    let names = |service: &Engine<Outside, FakeSchedds>| -> Vec<String> {
        service.parts().store.read(|content| {
            let names = content.deliveries.values().flat_map(TokenRecords::iter);
            names.map(|token| token.accessor.clone()).collect()
        })
    };
    let mut service = start();
    run_for(&mut service, MINUTE).await;
    let known = names(&service);
    assert_eq!(known.len(), 1);
    outside.lock().schedds_down.insert("ap1".to_owned());
    for _ in 0..2 {
        let mut service = start();
        run_for(&mut service, MINUTE).await;
        assert_eq!(names(&service), known);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_during_an_outage_knows_what_was_known_before() {
    let outside = Outside::new();
    let config = config(deliveries());
    let state = tempfile::tempdir().unwrap();
    let start = || engine_in(state.path(), &config, &outside);
    let mut first = start();
    run_for(&mut first, MINUTE).await;
    let before = first.report().deliveries;
    {
        let mut world = outside.lock();
        world.vault_down = true;
        world.schedds_down = ["ap1", "ap2", "here"].map(str::to_owned).into();
    }
    // The process is killed.
    drop(first);
    let mut second = start();
    run_for(&mut second, MINUTE).await;
    let after = second.report().deliveries;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after.state, State::Failed);
        assert_eq!(after.accessor, before.accessor);
        assert_eq!(after.vault_token_expires, before.vault_token_expires);
        assert!(after.jobs_safe_until.is_some());
        assert_eq!(after.jobs_safe_until, before.jobs_safe_until);
        assert!(after.jobs_have_token);
    }
    {
        let mut world = outside.lock();
        world.vault_down = false;
        world.schedds_down.clear();
    }
    run_for(&mut second, 9 * MINUTE).await;
    assert!(second.report().is_good(), "{:?}", second.report().problems);
}

/// Reads of access tokens for jobs so far.
fn proofs(outside: &Outside) -> usize {
    let world = outside.lock();
    let is_for_jobs = |kind: &&AccessKind| **kind == AccessKind::ForJobs;
    world.reads.iter().filter(is_for_jobs).count()
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_one_proof_answers_all_deliveries_of_a_credential() {
    let outside = Outside::new();
    outside.lock().access_life = HOUR;
    let state = tempfile::tempdir().unwrap();
    let wanted: Vec<_> = (0..20).map(|n| at("a", &format!("ap{n}"))).collect();
    let first = Service::start_in(Some(state.path()), &outside, wanted.clone());
    tokio::time::sleep(HOUR).await;
    first.stop().await;

    let before = proofs(&outside);
    let second = Service::start_in(Some(state.path()), &outside, wanted);
    tokio::time::sleep(MINUTE).await;
    let report = second.reports.now().unwrap();
    assert!(report.is_good(), "{:?}", report.problem_lines());
    assert_eq!(proofs(&outside) - before, 1);
    // And later: each asks for a token that is newer than the last one.
    tokio::time::sleep(HOUR).await;
    let in_an_hour = proofs(&outside) - before;
    assert!((8..40).contains(&in_an_hour), "{in_an_hour}");
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_proof_that_fails_after_a_restart_is_tried_again_with_growing_pauses() {
    let outside = Outside::new();
    outside.lock().access_life = HOUR;
    let state = tempfile::tempdir().unwrap();
    let wanted = vec![at("a", "ap1")];
    let first = Service::start_in(Some(state.path()), &outside, wanted.clone());
    tokio::time::sleep(HOUR).await;
    first.stop().await;

    outside.lock().subject = Some("somebody else".to_owned());
    let before = proofs(&outside);
    let second = Service::start_in(Some(state.path()), &outside, wanted);
    for minute in 0..60 {
        tokio::time::sleep(MINUTE).await;
        assert_eq!(second.state("a", "ap1"), State::Failed, "minute {minute}");
    }
    let tries = proofs(&outside) - before;
    assert!(tries <= 15, "{tries} in an hour");
    second.stop().await;
}
