//! What is remembered of folders, with real ones.

use std::fs;

use super::*;
use crate::old::directory::{Found, Seen};
use crate::old::fake::Credentials;
use crate::old::folder::Folder;
use crate::old::service_name::CredentialId;

mod watches;

/// Looks as the daemon does, with what was found before.
struct Fixture {
    credentials: Credentials,
    folders: Folders,
    known: Vec<Seen>,
}

impl Fixture {
    /// With an account `u`.
    fn new(services: &[&str]) -> Self {
        let credentials = Credentials::new();
        for service in services {
            credentials.store("u", service, "h", "s");
        }
        Self {
            credentials,
            folders: Folders::default(),
            known: Vec::new(),
        }
    }

    fn folder(&self) -> FileId {
        let root = Folder::open(self.credentials.path()).unwrap();
        FileId::from(&root.folder("u").unwrap().stat().unwrap())
    }

    /// So many seconds after the folder changed.
    fn found(&mut self, after: i64) -> Found {
        let changed = self.folder().changed.as_second();
        self.found_at(Timestamp::from_second(changed + after).unwrap())
    }

    fn found_at(&mut self, now: Timestamp) -> Found {
        let directory = Directory::open(self.credentials.path()).unwrap();
        let known = std::mem::take(&mut self.known);
        let found = directory.look_at(&"u".into(), now, known, &mut self.folders, |_, _| ());
        self.known = found.credentials.clone();
        found
    }

    /// The services that a look finds, and how far its listing is trusted.
    fn look(&mut self, after: i64) -> (Vec<String>, Option<Trust>) {
        let found = self.found(after);
        let services = found.credentials.iter();
        let services = services.map(|seen| seen.id.service().to_owned()).collect();
        (services, self.trust())
    }

    fn trust(&self) -> Option<Trust> {
        self.folders.row("u").and_then(|row| row.names)
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.credentials.file("u", name)).unwrap();
    }
}

const YOUNG: i64 = 0;
const OLD: i64 = 100;

fn of(services: &[&str], trust: Trust) -> (Vec<String>, Option<Trust>) {
    let services = services.iter().map(|&service| service.to_owned());
    (services.collect(), Some(trust))
}

#[test]
fn a_folder_is_listed_again_after_any_change_and_while_young() {
    let mut f = Fixture::new(&["a"]);
    assert_eq!(f.look(YOUNG), of(&["a"], Trust::WithEvents));
    assert_eq!(f.look(5), of(&["a"], Trust::WithEvents));
    assert_eq!(f.look(OLD), of(&["a"], Trust::Full));
    assert_eq!(f.look(OLD + 1), of(&["a"], Trust::Full));
    f.credentials.store("u", "b", "h", "s");
    assert_eq!(f.look(OLD), of(&["a", "b"], Trust::Full));
    f.remove("a.top");
    assert_eq!(f.look(OLD), of(&["b"], Trust::Full));
}

#[test]
fn what_was_listed_when_old_is_not_listed_again_but_looked_at() {
    let mut f = Fixture::new(&["a", "b"]);
    f.look(OLD);
    // Nobody but this test drops one.
    f.known.truncate(1);
    assert_eq!(f.look(OLD).0, ["a"]);
    f.credentials.put("u", "other", "");
    assert_eq!(f.look(OLD).0, ["a", "b"]);
    // Written to in its place, which the folder does not show.
    let before = f.folder();
    fs::write(f.credentials.file("u", "a.top"), "{").unwrap();
    assert_eq!(f.folder(), before);
    let found = f.found(OLD);
    assert!(found.credentials[0].top.is_err() && found.credentials[1].top.is_ok());
    assert_eq!(f.look(OLD), of(&["a", "b"], Trust::Full));
}

#[test]
fn what_vanished_and_came_back_in_a_tick_of_the_clock_is_found() {
    let mut f = Fixture::new(&["a", "b"]);
    let as_ever = f.folder();
    for after in [YOUNG, 5] {
        // The look that missed it saw the folder with the same times.
        f.look(after);
        f.known.remove(0);
        assert_eq!(f.folder(), as_ever);
        assert_eq!(f.look(after).0, ["a", "b"]);
    }
    // It was there when the folder was listed, but not when it was looked at.
    f.look(OLD);
    let mut gone = f.known[0].clone();
    gone.id = CredentialId::new("u", "gone").unwrap();
    f.known.push(gone);
    assert_eq!(f.look(OLD), (vec!["a".to_owned(), "b".to_owned()], None));
    assert!(!f.folders.is_unchanged("u", f.folder()));
    f.known.remove(0);
    assert_eq!(f.look(OLD), of(&["a", "b"], Trust::Full));
}

#[test]
fn names_are_forgotten_by_a_look_that_found_no_folder() {
    let mut f = Fixture::new(&["a"]);
    let late = Timestamp::MAX;
    assert_eq!(f.found_at(late).credentials.len(), 1);
    // Another directory takes the place of this one, and goes again: no time of the folder tells.
    let is = f.folder();
    let path = f.credentials.path().to_owned();
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).unwrap();
    assert!(f.found_at(late).credentials.is_empty());
    fs::write(path.join("u"), "").unwrap();
    assert!(f.found_at(late).credentials.is_empty());
    fs::remove_dir_all(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    assert_eq!(f.folder(), is);
    assert_eq!(f.found_at(late).credentials.len(), 1);
    assert_eq!(f.trust(), Some(Trust::Full));
}

