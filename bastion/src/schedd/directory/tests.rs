//! The credential directory on a real file system.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;
use crate::fixtures::delivery_to;
use crate::model::delivery::Target;
use crate::system::files::DEADLINE;

fn place() -> (tempfile::TempDir, Delivery) {
    let dir = tempfile::tempdir().unwrap();
    let delivery = delivery_to(Target::Directory(dir.path().to_owned()));
    (dir, delivery)
}

async fn observe(delivery: &Delivery, dir: &Path) -> Result<Observation, Problem> {
    super::observe(delivery, dir).await
}

async fn store(delivery: &Delivery, dir: &Path) -> Result<(), Problem> {
    super::store(delivery, dir, &top()).await
}

async fn delete(delivery: &Delivery, dir: &Path) -> Result<(), Problem> {
    super::delete(delivery, dir).await
}

/// The names of all that is in a folder.
fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

/// Makes the account's folder as the credd does.
fn make_folder(dir: &Path) {
    let folder = dir.join("cmsprod");
    fs::create_dir(&folder).unwrap();
    mode(&folder, 0o2700);
}

fn top() -> SecretString {
    SecretString::from("{\"vault_token\":\"s.x\"}")
}

#[tokio::test]
async fn what_is_stored_is_seen_again_and_has_the_credds_modes() {
    let (dir, delivery) = place();
    assert!(
        observe(&delivery, dir.path())
            .await
            .unwrap()
            .stored
            .is_none()
    );
    store(&delivery, dir.path()).await.unwrap();
    store(&delivery, dir.path()).await.unwrap();

    let folder = dir.path().join("cmsprod");
    let file = folder.join("cms_crab.top");
    assert_eq!(fs::read_to_string(&file).unwrap(), top().expose_secret());
    let mode_of = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode_of(&file), 0o600);
    assert_eq!(mode_of(&folder), 0o2700);
    assert_eq!(
        names(&folder),
        ["cms_crab.top"],
        "no temporary file is left"
    );

    let seen = observe(&delivery, dir.path()).await.unwrap();
    assert!(seen.stored.is_some());
    assert!(seen.served.is_none());
    assert_eq!(seen.content.unwrap().expose_secret(), top().expose_secret());
    fs::write(folder.join("cms_crab.use"), "token").unwrap();
    let seen = observe(&delivery, dir.path()).await.unwrap();
    assert!(seen.served >= seen.stored);
}

#[tokio::test]
async fn what_a_killed_process_was_writing_is_removed_by_the_next_push() {
    let (dir, delivery) = place();
    make_folder(dir.path());
    let folder = dir.path().join("cmsprod");
    let own = format!(".bastion-{}-01.tmp", std::process::id());
    // No process has the largest number of all.
    let gone = format!(".bastion-{}-01.tmp", i32::MAX);
    let others = [
        own.as_str(),
        ".bastion-0-01.tmp",
        ".bastion--1-01.tmp",
        "other.tmp",
    ];
    for name in others.iter().chain([&gone.as_str()]) {
        fs::write(folder.join(name), "s.x").unwrap();
    }
    store(&delivery, dir.path()).await.unwrap();
    let mut left = names(&folder);
    left.sort();
    let mut expected = [&others[..], &["cms_crab.top"]].concat();
    expected.sort_unstable();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn no_symbolic_link_is_followed() {
    let (dir, delivery) = place();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), dir.path().join("cmsprod")).unwrap();
    let problem = store(&delivery, dir.path()).await.unwrap_err();
    assert!(
        problem.message.contains("a symbolic link or a file"),
        "{problem}"
    );
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);

    // A link in place of the file is replaced, and what it names is left alone.
    let (dir, delivery) = place();
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    make_folder(dir.path());
    let link = dir.path().join("cmsprod/cms_crab.top");
    symlink(&victim, &link).unwrap();
    assert!(observe(&delivery, dir.path()).await.is_err());
    store(&delivery, dir.path()).await.unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
}

