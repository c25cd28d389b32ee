//! `.use` files: how they are written, and what counts as a token.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use htvault::{AccessToken, Claims};
use nix::errno::Errno;
use nix::unistd::getegid;

use super::*;
use crate::fakes::jwt;
use crate::model::fixtures::at;
use crate::store::install::Step;

fn id() -> CredentialId {
    CredentialId::new(&"cmsprod".into(), "cms_crab").unwrap()
}

fn answer(text: &str) -> AccessTokenAnswer {
    AccessTokenAnswer {
        claims: Claims::read(text),
        token: AccessToken::from(text.to_owned()),
        expire_time: None,
        warnings: Vec::new(),
    }
}

fn put(folder: &Folder, text: &str) -> Result<TokenInfo, InstallError> {
    write(folder, getegid(), true, &id(), &answer(text), at(1000))
}

fn names(folder: &Folder) -> Vec<String> {
    let mut names = folder.names().unwrap();
    names.sort();
    names
}

#[test]
fn a_token_is_installed_whole_and_readable_by_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    put(&folder, "one").unwrap();
    let written = put(&folder, "two").unwrap();
    let path = dir.path().join("cms_crab.use");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o400);
    assert_eq!(meta.gid(), getegid().as_raw());
    assert_eq!(names(&folder), ["cms_crab.use"]);
    let found = read(&folder, &id()).unwrap().unwrap();
    assert_eq!(found.file, written.file);
}

#[test]
fn what_was_written_is_known_as_a_later_scan_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let token = jwt(&serde_json::json!({
        "iat": 1000, "exp": 4600, "jti": "j", "iss": "https://i.test", "sub": "u",
        "scope": "storage.read:/ openid",
    }));
    let written = put(&folder, &token).unwrap();
    let found = read(&folder, &id()).unwrap().unwrap();
    // The file's own time is another clock's.
    let written = TokenInfo {
        written: found.written,
        ..written
    };
    assert_eq!(found, written);
    assert_eq!(found.lifetime.unwrap().length(), 3600);
    assert_eq!(found.scopes.as_deref(), Some("storage.read:/ openid"));
    assert!(found.is_of_same_identity(Some("https://i.test"), Some("u")));
    assert!(!found.is_of_same_identity(Some("https://i.test"), Some("v")));
    assert!(!found.is_of_same_identity(None, Some("u")));
}

#[test]
fn a_folder_in_its_place_is_an_error_that_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("cms_crab.use")).unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let error = put(&folder, "x").unwrap_err();
    assert_eq!(error, InstallError::NotAFile("a directory"));
    assert_eq!(names(&folder), ["cms_crab.use"]);
    assert_eq!(read(&folder, &id()), Ok(None));
}

#[test]
fn a_link_in_its_place_is_replaced_and_its_target_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    std::fs::write(&target, "precious").unwrap();
    let path = dir.path().join("cms_crab.use");
    std::os::unix::fs::symlink(&target, &path).unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    assert_eq!(read(&folder, &id()), Ok(None), "a link is no token");
    put(&folder, "x").unwrap();
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
    assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
}

#[test]
fn a_folder_that_vanished_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("u");
    std::fs::create_dir(&path).unwrap();
    let folder = Folder::open(&path).unwrap();
    std::fs::remove_dir(&path).unwrap();
    let gone = InstallError::System {
        step: Step::Create,
        errno: Errno::ENOENT,
    };
    assert_eq!(put(&folder, "x").unwrap_err(), gone);
}

#[test]
fn what_is_no_token_counts_as_none_and_an_opaque_one_has_no_lifetime() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let path = dir.path().join("cms_crab.use");
    assert_eq!(read(&folder, &id()), Ok(None));
    let whole = jwt(&serde_json::json!({"exp": 4_000_000_000_i64}));
    let half = &whole.as_bytes()[..whole.len() / 2];
    let with_escape = [whole.as_bytes(), b"\x1b[2J"].concat();
    let large = vec![b'x'; SIZE_LIMIT + 1];
    for garbage in [
        &b""[..],
        b"\n",
        b"\xff\xfe",
        b"\0\0\0\0",
        b"<html>login</html>",
        b"two words",
        &with_escape,
        half,
        &large,
    ] {
        std::fs::write(&path, garbage).unwrap();
        let text = String::from_utf8_lossy(&garbage[..garbage.len().min(40)]);
        assert_eq!(read(&folder, &id()), Ok(None), "{text:?}");
    }
    std::fs::write(&path, "opaque\n").unwrap();
    assert_eq!(read(&folder, &id()).unwrap().unwrap().lifetime, None);
    std::fs::write(&path, &whole).unwrap();
    let lifetime = read(&folder, &id()).unwrap().unwrap().lifetime.unwrap();
    assert_eq!(lifetime.expires, at(4_000_000_000));
}
