//! One renewal with real files and a Vault that behaves.

use htvault::ErrorKind;
use jiff::Timestamp;

use super::*;
use crate::old::fake::{Credentials, FakeSource, TestClock};
use crate::old::schedule;

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
        let (stamp, top) = read_top(&self.directory(), &self.id);
        Task {
            id: self.id.clone(),
            lane: Arc::new(Lane::of(&top.unwrap().url)),
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
        let seconds = |asked: &crate::old::fake::Asked| asked.request.minimum_seconds.unwrap();
        self.vault.with(|v| v.asked.iter().map(seconds).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_no_later_never_replaces_the_one_in_place() {
    let f = Fixture::new();
    let first = f.renew(f.task(2400, None)).await;
    let Outcome::Renewed {
        used, less: None, ..
    } = first
    else {
        panic!("{first:?}");
    };
    let before = f.in_place();
    assert_eq!(used.life.map(|l| l.expires.timestamp()), before);
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
async fn a_newer_token_that_has_ended_by_this_hosts_clock_is_put_in_place() {
    let mut f = Fixture::new();
    f.clock = f.clock.apart();
    f.clock.jump(2 * 3600);
    let outcome = f.renew(f.task(2400, Some(f.life(-5000)))).await;
    assert!(matches!(outcome, Outcome::Renewed { .. }), "{outcome:?}");
    assert!(f.in_place().unwrap() < f.clock.now());
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

fn read_top(directory: &Directory, id: &CredentialId) -> (TopStamp, Result<CompleteTop, TopFault>) {
    let folder = directory.root().folder(id.user()).unwrap();
    complete_top::read_top(&folder, id).unwrap()
}

/// Puts a token in place in the folder that is there.
fn put_in(
    directory: &Directory,
    task: &Task,
    answer: &AccessTokenAnswer,
    now: Timestamp,
) -> Result<Used, Outcome> {
    let folder = directory.root().folder(task.id.user()).unwrap();
    put(directory, &folder, task, answer, now).map(|(used, _)| used)
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_was_replaced_meanwhile_gets_no_token_nor_does_the_one_in_its_place() {
    let f = Fixture::new();
    let at = |name: &str| f.credentials.path().join(name);
    let (task, now) = (f.task(2400, None), f.clock.now());
    let directory = f.directory();
    let folder = directory.root().folder("u").unwrap();
    std::fs::rename(at("u"), at("v")).unwrap();
    let gone = put(&directory, &folder, &task, &answer(now, 3600), now);
    assert_eq!(gone, Err(Outcome::Vanished));
    std::os::unix::fs::symlink(at("w"), at("u")).unwrap();
    std::fs::create_dir(at("w")).unwrap();
    std::fs::copy(at("v/cms.top"), at("w/cms.top")).unwrap();
    let other = put(&directory, &folder, &task, &answer(now, 3600), now);
    assert_eq!(other, Err(Outcome::TopChanged));
    for folder in ["v", "w"] {
        assert_eq!(at(folder).read_dir().unwrap().count(), 1, "{folder}");
    }
}

/// An answer with a token that lives so long.
fn answer(now: Timestamp, life: i64) -> AccessTokenAnswer {
    let claims = serde_json::json!({
        "iat": now.as_second(), "exp": now.as_second() + life, "jti": "new",
    });
    let text = crate::old::fake::jwt(&claims);
    AccessTokenAnswer {
        claims: htvault::Claims::read(&text),
        token: htvault::AccessToken::from(text),
        expire_time: None,
        warnings: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_stops_at_any_step_leaves_the_old_token_or_the_new_one() {
    use crate::old::placing::tests::{STEPS, stop_at};
    for cut_off in [false, true] {
        for step in STEPS {
            let f = Fixture::new();
            f.renew(f.task(2400, None)).await;
            let old = f.in_place();
            let now = f.clock.now();
            let new = answer(now, 9000);
            let task = f.task(5000, None);
            stop_at(Some(step), cut_off);
            let outcome = put_in(&f.directory(), &task, &new, now);
            stop_at(None, false);
            assert!(matches!(outcome, Err(Outcome::NotWritten(_))), "{step:?}");
            let is = f.in_place();
            assert!(is == old || is == new.expires(), "{step:?}: {is:?}");
            // The next try, or the next run, puts it right.
            put_in(&f.directory(), &task, &new, now).unwrap();
            assert_eq!(f.in_place(), new.expires());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_vanishes_at_any_step_is_no_error_and_does_not_come_back() {
    use crate::old::placing::tests::{STEPS, before};
    for step in STEPS {
        let f = Fixture::new();
        let (task, now) = (f.task(2400, None), f.clock.now());
        let folder = f.credentials.path().join("u");
        let gone = folder.clone();
        before(step, move || std::fs::remove_dir_all(gone).unwrap());
        let outcome = put_in(&f.directory(), &task, &answer(now, 3600), now);
        assert!(
            matches!(outcome, Err(Outcome::Vanished) | Ok(_)),
            "{step:?}: {outcome:?}"
        );
        assert!(!folder.exists());
    }
}

#[test]
fn a_full_or_read_only_disk_costs_no_token_and_leaves_nothing() {
    crate::old::fake::on_small_disk(|path| {
        let folder_path = path.join("u");
        std::fs::create_dir(&folder_path).unwrap();
        let url = "https://a:8200/v1/secret/oauth/creds/cms/u:cms";
        let top = serde_json::json!({"vault_token": "s.1", "vault_url": url}).to_string();
        std::fs::write(folder_path.join("cms.top"), top).unwrap();
        let directory = Directory::open(path).unwrap();
        let id = CredentialId::new("u", "cms").unwrap();
        let (stamp, top) = read_top(&directory, &id);
        let task = Task {
            id,
            lane: Arc::new(Lane::of(&top.unwrap().url)),
            stamp,
            ask: 1,
            outlive: None,
            look_up: false,
        };
        let now = Timestamp::from_second(2_000_000_000).unwrap();
        put_in(&directory, &task, &answer(now, 100), now).unwrap();
        let old = std::fs::read(folder_path.join("cms.use")).unwrap();
        let untouched = |outcome: Result<Used, Outcome>, said: &str| {
            let Err(Outcome::NotWritten(fault)) = outcome else {
                panic!("{outcome:?}");
            };
            assert!(fault.to_string().contains(said), "{fault}");
            assert_eq!(std::fs::read(folder_path.join("cms.use")).unwrap(), old);
            assert_eq!(folder_path.read_dir().unwrap().count(), 2);
        };
        let filler = path.join("filler");
        // Fills the disk to the last byte: the error is the point.
        let _ = std::fs::write(&filler, vec![b'x'; 200_000]);
        untouched(
            put_in(&directory, &task, &answer(now, 200), now),
            "No space",
        );
        std::fs::remove_file(&filler).unwrap();
        crate::old::fake::set_read_only(path, true);
        untouched(
            put_in(&directory, &task, &answer(now, 200), now),
            "Read-only",
        );
        crate::old::fake::set_read_only(path, false);
        put_in(&directory, &task, &answer(now, 200), now).unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn hard_links_and_files_of_other_owners_are_replaced_not_written_to() {
    use std::os::unix::fs::MetadataExt as _;
    let f = Fixture::new();
    let place = f.credentials.file("u", "cms.use");
    let precious = f.credentials.path().join("precious");
    std::fs::write(&precious, "precious").unwrap();
    std::fs::hard_link(&precious, &place).unwrap();
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&place, Some(12_345), Some(54_321)).unwrap();
    }
    f.renew(f.task(2400, None)).await;
    assert!(f.in_place().is_some());
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    let uid = std::fs::metadata(&place).unwrap().uid();
    assert_eq!(uid, nix::unistd::geteuid().as_raw());
}
