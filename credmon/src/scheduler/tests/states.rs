//! What outcomes and observations make of one credential.

use std::sync::Arc;

use htvault::{ErrorKind, FailureScope};

use super::super::record::Record;
use super::site::{failure, token_of};
use super::world::{START, Sent, id, u_cms, with_account};
use super::*;
use crate::model::{
    CredentialId, Failure, InUse, Level, Outcome, Rules, State, TokenInfo, TopProblem,
};

fn forbidden() -> Outcome {
    Outcome::Failed(failure(ErrorKind::Forbidden, &u_cms()))
}

#[test]
fn a_passing_error_of_the_system_is_degraded_retried_and_heals_by_itself() {
    let unreadable = TopProblem::Unreadable("too many open files".into());
    let causes = [
        Outcome::Failed(Failure::local("EIO".to_owned(), "")),
        Outcome::Failed(failure(ErrorKind::LocalResource, &u_cms())),
    ];
    for outcome in causes {
        let mut world = with_account();
        world.site.accounts.insert("u", outcome.clone());
        world.pass(600);
        let status = world.status("u", "cms");
        assert_eq!(status.state, State::Degraded, "{outcome:?}");
        assert!(!status.why.is_empty() && !status.why.contains("dead"));
        world.site.accounts.clear();
        world.pass(75);
        assert_eq!(world.status("u", "cms").state, State::Fresh, "{outcome:?}");
    }
    // A scan that could not read it.
    let mut world = with_account();
    world.spoil(&u_cms(), unreadable.clone());
    world.pass(120);
    assert_eq!(
        world.status("u", "cms").state,
        State::Fresh,
        "the renewal reads it itself"
    );
    // And one that never could.
    let mut world = World::of_life(90, 60);
    world.store("u", "cms");
    world.remove(&u_cms());
    world.store("v", "cms");
    let mut observed = world.scheduler.observed(&id("v", "cms")).unwrap();
    let top = Arc::make_mut(&mut observed.top);
    (top.id, top.route) = (u_cms(), Err(unreadable));
    world.observe(observed);
    world.pass(60);
    let status = world.status("u", "cms");
    assert_eq!(status.state, State::Degraded);
    assert!(status.why.contains("too many open files"));
    world.store("u", "cms");
    world.pass(2);
    assert_eq!(world.status("u", "cms").state, State::Fresh);
}

#[test]
fn a_top_that_is_of_no_use_is_dead_until_another_is_stored() {
    let mut world = with_account();
    world.spoil(&u_cms(), TopProblem::Unusable("it is no JSON".into()));
    let before = world.elapsed();
    world.pass(3600);
    let status = world.status("u", "cms");
    assert_eq!(status.state, State::Dead);
    assert_eq!(world.sent_by("u", before), 0);
    assert!(
        world.record("u", "cms").in_place.token().is_some(),
        "its token stays"
    );
    world.store("u", "cms");
    world.pass(1);
    assert_eq!(world.status("u", "cms").state, State::Fresh);
}

/// The account of [`with_account`], after the first answer that its vault token is dead, and the
/// time before that.
fn with_suspect() -> (World, i64) {
    let mut world = with_account();
    world
        .site
        .accounts
        .insert("u", Outcome::TokenDead("lookup-self says so".to_owned()));
    let before = world.elapsed();
    while world.sent_by("u", before) == 0 {
        world.pass(1);
    }
    (world, before)
}

#[test]
fn a_vault_token_is_dead_only_after_a_second_look() {
    let (mut world, before) = with_suspect();
    world.pass(1);
    let status = world.status("u", "cms");
    assert_eq!(
        status.state,
        State::Degraded,
        "a server that lags may not know it yet"
    );
    world.pass(10);
    let is_renewal = |sent: &&Sent| !sent.is_look_up && sent.at >= before;
    assert_eq!(world.sent.iter().filter(is_renewal).count(), 2);
    let status = world.status("u", "cms");
    assert_eq!(status.state, State::Dead);
    assert!(status.advice.contains("store the credential again"));
    world.pass(4 * 3600);
    assert!(world.sent_by("u", before) <= 12);
    world.store("u", "cms");
    world.site.accounts.clear();
    world.pass(1);
    assert_eq!(
        world.status("u", "cms").state,
        State::Fresh,
        "a new .top is served at once"
    );
}

