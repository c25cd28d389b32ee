use super::*;

impl Places {
    pub(in super::super) fn of(folders: Vec<PathBuf>) -> Self {
        Self(Some(folders))
    }
}

/// What is given up is given up by one thread, which ends.
fn apart<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(act).join().unwrap()
}

#[test]
fn root_keeps_what_files_of_others_need_and_nothing_else() {
    let left = apart(|| {
        drop_capabilities().unwrap();
        // A second time, without what was given up.
        drop_capabilities().unwrap();
        let read = |set| caps::read(None, set).unwrap();
        [
            read(CapSet::Permitted),
            read(CapSet::Effective),
            read(CapSet::Inheritable),
        ]
    });
    let kept: CapsHashSet = KEPT.into_iter().collect();
    assert!(left[0].is_subset(&kept) && left[0] == left[1]);
    assert!(left[2].is_empty());
    if nix::unistd::geteuid().is_root() {
        assert_eq!(left[0], kept);
    }
}

#[test]
fn root_still_puts_files_into_folders_of_others_in_their_group() {
    use crate::store::Folder;
    use crate::store::{FileAttributes, Owner, install};
    use nix::unistd::{Gid, Uid, chown};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let condor = (Uid::from_raw(12_345), Gid::from_raw(54_321));
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o2700)).unwrap();
    chown(dir.path(), Some(condor.0), Some(condor.1)).unwrap();
    let path = dir.path().to_owned();
    let folder = apart(move || {
        drop_capabilities().unwrap();
        let folder = Folder::open(&path).unwrap();
        let like = |owner| FileAttributes {
            mode: nix::sys::stat::Mode::S_IRUSR,
            owner,
            sync: true,
        };
        install(&folder, "group", like(Owner::Group(condor.1)), |_| Ok(())).unwrap();
        install(&folder, "group", like(Owner::Group(condor.1)), |_| Ok(())).unwrap();
        let other = Owner::Exactly(condor.0, condor.1);
        install(&folder, "owner", like(other), |_| Ok(())).unwrap();
        install(&folder, "owner", like(other), |_| Ok(())).unwrap();
        path
    });
    let meta = |name: &str| std::fs::metadata(folder.join(name)).unwrap();
    assert_eq!((meta("group").uid(), meta("group").gid()), (0, 54_321));
    assert_eq!((meta("owner").uid(), meta("owner").gid()), (12_345, 54_321));
    assert_eq!(meta("owner").permissions().mode() & 0o7777, 0o400);
}

#[test]
fn writing_elsewhere_is_refused_where_the_kernel_can() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("a"), "x").unwrap();
    let (place, other) = (inside.path().to_owned(), outside.path().to_owned());
    let (confinement, within, beyond, read) = apart(move || {
        let confinement = confine(vec![PathFd::new(&place).unwrap()]).unwrap();
        std::fs::create_dir(place.join("u")).unwrap();
        std::fs::write(place.join("u/new"), "x").unwrap();
        (
            confinement,
            std::fs::rename(place.join("u/new"), place.join("u/a")).is_ok(),
            std::fs::write(other.join("a"), "y").is_ok(),
            std::fs::read_to_string(other.join("a")).unwrap(),
        )
    });
    assert!(within);
    let is_enforced = confinement != RulesetStatus::NotEnforced;
    assert_eq!(beyond, !is_enforced);
    assert_eq!(read == "x", is_enforced);
}

#[test]
fn what_a_kernel_lacks_is_said() {
    assert_eq!(shortcoming(&Ok(RulesetStatus::FullyEnforced)), None);
    for (confined, part) in [
        (RulesetStatus::PartiallyEnforced, "a part of landlock"),
        (RulesetStatus::NotEnforced, "no landlock"),
    ] {
        let words = shortcoming(&Ok(confined)).unwrap();
        assert!(words.contains(part), "{words}");
        assert!(words.contains("served as usual"), "{words}");
    }
}