#[tokio::test]
async fn a_missing_directory_is_named_and_not_made() {
    let (dir, delivery) = place();
    let missing = dir.path().join("none");
    let problem = store(&delivery, &missing).await.unwrap_err();
    assert_eq!(
        problem.to_string(),
        format!(
            "account cmsprod at here: credential directory {} cannot be written: \
             No such file or directory (os error 2); make it (mode 2770, root:condor), or correct the path",
            missing.display()
        )
    );
    // One that is not mounted is not an emptied one: nothing is said to be gone, or not there.
    for (what, problem) in [
        ("read", observe(&delivery, &missing).await.unwrap_err()),
        ("written", delete(&delivery, &missing).await.unwrap_err()),
    ] {
        let words = format!("{} cannot be {what}: No such file", missing.display());
        assert!(problem.message.contains(&words), "{problem}");
    }
    assert!(!missing.exists());
}

#[tokio::test]
async fn a_file_that_is_no_text_is_another_content() {
    let (dir, delivery) = place();
    make_folder(dir.path());
    fs::write(dir.path().join("cmsprod/cms_crab.top"), [0xff, 0xfe]).unwrap();
    let seen = observe(&delivery, dir.path()).await.unwrap();
    assert_eq!(seen.content.unwrap().expose_secret(), "");
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_what_is_not_there_counts_as_deleted() {
    let (dir, delivery) = place();
    delete(&delivery, dir.path()).await.unwrap();
    store(&delivery, dir.path()).await.unwrap();
    let folder = dir.path().join("cmsprod");
    fs::write(folder.join("cms_crab.use"), "token").unwrap();
    fs::write(folder.join("cms.use"), "another").unwrap();
    delete(&delivery, dir.path()).await.unwrap();
    delete(&delivery, dir.path()).await.unwrap();
    assert_eq!(names(&folder), ["cms.use"]);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_hangs_is_said_and_another_one_is_read_meanwhile() {
    let (silent, delivery) = place();
    let other = tempfile::tempdir().unwrap();
    let (begun, running) = std::sync::mpsc::channel();
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let hangs = run(&delivery, silent.path(), "read", move |_| {
        begun.send(()).unwrap();
        // Until nobody can release it any more.
        let _ = blocked.recv();
        Ok(())
    });
    let others = async {
        while running.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let seen = observe(&delivery, other.path()).await;
        assert!(seen.unwrap().stored.is_none());
        tokio::time::advance(DEADLINE).await;
    };
    let (hung, ()) = tokio::join!(hangs, others);
    let path = silent.path().display();
    let words = format!(
        "account cmsprod at here: credential directory {path} cannot be read: the file system of {path} \
         does not answer within 10 s; check its mount and its server"
    );
    let hung = hung.unwrap_err();
    assert_eq!((hung.kind, hung.to_string()), (Kind::Local, words.clone()));
    // At once, as long as the first one hangs.
    let again = store(&delivery, silent.path()).await.unwrap_err();
    assert_eq!(again.to_string(), words.replace("be read", "be written"));
    drop(release);
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn nothing_is_stored_where_others_could_read_or_replace_it() {
    let (dir, delivery) = place();
    let folder = dir.path().join("cmsprod");
    fs::create_dir(&folder).unwrap();
    mode(&folder, 0o2707);
    let problem = store(&delivery, dir.path()).await.unwrap_err();
    assert!(
        problem
            .message
            .contains("mode 2707), so nothing is stored there; expected is "),
        "{problem}"
    );
    assert!(names(&folder).is_empty());
    mode(&folder, 0o2700);
    store(&delivery, dir.path()).await.unwrap();
    // What was stored before is still seen, so that it can be revoked, and it can be deleted.
    mode(&folder, 0o2707);
    assert!(
        observe(&delivery, dir.path())
            .await
            .unwrap()
            .stored
            .is_some()
    );
    delete(&delivery, dir.path()).await.unwrap();
    assert!(names(&folder).is_empty());

    let (dir, delivery) = place();
    mode(dir.path(), 0o1777);
    let problem = store(&delivery, dir.path()).await.unwrap_err();
    assert!(
        problem.message.contains("everybody may write into it"),
        "{problem}"
    );
    assert!(!dir.path().join("cmsprod").exists());
}

#[tokio::test]
async fn what_is_no_plain_file_is_named_with_its_kind() {
    let (dir, delivery) = place();
    store(&delivery, dir.path()).await.unwrap();
    let file = dir.path().join("cmsprod/cms_crab.use");
    let said = async |kind: &str| {
        let problem = observe(&delivery, dir.path()).await.unwrap_err();
        let words =
            format!("cms_crab.use is {kind}, and a plain file is expected there; remove it");
        assert!(problem.message.ends_with(&words), "{problem}");
    };
    mkfifo(&file, Mode::S_IRWXU).unwrap();
    said("a FIFO").await;
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    said("a directory").await;
    fs::remove_dir(&file).unwrap();
    symlink("cms_crab.top", &file).unwrap();
    said("a symbolic link").await;
    fs::remove_file(&file).unwrap();
    // A pipe in place of the vault token is neither waited for nor taken for an empty one.
    let top = dir.path().join("cmsprod/cms_crab.top");
    fs::remove_file(&top).unwrap();
    mkfifo(&top, Mode::S_IRWXU).unwrap();
    let problem = observe(&delivery, dir.path()).await.unwrap_err();
    assert!(
        problem.message.contains("cms_crab.top is a FIFO"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_service_name_may_be_as_long_as_a_file_name_can_be() {
    let (dir, mut delivery) = place();
    delivery.id.service = "s".repeat(251);
    store(&delivery, dir.path()).await.unwrap();
    assert!(
        observe(&delivery, dir.path())
            .await
            .unwrap()
            .stored
            .is_some()
    );
}

/// What an owner of the account's folder does meanwhile: swaps it, and the file in it, for links and other things.
fn swap(dir: &Path, outside: &Path, is_over: &AtomicBool) -> u32 {
    let (folder, parked) = (dir.join("cmsprod"), dir.join("parked"));
    let file = folder.join("cms_crab.top");
    let mut swaps = 0;
    while !is_over.load(Ordering::Relaxed) {
        // Each may fail, as the other side is at work.
        let _ = fs::rename(&folder, &parked);
        let _ = symlink(outside, &folder);
        let _ = fs::remove_file(&folder);
        let _ = fs::write(&folder, "");
        let _ = fs::remove_file(&folder);
        let _ = fs::rename(&parked, &folder);
        let _ = fs::remove_file(&file);
        let _ = symlink(outside.join("victim"), &file);
        let _ = fs::remove_file(&file);
        let _ = mkfifo(&file, Mode::S_IRWXU);
        let _ = fs::remove_file(&file);
        let _ = fs::create_dir(&file);
        let _ = fs::remove_dir(&file);
        swaps += 13;
    }
    swaps
}

#[tokio::test]
async fn an_owner_who_swaps_folders_and_links_during_pushes_moves_no_token_elsewhere() {
    let (dir, delivery) = place();
    let outside = tempfile::tempdir().unwrap();
    mode(outside.path(), 0o2700);
    fs::write(outside.path().join("victim"), "untouched").unwrap();
    make_folder(dir.path());
    let is_over = Arc::new(AtomicBool::new(false));
    let owner = {
        let (dir, outside) = (dir.path().to_owned(), outside.path().to_owned());
        let is_over = Arc::clone(&is_over);
        std::thread::spawn(move || swap(&dir, &outside, &is_over))
    };
    let mut stored = 0;
    for _ in 0..300 {
        stored += u32::from(store(&delivery, dir.path()).await.is_ok());
        let _ = observe(&delivery, dir.path()).await;
        let _ = delete(&delivery, dir.path()).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let swaps = owner.join().unwrap();
    assert!(swaps > 100, "{swaps} swaps, {stored} stored");
    assert_eq!(names(outside.path()), ["victim"]);
    let victim = fs::read_to_string(outside.path().join("victim")).unwrap();
    assert_eq!(victim, "untouched");
    // It ends as it began: a folder, in which a push works.
    let _ = fs::remove_dir_all(dir.path().join("cmsprod"));
    store(&delivery, dir.path()).await.unwrap();
    let left = names(&dir.path().join("cmsprod"));
    assert_eq!(left, ["cms_crab.top"]);
}
