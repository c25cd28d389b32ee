//! The state on disk, and what becomes of it when the disk does not work.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::fixtures::{credential, id};
use crate::model::records::{
    AccessRead, InstalledToken, Life, LoginRecord, TokenRecord, requested_content,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn named(name: &str, expires: i64) -> TokenRecord {
    TokenRecord {
        accessor: name.to_owned(),
        life: Life {
            issued: at(0),
            expires: at(expires),
        },
    }
}

fn records(current: i64, other: i64) -> TokenRecords {
    let current = InstalledToken {
        token: named("current", current),
        stored: Some(at(3)),
        requested: requested_content(&credential("cmsprod", "cms")),
        access_seconds: Some(2400),
        subject: None,
        access_reads: vec![AccessRead {
            at: at(4),
            expires: at(2404),
            before_store: false,
        }],
        jobs_safe_until: None,
    };
    TokenRecords::new(Some(Box::new(current)), vec![named("former", other)])
}

const SOON: Duration = Duration::from_mins(1);
/// Tokens and logins of this time are not known when the process is killed.
const A_MOMENT: Duration = Duration::from_millis(50);

fn full() -> Content {
    let mut content = Content::default();
    content.record(&id("cmsprod"), records(100, 50), at(10));
    content.revoke(&id("b"), at(1));
    let leave_schedd = true;
    content.revoke(&id("b"), at(2)).unfinished = Some(Unfinished { leave_schedd });
    let known = crate::model::grants::GrantAge {
        first_worked: Some(at(7)),
        ..Default::default()
    };
    content
        .grants
        .insert("cms/cmsprod:default".to_owned(), known);
    let login = LoginRecord {
        token: named("login", 1000),
        account: "cmsprod".to_owned(),
        service: "cms".to_owned(),
    };
    content.logins.insert("login".to_owned(), login);
    content
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("made/when/missing");
    let store = Store::open(&state).unwrap();
    assert_eq!(
        store.read(Clone::clone),
        Content::default(),
        "a first start"
    );
    store.change(|content| *content = full());
    store.written(SOON).await.unwrap();
    let file = state.join("state.json");
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let of_account = |line: &&str| line.contains(r#""account":"cmsprod","service":"cms""#);
    let line = text.lines().find(of_account).unwrap();
    assert!(
        line.contains("current") && line.contains("former"),
        "{text}"
    );
    let again = Store::read_only(&state).read(Clone::clone);
    assert_eq!(again, full());
    assert_eq!(
        again.revoked[&id("b")].since,
        at(1),
        "the first order counts"
    );
    // By itself, too, and no oftener than something changes.
    store.record(&id("c"), records(100, 50), at(10));
    tokio::time::sleep(SOON).await;
    assert_eq!(
        Store::read_only(&state).records_of(&id("c")),
        Some(records(100, 50))
    );
    fs::remove_file(&file).unwrap();
    store.record(&id("c"), records(100, 50), at(11));
    store.drop_expired(at(11));
    tokio::time::sleep(SOON).await;
    assert!(!file.exists(), "nothing new");
}

#[tokio::test(start_paused = true)]
async fn however_many_deliveries_there_are_each_is_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for count in [64, 65, 128, 300] {
        let mut content = full();
        for number in 1..count {
            content.record(&id(&format!("a{number}")), records(100, 50), at(10));
        }
        assert_eq!(content.deliveries.len(), count);
        store.change(|state| state.clone_from(&content));
        store.written(SOON).await.unwrap();
        let text = fs::read_to_string(folder.path().join("state.json")).unwrap();
        assert_eq!(text.matches(r#""current":{"#).count(), count);
        assert_eq!(Store::read_only(folder.path()).read(Clone::clone), content);
    }
}

#[tokio::test(start_paused = true)]
async fn files_of_version_1_are_carried_over() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "deliveries.json",
        r#"{"version":1,"deliveries":[{"account":"a","service":"cms","schedd":"ap1","current":{"accessor":"x",
            "issued":"1970-01-01T00:00:00Z","expires":"2970-01-08T00:00:00Z","stored":"1970-01-01T00:00:03Z",
            "asks":"https://vault.test:8200/v1/secret/oauth/creds/cms/a:default","access_seconds":2400}}]}"#,
    );
    write(
        "cut-off.json",
        r#"[{"account":"b","service":"cms","schedd":"ap1","since":"1970-01-01T00:00:09Z"}]"#,
    );
    write(
        "grants.json",
        r#"{"cms/a:default":{"onboarded":"1970-01-01T00:00:07Z"}}"#,
    );
    let store = Store::open(folder.path()).unwrap();
    let content = store.read(Clone::clone);
    assert_eq!(content.deliveries[&id("a")].iter().count(), 1);
    assert_eq!(content.revoked[&id("b")].since, at(9));
    assert_eq!(content.grants["cms/a:default"].onboarded, Some(at(7)));
    store.written(SOON).await.unwrap();
    let names = fs::read_dir(folder.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["state.json"]);
    assert_eq!(Store::read_only(folder.path()).read(Clone::clone), content);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_understood_is_set_aside_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let aside = folder.path().join("state.json.broken");
    let others = [
        r#"{"version":1,"deliveries":[]}"#,
        r#"{"version":"3","deliveries":[]}"#,
        r#"{"deliveries":[]}"#,
    ];
    for text in ["", "{", "\0\0\0", "[]"].into_iter().chain(others) {
        fs::write(&path, text).unwrap();
        assert_eq!(
            Store::open(folder.path()).unwrap().read(Clone::clone),
            Content::default()
        );
        assert!(!path.exists());
        assert_eq!(fs::read_to_string(&aside).unwrap(), text);
        fs::remove_file(&aside).unwrap();
    }
    // A pipe blocks nobody.
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(
        Store::open(folder.path()).unwrap().read(Clone::clone),
        Content::default()
    );
}

