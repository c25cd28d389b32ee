//! Limits and breakers on paused time.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use htvault::{CredentialUrl, ErrorKind, FailureScope};

use super::breaker::pause;
use super::claims::{PER_CREDD, PER_CREDENTIAL, PER_ISSUER, TOTAL};
use super::resources::{opened_by, read_by};
use super::*;
use crate::fixtures::{credd, credential, delivery};
use crate::model::problem::{Cause, Kind, Request};

/// Answer to an attempt of a delivery; `None` when it has to wait.
async fn ask(
    limits: &Limits,
    delivery: &Delivery,
    extent: Extent,
) -> Option<Result<Permit, Refusal>> {
    let mut answer = pin!(limits.admit(delivery, extent, Rank::default()));
    poll_fn(|context| match answer.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

async fn admitted(limits: &Limits, delivery: &Delivery) -> Permit {
    ask(limits, delivery, Extent::Login).await.unwrap().unwrap()
}

async fn refused(limits: &Limits, delivery: &Delivery) -> Refusal {
    let answer = ask(limits, delivery, Extent::Login).await.unwrap();
    answer.unwrap_err()
}

async fn is_refused(limits: &Limits, delivery: &Delivery, extent: Extent) -> bool {
    ask(limits, delivery, extent).await.unwrap().is_err()
}

async fn waits(limits: &Limits, delivery: &Delivery) -> bool {
    ask(limits, delivery, Extent::Login).await.is_none()
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
async fn break_vault(limits: &Limits, a: &Delivery) {
    let permit = admitted(limits, a).await;
    permit.failed(a, &down(a));
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_passes_an_open_breaker_and_what_worked_closes_it() {
    let (limits, a, b) = (Limits::default(), at("a", "ap1"), at("b", "ap2"));
    break_vault(&limits, &a).await;
    let until = |seconds| Instant::now() + Duration::from_secs(seconds);
    let refusal = refused(&limits, &b).await;
    assert_eq!((*refusal.problem, refusal.retry_at), (down(&a), until(2)));
    pass(2).await;
    let probe = admitted(&limits, &a).await;
    assert!(waits(&limits, &b).await);
    probe.failed(&a, &down(&a));
    drop(probe);
    let refusal = refused(&limits, &b).await;
    assert_eq!(refusal.retry_at, until(4));
    pass(4).await;
    let probe = admitted(&limits, &b).await;
    assert!(!refusal.retry.is_cancelled());
    probe.worked(&read_by(&b.credential));
    assert!(refusal.retry.is_cancelled(), "so those that wait are woken");
    drop(admitted(&limits, &a).await);
    assert_eq!(limits.open(), 0);
}

/// An attempt that waits for its permit in a task of its own.
fn waiting(limits: &Limits, delivery: &Delivery, rank: Rank) -> tokio::task::JoinHandle<Permit> {
    let (limits, delivery) = (limits.clone(), delivery.clone());
    tokio::spawn(async move { limits.admit(&delivery, Extent::Login, rank).await.unwrap() })
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_are_admitted_in_the_order_of_their_ranks() {
    let limits = Limits::default();
    let mut running = Vec::new();
    for n in 0..PER_CREDD {
        running.push(admitted(&limits, &at(&format!("a{n}"), "ap1")).await);
    }
    let rank = |has_failed, expires: Option<i64>| Rank {
        has_failed,
        expires: expires.map(|second| Timestamp::from_second(second).unwrap()),
    };
    let ranks = [
        rank(true, Some(0)),
        rank(false, Some(20)),
        rank(false, Some(10)),
        rank(false, None),
    ];
    let mut all = Vec::new();
    for (n, rank) in ranks.into_iter().enumerate() {
        all.push(waiting(&limits, &at(&format!("w{n}"), "ap1"), rank));
        tokio::task::yield_now().await;
    }
    // One goes away before its turn.
    let gone = waiting(&limits, &at("gone", "ap1"), rank(false, None));
    tokio::task::yield_now().await;
    gone.abort();
    assert!(gone.await.is_err());
    for next in [3, 2, 1, 0] {
        running.pop();
        let permit = all.remove(next).await.unwrap();
        assert!(all.iter().all(|task| !task.is_finished()));
        running.push(permit);
    }
    running.clear();
    assert!(limits.state().waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_for_a_probe_are_refused_when_it_fails() {
    let (limits, a, b) = (Limits::default(), at("a", "ap1"), at("b", "ap2"));
    break_vault(&limits, &a).await;
    pass(2).await;
    let probe = admitted(&limits, &a).await;
    let answer = limits.admit(&b, Extent::Login, Rank::default());
    let fail = async {
        probe.failed(&a, &down(&a));
        drop(probe);
    };
    let (answer, ()) = tokio::join!(answer, fail);
    assert_eq!(*answer.unwrap_err().problem, down(&a));
}

#[tokio::test(start_paused = true)]
async fn however_a_probe_ends_the_next_one_may_begin() {
    let (limits, a) = (Limits::default(), at("a", "ap1"));
    break_vault(&limits, &a).await;
    pass(2).await;
    let probe = async || admitted(&limits, &a).await;
    // Not needed any more.
    drop(probe().await);
    // A panic.
    let permit = probe().await;
    let task = tokio::spawn(async move {
        let _permit = permit;
        panic!("a fault of this program");
    });
    assert!(task.await.unwrap_err().is_panic());
    // An abort, before the task ever ran and while it runs.
    for runs in [false, true] {
        let permit = probe().await;
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
    let permit = probe().await;
    let own = Problem::new(Cause::schedd(&a), Kind::NotServed, "no credmon");
    permit.failed(&a, &own);
    drop(permit);
    drop(probe().await);
    assert_eq!(limits.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_began_before_the_breaker_opened_says_nothing_new() {
    let (limits, a, b) = (Limits::default(), at("a", "ap1"), at("b", "ap2"));
    let early = admitted(&limits, &b).await;
    break_vault(&limits, &a).await;
    early.failed(&b, &down(&b));
    pass(2).await;
    let probe = admitted(&limits, &a).await;
    early.failed(&b, &down(&b));
    // Neither does its end end another's probe.
    drop(early);
    assert!(waits(&limits, &b).await);
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
        (
            problem(Cause::login(&a.credential), Kind::LoginRefused),
            some,
        ),
        (problem(credential(), Kind::IssuerDown), some),
        (problem(credential(), Kind::NotOnboarded), some),
        (problem(credential(), Kind::TokenDead), none),
        (problem(credential(), Kind::WrongToken), none),
        (problem(Cause::schedd(&a), Kind::NotServed), none),
        (problem(Cause::credd(&a), Kind::CreddDown), none),
    ] {
        let limits = Limits::default();
        let permit = admitted(&limits, &a).await;
        permit.failed(&a, &problem);
        drop(permit);
        let is_stopped = [
            is_refused(&limits, &elsewhere, Extent::Login).await,
            is_refused(&limits, &other, Extent::Login).await,
        ];
        assert_eq!(is_stopped, stopped, "{problem:?}");
        let at_schedd = problem.kind == Kind::CreddDown;
        assert_eq!(is_refused(&limits, &a, Extent::Schedd).await, at_schedd);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_schedd_credential_or_issuer_leaves_room_for_others() {
    let limits = Limits::default();
    let mut running = Vec::new();
    let mut fill = async |all: &mut dyn Iterator<Item = Delivery>| {
        let before = running.len();
        for delivery in all {
            match ask(&limits, &delivery, Extent::Login).await {
                Some(permit) => running.push(permit.unwrap()),
                None => break,
            }
        }
        running.len() - before
    };
    let accounts = (0..).map(|n| format!("a{n}"));
    let one_credd = &mut accounts.clone().map(|account| at(&account, "slow"));
    assert_eq!(fill(one_credd).await, PER_CREDD);
    let one_credential = &mut (0..).map(|n| at("x", &format!("ap{n}")));
    assert_eq!(fill(one_credential).await, PER_CREDENTIAL);
    let one_issuer = &mut accounts.map(|account| at(&account, &format!("of-{account}")));
    let left = PER_ISSUER - PER_CREDD - PER_CREDENTIAL;
    assert_eq!(fill(one_issuer).await, left);
    let other_issuer = |n| delivery(&format!("b{n}"), "atlas", &format!("c{n}"), credd("c"));
    let others = &mut (0..).map(other_issuer);
    assert_eq!(fill(others).await, TOTAL - PER_ISSUER);
    running.clear();
    drop(admitted(&limits, &at("a", "slow")).await);
    limits.keep(std::iter::empty());
    assert!(limits.state().slots.is_empty());
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_and_end_when_a_person_asks_or_nobody_needs_it() {
    let problem = |kind| Problem::new(Cause::Vault("v".to_owned()), kind, "no");
    let seconds = |kind, failures| pause(&problem(kind), failures).as_secs();
    let growing = [1, 2, 3, 4, 5, 100].map(|failures| seconds(Kind::VaultDown, failures));
    assert_eq!(growing, [2, 4, 8, 16, 30, 30]);
    assert_eq!(seconds(Kind::IssuerDown, 100), 120);
    assert_eq!(seconds(Kind::NotOnboarded, 100), 600);
    assert_eq!(seconds(Kind::Keytab, 1), 600, "a KDC counts wrong keys");
    assert_eq!(seconds(Kind::RateLimited, 1), 60);
    for (asked, waits) in [(7, 7), (1_000_000_000, 300)] {
        let limited = Problem {
            retry_after: Some(Duration::from_secs(asked)),
            ..problem(Kind::RateLimited)
        };
        for failures in [1, 5] {
            assert_eq!(pause(&limited, failures).as_secs(), waits, "as printed");
        }
    }

    let (limits, a, b) = (Limits::default(), at("a", "ap1"), at("b", "ap1"));
    break_vault(&limits, &a).await;
    limits.retry_now();
    drop(admitted(&limits, &a).await);
    let wrong = Problem::new(Cause::Account("a".to_owned()), Kind::Keytab, "wrong key");
    admitted(&limits, &a).await.failed(&a, &wrong);
    assert_eq!(limits.open(), 2);
    limits.keep([Arc::new(b)].into_iter());
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
    let recovery = refused(&limits, &a).await.retry;
    pass(2).await;
    let login = limits.admit_login(&a.credential).await.unwrap();
    login.worked(&login_by(&a.credential));
    assert!(recovery.is_cancelled());
    assert_eq!(limits.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_order_for_one_account_tries_no_keytab_of_another_again() {
    let (limits, a, b) = (Limits::default(), at("a", "ap1"), at("b", "ap1"));
    for one in [&a, &b] {
        let cause = Cause::Account(one.credential.identity.account.clone());
        let wrong = Problem::new(cause, Kind::Keytab, "wrong key");
        let permit = admitted(&limits, one).await;
        permit.failed(one, &wrong);
    }
    limits.retry_for([&Arc::new(b.clone())]);
    assert!(is_refused(&limits, &a, Extent::Login).await);
    drop(admitted(&limits, &b).await);
}

#[tokio::test(start_paused = true)]
async fn what_opens_the_credds_of_many_is_tried_by_one() {
    // The tokens of its own jobs are reduced, and so are others than those that open credds.
    let mut opener = credential("a", "cms");
    opener.scopes = vec!["storage.read:/".to_owned()];
    opener.url = CredentialUrl::sts(&opener.url.server(), "cms", "a", "default").unwrap();
    let opener = Arc::new(opener);
    let with_it = |service: &str, schedd: &str| Delivery {
        authorize: Arc::clone(&opener),
        ..delivery("a", service, schedd, credd(schedd))
    };
    let (one, other) = (with_it("cms_x", "ap1"), with_it("cms_y", "ap2"));
    let limits = Limits::default();
    let permit = admitted(&limits, &one).await;
    let problem = Problem::new(Cause::credential(&opener), Kind::IssuerDown, "no");
    permit.failed(&one, &problem);
    drop(permit);
    assert!(is_refused(&limits, &other, Extent::Vault).await);
    limits.worked(&opened_by(&opener));
    drop(admitted(&limits, &other).await);
}

#[tokio::test(start_paused = true)]
async fn what_one_principal_may_not_read_stops_no_other_that_reads_the_same() {
    let (a, mut b) = (at("a", "ap1"), at("b", "ap2"));
    let shared = Credential {
        identity: Arc::clone(&b.credential.identity),
        ..Credential::clone(&a.credential)
    };
    b.credential = Arc::new(shared);
    b.authorize = Arc::clone(&b.credential);
    let limits = Limits::default();
    let problem = Problem::new(Cause::credential(&a.credential), Kind::Forbidden, "403");
    let permit = admitted(&limits, &a).await;
    permit.failed(&a, &problem);
    drop(permit);
    assert!(is_refused(&limits, &a, Extent::Vault).await);
    assert!(!is_refused(&limits, &b, Extent::Vault).await);
}

#[tokio::test(start_paused = true)]
async fn logins_that_one_mount_refuses_stop_no_login_at_another_one_and_no_read() {
    let production = |schedd| delivery("a", "cms_production", schedd, credd(schedd));
    let (bad, same, good) = (production("ap1"), production("ap2"), at("a", "ap3"));
    for refused in [ErrorKind::LoginRefused, ErrorKind::TokenRejected] {
        let error = (refused, FailureScope::Credential);
        let (cause, kind) = Problem::charge(&bad.credential, error, Request::Login);
        let problem = Problem::new(cause, kind, "no");
        let limits = Limits::default();
        let permit = admitted(&limits, &bad).await;
        let login = limits.admit_login(&bad.credential).await.unwrap();
        login.login_failed(&bad.credential, &problem);
        drop(login);
        permit.failed(&bad, &problem);
        drop(permit);
        assert!(limits.admit_login(&same.credential).await.is_err());
        assert!(is_refused(&limits, &same, Extent::Login).await);
        assert!(!is_refused(&limits, &same, Extent::Vault).await, "{kind:?}");
        drop(limits.admit_login(&good.credential).await.unwrap());
        assert!(!is_refused(&limits, &good, Extent::Login).await, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_vault_token_that_vault_does_not_create_stops_no_read_with_others() {
    let (a, other) = (at("a", "ap1"), at("a", "ap2"));
    for (request, stops) in [
        (Request::Creation, [false, true]),
        (Request::VaultToken, [false, false]),
        (Request::AccessToken, [true, true]),
    ] {
        let limits = Limits::default();
        let error = (ErrorKind::Forbidden, FailureScope::Credential);
        let (cause, kind) = Problem::charge(&a.credential, error, request);
        let permit = admitted(&limits, &a).await;
        let problem = Problem::new(cause, kind, "403").of(request);
        permit.failed(&a, &problem);
        drop(permit);
        for (extent, stops) in [Extent::Vault, Extent::Login].into_iter().zip(stops) {
            let is_refused = is_refused(&limits, &other, extent).await;
            assert_eq!(is_refused, stops, "{request:?}, {extent:?}");
        }
    }
}
