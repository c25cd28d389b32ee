//! One renewal with real files and a Vault that behaves.

use htvault::ErrorKind;
use jiff::Timestamp;

use super::*;
use crate::fake::{Credentials, FakeSource, TestClock};

struct Fixture {
    credentials: Credentials,
    vault: FakeSource,
    clock: TestClock,
    id: CredentialId,
}

impl Fixture {
    fn new() -> Self {
        let credentials = Credentials::new();
        credentials.store("u", "cms", "a", "s.1");
        let clock = TestClock::new();
        Self {
            credentials,
            vault: FakeSource::new(clock),
            clock,
            id: CredentialId::new("u", "cms").unwrap(),
        }
    }

    fn directory(&self) -> Directory {
        Directory::open(self.credentials.path()).unwrap()
    }

    fn task(&self, ask: i64, outlive: Option<Life>) -> Task {
        let (stamp, top) = self.directory().read_top(&self.id).unwrap();
        Task {
            id: self.id.clone(),
            lane: Lane::of(&top.unwrap().url),
            stamp,
            ask,
            outlive,
            look_up: false,
        }
    }

    async fn renew(&self, task: Task) -> Outcome {
        let source = Arc::new(self.vault.clone());
        let directory = Arc::new(self.directory());
        let ended = renew(directory, source, Arc::new(self.clock), task).await;
        ended.outcome
    }

    fn in_place(&self) -> Option<Timestamp> {
        self.credentials.used("u", "cms")?.expires
    }

    fn life(&self, left: i64) -> Life {
        let now = self.clock.now();
        Life {
            issued: schedule::after(now, left - 3600),
            expires: schedule::after(now, left),
        }
    }

    fn asked(&self) -> Vec<u64> {
        let seconds = |asked: &crate::fake::Asked| asked.request.minimum_seconds.unwrap();
        self.vault.with(|v| v.asked.iter().map(seconds).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_no_later_never_replaces_the_one_in_place() {
    let f = Fixture::new();
    let first = f.renew(f.task(2400, None)).await;
    let Outcome::Renewed { used, less: None } = first else {
        panic!("{first:?}");
    };
    let before = f.in_place();
    assert_eq!(used.life.map(|l| l.expires), before);
    // The same token again, and one that ends earlier than what is said to be in place.
    assert_eq!(f.renew(f.task(2400, used.life)).await, Outcome::Kept);
    assert_eq!(
        f.renew(f.task(2400, Some(f.life(9000)))).await,
        Outcome::Kept
    );
    assert_eq!(f.in_place(), before);
    // For another `.top` any living token is right.
    f.vault.with(|v| v.life = 3000);
    f.credentials.store("u", "cms", "b", "s.2");
    assert!(matches!(
        f.renew(f.task(2400, None)).await,
        Outcome::Renewed { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn less_is_asked_for_down_to_what_beats_the_present_token() {
    let f = Fixture::new();
    f.vault.with(|v| v.issuer_up = false);
    let outcome = f.renew(f.task(560, Some(f.life(500)))).await;
    assert!(
        matches!(&outcome, Outcome::Refused(e) if e.kind == ErrorKind::NotLongEnough),
        "{outcome:?}"
    );
    assert_eq!(f.asked(), [560, 501]);
    assert_eq!(f.in_place(), None);

    f.vault.with(|v| {
        v.asked.clear();
        v.issuer_up = true;
    });
    f.renew(f.task(10, None)).await;
    f.vault.with(|v| {
        v.asked.clear();
        v.refresh_refused = true;
    });
    let outcome = f.renew(f.task(3601, Some(f.life(500)))).await;
    let Outcome::Renewed {
        less: Some(less), ..
    } = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(less.answer.kind, ErrorKind::RefreshRefused);
    assert_eq!(f.asked(), [3601, 501]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_dead_only_when_lookup_self_says_so() {
    let f = Fixture::new();
    f.vault.with(|v| v.dead.push("s.1".to_owned()));
    assert!(matches!(
        f.renew(f.task(2400, None)).await,
        Outcome::Dead(_)
    ));
    f.vault.with(|v| {
        v.dead.clear();
        v.down.insert("a".to_owned(), ErrorKind::TokenRejected);
    });
    let outcome = f.renew(f.task(2400, None)).await;
    assert!(matches!(&outcome, Outcome::Refused(e) if e.kind == ErrorKind::Forbidden));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_has_ended_is_not_put_over_another() {
    let f = Fixture::new();
    f.vault.with(|v| v.life = -100);
    let outcome = f.renew(f.task(-200, Some(f.life(-500)))).await;
    assert!(
        matches!(outcome, Outcome::Expired(_) | Outcome::Refused(_)),
        "{outcome:?}"
    );
    assert_eq!(f.in_place(), None);
}

#[tokio::test(start_paused = true)]
async fn whatever_vanishes_or_changes_is_no_error() {
    let f = Fixture::new();
    let task = f.task(2400, None);
    f.credentials.store("u", "cms", "a", "s.2");
    assert_eq!(f.renew(task.clone()).await, Outcome::TopChanged);
    std::fs::remove_file(f.credentials.file("u", "cms.top")).unwrap();
    assert_eq!(f.renew(task.clone()).await, Outcome::Vanished);
    std::fs::remove_dir_all(f.credentials.path().join("u")).unwrap();
    assert_eq!(f.renew(task).await, Outcome::Vanished);
}
