//! Copies of real tokens.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;
use crate::fakes::Credentials;
use crate::model::CredentialId;

fn id() -> CredentialId {
    CredentialId::new(&"u".into(), "cms").unwrap()
}

fn copy_to(path: PathBuf) -> TokenCopy {
    TokenCopy {
        id: id(),
        path,
        owner: None,
        mode: 0o400,
    }
}

#[test]
fn a_copy_follows_its_token_and_touches_nothing_else() {
    let credentials = Credentials::new();
    let target = tempfile::tempdir().unwrap();
    let at = |name: &str| target.path().join(name);
    std::fs::write(at("precious"), "precious").unwrap();
    symlink(at("precious"), at("token")).unwrap();
    let root = Folder::open(credentials.path()).unwrap();
    // A run that was killed left a token there.
    let left = std::fs::File::create(at(".credmon-4294967295-1.tmp")).unwrap();
    let made = left.metadata().unwrap().modified().unwrap();
    left.set_modified(made - Duration::from_mins(4)).unwrap();
    let is_root = nix::unistd::geteuid().is_root();
    let owner = if is_root {
        Owner::Exactly(12_345.into(), 54_321.into())
    } else {
        Owner::Own
    };
    let copy = TokenCopy {
        mode: 0o440,
        ..copy_to(at("token"))
    };
    assert_eq!(update(&root, &copy, owner), Ok(()), "there is no token yet");
    assert!(at("token").is_symlink());
    let inode = |content: &str| {
        credentials.put("u", "cms.use", content);
        assert_eq!(update(&root, &copy, owner), Ok(()));
        let meta = std::fs::symlink_metadata(at("token")).unwrap();
        assert!(meta.is_file());
        assert_eq!(std::fs::read_to_string(at("token")).unwrap(), content);
        assert_eq!(meta.permissions().mode() & 0o7777, 0o440);
        if is_root {
            assert_eq!((meta.uid(), meta.gid()), (12_345, 54_321));
        }
        meta.ino()
    };
    let first = inode("one\n");
    assert_eq!(inode("one\n"), first, "nothing changed");
    inode("two\n");
    crate::fakes::set_mode(&at("token"), 0o400);
    inode("two\n");
    credentials.remove("u", "cms.use");
    assert_eq!(update(&root, &copy, owner), Ok(()));
    assert_eq!(std::fs::read_to_string(at("token")).unwrap(), "two\n");
    assert_eq!(std::fs::read_to_string(at("precious")).unwrap(), "precious");
    assert_eq!(target.path().read_dir().unwrap().count(), 2);
}

#[test]
fn no_link_is_followed_on_the_way_to_a_copy() {
    let credentials = Credentials::new();
    credentials.put("u", "cms.use", "one\n");
    let root = Folder::open(credentials.path()).unwrap();
    let target = tempfile::tempdir().unwrap();
    let real = target.path().canonicalize().unwrap().join("real");
    std::fs::create_dir_all(real.join("below")).unwrap();
    symlink(&real, real.with_file_name("link")).unwrap();
    for way in ["link/token", "link/below/token", "real/../real/token"] {
        let refused = update(&root, &copy_to(real.with_file_name(way)), Owner::Own).unwrap_err();
        assert!(refused.contains("symbolic link"), "{way}: {refused}");
    }
    assert_eq!(real.read_dir().unwrap().count(), 1);
    assert_eq!(
        update(&root, &copy_to(real.join("below/token")), Owner::Own),
        Ok(())
    );
    assert!(real.join("below/token").is_file());
}

#[test]
fn a_device_in_the_place_of_a_copy_stays_and_only_the_null_device_means_off() {
    let credentials = Credentials::new();
    credentials.put("u", "cms.use", "one\n");
    let root = Folder::open(credentials.path()).unwrap();
    assert_eq!(
        update(&root, &copy_to("/dev/null".into()), Owner::Own),
        Ok(())
    );
    let refused = update(&root, &copy_to("/dev/full".into()), Owner::Own).unwrap_err();
    assert!(
        refused.contains("only plain files are replaced"),
        "{refused}"
    );
    assert!(!std::fs::symlink_metadata("/dev/null").unwrap().is_file());
}

#[test]
fn an_owner_is_looked_up_until_he_is_found() {
    let of = |user: &str, group: Option<&str>| CopyOwner {
        user: user.to_owned(),
        group: group.map(str::to_owned),
    };
    let mut owners = Owners::default();
    let copy = |owner: &CopyOwner| TokenCopy {
        owner: Some(owner.clone()),
        ..copy_to(PathBuf::new())
    };
    let (plain, with_group) = (of("root", None), of("root", Some("daemon")));
    let root = owner_of(&mut owners, &copy(&plain));
    assert_eq!(root, Ok(Owner::Exactly(0.into(), 0.into())));
    let gid = Group::from_name("daemon").unwrap().unwrap().gid;
    let other = owner_of(&mut owners, &copy(&with_group));
    assert_eq!(other, Ok(Owner::Exactly(0.into(), gid)));
    let unknown = of("root", Some("nobody-knows"));
    let refused = owner_of(&mut owners, &copy(&unknown)).unwrap_err();
    assert_eq!(refused, "there is no group nobody-knows");
    assert!(
        is_unknown(&owners, &copy(&unknown)),
        "he is looked up again"
    );
    // Who is known is not looked up any more.
    owners.insert(plain.clone(), (7.into(), 8.into()));
    let known = owner_of(&mut owners, &copy(&plain));
    assert_eq!(known, Ok(Owner::Exactly(7.into(), 8.into())));
    let failed = looked_up::<()>(Err(Errno::EIO), "user", "u").unwrap_err();
    assert!(
        failed.starts_with("user u cannot be looked up: "),
        "{failed}"
    );
}

#[test]
fn the_thread_does_what_is_asked_for_until_nobody_asks_any_more() {
    let credentials = Credentials::new();
    credentials.put("u", "cms.use", "one\n");
    credentials.put("v", "cms.use", "two\n");
    let target = tempfile::tempdir().unwrap();
    let folder = target.path().canonicalize().unwrap();
    let other = TokenCopy {
        id: CredentialId::new(&"v".into(), "cms").unwrap(),
        ..copy_to(folder.join("other"))
    };
    let directory = Arc::new(credentials.directory());
    let (requests, received) = channel();
    for copy in [copy_to(folder.join("one")), other] {
        requests.send((directory.clone(), vec![copy])).unwrap();
    }
    drop(requests);
    let heartbeat = Heartbeat::default();
    run(&received, &heartbeat, &Mutex::default());
    assert_eq!(heartbeat.hanging(Duration::ZERO), None);
    assert_eq!(folder.read_dir().unwrap().count(), 2);
}
