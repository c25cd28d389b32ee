//! At most one process works with the same control socket: a lock on a file beside it.
//!
//! What holds: the kernel lets go of the lock when the process ends, in whatever way. The file
//! stays; what it says is the process that last had the lock.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::control::socket::make_directory_of;

/// The lock, for as long as this lives.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// There is no lock to be had.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it.
    Taken {
        /// The file.
        file: PathBuf,
        /// Which process, as far as known.
        pid: Option<u32>,
    },
    /// The file cannot be made or locked.
    Unusable(anyhow::Error),
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Taken { file, pid } => {
                let who = pid.map_or_else(String::new, |pid| format!(", process {pid}"));
                write!(
                    f,
                    "another one works on this host already{who} (it holds {}); ask it with `token-bastion status` or `push`, or stop it first",
                    file.display()
                )
            }
            Self::Unusable(error) => write!(f, "a second instance cannot be kept out: {error:#}"),
        }
    }
}

impl std::error::Error for LockError {}

impl Lock {
    /// Takes the lock that belongs to a control socket.
    ///
    /// # Errors
    /// Another process has it, or the file cannot be made.
    pub fn take(control: &Path) -> Result<Self, LockError> {
        let file = control.with_extension("lock");
        let unusable = |error: std::io::Error| {
            let error = anyhow::Error::new(error);
            LockError::Unusable(error.context(format!("lock file {}", file.display())))
        };
        make_directory_of(control).map_err(LockError::Unusable)?;
        let open = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o640)
            .open(&file)
            .map_err(unusable)?;
        let mut locked = match Flock::lock(open, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => locked,
            Err((mut open, Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                // Without its number it is refused all the same.
                let _ = open.read_to_string(&mut pid);
                let pid = pid.trim().parse().ok();
                return Err(LockError::Taken { file, pid });
            }
            Err((_, errno)) => return Err(unusable(errno.into())),
        };
        let write = |locked: &mut Flock<File>| {
            locked.set_len(0)?;
            locked.seek(SeekFrom::Start(0))?;
            writeln!(locked, "{}", std::process::id())
        };
        write(&mut locked).map_err(unusable)?;
        Ok(Self { _file: locked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_has_the_lock_and_the_third_gets_it_after_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let control = folder.path().join("run/control");
        let first = Lock::take(&control).unwrap();
        let Err(error @ LockError::Taken { .. }) = Lock::take(&control) else {
            panic!("there are two");
        };
        let who = format!("process {} ", std::process::id());
        assert!(error.to_string().contains(&who), "{error}");
        drop(first);
        Lock::take(&control).unwrap();
    }

    #[test]
    fn where_no_file_can_be_made_that_is_said() {
        let error = Lock::take(Path::new("/proc/nowhere/control")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("directory /proc/nowhere cannot be made"),
            "{error}"
        );
    }
}
