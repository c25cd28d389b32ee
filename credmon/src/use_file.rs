//! The access token for jobs, `<service>.use`: written so that no reader ever sees half a token,
//! and read back for its claims at a restart.
//!
//! A new one is a file of its own (random name, made with `O_EXCL`, mode 0400, group of the
//! folder), synced and then renamed over the old one. A reader sees the old token or the new one.
//! The folder itself is not synced: after a power failure the old token may be back, which is
//! then older but whole.

use std::hash::{BuildHasher, Hasher};
use std::io::Write as _;

use htvault::{AccessToken, Claims};
use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Gid, fchown, fsync};

use crate::folder::{FileId, Folder, ReadFault};
use crate::schedule::Life;
use crate::service_name::CredentialId;

/// Mode of a `.use` file.
const MODE: Mode = Mode::S_IRUSR;

/// Beginning and end of the names of files that are being written.
const TEMPORARY: (&str, &str) = (".credmon-", ".tmp");

/// Age from which on a temporary file is a leftover of a run that ended, in seconds. Writing takes
/// milliseconds.
const LEFTOVER_AGE: i64 = 120;

/// Largest `.use` that is read, in bytes.
const SIZE_LIMIT: usize = 64 * 1024;

/// An access token in place, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Which file.
    pub file: FileId,
    /// How long it lives; `None` when it does not say.
    pub life: Option<Life>,
    /// Its identifier (`jti`).
    pub token_id: Option<String>,
}

impl Used {
    /// When the file was written.
    #[must_use]
    pub fn written(&self) -> Timestamp {
        Timestamp::from_second(self.file.modified.as_second()).unwrap_or_default()
    }
}

/// The life that a token states. Without a time of issue, it began `now`.
#[must_use]
pub fn life(claims: Option<&Claims>, expires: Option<Timestamp>, now: Timestamp) -> Option<Life> {
    let expires = claims.and_then(|c| c.expires).or(expires)?;
    let issued = claims.and_then(|c| c.issued.or(c.not_before));
    Some(Life {
        issued: issued.unwrap_or(now),
        expires,
    })
}

/// Looks at the access token in place; `None` when there is none that a job could use.
#[must_use]
pub fn look(folder: &Folder, id: &CredentialId) -> Option<Used> {
    let (file, content) = match folder.read(&id.use_name(), SIZE_LIMIT) {
        Ok(found) => found,
        Err(ReadFault::Missing) => return None,
        Err(fault) => {
            tracing::debug!("{id}: the access token in place cannot be read: {fault:?}");
            return None;
        }
    };
    let token = std::str::from_utf8(&content).ok()?.trim();
    if token.is_empty() {
        return None;
    }
    let claims = Claims::read(token);
    let written = Timestamp::from_second(file.modified.as_second()).unwrap_or_default();
    Some(Used {
        file,
        life: life(claims.as_ref(), None, written),
        token_id: claims.and_then(|c| c.id),
    })
}

/// Why a token could not be put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteFault {
    /// The account's folder is gone, so nobody needs the token.
    #[error("the account's folder is gone")]
    Vanished,
    /// The system refuses.
    #[error("{step}: {}", errno.desc())]
    Refused {
        /// What was tried.
        step: &'static str,
        /// What the system says.
        errno: Errno,
    },
}

