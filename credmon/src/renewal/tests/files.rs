//! Files that change, vanish or are something else while a task runs.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use super::*;

/// Something that happens while Vault takes its time.
async fn meanwhile(f: &Fixture, task: RenewalTask, act: impl FnOnce()) -> Outcome {
    f.vault.with(|v| v.slow.insert("a".to_owned(), 10));
    let act = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        act();
    };
    tokio::join!(f.run(task), act).0
}

#[tokio::test(start_paused = true)]
async fn whatever_vanishes_or_changes_before_is_no_error() {
    let f = Fixture::new();
    let task = f.task(2400, None);
    let is_changed = |outcome| matches!(outcome, Outcome::Changed);
    f.credentials.store("u", "cms", "a", "s.2");
    assert!(is_changed(f.run(task.clone()).await));
    f.credentials.remove("u", "cms.top");
    assert!(is_changed(f.run(task.clone()).await));
    std::fs::remove_dir_all(f.credentials.path().join("u")).unwrap();
    assert!(is_changed(f.run(task.clone()).await));
    std::fs::write(f.credentials.path().join("u"), "").unwrap();
    assert!(is_changed(f.run(task).await));
    assert_eq!(f.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_came_for_a_top_that_was_replaced_meanwhile_is_thrown_away() {
    let f = Fixture::new();
    let replace = || f.credentials.store("u", "cms", "a", "s.2");
    let outcome = meanwhile(&f, f.task(2400, None), replace).await;
    assert!(matches!(outcome, Outcome::Changed), "{outcome:?}");
    assert!(!f.file().exists());
    let remove = || f.credentials.remove("u", "cms.top");
    let outcome = meanwhile(&f, f.task(2400, None), remove).await;
    assert!(matches!(outcome, Outcome::Changed), "{outcome:?}");
    assert!(!f.file().exists());
}

#[tokio::test(start_paused = true)]
async fn a_use_that_was_replaced_meanwhile_is_left_to_the_next_scan() {
    let f = Fixture::new();
    let (token, _) = renewed(f.renew(2400, None).await);
    tokio::time::advance(Duration::from_mins(30)).await;
    let replace = || f.credentials.put("u", "cms.use", "opaque");
    let outcome = meanwhile(&f, f.task(2400, Some(&token)), replace).await;
    assert!(matches!(outcome, Outcome::Changed), "{outcome:?}");
    assert_eq!(std::fs::read_to_string(f.file()).unwrap(), "opaque");
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_was_replaced_meanwhile_counts_as_a_change() {
    let f = Fixture::new();
    let url = "https://a:8200/v1/secret/oauth/creds/cms/u:cms";
    let borrows = serde_json::json!({ "vault_url": url }).to_string();
    f.credentials.put("u", "cms_read.top", &borrows);
    let observed = f.credentials.observed("u", "cms_read").unwrap();
    let task = RenewalTask {
        id: observed.top.id.clone(),
        stamp: observed.top.stamp.clone(),
        ..f.task(2400, None)
    };
    let replace = || f.credentials.store("u", "cms", "a", "s.2");
    let outcome = meanwhile(&f, task, replace).await;
    assert!(matches!(outcome, Outcome::Changed), "{outcome:?}");
    assert!(!f.credentials.file("u", "cms_read.use").exists());
    assert_eq!(f.vault.with(|v| v.asked[0].token.clone()), "s.1");
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_was_swapped_gets_no_token_nor_does_what_a_link_names() {
    let f = Fixture::new();
    let at = |name: &str| f.credentials.path().join(name);
    let swap = || {
        std::fs::rename(at("u"), at("v")).unwrap();
        std::fs::create_dir(at("w")).unwrap();
        std::fs::copy(at("v/cms.top"), at("w/cms.top")).unwrap();
        std::os::unix::fs::symlink(at("w"), at("u")).unwrap();
    };
    let outcome = meanwhile(&f, f.task(2400, None), swap).await;
    assert!(matches!(outcome, Outcome::Changed), "{outcome:?}");
    for folder in ["v", "w"] {
        assert_eq!(at(folder).read_dir().unwrap().count(), 1, "{folder}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_the_place_of_a_file_is_reported_and_stays() {
    let f = Fixture::new();
    let task = f.task(2400, None);
    std::fs::create_dir(f.file()).unwrap();
    let found = failure(f.run(task.clone()).await);
    assert_eq!(found.scope, FailureScope::Local);
    assert!(found.text.contains("a directory"), "{found:?}");
    assert!(f.file().is_dir());
    f.credentials.remove("u", "cms.top");
    std::fs::create_dir(f.credentials.file("u", "cms.top")).unwrap();
    let outcome = f.run(task).await;
    assert!(matches!(outcome, Outcome::Changed), "the next scan tells");
}

#[tokio::test(start_paused = true)]
async fn hard_links_and_files_of_other_owners_are_replaced_not_written_to() {
    let f = Fixture::new();
    let precious = f.credentials.path().join("precious");
    std::fs::write(&precious, "precious").unwrap();
    std::fs::hard_link(&precious, f.file()).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(f.file(), Some(12_345), Some(54_321)).unwrap();
    }
    renewed(f.renew(2400, None).await);
    assert!(f.expiry_in_place().is_some());
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    let owner = std::fs::metadata(f.file()).unwrap().uid();
    assert_eq!(owner, nix::unistd::geteuid().as_raw());
}
