//! The socket in the file system.
//!
//! What holds: its mode is 0660 from the moment that anybody can ask; one that a dead service left
//! is replaced, anything else of that name is not; a clean end removes it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::unistd::{Gid, geteuid};
use tokio::net::UnixListener;

use super::peer::Admission;

/// A listening socket.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    pub(super) admission: Admission,
    path: PathBuf,
    inode: u64,
}

impl Socket {
    /// Makes the socket, and its directory when that is missing. Only for who holds the lock
    /// against a second service: whatever socket is there is taken for a dead one's.
    ///
    /// # Errors
    /// It cannot be made, or something else has its name.
    pub fn bind(path: &Path) -> anyhow::Result<Self> {
        make_directory_of(path)?;
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path)
                .with_context(|| format!("an old socket {} cannot be removed", path.display()))?,
            Ok(_) => bail!(
                "{} is no socket; remove it, or name another path for the key control",
                path.display()
            ),
            Err(_) => {}
        }
        let cannot = || format!("the control socket {} cannot be made", path.display());
        let listener = UnixListener::bind(path).with_context(cannot)?;
        // Until here nobody else could connect: that takes the right to write.
        fs::set_permissions(path, Permissions::from_mode(0o660)).with_context(cannot)?;
        let metadata = fs::symlink_metadata(path).with_context(cannot)?;
        Ok(Self {
            listener,
            admission: Admission {
                own: geteuid(),
                group: Gid::from_raw(metadata.gid()),
            },
            path: path.to_owned(),
            inode: metadata.ino(),
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Not one that somebody else made meanwhile.
        let own = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if own {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the directory of `path` for its owner and group, when it is missing.
pub(crate) fn make_directory_of(path: &Path) -> anyhow::Result<()> {
    let Some(directory) = path.parent() else {
        return Ok(());
    };
    match DirBuilder::new().mode(0o750).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("directory {} cannot be made", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[tokio::test]
    async fn directory_and_socket_are_for_owner_and_group() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/control");
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(mode(&path), 0o660);
        assert_eq!(mode(path.parent().unwrap()), 0o750);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_services_socket_is_replaced_and_a_living_ones_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let old = Socket::bind(&path).unwrap();
        let new = Socket::bind(&path).unwrap();
        drop(old);
        assert!(path.exists());
        drop(new);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        fs::write(&path, "mine").unwrap();
        let error = Socket::bind(&path).unwrap_err().to_string();
        assert!(error.contains("is no socket; remove it"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
