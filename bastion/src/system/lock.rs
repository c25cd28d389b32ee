//! Lock on the state directory, so that at most one process works with it.
//!
//! Always true: the kernel releases the lock when the process ends, in whatever way. The file stays; it contains the id
//! of the process that last had the lock.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::unistd::geteuid;

const FILE: &str = "instance.lock";

/// The lock, held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Reason why the lock cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "another token-bastion uses this state directory{} (it holds {}); use `token-bastion status` or `push`, or stop it first",
        pid.map_or_else(String::new, |pid| format!(", process {pid}")),
        file.display()
    )]
    Taken {
        /// The file.
        file: PathBuf,
        /// Its process id, if known.
        pid: Option<u32>,
    },
    /// The file cannot be created or locked.
    #[error("the lock on the state directory cannot be taken: {0:#}")]
    Unusable(anyhow::Error),
}

impl Lock {
    /// Takes the lock of a state directory, which is created when it is missing.
    ///
    /// # Errors
    /// Another process has it, or the file cannot be created.
    pub fn take(state: &Path) -> Result<Self, LockError> {
        let file = state.join(FILE);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(state);
        made.with_context(|| format!("directory {} cannot be created", state.display()))
            .map_err(LockError::Unusable)?;
        let unusable = |error: io::Error| {
            let context = format!("lock file {}", file.display());
            LockError::Unusable(anyhow::Error::new(error).context(context))
        };
        let mut open = open(&file).map_err(unusable)?;
        match open.try_lock() {
            Ok(()) => {
                // On a full disk the lock holds without the id.
                let _ = write_pid(&mut open);
                Ok(Self { _file: open })
            }
            Err(TryLockError::WouldBlock) => {
                let pid = read_pid(&mut open);
                Err(LockError::Taken { file, pid })
            }
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }
}

/// Opens the file. A new one gets the owner of the directory, even if a command of root creates it: the service has to
/// open it later. Nobody else may open it, and so lock the service out.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    // No symbolic link is followed, and a FIFO does not block.
    options.custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
    let file = match options.create_new(true).open(path) {
        Ok(file) => {
            if let Some(directory) = path.parent()
                && geteuid().is_root()
            {
                let owner = fs::metadata(directory)?;
                // This process can lock it in any case.
                let _ = fchown(&file, Some(owner.uid()), Some(owner.gid()));
            }
            file
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            options.create_new(false).open(path)?
        }
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() > 1 {
        return Err(io::Error::other("it is no plain file; remove it"));
    }
    Ok(file)
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

/// Reads the id of the process that has the lock. Without it a second process is refused as well.
fn read_pid(file: &mut File) -> Option<u32> {
    let mut pid = String::new();
    file.take(32).read_to_string(&mut pid).ok()?;
    pid.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_has_the_lock_and_the_third_gets_it_after_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("made/when/missing");
        let first = Lock::take(&state).unwrap();
        let Err(error @ LockError::Taken { .. }) = Lock::take(&state) else {
            panic!("there are two");
        };
        let who = format!("process {} ", std::process::id());
        assert!(error.to_string().contains(&who), "{error}");
        drop(first);
        Lock::take(&state).unwrap();
    }

    #[test]
    fn the_same_directory_by_another_path_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        let _first = Lock::take(folder.path()).unwrap();
        let second = Lock::take(&link);
        assert!(matches!(second, Err(LockError::Taken { .. })), "{second:?}");
    }

    #[test]
    fn the_file_is_for_the_owner_of_the_directory_alone() {
        let folder = tempfile::tempdir().unwrap();
        // Only root can give it away.
        let _ = std::os::unix::fs::chown(folder.path(), Some(4711), Some(4711));
        let _lock = Lock::take(folder.path()).unwrap();
        let [directory, file] =
            [folder.path(), &folder.path().join(FILE)].map(|path| fs::metadata(path).unwrap());
        assert_eq!((file.uid(), file.gid()), (directory.uid(), directory.gid()));
        assert_eq!(file.mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_plain_file_is_neither_written_nor_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, other) = (folder.path().join(FILE), folder.path().join("other"));
        fs::write(&other, "precious").unwrap();
        let refused = || {
            let error = Lock::take(folder.path()).unwrap_err();
            assert!(matches!(error, LockError::Unusable(_)), "{error}");
            fs::remove_file(&lock).unwrap();
            assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
        };
        fs::hard_link(&other, &lock).unwrap();
        refused();
        std::os::unix::fs::symlink(&other, &lock).unwrap();
        refused();
        nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRUSR).unwrap();
        refused();
        Lock::take(folder.path()).unwrap();
    }

    #[test]
    fn where_no_file_can_be_made_that_is_said() {
        let error = Lock::take(Path::new("/proc/nowhere")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("directory /proc/nowhere cannot be created"),
            "{error}"
        );
    }
}
