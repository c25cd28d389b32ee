//! The files by which HTCondor knows this daemon: `pid`, to which the credd sends SIGHUP, and
//! `CREDMON_COMPLETE`, for which schedd and credd wait at boot. And the lock by which a second
//! daemon on the same directory is noticed.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, futimens};
use nix::sys::time::TimeSpec;

use super::directory::Directory;
use super::folder::Folder;
use super::install::{FileAttributes, InstallError, Owner, install_bytes};

const PID: &str = "pid";
const COMPLETE: &str = "CREDMON_COMPLETE";
const MODE: Mode = Mode::from_bits_truncate(0o644);

/// This process as the one that serves a directory.
#[derive(Default)]
pub(super) struct Service {
    lock: Option<Flock<std::fs::File>>,
}

impl Service {
    /// `true` when no other daemon of this program serves the directory.
    pub(super) fn is_ours(&self) -> bool {
        self.lock.is_some()
    }

    /// Declares that this process serves a directory, and that no pass is complete yet, as far as that is not done.
    /// Returns what is wrong.
    pub(super) fn settle_in(&mut self, directory: &Directory) -> Option<String> {
        let (root, path) = (directory.root(), directory.path().display());
        if self.lock.is_none() {
            match lock(root) {
                Ok(Some(lock)) => self.lock = Some(lock),
                Ok(None) => {
                    let process = read_pid(root).unwrap_or_else(|| "unknown".to_owned());
                    return Some(format!(
                        "another condor_credmon_htvault (process {process}) serves {path} too: stop \
                         one of them"
                    ));
                }
                Err(errno) => {
                    return Some(format!("{path} cannot be locked: {}", errno.desc()));
                }
            }
            if let Err(errno) = root.remove(COMPLETE) {
                tracing::warn!("CREDMON_COMPLETE cannot be removed: {}", errno.desc());
            }
        }
        if has_own_pid(root) {
            return None;
        }
        let error = write_pid(root).err()?;
        Some(format!(
            "pid cannot be written to {path}: {error}; the credd cannot send signals"
        ))
    }
}

/// Declares which process serves a directory.
fn write_pid(root: &Folder) -> Result<(), InstallError> {
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
fn read_pid(root: &Folder) -> Option<String> {
    let (_, content) = root.read(PID, 32).ok()?;
    let text = std::str::from_utf8(&content).ok()?.trim();
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.to_owned())
}

fn has_own_pid(root: &Folder) -> bool {
    read_pid(root) == Some(std::process::id().to_string())
}

/// Removes the process id, if it is ours: a SIGHUP to whoever has that number next would kill it.
pub(crate) fn remove_pid(root: &Folder) {
    if has_own_pid(root)
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
pub(super) fn lock(root: &Folder) -> Result<Option<Flock<std::fs::File>>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = openat(root, ".", flags, Mode::empty())?;
    match Flock::lock(directory.into(), FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::set_mode;

    #[test]
    fn files_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        set_mode(dir.path(), 0o2770);
        let directory = Directory::open(dir.path(), None).unwrap();
        let root = directory.root();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).ok();
        touch_complete(root).unwrap();
        touch_complete(root).unwrap();
        assert_eq!(read(COMPLETE), Some(String::new()));
        let mut service = Service::default();
        assert_eq!(service.settle_in(&directory), None);
        assert_eq!(read(PID), Some(std::process::id().to_string()));
        assert_eq!(root.names().unwrap(), [PID]);
        // A pass is complete: later scans leave that.
        touch_complete(root).unwrap();
        assert_eq!(service.settle_in(&directory), None);
        assert_eq!(root.names().unwrap().len(), 2);
        remove_pid(root);
        assert_eq!(root.names().unwrap(), [COMPLETE]);
        assert_eq!(service.settle_in(&directory), None, "it is written again");
        std::fs::write(dir.path().join(PID), "1").unwrap();
        remove_pid(root);
        assert_eq!(read(PID).as_deref(), Some("1"), "another's is left alone");
    }

    #[test]
    fn a_pid_that_could_not_be_written_is_written_later() {
        let dir = tempfile::tempdir().unwrap();
        set_mode(dir.path(), 0o2770);
        let directory = Directory::open(dir.path(), None).unwrap();
        let pid = dir.path().join(PID);
        std::fs::create_dir(&pid).unwrap();
        let mut service = Service::default();
        for _ in 0..2 {
            let problem = service.settle_in(&directory).unwrap();
            assert!(problem.contains("pid cannot be written"), "{problem}");
        }
        assert!(service.is_ours());
        std::fs::remove_dir(&pid).unwrap();
        assert_eq!(service.settle_in(&directory), None);
        assert_eq!(
            read_pid(directory.root()),
            Some(std::process::id().to_string())
        );
    }

    #[test]
    fn one_daemon_at_a_time_has_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let root = Folder::open(dir.path()).unwrap();
        let first = lock(&root).unwrap();
        assert!(first.is_some() && lock(&root).unwrap().is_none());
        drop(first);
        assert!(lock(&root).unwrap().is_some());
    }
}
