//! Limits and breakers on paused time.

use super::*;
use crate::engine::resources::vault;
use crate::fixtures::{credd, delivery};
use crate::problem::{Cause, Kind};

fn claims(delivery: &Delivery) -> Arc<Claims> {
    Arc::new(Claims::of(delivery))
}

fn at(account: &str, schedd: &str) -> Delivery {
    delivery(account, "cms", schedd, credd(schedd))
}

fn down(delivery: &Delivery) -> Problem {
    let vault = Cause::vault(&delivery.credential.url.server());
    Problem::new(vault, Kind::VaultDown, "refused")
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

/// Opens Vault's breaker.
fn break_vault(limits: &Limits, a: &Delivery) {
    let permit = limits.admit(&claims(a), Extent::Login).unwrap();
    permit.failed(a, &down(a));
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_passes_an_open_breaker_and_what_worked_closes_it() {
    let (limits, a, b) = (Limits::default(), at("a", "ap1"), at("b", "ap2"));
    break_vault(&limits, &a);
    let refused = |delivery: &Delivery| limits.admit(&claims(delivery), Extent::Login).unwrap_err();
    let until = |seconds| Instant::now() + Duration::from_secs(seconds);
    assert_eq!(refused(&b), Refusal::Open(Box::new(down(&a)), until(2)));
    pass(2).await;
    let probe = limits.admit(&claims(&a), Extent::Login).unwrap();
    assert_eq!(refused(&b), Refusal::Busy);
    probe.failed(&a, &down(&a));
    drop(probe);
    assert_eq!(refused(&b), Refusal::Open(Box::new(down(&a)), until(4)));
    pass(4).await;
    let probe = limits.admit(&claims(&b), Extent::Login).unwrap();
    probe.worked(&read_by(&b.credential));
    assert_eq!(limits.take_closed(), [vault(&b.credential)]);
    drop(limits.admit(&claims(&a), Extent::Login).unwrap());
    assert_eq!(limits.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn however_a_probe_ends_the_next_one_may_begin() {
    let (limits, a) = (Limits::default(), at("a", "ap1"));
    break_vault(&limits, &a);
    pass(2).await;
    let probe = || limits.admit(&claims(&a), Extent::Login).unwrap();
    // Not needed any more.
    drop(probe());
    // A panic.
    let permit = probe();
    let task = tokio::spawn(async move {
        let _permit = permit;
        panic!("a fault of this program");
    });
    assert!(task.await.unwrap_err().is_panic());
    // An abort, before the task ever ran and while it runs.
    for runs in [false, true] {
        let permit = probe();
        let task = tokio::spawn(async move {
            let _permit = permit;
            std::future::pending::<()>().await;
        });
        if runs {
            tokio::task::yield_now().await;
        }
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    // Another cause.
    let permit = probe();
    let own = Problem::new(Cause::schedd(&a), Kind::NotServed, "no credmon");
    permit.failed(&a, &own);
    drop(permit);
    drop(probe());
    assert_eq!(limits.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_began_before_the_breaker_opened_says_nothing_new() {
    let (limits, a, b) = (Limits::default(), at("a", "ap1"), at("b", "ap2"));
    let early = limits.admit(&claims(&b), Extent::Login).unwrap();
    break_vault(&limits, &a);
    early.failed(&b, &down(&b));
    pass(2).await;
    let probe = limits.admit(&claims(&a), Extent::Login).unwrap();
    early.failed(&b, &down(&b));
    // Neither does its end end another's probe.
    drop(early);
    let refused = limits.admit(&claims(&b), Extent::Login).unwrap_err();
    assert_eq!(refused, Refusal::Busy);
    drop(probe);
}

#[tokio::test(start_paused = true)]
async fn a_failure_stops_those_alone_that_it_speaks_of() {
    let a = at("a", "ap1");
    let elsewhere = at("a", "ap2");
    let other = at("b", "ap2");
    let problem = |cause, kind| Problem::new(cause, kind, "no");
    let account = || Cause::Account("a".to_owned());
    let credential = || Cause::credential(&a.credential);
    let (all, some, none) = ([true, true], [true, false], [false, false]);
    for (problem, stopped) in [
        (
            problem(Cause::realm(&a.credential.identity), Kind::KdcDown),
            all,
        ),
        (problem(account(), Kind::Keytab), some),
        (problem(account(), Kind::LoginRefused), some),
        (problem(credential(), Kind::IssuerDown), some),
        (problem(credential(), Kind::NotOnboarded), some),
        (problem(credential(), Kind::TokenDead), none),
        (problem(credential(), Kind::WrongToken), none),
        (problem(Cause::schedd(&a), Kind::NotServed), none),
        (problem(Cause::credd(&a), Kind::CreddDown), none),
    ] {
        let limits = Limits::default();
        let permit = limits.admit(&claims(&a), Extent::Login).unwrap();
        permit.failed(&a, &problem);
        drop(permit);
        let is_stopped = |delivery| limits.admit(&claims(delivery), Extent::Login).is_err();
        assert_eq!([&elsewhere, &other].map(is_stopped), stopped, "{problem:?}");
        let at_schedd = problem.kind == Kind::CreddDown;
        assert_eq!(
            limits.admit(&claims(&a), Extent::Schedd).is_err(),
            at_schedd
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_schedd_credential_or_issuer_leaves_room_for_others() {
    let limits = Limits::default();
    let admit = |delivery: &Delivery| limits.admit(&claims(delivery), Extent::Login);
    let mut running = Vec::new();
    let mut fill = |all: &mut dyn Iterator<Item = Delivery>| {
        let before = running.len();
        running.extend(all.map_while(|delivery| admit(&delivery).ok()));
        running.len() - before
    };
    let accounts = (0..).map(|n| format!("a{n}"));
    let one_credd = &mut accounts.clone().map(|account| at(&account, "slow"));
    assert_eq!(fill(one_credd), PER_CREDD);
    let one_credential = &mut (0..).map(|n| at("x", &format!("ap{n}")));
    assert_eq!(fill(one_credential), PER_CREDENTIAL);
    let one_issuer = &mut accounts.map(|account| at(&account, &format!("of-{account}")));
    assert_eq!(fill(one_issuer), PER_ISSUER - PER_CREDD - PER_CREDENTIAL);
    let other_issuer = |n| delivery(&format!("b{n}"), "atlas", &format!("c{n}"), credd("c"));
    assert_eq!(fill(&mut (0..).map(other_issuer)), TOTAL - PER_ISSUER);
    running.clear();
    assert!(admit(&at("a", "slow")).is_ok());
    let state = limits.state();
    assert!(state.running.is_empty(), "{:?}", state.running);
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_and_end_when_a_person_asks_or_nobody_needs_it() {
    let problem = |kind| Problem::new(Cause::Vault("v".to_owned()), kind, "no");
    let seconds = |kind, failures| pause(&problem(kind), failures).as_secs();
    let growing = [1, 2, 3, 4, 5, 100].map(|failures| seconds(Kind::VaultDown, failures));
    assert_eq!(growing, [2, 4, 8, 16, 30, 30]);
    assert_eq!(seconds(Kind::NotOnboarded, 100), 600);
    assert_eq!(seconds(Kind::Keytab, 1), 600, "a KDC counts wrong keys");
    assert_eq!(seconds(Kind::RateLimited, 1), 60);
    for (asked, waits) in [(7, 7), (1_000_000_000, 300)] {
        let limited = Problem {
            retry_after: Some(Duration::from_secs(asked)),
            ..problem(Kind::RateLimited)
        };
        assert_eq!(pause(&limited, 1).as_secs(), waits);
    }

    let (limits, a, b) = (Limits::default(), at("a", "ap1"), at("b", "ap1"));
    break_vault(&limits, &a);
    limits.retry_now();
    drop(limits.admit(&claims(&a), Extent::Login).unwrap());
    let wrong = Problem::new(Cause::Account("a".to_owned()), Kind::Keytab, "wrong key");
    limits
        .admit(&claims(&a), Extent::Login)
        .unwrap()
        .failed(&a, &wrong);
    assert_eq!(limits.open(), 2);
    let of_b = claims(&b);
    limits.keep([&*of_b].into_iter());
    assert_eq!(limits.open(), 1, "Vault's alone");
    limits.keep(std::iter::empty());
    assert_eq!(limits.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_login_finds_out_wakes_those_that_waited_for_it() {
    let (limits, a) = (Limits::default(), at("a", "ap1"));
    let no_kdc = Problem::new(
        Cause::realm(&a.credential.identity),
        Kind::KdcDown,
        "no answer",
    );
    let login = limits.admit_login(&a.credential).await.unwrap();
    login.login_failed(&a.credential, &no_kdc);
    drop(login);
    assert!(limits.admit_login(&a.credential).await.is_err());
    pass(2).await;
    let login = limits.admit_login(&a.credential).await.unwrap();
    login.worked(&login_by(&a.credential));
    assert_eq!(limits.take_closed(), [Resource::Realm("TEST".to_owned())]);
    assert!(limits.take_closed().is_empty(), "told once");
}
