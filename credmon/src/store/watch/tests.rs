//! Watches on real folders. The kernel has an event ready as soon as the call that makes it returns.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::fakes::LogLines;
use crate::store::folder::{Folder, file_id};

struct Fixture {
    dir: tempfile::TempDir,
    watcher: Watcher,
}

impl Fixture {
    /// With a watched folder `u`.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("u")).unwrap();
        let mut watcher = Watcher::new(dir.path());
        watcher.start();
        assert!(watcher.events().is_some());
        let mut fixture = Self { dir, watcher };
        fixture.watch("u");
        fixture
    }

    fn watch(&mut self, name: &str) {
        let root = Folder::open(self.dir.path()).unwrap();
        let file = file_id(&root.stat_of(name).unwrap().unwrap());
        self.watcher.watch(&name.into(), file);
    }

    /// Replaces a file in `u` as the credd does.
    fn put(&self, name: &str) {
        self.rename("cms.top.tmp", name);
    }

    /// Replaces a file in `u` as this daemon does.
    fn install(&self, name: &str) {
        self.rename(".credmon-1-0.tmp", name);
    }

    fn rename(&self, from: &str, to: &str) {
        let folder = self.dir.path().join("u");
        fs::write(folder.join(from), "x").unwrap();
        fs::rename(folder.join(from), folder.join(to)).unwrap();
    }

    /// What the scanner is asked for up to now.
    fn woken(&mut self) -> Vec<Wake> {
        asked(&mut self.watcher)
    }
}

/// What the scanner is asked for.
fn asked(watcher: &mut Watcher) -> Vec<Wake> {
    let mut pending = Pending::default();
    watcher.report(&mut pending);
    let all = pending.all.then_some(Wake::ScanAll).into_iter();
    let accounts = pending.accounts.into_iter();
    let wake = |(user, is_other)| {
        if is_other {
            Wake::Folder(user)
        } else {
            Wake::Scan(user)
        }
    };
    all.chain(accounts.map(wake)).collect()
}

fn scan(user: &str) -> Wake {
    Wake::Scan(user.into())
}

fn folder(user: &str) -> Wake {
    Wake::Folder(user.into())
}

#[test]
fn watches_that_the_kernel_refused_are_set_later() {
    let (lines, _logging) = LogLines::of_this_thread();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("later");
    let mut watcher = Watcher::new(&root);
    watcher.start();
    watcher.start();
    assert!(watcher.events().is_none());
    assert_eq!(lines.with("inotify unavailable").len(), 1);
    fs::create_dir(&root).unwrap();
    watcher.start();
    fs::create_dir(root.join("u")).unwrap();
    assert_eq!(asked(&mut watcher), [folder("u")]);
    assert_eq!(lines.with("changes are noticed at once").len(), 1);
}

#[test]
fn the_directory_may_be_a_link_and_a_folder_may_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("real/u")).unwrap();
    fs::create_dir(at("elsewhere")).unwrap();
    symlink(at("real"), at("link")).unwrap();
    symlink(at("elsewhere"), at("real/v")).unwrap();
    let mut watcher = Watcher::new(&at("link"));
    watcher.start();
    for user in ["u", "v"] {
        watcher.watch(&user.into(), FileId::default());
    }
    assert_eq!(watcher.len(), 1);
    fs::write(at("elsewhere/cms.top"), "x").unwrap();
    fs::write(at("real/u/cms.top"), "x").unwrap();
    assert_eq!(asked(&mut watcher), [scan("u")]);
}

#[test]
fn changes_of_others_wake_for_their_folder_and_our_own_wake_nobody() {
    let mut f = Fixture::new();
    let at = |f: &Fixture, name: &str| f.dir.path().join(name);
    assert_eq!(f.woken(), []);
    f.put("cms.top");
    assert_eq!(f.woken(), [scan("u")]);
    f.put("cms.use");
    assert_eq!(f.woken(), [scan("u")]);
    f.install("cms.use");
    fs::write(at(&f, "pid"), "1").unwrap();
    fs::write(at(&f, "CREDMON_COMPLETE"), "").unwrap();
    fs::write(at(&f, ".credmon-1.tmp"), "").unwrap();
    fs::read(at(&f, "u/cms.top")).unwrap();
    assert_eq!(f.woken(), []);
    fs::remove_file(at(&f, "u/cms.use")).unwrap();
    assert_eq!(f.woken(), [scan("u")]);
    fs::create_dir(at(&f, "v")).unwrap();
    assert_eq!(f.woken(), [folder("v")]);
    fs::remove_dir_all(at(&f, "u")).unwrap();
    assert!(f.woken().ends_with(&[folder("u")]));
}