#[test]
fn names_are_forgotten_with_their_account() {
    let mut f = Fixture::new(&["a"]);
    let late = Timestamp::MAX;
    let directory = Directory::open(f.credentials.path()).unwrap();
    f.folders.list(&directory, late).unwrap();
    f.found_at(late);
    let (is, user) = (f.folder(), f.folders.kept("u"));
    f.folders.keep();
    assert_eq!(f.trust(), Some(Trust::Full));
    let empty = Credentials::new();
    let other = Directory::open(empty.path()).unwrap();
    f.folders.list(&other, late).unwrap();
    assert!(!f.folders.contains("u") && f.folders.are_news());
    f.folders.keep();
    assert!(f.folders.table.is_empty());
    f.folders.add(&user);
    assert!(f.folders.contains("u") && f.trust().is_none());
    assert!(!f.folders.is_unchanged("u", is));
}

#[test]
fn odd_names_are_told_by_each_full_look_and_trusted_between_them() {
    let mut f = Fixture::new(&["a"]);
    f.credentials.put("u", "odd name.top", "");
    for _ in 0..2 {
        let found = f.found(OLD);
        let odd: Vec<&str> = found.oddities.keys().map(String::as_str).collect();
        assert_eq!((odd, found.credentials.len()), (vec!["u/odd name.top"], 1));
        assert_eq!(f.trust(), Some(Trust::WithEvents));
    }
}

#[test]
fn a_file_that_is_being_written_is_looked_for_until_it_is_gone() {
    let mut f = Fixture::new(&["a"]);
    f.credentials.put("u", ".credmon-0123.tmp", "half");
    assert_eq!(f.look(OLD).1, None);
    let leftover = f.credentials.file("u", ".credmon-0123.tmp");
    assert!(leftover.exists());
    f.look(200);
    assert!(!leftover.exists());
    assert_eq!(f.look(OLD).1, Some(Trust::Full));
}

#[test]
fn a_change_of_ours_is_followed_only_from_what_is_known() {
    let mut f = Fixture::new(&["a"]);
    f.found_at(Timestamp::MAX);
    let first = f.folder();
    f.credentials.put("u", "a.use", "1");
    let second = f.folder();
    let knows = |f: &Fixture, file| f.folders.row("u").unwrap().knows(file);
    assert!(first != second && !knows(&f, second));
    let change = |before, after| OwnChange { before, after };
    f.folders.follow("u", change(second, second));
    assert!(knows(&f, first));
    f.folders.follow("u", change(first, second));
    assert!(knows(&f, second));
    // Full looks make sure again.
    assert_eq!(f.trust(), Some(Trust::WithEvents));
    f.found_at(Timestamp::MAX);
    assert_eq!(f.trust(), Some(Trust::Full));
    // Of what is not known, nothing is.
    f.folders.take("u");
    f.folders.follow("u", change(second, first));
    f.folders.follow("v", change(second, first));
    assert!(!knows(&f, first) && !f.folders.contains("v"));
}

#[test]
fn accounts_are_listed_again_after_a_change_and_keep_what_is_found_meanwhile() {
    let credentials = Credentials::new();
    let mut folders = Folders::default();
    credentials.store("b", "cms", "h", "s");
    fs::write(credentials.path().join(".hidden"), "").unwrap();
    let directory = Directory::open(credentials.path()).unwrap();
    let list = |folders: &mut Folders, after: i64| {
        let changed = directory.root().stat().unwrap().st_ctime;
        let now = Timestamp::from_second(changed + after).unwrap();
        folders.list(&directory, now).unwrap();
        let news = folders.are_news();
        folders.keep();
        let names: Vec<String> = folders.after("").map(ToString::to_string).collect();
        (names.join(" "), news)
    };
    let told = |names: &str, news| (names.to_owned(), news);
    assert_eq!(list(&mut folders, YOUNG), told("b", true));
    assert_eq!(list(&mut folders, YOUNG), told("b", true));
    assert_eq!(list(&mut folders, OLD), told("b", true));
    assert_eq!(list(&mut folders, OLD), told("b", false));
    credentials.store("a", "cms", "h", "s");
    assert!(!folders.contains("a"));
    folders.add(&"a".into());
    assert!(folders.contains("a") && folders.are_news());
    assert_eq!(list(&mut folders, OLD), told("a b", true));
    folders.add(&"a".into());
    assert_eq!(list(&mut folders, OLD), told("a b", false));
    fs::remove_dir_all(credentials.path().join("b")).unwrap();
    assert_eq!(list(&mut folders, OLD), told("a", true));
    // What is written there makes no difference but to the next listing.
    fs::write(credentials.path().join(".credmon-1.tmp"), "").unwrap();
    assert_eq!(list(&mut folders, OLD), told("a", true));
    assert_eq!(list(&mut folders, OLD), told("a", true));
}

#[test]
fn a_name_is_kept_once() {
    let mut folders = Folders::default();
    let name: Arc<str> = "u".into();
    folders.add(&name);
    assert!(Arc::ptr_eq(&folders.kept("u"), &name));
    folders.add(&"u".into());
    assert!(Arc::ptr_eq(folders.after("").next().unwrap(), &name));
    assert_eq!(&*folders.kept("v"), "v");
}

#[test]
fn a_folder_takes_little_memory() {
    assert!(size_of::<Row>() <= 56);
}
