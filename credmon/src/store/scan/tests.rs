//! What scans of real files find.

use std::fs;
use std::os::unix::fs::symlink;

use htvault::clock::SystemClock;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::fakes::{Credentials, LogLines};
use crate::model::{TokenInfo, TopProblem, TopStamp};
use crate::store::wakes::wakes;

impl Scanner {
    /// Does what one wake asks for, without a thread.
    pub(crate) fn obey(&mut self, wake: Wake) {
        let mut pending = Pending::default();
        pending.add(wake);
        self.handle(&mut pending);
        if pending.all {
            self.scan_all(|_| true);
        }
        if pending.stop {
            self.stop();
        }
    }
}

mod directory;
mod trouble;

/// The access token in place.
fn token(observed: &Observed) -> Option<&Arc<TokenInfo>> {
    observed.in_use.as_ref()?.token()
}

/// A scanner, and what its observations add up to.
struct Fixture {
    credentials: Credentials,
    scanner: Scanner,
    observed: UnboundedReceiver<Observation>,
    known: BTreeMap<String, Observed>,
    /// The directory can be used, as was observed last.
    directory: Option<Result<(), DirectoryError>>,
    report: ScanReport,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Credentials::new())
    }

    fn with(credentials: Credentials) -> Self {
        let (observations, observed) = unbounded_channel();
        let path = Some(credentials.path().to_owned());
        let clock = Arc::new(SystemClock);
        Self {
            scanner: Scanner::new(path, false, observations, clock),
            credentials,
            observed,
            known: BTreeMap::new(),
            directory: None,
            report: ScanReport::default(),
        }
    }

    /// Takes in what was observed; returns what is new, and with `-` what is gone.
    fn take(&mut self) -> Vec<String> {
        let mut changes = Vec::new();
        while let Ok(observation) = self.observed.try_recv() {
            match observation {
                Observation::Directory(found) => self.directory = Some(found.map(drop)),
                Observation::Changed(observed) => {
                    changes.push(observed.top.id.to_string());
                    self.known.insert(observed.top.id.to_string(), observed);
                }
                Observation::Gone(id) => {
                    changes.push(format!("-{id}"));
                    assert!(self.known.remove(&id.to_string()).is_some());
                }
                Observation::Scanned(report) => self.report = report,
            }
        }
        changes
    }

    fn scan(&mut self) -> Vec<String> {
        self.scanner.scan_all(|_| true);
        self.take()
    }

    fn scan_account(&mut self, user: &str) -> Vec<String> {
        self.scanner.scan_account(user);
        self.take()
    }

    fn get(&self, id: &str) -> &Observed {
        &self.known[id]
    }

    fn problem(&self, id: &str) -> String {
        match &self.get(id).top.route {
            Err(TopProblem::Unusable(text)) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn stamp(&self, id: &str) -> TopStamp {
        self.get(id).top.stamp.clone()
    }
}

#[test]
fn credentials_are_found_with_whom_they_ask_and_faulty_ones_beside_them() {
    let mut f = Fixture::new();
    f.credentials
        .store("alice", "cms_crab", "vault.test", "s.a");
    f.credentials.put("alice", "cms_crab.use", "opaque\n");
    f.credentials.put("alice", "broken.top", "{");
    f.credentials.store("bob", "odd name", "vault.test", "s.b");
    f.credentials.store("bob", ".hidden", "vault.test", "s.b");
    f.credentials.put("bob", ".top", "{}");
    f.credentials.put("bob", "cms.use", "without a top");
    fs::write(f.credentials.path().join("bob.mark"), "").unwrap();
    let mut found = f.scan();
    found.sort();
    assert_eq!(found, ["alice/broken", "alice/cms_crab"]);
    let crab = f.get("alice/cms_crab");
    let route = crab.top.route.as_ref().unwrap();
    let parts = [&route.account, &route.host, &route.issuer].map(|part| &**part);
    assert_eq!(parts, ["alice", "vault.test", "cms"]);
    assert!(token(crab).is_some());
    assert!(f.problem("alice/broken").contains("JSON"));
    assert_eq!(f.scanner.odd.paths(), ["bob/odd name.top"]);
    assert_eq!(f.report.watched_folders, 2);
    assert_eq!(f.report.problems, Vec::<String>::new());
}

#[test]
fn whatever_stands_in_the_place_of_a_top_stops_nothing() {
    let mut f = Fixture::new();
    f.credentials.store("u", "good", "vault.test", "s.a");
    f.credentials.put("u", "large.top", &" ".repeat(70_000));
    let folder = f.credentials.path().join("u");
    symlink(folder.join("good.top"), folder.join("link.top")).unwrap();
    symlink("nowhere", folder.join("dangling.top")).unwrap();
    fs::create_dir(folder.join("dir.top")).unwrap();
    let rights = nix::sys::stat::Mode::S_IRWXU;
    nix::unistd::mkfifo(&folder.join("pipe.top"), rights).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket.top")).unwrap();
    symlink(&folder, f.credentials.path().join("linked")).unwrap();
    assert_eq!(f.scan().len(), 7);
    for (service, kind) in [
        ("large", "larger than"),
        ("link", "a symbolic link"),
        ("dangling", "a symbolic link"),
        ("dir", "a directory"),
        ("pipe", "a pipe"),
        ("socket", "a socket"),
    ] {
        let said = f.problem(&format!("u/{service}"));
        assert!(said.contains(kind), "{service}: {said}");
    }
    assert!(f.get("u/good").top.route.is_ok());
    assert_eq!(f.scanner.odd.paths(), ["linked"]);
}

#[test]
fn only_what_changed_is_observed_again() {
    let mut f = Fixture::new();
    f.credentials.store("u", "cms", "a", "s.1");
    f.credentials.store("u", "dune", "a", "s.1");
    f.credentials.store("v", "cms", "a", "s.1");
    assert_eq!(f.scan().len(), 3);
    assert_eq!(f.scan(), Vec::<String>::new());
    let before = f.stamp("u/cms");
    f.credentials.store("u", "cms", "a", "s.1");
    assert_eq!(f.scan(), ["u/cms"]);
    assert_ne!(f.stamp("u/cms"), before, "another file");
    f.credentials.put("u", "cms.use", "opaque");
    assert_eq!(f.scan_account("u"), ["u/cms"]);
    f.credentials.put("u", "cms.use", "<html>");
    assert_eq!(f.scan_account("u"), ["u/cms"]);
    assert!(token(f.get("u/cms")).is_none(), "garbage is no token");
    assert_eq!(f.scan_account("u"), Vec::<String>::new());
    f.credentials.remove("u", "dune.top");
    assert_eq!(f.scan_account("u"), ["-u/dune"]);
    fs::remove_dir_all(f.credentials.path().join("v")).unwrap();
    assert_eq!(f.scan(), ["-v/cms"]);
    assert_eq!(f.report.watched_folders, 1);
}

#[test]
fn a_top_that_is_written_to_in_its_place_is_read_again() {
    let mut f = Fixture::new();
    f.credentials.store("u", "cms", "a", "s.1");
    f.scan();
    let path = f.credentials.file("u", "cms.top");
    let text = fs::read_to_string(&path).unwrap();
    // The same size and the same file; the kernel's clock for files ticks every few milliseconds.
    let before = f.stamp("u/cms");
    while f.scan().is_empty() {
        fs::write(&path, text.replace(":8200", ":8201")).unwrap();
    }
    assert_eq!(f.stamp("u/cms").own.inode, before.own.inode);
    assert!(f.problem("u/cms").contains("port 8200"));
}

#[test]
fn a_handle_changes_with_its_parent() {
    let mut f = Fixture::new();
    let url = "https://vault.test:8200/v1/secret/oauth/creds/cms/u:x";
    let borrows = serde_json::json!({ "vault_url": url }).to_string();
    f.credentials.put("u", "cms_read.top", &borrows);
    f.scan();
    assert!(f.problem("u/cms_read").contains("does not exist"));
    let root = Folder::open(f.credentials.path()).unwrap();
    let orphan = f.get("u/cms_read");
    assert!(observe::is_current(&root, orphan), "it is not read again");
    f.credentials.store("u", "cms", "vault.test", "s.1");
    f.scan();
    assert!(f.get("u/cms_read").top.route.is_ok(), "its parent came");
    let before = f.stamp("u/cms_read");
    f.credentials.store("u", "cms", "vault.test", "s.2");
    f.scan();
    assert_ne!(f.stamp("u/cms_read"), before);
    f.credentials.put("u", "cms.top", "{");
    f.scan();
    assert!(f.problem("u/cms_read").contains("cannot lend"));
    f.credentials.store("u", "cms", "vault.test", "s.3");
    f.scan();
    assert!(f.get("u/cms_read").top.route.is_ok(), "it can lend again");
    f.credentials.remove("u", "cms.top");
    f.scan();
    assert!(f.problem("u/cms_read").contains("does not exist"));
}

#[test]
fn folders_that_change_during_a_full_scan_are_scanned_before_the_rest() {
    let mut f = Fixture::new();
    for n in 0..3 * PORTION {
        f.credentials.store(&format!("u{n:02}"), "cms", "a", "s.1");
    }
    let mut asked = 0;
    f.scanner.scan_all(|scanner| {
        asked += 1;
        if asked == 2 {
            scanner.scan_account("u47");
        }
        true
    });
    let order = f.take();
    assert_eq!(order.len(), 3 * PORTION);
    let place = order.iter().position(|id| id == "u47/cms").unwrap();
    assert!(place <= PORTION, "{order:?}");
}

#[test]
fn a_full_scan_holds_up_no_stop() {
    let mut f = Fixture::new();
    for n in 0..3 * PORTION {
        f.credentials.store(&format!("u{n:02}"), "cms", "a", "s.1");
    }
    let (to_scanner, wakes) = wakes().unwrap();
    to_scanner.send(Wake::Stop);
    let mut pending = Pending::default();
    f.scanner.scan_beside(&mut pending, &wakes);
    assert!(pending.stop);
    assert_eq!(f.take(), Vec::<String>::new());
    let pid = f.credentials.path().join("pid");
    assert!(pid.exists());
    f.scanner.stop();
    assert!(!pid.exists());
}

#[test]
fn a_folder_whose_scans_take_long_waits_also_during_a_full_scan() {
    let mut f = Fixture::new();
    fs::create_dir(f.credentials.path().join("u")).unwrap();
    for n in 0..2000 {
        fs::write(f.credentials.file("u", &format!("s{n}.top")), "").unwrap();
    }
    let (to_scanner, wakes) = wakes().unwrap();
    to_scanner.send(Wake::Scan("u".into()));
    let mut pending = Pending::default();
    f.scanner.scan_beside(&mut pending, &wakes);
    assert_eq!(f.take().len(), 2000);
    assert!(pending.resting.contains_key("u"));
}

#[test]
fn full_scans_that_take_long_are_not_made_anew_at_once_however_often_they_are_asked_for() {
    let mut f = Fixture::new();
    for n in 0..500 {
        f.credentials.store(&format!("u{n}"), "cms", "a", "s.1");
    }
    let (_waker, wakes) = wakes().unwrap();
    let mut pending = Pending::default();
    let began = Instant::now();
    f.scanner.scan_beside(&mut pending, &wakes);
    let took = began.elapsed();
    pending.add(Wake::ScanAll);
    let (next, far) = (pending.next(began + RESCAN), began + RESCAN);
    assert!(next > began + took * (PART - 1) && next < far, "{took:?}");
    // The one of each minute comes in its time.
    assert_eq!(pending.next(began), began);
}

#[test]
fn a_long_scan_whose_files_answer_does_not_count_as_hanging() {
    let mut f = Fixture::new();
    f.credentials.store("u", "cms", "a", "s.1");
    let heartbeat = f.scanner.heartbeat.clone();
    let _working = heartbeat.start(f.credentials.path());
    let limit = Duration::from_millis(200);
    std::thread::sleep(limit);
    assert!(heartbeat.hanging(limit).is_some());
    f.scan();
    assert_eq!(heartbeat.hanging(limit), None);
}

#[test]
fn a_folder_that_was_away_for_a_moment_is_watched_as_before() {
    let mut f = Fixture::new();
    f.credentials.store("u", "cms", "a", "s.1");
    f.scan();
    let folder = |name: &str| f.credentials.path().join(name);
    fs::rename(folder("u"), folder("w")).unwrap();
    fs::rename(folder("w"), folder("u")).unwrap();
    let asked = |f: &mut Fixture| {
        let mut pending = Pending::default();
        f.scanner.watcher.report(&mut pending);
        pending
    };
    let mut woken = asked(&mut f);
    f.scanner.scan_changed(&mut woken);
    f.credentials.store("u", "cms", "a", "s.2");
    assert!(asked(&mut f).accounts.contains_key("u"));
}

#[test]
fn an_account_may_have_many_credentials_but_not_any_number() {
    let mut f = Fixture::new();
    let folder = f.credentials.path().join("u");
    fs::create_dir(&folder).unwrap();
    for n in 0..=ACCOUNT_LIMIT {
        fs::write(folder.join(format!("s{n}.top")), "").unwrap();
    }
    f.credentials.store("v", "cms", "a", "s.1");
    let (lines, _logging) = LogLines::of_this_thread();
    assert_eq!(f.scan().len(), ACCOUNT_LIMIT + 1);
    assert!(f.get("v/cms").top.route.is_ok());
    f.credentials.put("u", "s1.use", "x");
    f.scan();
    assert_eq!(lines.with("more than 10000 credentials").len(), 1);
}

#[test]
fn of_a_folder_with_very_many_names_not_all_are_read() {
    let (lines, _logging) = LogLines::of_this_thread();
    let mut f = Fixture::new();
    fs::create_dir(f.credentials.path().join("u")).unwrap();
    for n in 0..=NAME_LIMIT {
        fs::write(f.credentials.file("u", &n.to_string()), "").unwrap();
    }
    f.credentials.store("v", "cms", "a", "s.1");
    assert_eq!(f.scan(), ["v/cms"]);
    assert_eq!(lines.with("has more than 40000 names").len(), 1);
}

#[test]
fn odd_names_are_logged_once_up_to_a_bound_for_each_account() {
    let (lines, _logging) = LogLines::of_this_thread();
    let mut f = Fixture::new();
    let folder = f.credentials.path().join("u");
    fs::create_dir(&folder).unwrap();
    for n in 0..2 * crate::store::odd_names::LIMIT {
        fs::write(folder.join(format!("odd name {n}.top")), "").unwrap();
    }
    f.credentials.store("v", "odd name", "a", "s.1");
    for n in 0..5 {
        f.scan();
        // The folder changes, as with each renewal.
        f.credentials.put("u", &format!("{n}.use"), "x");
    }
    let limit = crate::store::odd_names::LIMIT;
    assert_eq!(f.scanner.odd.paths().len(), limit + 1);
    assert_eq!(lines.with("u/odd name").len(), limit);
    assert_eq!(lines.with("v/odd name").len(), 1);
    // Other names all the time, between two full scans.
    for n in 0..100 {
        fs::write(folder.join(format!("another name {n}.top")), "").unwrap();
        f.scanner.scan_account("u");
    }
    assert!(lines.with("u/another name").len() <= limit);
    fs::remove_dir_all(folder).unwrap();
    f.scan();
    assert_eq!(
        f.scanner.odd.paths(),
        ["v/odd name.top"],
        "what is gone is forgotten"
    );
}
