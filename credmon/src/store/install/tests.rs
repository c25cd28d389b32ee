use super::*;
use std::cell::{Cell, RefCell};
use std::io::Write as _;
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
    Step::Make,
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
        Some((at, _)) if at == step => Err(InstallError {
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
    owner: Owner::Ours,
    sync: true,
};

fn put(folder: &Folder, text: &str) -> Result<FileId, InstallError> {
    place(folder, "a", PLAIN, |file| file.write_all(text.as_bytes()))
}

#[test]
fn a_stop_at_any_step_leaves_the_old_content_or_the_new() {
    for cut_off in [false, true] {
        for step in STEPS {
            let dir = tempfile::tempdir().unwrap();
            let folder = Folder::open(dir.path()).unwrap();
            put(&folder, "old").unwrap();
            stop_at(Some(step), cut_off);
            let fault = put(&folder, "new").unwrap_err();
            stop_at(None, false);
            assert_eq!(fault.step, step);
            let is = std::fs::read_to_string(dir.path().join("a")).unwrap();
            let expected = if step == Step::Check { "new" } else { "old" };
            assert_eq!(is, expected, "{step:?}");
            let others = folder.names().unwrap().len() - 1;
            assert!(others == 0 || cut_off, "{step:?} leaves a file");
            let late = Timestamp::from_second(4_000_000_000).unwrap();
            remove_leftovers(&folder, &folder.names().unwrap(), late);
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
    let placed = place(&folder, "a", like(other), |_| Ok(()));
    if is_root {
        placed.unwrap();
        let meta = std::fs::metadata(dir.path().join("a")).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (12_345, 54_321));
        assert_eq!(meta.permissions().mode() & 0o7777, 0o640);
    } else {
        assert_eq!(placed.unwrap_err().step, Step::SetOwner);
    }
}

#[test]
fn leftovers_are_removed_when_old() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".credmon-0123.tmp"), "half").unwrap();
    std::fs::write(dir.path().join("other.tmp"), "").unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let made = folder.look(".credmon-0123.tmp").unwrap().unwrap().st_mtime;
    let clean = |age| {
        let now = Timestamp::from_second(made + age).unwrap();
        remove_leftovers(&folder, &folder.names().unwrap(), now);
        let mut names = folder.names().unwrap();
        names.sort();
        names
    };
    assert_eq!(clean(10), [".credmon-0123.tmp", "other.tmp"]);
    assert_eq!(clean(121), ["other.tmp"]);
}