/// Puts a token in place of what is there.
///
/// # Errors
/// The folder is gone, or the system refuses; what was there is untouched then.
pub fn write(
    folder: &Folder,
    id: &CredentialId,
    token: &AccessToken,
) -> Result<FileId, WriteFault> {
    let refused = |step| {
        move |errno| match errno {
            Errno::ENOENT => WriteFault::Vanished,
            errno => WriteFault::Refused { step, errno },
        }
    };
    let mut temporary = Temporary {
        folder,
        placed: false,
        name: format!("{}{:016x}{}", TEMPORARY.0, random(), TEMPORARY.1),
    };
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let name = temporary.name.clone();
    let name = name.as_str();
    let fd = openat(folder, name, flags, MODE).map_err(refused("making the file"))?;
    let mut file = std::fs::File::from(fd);
    fchmod(&file, MODE).map_err(refused("setting the mode"))?;
    let group = folder
        .stat()
        .map_err(refused("looking at the folder"))?
        .st_gid;
    let made = fstat(&file).map_err(refused("looking at the file"))?;
    if made.st_gid != group
        && let Err(error) = fchown(&file, None, Some(Gid::from_raw(group)))
    {
        // Only root may give files away; the reference's file has our own group then, too.
        tracing::debug!("{id}: the group of the folder cannot be given to the token: {error}");
    }
    let content = secrecy::zeroize::Zeroizing::new(format!("{}\n", token.expose()));
    file.write_all(content.as_bytes())
        .map_err(|e| refused("writing")(errno(&e)))?;
    fsync(&file).map_err(refused("writing to disk"))?;
    renameat(folder, name, folder, id.use_name().as_str())
        .map_err(refused("putting it in place"))?;
    temporary.placed = true;
    // The rename changed the file's times: look again.
    let placed = fstat(&file).map_err(refused("looking at the file"))?;
    Ok(FileId::from(&placed))
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
        if !self.placed
            && let Err(error) = self.folder.remove(&self.name)
        {
            tracing::debug!("{} cannot be removed: {error}", self.name);
        }
    }
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Bits that nobody guesses: the standard library's hashes are keyed by the system's randomness.
pub(crate) fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    fn id() -> CredentialId {
        CredentialId::new("cmsprod", "cms_crab").unwrap()
    }

    fn token(text: &str) -> AccessToken {
        AccessToken::from(text.to_owned())
    }

    fn names(dir: &std::path::Path) -> Vec<String> {
        let folder = Folder::open(dir).unwrap();
        let mut names = folder.names().unwrap();
        names.sort();
        names
    }

    #[test]
    fn a_token_is_put_in_place_whole_readable_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        write(&folder, &id(), &token("one")).unwrap();
        let written = write(&folder, &id(), &token("two")).unwrap();
        let path = dir.path().join("cms_crab.use");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o400);
        assert_eq!(meta.gid(), std::fs::metadata(dir.path()).unwrap().gid());
        assert_eq!(names(dir.path()), ["cms_crab.use"]);
        assert_eq!(look(&folder, &id()).unwrap().file, written);
    }

    #[test]
    fn a_directory_in_its_place_is_an_error_that_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("cms_crab.use")).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let fault = write(&folder, &id(), &token("x")).unwrap_err();
        assert!(matches!(fault, WriteFault::Refused { .. }), "{fault}");
        assert_eq!(names(dir.path()), ["cms_crab.use"]);
        assert_eq!(look(&folder, &id()), None);
    }

    #[test]
    fn a_link_in_its_place_is_replaced_and_its_target_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, dir.path().join("cms_crab.use")).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        write(&folder, &id(), &token("x")).unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
        assert!(
            std::fs::symlink_metadata(dir.path().join("cms_crab.use"))
                .unwrap()
                .is_file()
        );
    }

    #[test]
    fn a_folder_that_vanished_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("u");
        std::fs::create_dir(&path).unwrap();
        let folder = Folder::open(&path).unwrap();
        std::fs::remove_dir(&path).unwrap();
        assert_eq!(
            write(&folder, &id(), &token("x")),
            Err(WriteFault::Vanished)
        );
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
            names(dir.path())
        };
        assert_eq!(clean(10), [".credmon-0123.tmp", "other.tmp"]);
        assert_eq!(clean(121), ["other.tmp"]);
    }

    #[test]
    fn an_empty_or_odd_file_is_no_token_and_an_opaque_one_has_no_life() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let path = dir.path().join("cms_crab.use");
        assert_eq!(look(&folder, &id()), None);
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(look(&folder, &id()), None);
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(look(&folder, &id()), None);
        std::fs::write(&path, "opaque\n").unwrap();
        assert_eq!(look(&folder, &id()).unwrap().life, None);
    }
}
