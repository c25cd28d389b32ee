use super::*;
use std::cell::{Cell, RefCell};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

thread_local! {
    static STOP: Cell<Option<(Step, bool)>> = const { Cell::new(None) };
    static BEFORE: RefCell<Option<Before>> = const { RefCell::new(None) };
}

type Before = (Step, Box<dyn FnOnce()>);

/// Lets something happen on this thread just before a step.
pub(crate) fn before(step: Step, act: impl FnOnce() + 'static) {
    BEFORE.set(Some((step, Box::new(act))));
}

/// All steps.
pub(crate) const STEPS: [Step; 7] = [
    Step::Create,
    Step::SetMode,
    Step::SetOwner,
    Step::Write,
    Step::Sync,
    Step::Rename,
    Step::Check,
];

/// Lets this thread fail at a step; `cut_off`: as if the process had ended there.
pub(crate) fn stop_at(step: Option<Step>, cut_off: bool) {
    STOP.set(step.map(|step| (step, cut_off)));
}

pub(super) fn may_stop(step: Step) -> Result<(), InstallError> {
    let act = BEFORE.with_borrow_mut(|before| before.take_if(|(at, _)| *at == step));
    if let Some((_, act)) = act {
        act();
    }
    match STOP.get() {
        Some((at, _)) if at == step => Err(InstallError::System {
            step,
            errno: Errno::EIO,
        }),
        _ => Ok(()),
    }
}

pub(super) fn is_cut_off() -> bool {
    STOP.get().is_some_and(|(_, cut_off)| cut_off)
}

const PLAIN: FileAttributes = FileAttributes {
    mode: Mode::S_IRUSR,
    owner: Owner::Own,
    sync: true,
};

fn step_of(error: InstallError) -> Option<Step> {
    match error {
        InstallError::System { step, .. } => Some(step),
        InstallError::NotAFile(_) => None,
    }
}

fn put(folder: &Folder, text: &str) -> Result<FileStat, InstallError> {
    install_bytes(folder, "a", PLAIN, text.as_bytes())
}

#[test]
fn a_stop_at_any_step_leaves_the_old_content_or_the_new() {
    for cut_off in [false, true] {
        for step in STEPS {
            let dir = tempfile::tempdir().unwrap();
            let folder = Folder::open(dir.path()).unwrap();
            put(&folder, "old").unwrap();
            stop_at(Some(step), cut_off);
            let error = put(&folder, "new").unwrap_err();
            stop_at(None, false);
            assert_eq!(step_of(error), Some(step));
            let is = std::fs::read_to_string(dir.path().join("a")).unwrap();
            let expected = if step == Step::Check { "new" } else { "old" };
            assert_eq!(is, expected, "{step:?}");
            let others = folder.names().unwrap().len() - 1;
            assert!(others == 0 || cut_off, "{step:?} leaves a file");
            let late = Timestamp::from_second(4_000_000_000).unwrap();
            remove_leftovers(&folder, &folder.names().unwrap(), late, writer_is_gone);
            assert_eq!(folder.names().unwrap(), ["a"]);
            put(&folder, "new").unwrap();
        }
    }
}

#[test]
fn a_hard_link_keeps_the_old_content() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    put(&folder, "old").unwrap();
    let link = dir.path().join("link");
    std::fs::hard_link(dir.path().join("a"), &link).unwrap();
    put(&folder, "new").unwrap();
    assert_eq!(std::fs::read_to_string(link).unwrap(), "old");
    assert_eq!(
        std::fs::read_to_string(dir.path().join("a")).unwrap(),
        "new"
    );
}

#[test]
fn mode_and_owner_are_as_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let like = |owner| FileAttributes {
        mode: Mode::from_bits_truncate(0o640),
        owner,
        sync: false,
    };
    let is_root = nix::unistd::geteuid().is_root();
    let other = Owner::Exactly(Uid::from_raw(12_345), Gid::from_raw(54_321));
    let installed = install(&folder, "a", like(other), |_| Ok(()));
    if is_root {
        installed.unwrap();
        let meta = std::fs::metadata(dir.path().join("a")).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (12_345, 54_321));
        assert_eq!(meta.permissions().mode() & 0o7777, 0o640);
    } else {
        assert_eq!(step_of(installed.unwrap_err()), Some(Step::SetOwner));
    }
}

#[test]
fn an_output_replaces_plain_files_and_links_only() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let folder = Folder::open(dir.path()).unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    for (name, kind) in [
        ("folder", "a directory"),
        ("pipe", "a pipe"),
        ("socket", "a socket"),
    ] {
        assert_eq!(
            check_output(&folder, name),
            Err(InstallError::NotAFile(kind))
        );
    }
    let devices = Folder::open("/dev".as_ref()).unwrap();
    for device in ["null", "full"] {
        let refused = check_output(&devices, device);
        assert_eq!(refused, Err(InstallError::NotAFile("a device")));
        // Never tried on a real one before it is refused here.
        assert!(check_kind(&devices, device, &[SFlag::S_IFREG]).is_err());
    }
    std::fs::write(at("precious"), "precious").unwrap();
    std::os::unix::fs::symlink("precious", at("a")).unwrap();
    for name in ["a", "precious", "nothing"] {
        assert_eq!(check_output(&folder, name), Ok(()));
    }
    put(&folder, "new").unwrap();
    assert_eq!(std::fs::read_to_string(at("precious")).unwrap(), "precious");
    assert!(std::fs::symlink_metadata(at("a")).unwrap().is_file());
}

/// Names after leftovers were removed, so many seconds after they were written.
fn names_after(folder: &Folder, name: &str, age: i64) -> Vec<String> {
    let made = folder.stat_of(name).unwrap().unwrap().st_mtime;
    let now = Timestamp::from_second(made + age).unwrap();
    remove_leftovers(folder, &folder.names().unwrap(), now, writer_is_gone);
    let mut names = folder.names().unwrap();
    names.sort();
    names
}

#[test]
fn leftovers_of_a_writer_that_is_gone_are_removed_at_once_and_others_when_old() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let make = |name: &str| std::fs::write(dir.path().join(name), "half").unwrap();
    let own = format!(".credmon-{}-0123.tmp", std::process::id());
    // No process has such a number.
    let gone = ".credmon-4294967294-0123.tmp";
    let unknown = ".credmon-x.tmp";
    let mut all = [own.as_str(), gone, unknown, "other.tmp"];
    for name in all {
        make(name);
    }
    all.sort_unstable();
    let mut young: Vec<&str> = all.iter().filter(|name| **name != gone).copied().collect();
    young.sort_unstable();
    assert_eq!(names_after(&folder, "other.tmp", 10), young);
    assert_eq!(names_after(&folder, "other.tmp", 121), ["other.tmp"]);
}

#[test]
fn a_file_that_came_in_the_place_of_the_version_to_be_taken_stays() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let version = || folder.stat_of("f").unwrap().map(|stat| file_id(&stat));
    std::fs::write(dir.path().join("f"), "old").unwrap();
    let old = version().unwrap();
    std::fs::write(dir.path().join("g"), "new").unwrap();
    std::fs::rename(dir.path().join("g"), dir.path().join("f")).unwrap();
    assert!(take_version(&folder, "f", old).unwrap().is_none());
    assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"new");
    let new = version().unwrap();
    let taken = take_version(&folder, "f", new).unwrap();
    assert!(taken.is_some() && version().is_none());
    drop(taken);
    assert!(folder.names().unwrap().is_empty(), "it is removed");
    assert!(take_version(&folder, "f", new).unwrap().is_none());
}
