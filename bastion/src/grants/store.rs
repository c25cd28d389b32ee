//! What is kept of grants between runs: `grants.json` in the folder of the state. No secret is in it.
//!
//! What holds: the file is replaced as a whole, so a reader sees an old or a new one, never a part;
//! the service and `onboard` may both write, one after the other, by a lock beside the file. A file
//! that is not understood is an error and is left as it is.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::{Grants, Known};

/// Anybody may read it: there is no secret in it, and `onboard` may run as another user.
const MODE: u32 = 0o644;

/// Where grants are kept.
#[must_use]
pub fn file(state: &Path) -> PathBuf {
    state.join("grants.json")
}

/// What is kept. Nothing when there is no file yet.
///
/// # Errors
/// The file cannot be read or understood.
pub fn read(state: &Path) -> io::Result<Grants> {
    match fs::read(file(state)) {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Grants::new()),
        Err(error) => Err(error),
    }
}

/// Changes what is kept of one grant; gives all of them.
///
/// # Errors
/// The file cannot be read, understood or written.
pub fn change(state: &Path, name: &str, change: impl FnOnce(&mut Known)) -> io::Result<Grants> {
    update(state, |grants| {
        change(grants.entry(name.to_owned()).or_default());
    })
}

/// Forgets a grant; gives the others.
///
/// # Errors
/// As for [`change`].
pub fn forget(state: &Path, name: &str) -> io::Result<Grants> {
    update(state, |grants| {
        grants.remove(name);
    })
}

fn update(state: &Path, change: impl FnOnce(&mut Grants)) -> io::Result<Grants> {
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(state.join("grants.lock"));
    let lock = match lock {
        // Another user's: it can be locked all the same.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            File::open(state.join("grants.lock"))?
        }
        lock => lock?,
    };
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let mut grants = read(state)?;
    let before = grants.clone();
    change(&mut grants);
    if grants != before {
        write(state, &grants)?;
    }
    Ok(grants)
}

fn write(state: &Path, grants: &Grants) -> io::Result<()> {
    let new = state.join(".grants.json.new");
    // A leftover of a run that broke off; nobody else writes while the lock is held.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(&new)?;
    // Whatever the umask.
    file.set_permissions(Permissions::from_mode(MODE))?;
    serde_json::to_writer_pretty(&mut file, grants)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, self::file(state))?;
    File::open(state)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn what_is_kept_is_found_again_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        assert!(read(folder.path()).unwrap().is_empty());
        change(folder.path(), "cms/a:crab", |known| known.onboarded = at(1)).unwrap();
        change(folder.path(), "cms/b:crab", |known| {
            known.first_worked = at(2);
        })
        .unwrap();
        let grants = read(folder.path()).unwrap();
        assert_eq!(grants["cms/a:crab"].onboarded, at(1));
        assert_eq!(grants["cms/b:crab"].first_worked, at(2));
        forget(folder.path(), "cms/a:crab").unwrap();
        let names: Vec<String> = read(folder.path()).unwrap().into_keys().collect();
        assert_eq!(names, ["cms/b:crab"]);
        let mode = fs::metadata(file(folder.path())).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, MODE);
    }

    #[test]
    fn a_file_that_is_not_understood_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(file(folder.path()), "{ torn").unwrap();
        assert!(change(folder.path(), "x", |_| {}).is_err());
        assert_eq!(fs::read(file(folder.path())).unwrap(), b"{ torn");
    }

    #[test]
    fn a_leftover_of_a_broken_run_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".grants.json.new"), "half").unwrap();
        let now = Timestamp::UNIX_EPOCH;
        change(folder.path(), "x", |known| known.onboarded = Some(now)).unwrap();
        assert_eq!(read(folder.path()).unwrap().len(), 1);
    }
}
