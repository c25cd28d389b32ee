//! The files in the credential directory by which HTCondor knows this daemon: `pid`, to which the
//! credd sends SIGHUP, and `CREDMON_COMPLETE`, for which schedd and credd wait at boot.

use std::io::Write as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, futimens};
use nix::sys::time::TimeSpec;

use crate::old::folder::Folder;
use crate::old::placing::{self, Like, Owner};

const PID: &str = "pid";
const COMPLETE: &str = "CREDMON_COMPLETE";
const MODE: Mode = Mode::from_bits_truncate(0o644);

/// Writes this process's id, so that no reader sees half a number.
///
/// # Errors
/// What the system says.
pub fn write_pid(root: &Folder) -> Result<(), Errno> {
    let like = Like {
        mode: MODE,
        owner: Owner::Ours,
        sync: false,
    };
    let id = std::process::id().to_string();
    placing::place(root, PID, like, |file| file.write_all(id.as_bytes()))
        .map(drop)
        .map_err(|fault| fault.errno)
}

/// Removes the process id, if it is ours: a SIGHUP to whoever has that number next would end it.
pub fn remove_pid(root: &Folder) {
    let ours = std::process::id().to_string();
    if let Ok((_, content)) = root.read(PID, 32)
        && content.as_slice() == ours.as_bytes()
        && let Err(error) = root.remove(PID)
    {
        tracing::debug!("pid cannot be removed: {error}");
    }
}

/// Says that no pass is complete yet.
///
/// # Errors
/// What the system says.
pub fn remove_complete(root: &Folder) -> Result<(), Errno> {
    root.remove(COMPLETE)
}

/// Says that a pass is complete.
///
/// # Errors
/// What the system says.
pub fn touch_complete(root: &Folder) -> Result<(), Errno> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(root, COMPLETE, flags, MODE)?;
    futimens(&file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let root = Folder::open(dir.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).ok();
        write_pid(&root).unwrap();
        write_pid(&root).unwrap();
        assert_eq!(read(PID), Some(std::process::id().to_string()));
        touch_complete(&root).unwrap();
        touch_complete(&root).unwrap();
        assert_eq!(read(COMPLETE), Some(String::new()));
        assert_eq!(root.names().unwrap().len(), 2);
        remove_complete(&root).unwrap();
        remove_complete(&root).unwrap();
        remove_pid(&root);
        assert!(root.names().unwrap().is_empty());
        std::fs::write(dir.path().join(PID), "1").unwrap();
        remove_pid(&root);
        assert_eq!(read(PID), Some("1".to_owned()));
    }
}
