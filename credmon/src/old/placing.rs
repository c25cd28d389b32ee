//! Puts a file in place whole: a reader sees the old content or the new one, and nothing between.
//!
//! The new content is a file of its own (random name, made with `O_EXCL`, never through a link),
//! which has its mode, owner and content before it is renamed over the old one. Whatever step
//! fails, the old file is untouched and the new one is removed, if not at once then as a leftover
//! of the next look. Steps are named, so that a fault says where, and tests stop at each.

use std::fs::File;
use std::hash::{BuildHasher, Hasher};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat};
use nix::unistd::{Gid, Uid, fchown, fsync};

use crate::old::folder::{FileId, Folder};

/// Beginning and end of the names of files that are being written.
const TEMPORARY: (&str, &str) = (".credmon-", ".tmp");

/// Age from which on a temporary file is a leftover of a run that ended, in seconds. Writing takes
/// milliseconds.
const LEFTOVER_AGE: i64 = 120;

/// The steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The new file is made.
    Make,
    /// It gets its mode.
    SetMode,
    /// It gets its owner.
    SetOwner,
    /// It gets its content.
    Write,
    /// The content goes to disk.
    Sync,
    /// It takes the old one's place.
    Rename,
    /// Its times are read.
    LookAgain,
}

impl Step {
    /// What is done, for a message.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Make => "making the file",
            Self::SetMode => "setting the mode",
            Self::SetOwner => "setting the owner",
            Self::Write => "writing",
            Self::Sync => "writing to disk",
            Self::Rename => "putting it in place",
            Self::LookAgain => "looking at the file",
        }
    }
}

/// Why a file could not be put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", step.words(), errno.desc())]
pub struct PlaceFault {
    /// What was tried.
    pub step: Step,
    /// What the system says.
    pub errno: Errno,
}

/// Whose the file is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Ours, and the group that the system gives.
    Ours,
    /// Ours, and this group, if the system lets us.
    Group(Gid),
    /// These, or it fails.
    Exactly(Uid, Gid),
}

/// What the file is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Like {
    /// Its mode, whatever the umask.
    pub mode: Mode,
    /// Its owner.
    pub owner: Owner,
    /// Whether its content must be on disk before it is in place.
    pub sync: bool,
}

/// Puts a file with a content in place of what is there.
///
/// # Errors
/// The system refuses; what was there is untouched then.
pub fn place(
    folder: &Folder,
    name: &str,
    like: Like,
    content: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<FileId, PlaceFault> {
    let mut temporary = Temporary {
        folder,
        placed: false,
        name: format!("{}{:016x}{}", TEMPORARY.0, random(), TEMPORARY.1),
    };
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let own = temporary.name.clone();
    // Its owner's rights at most, until it is known whose it is.
    let first = like.mode & Mode::S_IRWXU;
    let made = doing(Step::Make, || openat(folder, own.as_str(), flags, first))?;
    let mut file = File::from(made);
    // Before the owner, for only the owner may set it. Mostly it is right already: then it is only
    // looked at, for a umask or the folder's access list may have taken or given something.
    let is = doing(Step::SetMode, || {
        let is = fstat(&file)?;
        if is.st_mode & 0o7777 != like.mode.bits() {
            fchmod(&file, like.mode)?;
        }
        Ok(is)
    })?;
    doing(Step::SetOwner, || set_owner(&file, &is, like.owner))?;
    doing(Step::Write, || {
        content(&mut file).map_err(|error| errno(&error))
    })?;
    if like.sync {
        doing(Step::Sync, || fsync(&file))?;
    }
    doing(Step::Rename, || {
        renameat(folder, own.as_str(), folder, name)
    })?;
    temporary.placed = true;
    // The rename changed the file's times: look again.
    let placed: FileStat = doing(Step::LookAgain, || fstat(&file))?;
    Ok(FileId::from(&placed))
}

fn set_owner(file: &File, is: &FileStat, owner: Owner) -> Result<(), Errno> {
    let (user, group) = match owner {
        Owner::Ours => return Ok(()),
        Owner::Group(group) => (None, group),
        Owner::Exactly(user, group) => (Some(user), group),
    };
    if is.st_gid == group.as_raw() && user.is_none_or(|user| is.st_uid == user.as_raw()) {
        return Ok(());
    }
    match (fchown(file, user, Some(group)), owner) {
        // Only root may give files away; the reference's file has our own group then, too.
        (Err(error), Owner::Group(_)) => {
            tracing::debug!("the folder's group cannot be given to a file: {error}");
            Ok(())
        }
        (other, _) => other,
    }
}

fn doing<T>(step: Step, act: impl FnOnce() -> Result<T, Errno>) -> Result<T, PlaceFault> {
    #[cfg(test)]
    tests::may_stop(step)?;
    act().map_err(|errno| PlaceFault { step, errno })
}

/// Removes what a run that ended in the middle left behind.
pub fn remove_leftovers(folder: &Folder, names: &[String], now: Timestamp) {
    for name in names {
        if !(name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1)) {
            continue;
        }
        if let Ok(Some(stat)) = folder.look(name)
            && stat.st_mtime.saturating_add(LEFTOVER_AGE) < now.as_second()
        {
            match folder.remove(name) {
                Ok(()) => tracing::info!("removed {name}, left by a run that was cut off"),
                Err(error) => tracing::debug!("{name} cannot be removed: {error}"),
            }
        }
    }
}

/// Whether a name is one of a file that is being written.
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY.0)
}

/// A file that is removed unless it was put in place.
struct Temporary<'a> {
    folder: &'a Folder,
    name: String,
    placed: bool,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        #[cfg(test)]
        if tests::is_cut_off() {
            return;
        }
        if !self.placed
            && let Err(error) = self.folder.remove(&self.name)
        {
            tracing::debug!("{} cannot be removed: {error}", self.name);
        }
    }
}

/// What the system said of a failed write.
pub(crate) fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Bits that nobody guesses: the standard library's hashes are keyed by the system's randomness.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
pub(crate) mod tests {
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
        Step::LookAgain,
    ];

    /// Lets this thread fail at a step; `cut_off`: as if the process had ended there.
    pub(crate) fn stop_at(step: Option<Step>, cut_off: bool) {
        STOP.set(step.map(|step| (step, cut_off)));
    }

    pub(super) fn may_stop(step: Step) -> Result<(), PlaceFault> {
        let act = BEFORE.with_borrow_mut(|before| before.take_if(|(at, _)| *at == step));
        if let Some((_, act)) = act {
            act();
        }
        match STOP.get() {
            Some((at, _)) if at == step => Err(PlaceFault {
                step,
                errno: Errno::EIO,
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn is_cut_off() -> bool {
        STOP.get().is_some_and(|(_, cut_off)| cut_off)
    }

    const PLAIN: Like = Like {
        mode: Mode::S_IRUSR,
        owner: Owner::Ours,
        sync: true,
    };

    fn put(folder: &Folder, text: &str) -> Result<FileId, PlaceFault> {
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
                let expected = if step == Step::LookAgain {
                    "new"
                } else {
                    "old"
                };
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
        let like = |owner| Like {
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
}