#[tokio::test(start_paused = true)]
async fn a_state_that_was_not_understood_is_a_problem_until_somebody_has_seen_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for text in ["{", "["] {
        fs::write(file("state.json"), text).unwrap();
        let store = Store::open(folder.path()).unwrap();
        for _ in 0..2 {
            let problem = store.problem().unwrap();
            assert!(problem.contains("revoke them again"), "{problem}");
            store.change(|_| ());
            store.written(SOON).await.unwrap();
        }
    }
    let aside = fs::read_to_string(file("state.json.broken")).unwrap();
    assert_eq!(aside, "{", "a second one replaces nothing");
    assert!(file("state.json.broken-1").exists());
    // Over a restart, too.
    let store = Store::open(folder.path()).unwrap();
    assert!(store.problem().is_some());
    for (name, is_seen_to) in [("state.json.broken", false), ("state.json.broken-1", true)] {
        fs::remove_file(file(name)).unwrap();
        store.change(|_| ());
        store.written(SOON).await.unwrap();
        assert_eq!(store.problem().is_none(), is_seen_to);
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_or_gone_is_reported_and_written_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::write(&state, "no directory").unwrap();
    let store = Store::open(&state).unwrap();
    store.change(|content| *content = full());
    let problem = store.written(SOON).await.unwrap_err();
    assert!(problem.contains("cannot be written"), "{problem}");
    assert_eq!(store.problem(), Some(problem));
    assert!(store.failures() > 0);
    fs::remove_file(&state).unwrap();
    tokio::time::sleep(SOON).await;
    assert_eq!(store.problem(), None);
    assert_eq!(Store::read_only(&state).read(Clone::clone), full());
}

#[tokio::test(start_paused = true)]
async fn a_writing_that_fails_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.change(|content| *content = full());
    store.written(SOON).await.unwrap();
    // Something that cannot be removed like a file stands where the new one is written.
    fs::create_dir(folder.path().join(".state.json.new")).unwrap();
    store.change(|content| content.deliveries.clear());
    store.written(SOON).await.unwrap_err();
    assert_eq!(Store::read_only(folder.path()).read(Clone::clone), full());
}

#[test]
fn a_token_is_named_until_it_expires() {
    let mut content = full();
    assert_eq!(content.drop_expired(at(49)), Change::Nothing);
    assert_eq!(content.drop_expired(at(50)), Change::Facts);
    let left = &content.deliveries[&id("cmsprod")];
    assert!(left.others.is_empty() && left.current.is_some());
    assert_eq!(content.drop_expired(at(100)), Change::Facts);
    assert!(content.deliveries.is_empty() && !content.logins.is_empty());
    assert_eq!(content.drop_expired(at(1000)), Change::Facts);
    assert!(content.logins.is_empty());
}

