//! One task with real files and a Vault that behaves.

use std::path::PathBuf;

use htvault::FailureScope;
use jiff::Timestamp;

use super::*;
use crate::fakes::{Credentials, FakeVault, TestClock};
use crate::model::{FileId, InUse};

mod files;

struct Fixture {
    credentials: Credentials,
    vault: FakeVault,
    clock: TestClock,
}

impl Fixture {
    /// With a credential `u/cms` at the Vault `a`.
    fn new() -> Self {
        let credentials = Credentials::new();
        credentials.store("u", "cms", "a", "s.1");
        let clock = TestClock::new();
        Self {
            credentials,
            vault: FakeVault::new(clock.clone()),
            clock,
        }
    }

    fn task(&self, minimum_seconds: i64, current: Option<&Arc<TokenInfo>>) -> RenewalTask {
        let observed = self.credentials.observed("u", "cms").unwrap();
        RenewalTask {
            id: observed.top.id.clone(),
            route: observed.top.route.clone().unwrap(),
            stamp: observed.top.stamp.clone(),
            use_file: observed.in_use.as_ref().map(InUse::file),
            is_probe: false,
            kind: TaskKind::Renew {
                minimum_seconds,
                current: current.cloned(),
            },
        }
    }

    /// Does a task; it counts the requests that it sends.
    async fn run(&self, task: RenewalTask) -> Outcome {
        let before = self.sent();
        let (vault, directory) = (self.vault.clone(), self.credentials.directory());
        let clock = Arc::new(self.clock.clone());
        let (outcome, requests) = run(task, Arc::new(directory), Arc::new(vault), clock).await;
        let requests = usize::try_from(requests).unwrap();
        assert_eq!(requests, self.sent() - before);
        assert!(requests <= RenewalTask::MOST_REQUESTS);
        outcome
    }

    async fn renew(&self, minimum_seconds: i64, current: Option<&Arc<TokenInfo>>) -> Outcome {
        self.run(self.task(minimum_seconds, current)).await
    }

    fn sent(&self) -> usize {
        self.vault.with(|v| v.asked.len() + v.looked_up.len())
    }

    /// Seconds that were asked for.
    fn asked(&self) -> Vec<u64> {
        let seconds = |asked: &crate::fakes::Asked| asked.request.minimum_seconds.unwrap();
        self.vault.with(|v| v.asked.iter().map(seconds).collect())
    }

    fn expiry_in_place(&self) -> Option<Timestamp> {
        self.credentials.claims("u", "cms")?.expires
    }

    fn file(&self) -> PathBuf {
        self.credentials.file("u", "cms.use")
    }

    /// The token in place, as if it lived so many seconds more.
    fn in_place(&self, left: i64) -> Arc<TokenInfo> {
        let found = self.credentials.observed("u", "cms").unwrap();
        let second = self.clock.now().as_second();
        let at = |second| Timestamp::from_second(second).unwrap();
        let lifetime = Lifetime {
            issued: at(second + left - 3600),
            expires: at(second + left),
        };
        let file = found
            .in_use
            .map_or_else(FileId::default, |found| found.file());
        let claims = htvault::Claims {
            issuer: Some("https://cms.test".to_owned()),
            subject: Some("u".to_owned()),
            ..htvault::Claims::default()
        };
        let written = self.clock.now();
        Arc::new(TokenInfo::new(file, written, Some(lifetime), Some(&claims)))
    }
}

fn renewed(outcome: Outcome) -> (Arc<TokenInfo>, Option<Failure>) {
    match outcome {
        Outcome::Renewed { token, shorter } => (token, shorter),
        outcome => panic!("{outcome:?}"),
    }
}

fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_no_later_never_replaces_the_one_in_place() {
    let f = Fixture::new();
    let (token, shorter) = renewed(f.renew(2400, None).await);
    let before = f.expiry_in_place();
    assert_eq!(shorter, None);
    assert_eq!(token.lifetime.map(|lifetime| lifetime.expires), before);
    let unchanged = |outcome| matches!(outcome, Outcome::Unchanged);
    // The same token again, and one that expires before what is in place.
    assert!(unchanged(f.renew(2400, Some(&token)).await));
    assert!(unchanged(f.renew(2400, Some(&f.in_place(9000))).await));
    assert_eq!(f.expiry_in_place(), before);
    // For another `.top` any living token is right.
    f.vault.with(|v| v.life = 3000);
    f.credentials.store("u", "cms", "b", "s.2");
    renewed(f.renew(2400, None).await);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_identity_is_replaced_though_it_lives_longer() {
    let f = Fixture::new();
    for (issuer, subject) in [("https://evil.test", "u"), ("https://cms.test", "v")] {
        let expires = f.clock.now().as_second() + 10 * 365 * 86_400;
        let claims = serde_json::json!({"iss": issuer, "sub": subject, "exp": expires});
        f.credentials
            .put("u", "cms.use", &crate::fakes::jwt(&claims));
        let found = f.credentials.observed("u", "cms").unwrap().in_use.unwrap();
        let (token, _) = renewed(f.renew(2400, found.token()).await);
        assert!(token.is_of_same_identity(Some("https://cms.test"), Some("u")));
        assert!(f.expiry_in_place().unwrap().as_second() < expires);
    }
}

#[tokio::test(start_paused = true)]
async fn less_is_asked_for_down_to_what_beats_the_present_token() {
    let f = Fixture::new();
    f.vault.with(|v| v.issuers_down.insert("cms".to_owned()));
    let found = failure(f.renew(560, Some(&f.in_place(500))).await);
    assert_eq!(found.scope, FailureScope::Issuer);
    assert_eq!(f.asked(), [560, 501, 10]);
    for left in [-5, 5, 10] {
        f.vault.with(|v| v.asked.clear());
        failure(f.renew(560, Some(&f.in_place(left))).await);
        let asked = f.asked();
        assert_eq!(asked.len(), 2, "nothing is asked twice: {asked:?}");
    }
    assert_eq!(f.expiry_in_place(), None);

    f.vault.with(|v| {
        v.asked.clear();
        v.issuers_down.clear();
    });
    renewed(f.renew(10, None).await);
    f.vault.with(|v| {
        v.asked.clear();
        v.refresh_refused = true;
    });
    let (_, shorter) = renewed(f.renew(3601, Some(&f.in_place(500))).await);
    assert_eq!(shorter.unwrap().kind, Some(ErrorKind::RefreshRefused));
    assert_eq!(f.asked(), [3601, 501]);
}

#[tokio::test(start_paused = true)]
async fn the_cached_token_comes_through_an_issuer_outage_and_says_why_it_is_shorter() {
    let f = Fixture::new();
    renewed(f.renew(2400, None).await);
    tokio::time::advance(std::time::Duration::from_mins(30)).await;
    f.vault.with(|v| v.issuers_down.insert("cms".to_owned()));
    std::fs::remove_file(f.file()).unwrap();
    let (token, shorter) = renewed(f.renew(2400, None).await);
    let left = token.lifetime.unwrap().expires.as_second() - f.clock.now().as_second();
    assert!((1790..=1800).contains(&left), "{left}");
    assert_eq!(shorter.unwrap().scope, FailureScope::Issuer);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_short_lived_by_nature_are_no_failure() {
    let f = Fixture::new();
    f.vault.with(|v| v.life = 60);
    let (token, shorter) = renewed(f.renew(2400, None).await);
    assert_eq!(shorter, None);
    assert_eq!(token.lifetime.unwrap().length(), 60);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_whose_new_tokens_live_shorter_than_the_one_in_place_is_not_down() {
    let f = Fixture::new();
    renewed(f.renew(2400, None).await);
    tokio::time::advance(std::time::Duration::from_mins(15)).await;
    f.vault.with(|v| {
        v.life = 1800;
        v.asked.clear();
    });
    let before = f.expiry_in_place();
    let outcome = f.renew(3000, Some(&f.in_place(2700))).await;
    assert!(matches!(outcome, Outcome::Unchanged), "{outcome:?}");
    assert_eq!(f.asked(), [3000, 2701, 10]);
    assert_eq!(f.expiry_in_place(), before);
    // Neither the token in place nor what was issued before the issuer went down says anything.
    let (young, _) = renewed(f.renew(10, None).await);
    f.vault.with(|v| v.issuers_down.insert("cms".to_owned()));
    let found = failure(f.renew(3000, Some(&young)).await);
    assert_eq!(found.scope, FailureScope::Issuer);
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    let found = failure(f.renew(3000, Some(&f.in_place(2700))).await);
    assert_eq!(found.scope, FailureScope::Issuer);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_dead_only_when_lookup_self_says_so() {
    let f = Fixture::new();
    f.vault.with(|v| v.dead.insert("s.1".to_owned()));
    let outcome = f.renew(2400, None).await;
    assert!(matches!(outcome, Outcome::TokenDead(_)), "{outcome:?}");
    f.vault.with(|v| {
        v.dead.clear();
        v.down.insert("a".to_owned(), ErrorKind::TokenRejected);
    });
    let found = failure(f.renew(2400, None).await);
    assert_eq!(found.kind, Some(ErrorKind::Forbidden));
    assert_eq!(found.scope, FailureScope::Credential);
    assert!(found.text.contains("the vault token is valid"), "{found:?}");
    // A policy's refusal needs no look-up.
    f.vault.with(|v| {
        v.down.insert("a".to_owned(), ErrorKind::Forbidden);
        v.looked_up.clear();
    });
    failure(f.renew(2400, None).await);
    assert!(f.vault.with(|v| v.looked_up.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_look_up_finds_the_expiry_or_a_dead_token() {
    let f = Fixture::new();
    let look_up = || RenewalTask {
        kind: TaskKind::LookUp,
        ..f.task(0, None)
    };
    let outcome = f.run(look_up()).await;
    let Outcome::LookedUp(VaultLife(Some(expires))) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(expires > f.clock.now());
    f.vault.with(|v| v.dead.insert("s.1".to_owned()));
    assert!(matches!(f.run(look_up()).await, Outcome::TokenDead(_)));
    assert!(f.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_newer_token_that_has_expired_by_this_hosts_clock_is_installed() {
    let mut f = Fixture::new();
    f.clock = f.clock.apart();
    f.clock.jump(2 * 3600);
    f.credentials.put("u", "cms.use", "opaque");
    renewed(f.renew(2400, Some(&f.in_place(-5000))).await);
    assert!(f.expiry_in_place().unwrap() < f.clock.now());
}
