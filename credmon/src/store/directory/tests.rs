//! Opening the credential directory: what is refused, made, warned of; and the operations on files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nix::unistd::{chown, geteuid};

use super::*;
use crate::fakes::{Credentials, set_mode};

mod installation;

fn id(service: &str) -> CredentialId {
    CredentialId::new(&"u".into(), service).unwrap()
}

#[test]
fn a_directory_open_to_others_is_refused_at_the_start_and_a_missing_one_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/creds");
    Directory::open(&path, None).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o2770);
    for mode in [0o2771, 0o2774, 0o772] {
        set_mode(&path, mode);
        let error = Directory::open(&path, None).unwrap_err();
        assert!(matches!(error, DirectoryError::Open { .. }), "{error}");
        assert!(
            error.to_string().contains(&format!("{mode:04o}")),
            "{error}"
        );
    }
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Directory::open(&file, None).unwrap_err();
    assert!(matches!(error, DirectoryError::System { .. }), "{error}");
}

#[test]
fn the_one_that_is_served_stays_in_use_with_a_warning_when_it_is_opened_to_others() {
    let credentials = Credentials::new();
    let served = Directory::open(credentials.path(), None).unwrap().place();
    set_mode(credentials.path(), 0o2771);
    let directory = Directory::open(credentials.path(), Some(served)).unwrap();
    assert!(directory.warning().unwrap().contains("open to others"));
    let another = (served.0, served.1 + 1);
    assert!(Directory::open(credentials.path(), Some(another)).is_err());
    set_mode(credentials.path(), 0o2770);
    let directory = Directory::open(credentials.path(), Some(served)).unwrap();
    assert_eq!(directory.warning(), None);
}

#[test]
fn the_one_that_is_served_is_not_made_anew_when_it_is_gone() {
    let credentials = Credentials::new();
    let served = Directory::open(credentials.path(), None).unwrap().place();
    let aside = credentials.path().with_extension("aside");
    fs::rename(credentials.path(), &aside).unwrap();
    let error = Directory::open(credentials.path(), Some(served)).unwrap_err();
    assert!(matches!(error, DirectoryError::Gone { .. }), "{error}");
    assert!(!credentials.path().exists());
    fs::rename(&aside, credentials.path()).unwrap();
    let again = Directory::open(credentials.path(), Some(served)).unwrap();
    assert_eq!(again.place(), served);
}

#[test]
fn access_tokens_get_the_group_that_the_directory_hands_on() {
    let dir = tempfile::tempdir().unwrap();
    let other = if geteuid().is_root() {
        Gid::from_raw(54_321)
    } else {
        getegid()
    };
    chown(dir.path(), None, Some(other)).unwrap();
    for (mode, group) in [(0o2770, other), (0o770, getegid())] {
        set_mode(dir.path(), mode);
        let directory = Directory::open(dir.path(), None).unwrap();
        assert_eq!(directory.group, group, "{mode:o}");
    }
}

#[test]
fn a_dead_credential_is_deleted_unless_its_top_is_another_by_now() {
    let credentials = Credentials::new();
    credentials.store("u", "cms", "a", "s.1");
    credentials.put("u", "cms.use", "opaque");
    credentials.store("u", "other", "a", "s.1");
    let directory = Directory::open(credentials.path(), None).unwrap();
    let folder = directory.root().folder("u").unwrap();
    let (stamp, _) = top::read(&folder, &id("cms")).unwrap();
    credentials.store("u", "cms", "a", "s.2");
    directory.delete(&id("cms"), &stamp).unwrap();
    assert!(credentials.file("u", "cms.use").exists());
    let (stamp, _) = top::read(&folder, &id("cms")).unwrap();
    directory.delete(&id("cms"), &stamp).unwrap();
    directory.delete(&id("cms"), &stamp).unwrap();
    assert_eq!(folder.names().unwrap(), ["other.top"]);
}