#[test]
fn a_server_that_lags_once_makes_nothing_dead() {
    let (mut world, _) = with_suspect();
    world.site.accounts.clear();
    world.pass(10);
    assert_eq!(world.status("u", "cms").state, State::Fresh);
    let deaths = world
        .events
        .iter()
        .filter(|event| event.level == Level::Error);
    assert_eq!(deaths.count(), 0);
}

#[test]
fn a_state_is_logged_once_and_again_when_its_cause_changes() {
    let mut world = with_account();
    let logged = |world: &mut World, kind| {
        let outcome = Outcome::Failed(Failure {
            scope: FailureScope::Credential,
            ..failure(kind, &u_cms())
        });
        world.site.accounts.insert("u", outcome);
        world.events.clear();
        world.pass(1200);
        world
            .events
            .iter()
            .filter(|e| e.level == Level::Warning)
            .count()
    };
    assert_eq!(logged(&mut world, ErrorKind::Forbidden), 1);
    assert_eq!(logged(&mut world, ErrorKind::Forbidden), 0);
    assert_eq!(logged(&mut world, ErrorKind::NoneStored), 1);
    assert_eq!(logged(&mut world, ErrorKind::NoneStored), 0);
    let status = world.status("u", "cms");
    assert!(status.last_error.unwrap().text.contains("NoneStored"));
    assert!(!status.advice.is_empty());
    world.site.accounts.clear();
    world.events.clear();
    world.pass(150);
    let again = |event: &&crate::model::Event| event.text.contains("renewed again");
    assert_eq!(world.events.iter().filter(again).count(), 1);
    assert!(
        world.status("u", "cms").last_error.is_some(),
        "it is remembered"
    );
}

#[test]
fn who_waits_for_a_token_goes_first_then_whose_token_expires_first() {
    let mut world = World::new();
    // One request at a time, so that the order shows.
    let blocking: Vec<_> = (0..11)
        .map(|n| {
            let route = crate::model::Route {
                account: format!("blocking{n}").into(),
                host: "a".into(),
                issuer: "cms".into(),
            };
            world.gate.enter(route, None)
        })
        .collect();
    for (user, expires) in [("late", 900), ("soon", 60), ("expired", -60)] {
        world.store(user, "cms");
        world.put_token(&id(user, "cms"), Some((START - 3600, START + expires)));
        let served = |record: &mut Record, rules: &Rules| {
            record.in_place.served = true;
            record.retry_at = Some(world.now.mono);
            record.plan(rules.limits, world.now);
        };
        world.scheduler.change(&id(user, "cms"), world.now, served);
    }
    world.store("new", "cms");
    world.pass(5);
    let order: Vec<_> = world.sent.iter().map(|sent| sent.id.to_string()).collect();
    assert_eq!(order, ["new/cms", "expired/cms", "soon/cms", "late/cms"]);
    drop(blocking);
}

#[test]
fn what_is_ignored_faulty_or_untrusted_is_never_asked_for() {
    let mut world = World::with(Rules {
        trusted_hosts: Some(vec!["a".to_owned()]),
        ..Rules::default()
    });
    world.store("u", "scitokens");
    world.store_at("u", "cms", "evil", "cms");
    world.store("u", "dune");
    world.spoil(
        &id("u", "dune"),
        TopProblem::Unusable("it is no JSON".into()),
    );
    world.pass(3600);
    assert!(world.sent.is_empty());
    assert_eq!(world.scheduler.next_wake(world.now), None);
    let statuses: Vec<_> = world.scheduler.statuses(world.now).iter().collect();
    let states: Vec<_> = statuses.iter().map(|s| s.state).collect();
    assert_eq!(states, [State::Dead, State::Dead, State::Ignored]);
    assert!(!world.scheduler.all_good(world.now));
    let trusting = Rules::default();
    world.scheduler.reconsider(trusting, world.now);
    world.pass(1);
    assert_eq!(world.sent.len(), 1);
    assert_eq!(world.status("u", "cms").state, State::Fresh);
}

