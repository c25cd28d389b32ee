//! The credential directory on a real file system.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::delivery::Target;
use crate::fixtures::delivery_to;

fn place() -> (tempfile::TempDir, Delivery) {
    let dir = tempfile::tempdir().unwrap();
    let delivery = delivery_to(Target::Directory(dir.path().to_owned()));
    (dir, delivery)
}

async fn observe(delivery: &Delivery, dir: &Path) -> Result<Observed, Problem> {
    Directories::default().observe(delivery, dir).await
}

async fn store(delivery: &Delivery, dir: &Path) -> Result<(), Problem> {
    Directories::default().store(delivery, dir, &top()).await
}

async fn delete(delivery: &Delivery, dir: &Path) -> Result<(), Problem> {
    Directories::default().delete(delivery, dir).await
}

/// The names of all that is in a folder.
fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
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
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&folder), 0o2700);
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
    fs::create_dir(dir.path().join("cmsprod")).unwrap();
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
    fs::create_dir(dir.path().join("cmsprod")).unwrap();
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

#[tokio::test]
async fn a_directory_that_hangs_takes_few_threads_however_often_it_is_asked() {
    let (silent, delivery) = place();
    let other = tempfile::tempdir().unwrap();
    let directories = Directories::default();
    let (begun, running) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = Arc::new(std::sync::Mutex::new(gone));
    let hang = || {
        let (begun, gone) = (begun.clone(), Arc::clone(&gone));
        directories.off_the_loop(&delivery, silent.path(), "read", move |_| {
            begun.send(()).unwrap();
            // Until nobody can say go any more.
            let _ = gone.lock().unwrap().recv();
            Ok(())
        })
    };
    let all = async { tokio::join!(hang(), hang(), hang(), hang(), hang()) };
    let others = async {
        while running.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let seen = directories.observe(&delivery, other.path()).await;
        let at_work = 1 + running.try_iter().count();
        drop(go);
        (seen, at_work)
    };
    let (_, (seen, at_work)) = tokio::join!(all, others);
    assert!(
        seen.unwrap().stored.is_none(),
        "another one is read meanwhile"
    );
    assert!(at_work <= THREADS, "{at_work}");
    assert_eq!(at_work + running.try_iter().count(), 5, "all in the end");
}
