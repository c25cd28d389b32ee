//! The files by which HTCondor knows this daemon: `pid`, to which the credd sends SIGHUP, and
//! `CREDMON_COMPLETE`, for which schedd and credd wait at boot. And the lock by which a second
//! daemon on the same directory is noticed.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, futimens};
use nix::sys::time::TimeSpec;

use super::folder::Folder;
use super::install::{FileAttributes, InstallError, Owner, Step, install_bytes};

const PID: &str = "pid";
const COMPLETE: &str = "CREDMON_COMPLETE";
const MODE: Mode = Mode::from_bits_truncate(0o644);

/// Declares that this process serves a directory, and that no pass is complete yet.
pub(crate) fn settle_in(root: &Folder) -> Result<(), InstallError> {
    let step = Step::Create;
    let error = |errno| InstallError::System { step, errno };
    root.remove(COMPLETE).map_err(error)?;
    let attributes = FileAttributes {
        mode: MODE,
        owner: Owner::Own,
        sync: false,
    };
    // Whole at once, so that no reader sees half a number.
    let id = std::process::id().to_string();
    install_bytes(root, PID, attributes, id.as_bytes()).map(drop)
}

/// The process id in the directory.
pub(crate) fn read_pid(root: &Folder) -> Option<String> {
    let (_, content) = root.read(PID, 32).ok()?;
    let text = std::str::from_utf8(&content).ok()?.trim();
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.to_owned())
}

/// Removes the process id, if it is ours: a SIGHUP to whoever has that number next would kill it.
pub(crate) fn remove_pid(root: &Folder) {
    if read_pid(root) == Some(std::process::id().to_string())
        && let Err(errno) = root.remove(PID)
    {
        tracing::debug!("pid cannot be removed: {errno}");
    }
}

/// Declares that a pass is complete.
pub(crate) fn touch_complete(root: &Folder) -> Result<(), Errno> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(root, COMPLETE, flags, MODE)?;
    futimens(&file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)
}

/// Lock on a credential directory, released when dropped or when the process ends. `None`: another
/// daemon of this program holds it.
pub(crate) fn lock(root: &Folder) -> Option<Flock<std::fs::File>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = openat(root, ".", flags, Mode::empty()).ok()?;
    Flock::lock(directory.into(), FlockArg::LockExclusiveNonblock).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let root = Folder::open(dir.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).ok();
        settle_in(&root).unwrap();
        settle_in(&root).unwrap();
        assert_eq!(read(PID), Some(std::process::id().to_string()));
        touch_complete(&root).unwrap();
        touch_complete(&root).unwrap();
        assert_eq!(read(COMPLETE), Some(String::new()));
        assert_eq!(root.names().unwrap().len(), 2);
        settle_in(&root).unwrap();
        assert_eq!(root.names().unwrap(), [PID]);
        remove_pid(&root);
        assert!(root.names().unwrap().is_empty());
        std::fs::write(dir.path().join(PID), "1").unwrap();
        remove_pid(&root);
        assert_eq!(read(PID).as_deref(), Some("1"), "another's is left alone");
    }

    #[test]
    fn one_daemon_at_a_time_has_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let root = Folder::open(dir.path()).unwrap();
        let first = lock(&root);
        assert!(first.is_some() && lock(&root).is_none());
        drop(first);
        assert!(lock(&root).is_some());
    }
}