#[test]
fn a_report_stays_as_of_its_moment_while_the_credentials_change() {
    let mut world = with_account();
    world.store("v", "cms");
    let report = world.scheduler.statuses(world.now);
    let before: Vec<_> = report.iter().collect();
    world.site.hosts_down.insert("a", ErrorKind::Sealed);
    world.pass(600);
    world.remove(&u_cms());
    assert!(report.iter().eq(before));
    let now: Vec<_> = world.scheduler.statuses(world.now).iter().collect();
    let states: Vec<_> = now.iter().map(|s| (&*s.user, s.state)).collect();
    assert_eq!(states, [("v", State::Degraded)]);
}

/// A credential was found with a token that is younger than its `.top`.
fn found_at_start(world: &mut World, id: &CredentialId, token: Arc<TokenInfo>) {
    let mut observed = world.scheduler.observed(id).unwrap();
    world.remove(id);
    observed.in_use = Some(InUse::Token(token));
    Arc::make_mut(&mut observed.top).stamp.own.changed = 0;
    world.observe(observed);
}

#[test]
fn while_more_credentials_may_be_found_only_those_go_that_are_waited_for() {
    let mut world = World::new();
    world.scheduler.all_known = false;
    let token = |left: i64| token_of(START - 3600 + left, START + left, 1);
    for (user, left) in [("expiring", 60), ("long", 3000)] {
        world.store(user, "cms");
        found_at_start(&mut world, &id(user, "cms"), token(left));
    }
    world.store("new", "cms");
    world.pass(0);
    let asked = |world: &World| -> Vec<String> {
        let renewals = world.sent.iter().filter(|sent| !sent.is_look_up);
        renewals.map(|sent| sent.id.to_string()).collect()
    };
    assert_eq!(asked(&world), ["new/cms"]);
    world.scheduler.scanned(world.now);
    world.pass(1);
    assert_eq!(asked(&world), ["new/cms", "expiring/cms"]);
    assert_eq!(world.status("long", "cms").state, State::Fresh);
}

#[test]
fn garbage_or_a_foreign_token_in_use_is_asked_about_at_once() {
    let mut world = World::new();
    world.store("u", "cms");
    world.pass(60);
    for token in [None, Some((START, START + 10 * 365 * 86_400))] {
        let before = world.elapsed();
        world.put_token(&u_cms(), token);
        world.pass(1);
        assert_eq!(world.sent_by("u", before), 1, "{token:?}");
    }
    // At the start, a token that lives suspiciously long, or does not say for how long, is confirmed soon.
    let long = token_of(START, START + 10 * 365 * 86_400, 1);
    let silent = Arc::new(TokenInfo {
        lifetime: None,
        ..(*long).clone()
    });
    for token in [long, silent] {
        let mut world = World::new();
        world.scheduler.all_known = false;
        world.store("u", "cms");
        found_at_start(&mut world, &u_cms(), token);
        world.scheduler.scanned(world.now);
        world.pass(45);
        assert_eq!(world.sent_by("u", 0), 1);
    }
}

#[test]
fn a_fresh_credential_has_a_token_that_lives() {
    let mut world = World::of_life(90, 60);
    world.store("u", "cms");
    world.pass(10);
    for outcome in [Outcome::Changed, forbidden(), Outcome::Unchanged] {
        world.site.accounts.insert("u", outcome.clone());
        world.pass_with(300, |world| {
            let is_fresh = world.status("u", "cms").state == State::Fresh;
            assert!(!is_fresh || world.left("u", "cms") > 0, "{outcome:?}");
        });
        world.site.accounts.clear();
        world.pass(150);
        assert_eq!(world.status("u", "cms").state, State::Fresh, "{outcome:?}");
    }
}

#[test]
fn a_renewal_that_cannot_be_done_in_time_is_not_called_fresh() {
    let mut world = World::with(Rules {
        request_limit: Some((3, 3600)),
        ..Rules::default()
    });
    world.store("u", "cms");
    world.store("v", "cms");
    world.pass(1200 + 70);
    assert_eq!(
        world.status("v", "cms").state,
        State::Renewing,
        "it never had a token"
    );
    let status = world.status("u", "cms");
    assert_eq!(status.state, State::Degraded);
    assert!(status.why.contains("late"), "{}", status.why);
}

