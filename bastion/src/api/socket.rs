//! The control socket in the file system.
//!
//! Always true: its mode is 0660 before anybody can connect; the socket of a dead service, which refuses connections, is
//! replaced, anything else of that name is not; a clean stop removes it. One that somebody removed is made again.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::unistd::{Gid, Uid, geteuid};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tracing::info;

use super::access::Peer;
use super::server::Listen;

/// Time without a connection after which it is checked that clients can still find the socket.
const CHECK: Duration = Duration::from_secs(30);

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    group: Gid,
    path: PathBuf,
    inode: u64,
}

impl Socket {
    /// Creates the socket, and its directories when they are missing, for owner and group.
    ///
    /// # Errors
    /// It cannot be created, or another file has its name.
    pub(crate) async fn bind(path: &Path) -> anyhow::Result<Self> {
        if let Some(directory) = path.parent() {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o750).create(directory);
            made.with_context(|| format!("directory {} cannot be created", directory.display()))?;
        }
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => remove_dead(path).await?,
            Ok(_) => bail!(
                "{} is no socket; remove it, or name another path for the key control",
                path.display()
            ),
            Err(_) => {}
        }
        let cannot = || format!("the control socket {} cannot be created", path.display());
        let listener = UnixListener::bind(path).with_context(cannot)?;
        // Until here nobody else can connect, which needs write permission.
        fs::set_permissions(path, Permissions::from_mode(0o660)).with_context(cannot)?;
        let metadata = fs::symlink_metadata(path).with_context(cannot)?;
        Ok(Self {
            listener,
            group: Gid::from_raw(metadata.gid()),
            path: path.to_owned(),
            inode: metadata.ino(),
        })
    }

    /// Returns false when it was removed, or another service created one of its name meanwhile.
    fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
    }
}

impl Listen for Socket {
    type Stream = UnixStream;
    type Peer = Peer;

    async fn accept(&mut self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = loop {
            match timeout(CHECK, self.listener.accept()).await {
                Ok(accepted) => break accepted?,
                Err(_) if self.is_there() => {}
                Err(_) => {
                    let again = Self::bind(&self.path).await;
                    *self = again.map_err(|error| io::Error::other(format!("{error:#}")))?;
                    info!("the control socket was removed, and is made again");
                }
            }
        };
        let credentials = stream.peer_cred()?;
        let peer = Peer {
            uid: Uid::from_raw(credentials.uid()),
            gid: Gid::from_raw(credentials.gid()),
            own: geteuid(),
            group: self.group,
        };
        Ok((stream, peer))
    }
}

/// Removes a socket at which nobody listens.
async fn remove_dead(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .with_context(|| format!("the socket {shown} of a dead service cannot be removed")),
        Err(error) => Err(error).with_context(|| {
            format!("{shown} is a socket that may be in use; end its program, or name another path for the key control.socket")
        }),
        Ok(_) => bail!(
            "another program listens at {shown}; end it, or name another path for the key control.socket"
        ),
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[tokio::test]
    async fn directory_and_socket_are_for_owner_and_group() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/control");
        let socket = Socket::bind(&path).await.unwrap();
        assert_eq!(mode(&path), 0o660);
        assert_eq!(mode(path.parent().unwrap()), 0o750);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_socket_of_a_dead_program_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Socket::bind(&path).await.unwrap());
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_socket_of_a_living_program_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let other = UnixListener::bind(&path).unwrap();
        let error = Socket::bind(&path).await.unwrap_err().to_string();
        assert!(error.contains("another program listens at"), "{error}");
        drop(UnixStream::connect(&path).await.unwrap());
        drop(other);
        fs::remove_file(&path).unwrap();

        let _datagrams = UnixDatagram::bind(&path).unwrap();
        let error = Socket::bind(&path).await.unwrap_err().to_string();
        assert!(error.contains("a socket that may be in use"), "{error}");
        assert!(path.exists());
    }

    #[tokio::test]
    async fn the_end_of_a_service_leaves_the_socket_of_its_successor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let old = Socket::bind(&path).await.unwrap();
        fs::rename(&path, folder.path().join("old")).unwrap();
        let new = Socket::bind(&path).await.unwrap();
        drop(old);
        assert!(path.exists());
        drop(new);
        assert!(!path.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_somebody_removed_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/site/control");
        let mut socket = Socket::bind(&path).await.unwrap();
        fs::remove_dir_all(folder.path().join("run")).unwrap();
        let connect = async {
            while UnixStream::connect(&path).await.is_err() {
                tokio::time::sleep(CHECK).await;
            }
        };
        let both = async { tokio::join!(socket.accept(), connect) };
        let (accepted, ()) = timeout(10 * CHECK, both).await.unwrap();
        assert_eq!(accepted.unwrap().1.uid, geteuid());
        assert_eq!(mode(&path), 0o660);
    }

    #[tokio::test]
    async fn what_is_no_socket_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        fs::write(&path, "mine").unwrap();
        let error = Socket::bind(&path).await.unwrap_err().to_string();
        assert!(error.contains("is no socket; remove it"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
