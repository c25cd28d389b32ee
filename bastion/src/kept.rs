//! Small files in the folder of the state that outlive a restart: JSON, no secret in them.
//!
//! What holds: a file is replaced as a whole, so a reader sees an old or a new one, never a part;
//! the service and a command may both change it, one after the other, by a lock beside it. A file
//! that is not understood is an error and is left as it is.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// There is no secret in it, and a command may run as another user than the service.
const MODE: u32 = 0o644;

/// Where a file is.
pub(crate) fn path(state: &Path, name: &str) -> PathBuf {
    state.join(format!("{name}.json"))
}

/// What is kept. The usual value when there is no file yet.
pub(crate) fn read<T: DeserializeOwned + Default>(state: &Path, name: &str) -> io::Result<T> {
    match fs::read(path(state, name)) {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(error),
    }
}

/// Changes what is kept, and gives it.
pub(crate) fn change<T: Serialize + DeserializeOwned + Default + Clone + PartialEq>(
    state: &Path,
    name: &str,
    change: impl FnOnce(&mut T),
) -> io::Result<T> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)?;
    let lock = lock(&state.join(format!("{name}.lock")))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let before: T = read(state, name)?;
    let mut after = before.clone();
    change(&mut after);
    if after != before {
        write(state, name, &after)?;
    }
    Ok(after)
}

fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    match options.mode(MODE).open(path) {
        // Another user's: it can be locked all the same.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path),
        lock => lock,
    }
}

fn write(state: &Path, name: &str, content: &impl Serialize) -> io::Result<()> {
    let new = state.join(format!(".{name}.json.new"));
    // A leftover of a run that broke off; nobody else writes while the lock is held.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(&new)?;
    // Whatever the umask.
    file.set_permissions(Permissions::from_mode(MODE))?;
    serde_json::to_writer_pretty(&mut file, content)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, path(state, name))?;
    File::open(state)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    type Names = BTreeMap<String, u32>;

    fn add(state: &Path, name: &str) -> io::Result<Names> {
        change(state, "names", |names: &mut Names| {
            *names.entry(name.to_owned()).or_default() += 1;
        })
    }

    #[test]
    fn what_is_kept_is_found_again_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("made/when/missing");
        assert!(read::<Names>(&state, "names").unwrap().is_empty());
        add(&state, "a").unwrap();
        add(&state, "b").unwrap();
        assert_eq!(add(&state, "a").unwrap()["a"], 2);
        assert_eq!(read::<Names>(&state, "names").unwrap().len(), 2);
        let mode = fs::metadata(path(&state, "names")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, MODE);
    }

    #[test]
    fn many_writers_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..10).for_each(|_| drop(add(folder.path(), "a").unwrap())));
            }
        });
        assert_eq!(read::<Names>(folder.path(), "names").unwrap()["a"], 80);
    }

    #[test]
    fn a_file_that_is_not_understood_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(path(folder.path(), "names"), "{ torn").unwrap();
        assert!(add(folder.path(), "a").is_err());
        assert_eq!(fs::read(path(folder.path(), "names")).unwrap(), b"{ torn");
    }

    #[test]
    fn a_leftover_of_a_broken_run_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".names.json.new"), "half").unwrap();
        assert_eq!(add(folder.path(), "a").unwrap().len(), 1);
    }
}
