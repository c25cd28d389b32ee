//! Which folder has which watch.

use std::collections::BTreeSet;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use proptest::prelude::*;

use super::*;

/// Numbers of watches, rising.
fn numbers<const N: usize>() -> [WatchDescriptor; N] {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
    std::array::from_fn(|_| {
        let dir = tempfile::tempdir().unwrap();
        inotify
            .add_watch(dir.path(), AddWatchFlags::IN_CREATE)
            .unwrap()
    })
}

/// Files that are different folders.
fn files<const N: usize>() -> [FileId; N] {
    let dir = tempfile::tempdir().unwrap();
    let root = Folder::open(dir.path()).unwrap();
    std::array::from_fn(|n| {
        fs::create_dir(dir.path().join(n.to_string())).unwrap();
        FileId::from(&root.look(&n.to_string()).unwrap().unwrap())
    })
}

fn named<const N: usize>(names: [&str; N]) -> Folders {
    let mut folders = Folders::default();
    for name in names {
        folders.add(&name.into());
    }
    folders
}

#[test]
fn a_number_that_the_kernel_gives_again_is_that_of_the_later_folder() {
    let ([one, two], [a, b]) = (numbers(), files());
    let mut folders = named(["a", "b"]);
    folders.watch("a", a, one);
    folders.watch("b", b, two);
    assert!(folders.covers("a", a) && folders.covers("b", b) && !folders.covers("b", a));
    folders.watch("b", b, one);
    assert_eq!(folders.watched_by(one).unwrap(), &"b".into());
    assert!(!folders.covers("a", a) && folders.covers("b", b));
    assert_eq!(folders.watched(), 1);
    // The end of the watch that had the number before is read late: it is set anew.
    assert_eq!(folders.watch_ended(one), Some("b".into()));
    assert!(!folders.covers("b", b) && folders.watched_by(one).is_none());
    folders.watch("b", b, one);
    assert!(folders.covers("b", b));
}

#[test]
fn the_end_of_an_old_watch_does_not_end_a_new_one() {
    let ([one, two], [old, new]) = (numbers(), files());
    let mut folders = named(["a"]);
    folders.watch("a", old, one);
    folders.remember("a", old, Trust::Full);
    assert!(folders.is_unchanged("a", old));
    folders.watch("a", new, two);
    assert!(folders.covers("a", new) && !folders.covers("a", old));
    assert!(!folders.is_unchanged("a", old) && !folders.is_unchanged("a", new));
    assert_eq!(folders.watched_by(one).unwrap(), &"a".into());
    assert_eq!(folders.watch_ended(one), None);
    assert!(folders.covers("a", new));
    assert_eq!(folders.watch_ended(two), Some("a".into()));
    assert!(!folders.covers("a", new));
}

#[test]
fn a_folder_that_was_replaced_and_got_no_watch_is_not_covered() {
    let ([one], [old, new]) = (numbers(), files());
    let mut folders = named(["a"]);
    folders.watch("a", old, one);
    folders.remember("a", old, Trust::Full);
    folders.remember("a", new, Trust::Full);
    assert!(!folders.covers("a", new) && !folders.is_unchanged("a", new));
    // Nor is the old one, should it come back: the watch may have ended since.
    folders.remember("a", old, Trust::Full);
    assert!(!folders.covers("a", old));
}

#[test]
fn a_doubted_watch_still_tells_and_is_relied_on_when_set_again() {
    let ([one], [a]) = (numbers(), files());
    let mut folders = named(["a"]);
    folders.watch("a", a, one);
    folders.remember("a", a, Trust::Full);
    folders.doubt_watches();
    assert!(!folders.is_unchanged("a", a));
    assert_eq!(folders.watched_by(one).unwrap(), &"a".into());
    folders.watch("a", a, one);
    assert!(folders.is_unchanged("a", a));
    folders.forget_watches();
    assert!(folders.watched_by(one).is_none() && !folders.covers("a", a));
}

#[test]
fn watches_go_with_their_folders() {
    let ([one, two, three], [a, b, c]) = (numbers(), files());
    let mut folders = named(["a", "b"]);
    folders.watch("a", a, one);
    folders.watch("b", a, two);
    folders.watch("b", b, three);
    folders.row_mut("a").unwrap().is_there = false;
    folders.keep();
    // Another one comes to where it was in memory.
    folders.add(&"c".into());
    folders.watch("nobody", c, one);
    assert!(folders.watched_by(one).is_none() && folders.watched_by(two).is_none());
    assert_eq!(folders.watched_by(three).unwrap(), &"b".into());
    assert_eq!(folders.watches.len(), 1);
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Add(usize),
    Watch(usize, usize, usize),
    End(usize),
    Remember(usize, usize),
    Doubt,
    Keep(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let n = || 0usize..4;
    let act = prop_oneof![
        2 => n().prop_map(Act::Add),
        4 => (n(), n(), n()).prop_map(|(name, file, watch)| Act::Watch(name, file, watch)),
        2 => n().prop_map(Act::End),
        2 => (n(), n()).prop_map(|(name, file)| Act::Remember(name, file)),
        1 => Just(Act::Doubt),
        1 => n().prop_map(Act::Keep),
    ];
    proptest::collection::vec(act, 0..60)
}

proptest! {
    /// Whatever happens: who is covered is told of, and each watch is that of one folder.
    #[test]
    fn each_folder_that_is_covered_is_the_one_that_its_watch_tells_of(acts in acts()) {
        let (numbers, files): ([_; 4], [FileId; 4]) = (numbers(), files());
        let names = ["a", "b", "c", "d"];
        let mut folders = Folders::default();
        for act in acts {
            match act {
                Act::Add(name) => folders.add(&names[name].into()),
                Act::Watch(name, file, watch) => {
                    folders.watch(names[name], files[file], numbers[watch]);
                    let is_there = folders.contains(names[name]);
                    prop_assert_eq!(folders.covers(names[name], files[file]), is_there);
                }
                Act::End(watch) => {
                    folders.watch_ended(numbers[watch]);
                    prop_assert!(folders.watched_by(numbers[watch]).is_none());
                }
                Act::Remember(name, file) => {
                    folders.remember(names[name], files[file], Trust::Full);
                }
                Act::Doubt => folders.doubt_watches(),
                Act::Keep(but) => {
                    if let Some(row) = folders.row_mut(names[but]) {
                        row.is_there = false;
                    }
                    folders.keep();
                }
            }
            let mut told = BTreeSet::new();
            for name in names {
                for file in files {
                    let Some(row) = folders.row(name).filter(|row| row.covers(file.place())) else {
                        continue;
                    };
                    let watch = row.watch.unwrap();
                    prop_assert_eq!(folders.watched_by(watch), Some(&name.into()));
                    prop_assert!(told.insert(watch));
                }
            }
            prop_assert_eq!(told.len(), folders.watched());
            prop_assert!(folders.watches.is_sorted_by(|a, b| a.0 < b.0));
        }
    }
}