#[test]
fn what_is_done_to_a_file_in_its_place_wakes_for_its_folder() {
    let mut f = Fixture::new();
    for name in ["cms.top", "cms.use"] {
        f.put(name);
        f.woken();
        let path = f.dir.path().join("u").join(name);
        fs::File::create(&path).unwrap();
        assert_eq!(f.woken(), [scan("u")], "{name} is cut to nothing");
        fs::write(&path, "other").unwrap();
        assert_eq!(f.woken(), [scan("u")], "{name} is written to");
    }
}

#[test]
fn a_folder_made_anew_or_renamed_is_watched_anew() {
    let mut f = Fixture::new();
    let at = |f: &Fixture, name: &str| f.dir.path().join(name);
    for _ in 0..5 {
        fs::remove_dir_all(at(&f, "u")).unwrap();
        f.watcher.unwatch(&"u".into());
        fs::create_dir(at(&f, "u")).unwrap();
        assert!(f.woken().ends_with(&[folder("u")]));
        f.watch("u");
        f.put("cms.top");
        assert_eq!(f.woken(), [scan("u")]);
    }
    fs::rename(at(&f, "u"), at(&f, "v")).unwrap();
    let woken = f.woken();
    assert!(
        woken.contains(&folder("u")) && woken.contains(&folder("v")),
        "{woken:?}"
    );
    f.watcher.unwatch(&"u".into());
    f.watch("v");
    fs::write(at(&f, "v/cms.top"), "x").unwrap();
    assert_eq!(f.woken(), [scan("v")]);
    assert_eq!(f.watcher.len(), 1);
}

#[test]
fn a_folder_is_watched_by_its_new_name_though_the_old_one_is_forgotten_later() {
    let mut f = Fixture::new();
    fs::rename(f.dir.path().join("u"), f.dir.path().join("a")).unwrap();
    // In the order of the names, as a scan does.
    f.watch("a");
    f.watcher.unwatch(&"u".into());
    f.woken();
    for _ in 0..2 {
        fs::write(f.dir.path().join("a/cms.top"), "x").unwrap();
        assert_eq!(f.woken(), [scan("a")]);
        // A later scan changes nothing.
        f.watch("a");
    }
}

#[test]
fn a_folder_in_the_place_of_another_gets_the_watch_though_nobody_said_that_it_went() {
    let mut f = Fixture::new();
    let at = |f: &Fixture, name: &str| f.dir.path().join(name);
    fs::create_dir(at(&f, "new")).unwrap();
    fs::rename(at(&f, "u"), at(&f, "old")).unwrap();
    fs::rename(at(&f, "new"), at(&f, "u")).unwrap();
    f.woken();
    f.watch("u");
    fs::write(at(&f, "u/cms.top"), "x").unwrap();
    assert_eq!(f.woken(), [scan("u")]);
}

#[test]
fn a_queue_that_ran_over_asks_for_everything_and_all_watches_are_set_anew() {
    let mut f = Fixture::new();
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    let file = f.dir.path().join("u/other");
    // Several events each, and no two after each other that are equal.
    for _ in 0..limit {
        fs::write(&file, "x").unwrap();
        fs::remove_file(&file).unwrap();
    }
    // One report reads a part of the queue.
    let woken = (0..=limit / READINGS).flat_map(|_| f.woken());
    assert_eq!(woken.collect::<Vec<_>>(), [Wake::ScanAll]);
    f.watcher.start();
    f.watch("u");
    f.put("cms.top");
    assert_eq!(f.woken(), [scan("u")]);
}

#[test]
fn a_directory_that_is_gone_asks_for_everything_and_is_watched_anew_once_it_is_back() {
    let mut f = Fixture::new();
    let root = f.dir.path().to_owned();
    fs::remove_dir_all(&root).unwrap();
    assert_eq!(f.woken(), [Wake::ScanAll, folder("u")]);
    assert_eq!((f.watcher.len(), f.woken()), (0, Vec::new()));
    fs::create_dir_all(root.join("u")).unwrap();
    f.watcher.start();
    f.watch("u");
    f.put("cms.top");
    assert_eq!(f.woken(), [scan("u")]);
}

#[test]
fn other_files_than_those_of_credentials_ask_for_nothing() {
    let mut f = Fixture::new();
    for name in ["u/other.txt", "u/top", "pid", "key", "u.mark"] {
        fs::write(f.dir.path().join(name), "x").unwrap();
    }
    fs::create_dir(f.dir.path().join(".hidden")).unwrap();
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(f.dir.path().join("u"), mode).unwrap();
    assert_eq!(f.woken(), []);
}