#[tokio::test]
async fn where_the_kernel_confines_nothing_no_file_needs_a_restart() {
    for (confined, complaints) in [
        (RulesetStatus::FullyEnforced, 1),
        (RulesetStatus::PartiallyEnforced, 1),
        (RulesetStatus::NotEnforced, 0),
    ] {
        let places = Places::after(&Ok(confined), vec!["/run".into()]);
        assert_eq!(places.are_confined(), complaints > 0);
        let files = ["/elsewhere/x".into()];
        let named = places.complaints("CREDMON_OAUTH", &files).await;
        assert_eq!(named.len(), complaints);
    }
}

#[tokio::test]
async fn a_place_is_the_nearest_folder_that_exists() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("a/b/creds"), dir.path().join("log"));
    let found = Found::of(Vec::new(), &[one.clone(), two]).await;
    let folders: Vec<PathBuf> = found.folders.into_iter().map(|(path, _)| path).collect();
    assert_eq!(folders, [dir.path().canonicalize().unwrap()]);
    let files = [one, PathBuf::from("/elsewhere/x")];
    let places = Places(Some(folders));
    let complaints = places.complaints("CREDMON_OAUTH", &files).await;
    assert_eq!(complaints.len(), 1);
    assert!(complaints[0].starts_with("/elsewhere/x lies where"));
    let none = Places(None).complaints("CREDMON_OAUTH", &files).await;
    assert!(none.is_empty());
}

#[tokio::test]
async fn a_file_in_a_folder_that_is_missing_does_not_open_the_whole_machine_to_be_written_to() {
    let missing = PathBuf::from("/no-such-folder/below/token");
    let found = Found::of(Vec::new(), std::slice::from_ref(&missing)).await;
    assert!(found.folders.is_empty(), "{found:?}");
    assert!(!found.is_silent(&missing));
    let complaints = found.complaints("CREDMON_OAUTH");
    let told = "no folder on the way to /no-such-folder/below/token exists: make its folder, then";
    assert!(complaints[0].starts_with(told), "{complaints:?}");
    // An admin may want a file there.
    let found = Found::of(Vec::new(), &["/status".into()]).await;
    assert_eq!(found.folders.len(), 1);
    assert!(found.complaints("CREDMON_OAUTH").is_empty());
}

#[tokio::test]
async fn a_credential_directory_that_is_a_symbolic_link_can_be_written_to() {
    let (configured, real) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(real.path().join("creds")).unwrap();
    let link = configured.path().join("creds");
    std::os::unix::fs::symlink(real.path().join("creds"), &link).unwrap();
    let found = Found::of(Vec::new(), std::slice::from_ref(&link)).await;
    let directory = link.clone();
    let (places, written) = apart(move || {
        let (places, _) = Places::give_up(found);
        (places, std::fs::write(directory.join("u.use"), "x"))
    });
    written.unwrap();
    // By either path.
    let files = [link, real.path().join("creds")];
    let complaints = places.complaints("CREDMON_OAUTH", &files).await;
    assert_eq!(complaints, Vec::<String>::new());
}

#[tokio::test]
async fn a_file_system_that_hangs_costs_only_its_own_files() {
    let answers = ask(&["/a/x".into(), "/b/y".into()], Path::is_absolute).await;
    let expected = [("/a/x".into(), Some(true)), ("/b/y".into(), Some(true))];
    assert_eq!(answers, expected);
    tokio::time::pause();
    let hang = |_: &Path| loop {
        std::thread::park();
    };
    let silent = ask(&["/hangs/x".into()], hang).await;
    let (file, answer): &(PathBuf, Option<()>) = &silent[0];
    assert!(file == "/hangs/x" && answer.is_none());
    let found = Found {
        silent: vec![file.clone()],
        ..Found::default()
    };
    let complaints = found.complaints("CREDMON_OAUTH");
    assert!(complaints[0].starts_with("/hangs/x lies where"));
    assert!(complaints[0].contains("for good"), "no later answer helps");
}