#[test]
fn look_ups_come_only_when_nothing_else_is_due_and_are_spread_over_the_interval() {
    let mut world = World::new();
    for n in 0..1000 {
        world.store(&format!("u{n:03}"), "cms");
    }
    world.pass(60);
    let look_ups = |world: &World| world.sent.iter().filter(|sent| sent.is_look_up).count();
    let requests: u32 = world.sent.iter().map(|sent| sent.requests).sum();
    assert!(world.scheduler.all_good(world.now));
    let early = look_ups(&world);
    assert_eq!(
        requests,
        1000 + u32::try_from(early).unwrap(),
        "one request each"
    );
    // 960 to 1200 s lie between two renewals.
    assert!(early <= 120, "{early}");
    world.pass(2200);
    assert_eq!(look_ups(&world), 1000);
    let mut minutes = [0usize; 40];
    for sent in world.sent.iter().filter(|sent| sent.is_look_up) {
        minutes[usize::try_from(sent.at / 60).unwrap()] += 1;
    }
    assert!(minutes.iter().all(|count| *count < 120), "{minutes:?}");
    world.pass(3600);
    assert_eq!(
        look_ups(&world),
        1000,
        "what is known is not asked for again"
    );
    let status = world.status("u007", "cms");
    assert!(status.vault_token.unwrap().expires.is_some());
}

#[test]
fn look_ups_wait_while_a_breaker_is_open_and_need_no_storm_after() {
    let mut world = World::new();
    for n in 0..20 {
        world.store(&format!("u{n:02}"), "cms");
    }
    world.pass(60);
    world.site.hosts_down.insert("a", ErrorKind::Sealed);
    world.pass(3600);
    let failed = world
        .sent
        .iter()
        .filter(|sent| sent.is_look_up && sent.at > 1300);
    assert_eq!(failed.count(), 0);
    world.site.hosts_down.clear();
    world.pass(3600);
    assert!(world.scheduler.all_good(world.now));
    for n in 0..20 {
        let status = world.status(&format!("u{n:02}"), "cms");
        assert!(status.vault_token.is_some(), "{n}");
    }
}

#[test]
fn a_look_up_is_no_renewal_whatever_comes_of_it() {
    let fails = |kind| Outcome::Failed(failure(kind, &u_cms()));
    for outcome in [
        fails(ErrorKind::Forbidden),
        Outcome::Failed(Failure::local("EMFILE".to_owned(), "")),
        Outcome::TokenDead("dead".to_owned()),
        Outcome::Changed,
    ] {
        let mut world = World::new();
        world.store("u", "cms");
        world.pass(1);
        let look_up_at = world.record("u", "cms").look_up_at.unwrap();
        world.step_time(
            look_up_at
                .duration_since(world.now.mono)
                .as_secs()
                .cast_signed()
                + 1,
        );
        world.plan();
        assert!(world.sent.last().unwrap().is_look_up);
        let before = world.scheduler.renewals().clone();
        world.end(0, Some(outcome.clone()));
        assert_eq!(*world.scheduler.renewals(), before, "{outcome:?}");
    }
}

#[test]
fn a_vault_token_that_may_not_look_itself_up_costs_no_more_renewals_than_others() {
    let mut world = World::new();
    world.site.refuses_look_ups = true;
    world.store("u", "cms");
    let renewals = |world: &World| world.sent.iter().filter(|sent| !sent.is_look_up).count();
    world.pass(12 * 3600);
    // 960 to 1200 s lie between two renewals.
    let first = renewals(&world);
    assert!(first <= 12 * 3600 / 960 + 2, "{first}");
    assert_eq!(world.status("u", "cms").state, State::Fresh);
    // Another one that seems dead is asked for an access token at once, again.
    world.store("u", "cms");
    world.pass(1200);
    let look_up = world.sent.iter().rposition(|sent| sent.is_look_up).unwrap();
    let next = world.sent.get(look_up + 1);
    assert!(
        next.is_some_and(|next| next.at <= world.sent[look_up].at + 2),
        "{next:?}"
    );
}
