//! Watches on real folders. Nothing here waits for a time to pass: an event that must not come would
//! come before one that is made after it.

use std::fs;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use notify::event::{CreateKind, DataChange, Flag, MetadataKind, RemoveKind};

use super::*;
use crate::fakes::LogLines;
use crate::store::folder::{Folder, file_id};

struct Fixture {
    dir: tempfile::TempDir,
    watcher: Watcher,
    wakes: Receiver<Wake>,
    marks: u32,
}

impl Fixture {
    /// With a watched folder `u`.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("u")).unwrap();
        let (wake, wakes) = channel();
        let mut watcher = Watcher::new(dir.path(), wake);
        watcher.start();
        assert!(watcher.notify.is_some());
        let mut fixture = Self {
            dir,
            watcher,
            wakes,
            marks: 0,
        };
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

    /// What woke the scanner up to now: before a folder that is made now.
    fn woken(&mut self) -> Vec<Wake> {
        self.marks += 1;
        let mark = format!("mark{}", self.marks);
        fs::create_dir(self.dir.path().join(&mark)).unwrap();
        let mut woken: Vec<Wake> = Vec::new();
        loop {
            match self.wakes.recv_timeout(Duration::from_mins(1)).unwrap() {
                wake if wake == folder(&mark) => return woken,
                wake if woken.last() == Some(&wake) => {}
                wake => woken.push(wake),
            }
        }
    }
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
    let (wake, wakes) = channel();
    let mut watcher = Watcher::new(&root, wake);
    watcher.start();
    watcher.start();
    assert!(watcher.notify.is_none());
    assert_eq!(lines.with("inotify unavailable").len(), 1);
    fs::create_dir(&root).unwrap();
    watcher.start();
    fs::create_dir(root.join("u")).unwrap();
    assert_eq!(wakes.recv().unwrap(), folder("u"));
    assert_eq!(lines.with("changes are noticed at once").len(), 1);
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

/// Scans that an event asks for.
fn asked(kind: EventKind, paths: &[&str]) -> Vec<Wake> {
    let mut event = Event::new(kind);
    event.paths = paths.iter().map(Into::into).collect();
    wakes(&event, Path::new("/c"))
}

#[test]
fn a_queue_that_ran_over_asks_for_everything() {
    let event = Event::new(EventKind::Other).set_flag(Flag::Rescan);
    assert_eq!(wakes(&event, Path::new("/c")), [Wake::ScanAll]);
}

#[test]
fn events_ask_for_scans_by_their_kind() {
    let created = EventKind::Create(CreateKind::Any);
    let removed = EventKind::Remove(RemoveKind::Any);
    let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    let mode = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
    let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::Both));
    let away = EventKind::Modify(ModifyKind::Name(RenameMode::From));
    for kind in [created, removed, written, mode, renamed, away] {
        assert_eq!(asked(kind, &["/c/u/cms.top"]), [scan("u")], "{kind:?}");
        assert_eq!(asked(kind, &["/c/u/other.txt"]), [], "{kind:?}");
        assert_eq!(asked(kind, &["/c/pid"]), [], "{kind:?}");
        assert_eq!(asked(kind, &["/c/u/cms.use"]), [scan("u")], "{kind:?}");
    }
    assert_eq!(asked(removed, &["/c"]), [Wake::ScanAll]);
    assert_eq!(asked(created, &["/c"]), []);
    assert_eq!(
        asked(renamed, &["/c/u", "/c/v"]),
        [folder("u"), folder("v")]
    );
    assert_eq!(asked(written, &["/c/key"]), [], "a file beside the folders");
}
