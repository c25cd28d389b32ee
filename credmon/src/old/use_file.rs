//! The access token for jobs, `<service>.use`: written so that no reader ever sees half a token,
//! and read back for its claims at a restart.
//!
//! How it is put in place is [`placing`]'s; its mode is 0400, its group the credential directory's
//! (as HTCondor's own monitor leaves it). On a disk it is synced before the rename: XFS, for one,
//! writes a new file's content long after its name, so a power failure would leave an empty token,
//! which HTCondor takes for a token. The folder itself is not synced: after a power failure the old
//! token may be back, which is then older but whole.

use std::io::Write as _;

use htvault::{AccessToken, Claims};
use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::Gid;

use crate::old::folder::{FileId, Folder, ReadFault};
use crate::old::placing::{self, Like, Owner, PlaceFault};
use crate::old::second::Second;
use crate::old::service_name::CredentialId;
use crate::old::used::{self, Used};

/// Mode of a `.use` file.
const MODE: Mode = Mode::S_IRUSR;

/// Largest `.use` that is read, in bytes.
const SIZE_LIMIT: usize = 64 * 1024;

/// Looks at the access token in place; `None` when there is none that a job could use.
#[must_use]
pub fn look(folder: &Folder, id: &CredentialId) -> Option<Used> {
    let (stat, content) = match folder.read_all(&id.use_name(), SIZE_LIMIT) {
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
    let written = Second::new(stat.st_mtime);
    let life = used::life(claims.as_ref(), None, written.timestamp());
    let file = FileId::from(&stat);
    Some(Used::new(file, written, life, claims.as_ref()))
}

/// Why a token could not be put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteFault {
    /// The account's folder is gone, so nobody needs the token.
    #[error("the account's folder is gone")]
    Vanished,
    /// The system refuses.
    #[error(transparent)]
    Refused(PlaceFault),
}

/// Puts a token in place of what is there, in a group's name. `sync`: whether it goes to disk first.
///
/// # Errors
/// The folder is gone, or the system refuses; what was there is untouched then.
pub fn write(
    folder: &Folder,
    group: Gid,
    id: &CredentialId,
    token: &AccessToken,
    sync: bool,
) -> Result<FileId, WriteFault> {
    let like = Like {
        mode: MODE,
        owner: Owner::Group(group),
        sync,
    };
    let content = secrecy::zeroize::Zeroizing::new(format!("{}\n", token.expose()));
    placing::place(folder, &id.use_name(), like, |file| {
        file.write_all(content.as_bytes())
    })
    .map_err(|fault| match fault.errno {
        Errno::ENOENT => WriteFault::Vanished,
        _ => WriteFault::Refused(fault),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    fn id() -> CredentialId {
        CredentialId::new("cmsprod", "cms_crab").unwrap()
    }

    fn group() -> Gid {
        nix::unistd::getegid()
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
        write(&folder, group(), &id(), &token("one"), true).unwrap();
        let written = write(&folder, group(), &id(), &token("two"), true).unwrap();
        let path = dir.path().join("cms_crab.use");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o400);
        assert_eq!(meta.gid(), group().as_raw());
        assert_eq!(names(dir.path()), ["cms_crab.use"]);
        assert_eq!(look(&folder, &id()).unwrap().file, written);
    }

    #[test]
    fn a_directory_in_its_place_is_an_error_that_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("cms_crab.use")).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let fault = write(&folder, group(), &id(), &token("x"), true).unwrap_err();
        assert!(matches!(fault, WriteFault::Refused(_)), "{fault}");
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
        write(&folder, group(), &id(), &token("x"), true).unwrap();
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
            write(&folder, group(), &id(), &token("x"), true),
            Err(WriteFault::Vanished)
        );
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
