//! Errors of the system: never a verdict on a credential, and nothing that was known disappears.

use nix::unistd::{Gid, Uid, chown, geteuid, setfsgid, setfsuid};

use super::*;
use crate::fakes::set_mode;

/// Does something as a user to whom permissions apply.
fn as_nobody<T: Send>(f: &mut Fixture, act: impl FnOnce(&mut Fixture) -> T + Send) -> T {
    const NOBODY: u32 = 65_534;
    if !geteuid().is_root() {
        return act(f);
    }
    let own = |path: &Path| chown(path, Some(Uid::from_raw(NOBODY)), None).unwrap();
    own(f.credentials.path());
    for folder in fs::read_dir(f.credentials.path()).unwrap() {
        own(&folder.unwrap().path());
    }
    // For this thread alone; it ends.
    std::thread::scope(|threads| {
        let as_other = move || {
            setfsgid(Gid::from_raw(NOBODY));
            setfsuid(Uid::from_raw(NOBODY));
            act(f)
        };
        threads.spawn(as_other).join().unwrap()
    })
}

#[test]
fn a_top_that_cannot_be_read_is_unreadable_and_heals_by_itself() {
    let mut f = Fixture::new();
    f.credentials.store("u", "cms", "a", "s.1");
    f.credentials.store("u", "good", "a", "s.1");
    let top = f.credentials.file("u", "good.top");
    set_mode(&top, 0o444);
    let top = f.credentials.file("u", "cms.top");
    set_mode(&top, 0);
    as_nobody(&mut f, Fixture::scan);
    let found = &f.get("u/cms").top.route;
    let Err(TopProblem::Unreadable(why)) = found else {
        panic!("{found:?}");
    };
    assert!(why.contains("ermission denied"), "{why}");
    assert!(f.get("u/good").top.route.is_ok());
    set_mode(&top, 0o444);
    assert_eq!(as_nobody(&mut f, Fixture::scan), ["u/cms"]);
    assert!(f.get("u/cms").top.route.is_ok());
}

#[test]
fn a_folder_that_cannot_be_opened_or_listed_keeps_what_was_known_of_it() {
    let mut f = Fixture::new();
    f.credentials.store("u", "cms", "a", "s.1");
    let folder = f.credentials.path().join("u");
    f.scan();
    for mode in [0, 0o311] {
        set_mode(&folder, mode);
        assert_eq!(as_nobody(&mut f, Fixture::scan), Vec::<String>::new());
        assert_eq!(f.scanner.odd.paths(), ["u"], "{mode:o}");
        set_mode(&folder, 0o755);
        assert_eq!(f.scan(), Vec::<String>::new());
        assert!(f.scanner.odd.paths().is_empty(), "{:?}", f.scanner.odd);
    }
}

#[test]
fn a_use_that_cannot_be_read_is_another_file_without_a_known_token() {
    let mut f = Fixture::new();
    f.credentials.store("u", "cms", "a", "s.1");
    set_mode(&f.credentials.file("u", "cms.top"), 0o444);
    f.credentials.put("u", "cms.use", "opaque");
    let path = f.credentials.file("u", "cms.use");
    set_mode(&path, 0o444);
    f.scan();
    let before = f.get("u/cms").clone();
    assert!(token(&before).is_some());
    set_mode(&path, 0);
    assert_eq!(as_nobody(&mut f, Fixture::scan), ["u/cms"]);
    let found = f.get("u/cms").clone();
    assert!(token(&found).is_none() && found.in_use.is_some());
    assert_ne!(found.in_use, before.in_use);
    assert_eq!(as_nobody(&mut f, Fixture::scan), Vec::<String>::new());
    set_mode(&path, 0o444);
    assert_eq!(as_nobody(&mut f, Fixture::scan), ["u/cms"]);
    assert!(token(f.get("u/cms")).is_some());
}

#[test]
fn an_error_at_the_lock_is_no_other_daemon() {
    let mut f = Fixture::new();
    let root = Folder::open(f.credentials.path()).unwrap();
    set_mode(f.credentials.path(), 0);
    let error = as_nobody(&mut f, |_| own_files::lock(&root)).unwrap_err();
    assert_eq!(error, Errno::EACCES);
    set_mode(f.credentials.path(), 0o2770);
}

#[test]
fn very_many_credentials_that_are_as_they_were_do_not_count_as_hanging() {
    let mut f = Fixture::new();
    f.credentials.store("u", "cms", "a", "s.1");
    f.scan();
    let root = Folder::open(f.credentials.path()).unwrap();
    let place = FileId::default();
    let account = Account {
        listed: Some(place),
        credentials: vec![f.get("u/cms").clone()],
    };
    let (heartbeat, limit) = (Heartbeat::default(), Duration::from_mins(1));
    let _working = heartbeat.start_before(f.credentials.path(), limit);
    assert!(account.is_current(&root, place, &heartbeat));
    assert_eq!(heartbeat.hanging(limit), None);
}