#[tokio::test(start_paused = true)]
async fn facts_about_the_same_tokens_are_written_together() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let on_disk = || Store::read_only(folder.path()).records_of(&id("c"));
    let recorded = |safe_until: i64| {
        let mut records = records(100, 50);
        records.current.as_mut().unwrap().jobs_safe_until = Some(at(safe_until));
        records
    };
    store.record(&id("c"), recorded(1), at(10));
    tokio::time::sleep(A_MOMENT).await;
    assert_eq!(
        on_disk(),
        Some(recorded(1)),
        "a new token is written at once"
    );
    store.record(&id("c"), recorded(2), at(10));
    tokio::time::sleep(GATHER_FACTS / 2).await;
    assert_eq!(on_disk(), Some(recorded(1)));
    tokio::time::sleep(GATHER_FACTS).await;
    assert_eq!(on_disk(), Some(recorded(2)));
}

#[tokio::test(start_paused = true)]
async fn a_login_is_on_disk_a_moment_after_its_answer_though_nobody_waits_for_that() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let logins = || Store::read_only(folder.path()).read(|content| content.logins.len());
    store.change(|content| content.logins = full().logins);
    tokio::time::sleep(A_MOMENT).await;
    assert_eq!(logins(), 1);
    store.change(|content| content.logins.clear());
    tokio::time::sleep(A_MOMENT).await;
    assert_eq!(logins(), 0);
}

#[test]
fn a_note_does_not_grow_and_keeps_those_that_live_longest() {
    let many = (0..5000)
        .map(|n| named(&format!("t{n}"), 1000 + n))
        .collect();
    let records = TokenRecords::new(None, many);
    assert_eq!(records.others.len(), 1000);
    assert_eq!(records.others[0].life.expires, at(5999));
}

#[test]
fn another_content_asks_for_something_else() {
    let plain = credential("cmsprod", "cms");
    let mut reduced = plain.clone();
    reduced.scopes = vec!["storage.read:/".to_owned()];
    let mut aimed = plain.clone();
    aimed.audience = Some("https://any".to_owned());
    let all = [
        requested_content(&plain),
        requested_content(&reduced),
        requested_content(&aimed),
    ];
    assert_eq!(
        all[1],
        "https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:default scopes=storage.read:/"
    );
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
}

#[tokio::test]
async fn a_state_that_cannot_be_read_now_or_is_of_a_later_version_is_left_and_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let others = [
        r#"{"version": 3, "deliveries": []}"#,
        r#"{"version": 3, "deliveries": {"a": 1}}"#,
    ];
    for later in others {
        fs::write(&file, later).unwrap();
        Store::read_only(folder.path());
        let words = Store::open(folder.path()).unwrap_err();
        assert!(
            words.contains("it was written by a later version"),
            "{words}"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), later);
    }
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), &file).unwrap();
    let words = Store::open(folder.path()).unwrap_err();
    assert!(
        words.contains("or move it away to start without it"),
        "{words}"
    );
    assert!(file.is_symlink());
}

#[tokio::test]
async fn who_only_reads_renames_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    fs::write(&file, "{").unwrap();
    Store::read_only(folder.path());
    assert!(file.exists());
    Store::open(folder.path()).unwrap();
    assert!(!file.exists());
}

#[tokio::test]
async fn the_file_belongs_to_whoever_the_directory_does() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let folder = tempfile::tempdir().unwrap();
    // Without root it is the same user anyway.
    let _ = chown(folder.path(), Some(4711), Some(4712));
    let store = Store::open(folder.path()).unwrap();
    store.change(|_| ());
    store.written(Duration::from_mins(1)).await.unwrap();
    let owner = |path: &Path| {
        let meta = fs::metadata(path).unwrap();
        (meta.uid(), meta.gid())
    };
    let file = folder.path().join("state.json");
    assert_eq!(owner(&file), owner(folder.path()));
}
