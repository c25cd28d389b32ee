//! An account's folder in a credential directory: opened, made, read and written as the credd does.
//!
//! What holds: everything is relative to descriptors of directories, and below the credential
//! directory no symbolic link is followed; a file is replaced at once or not at all, and is on
//! disk when [`Folder::replace`] returns. The credential directory itself is the admin's and may
//! be a link.

use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{Group, UnlinkatFlags, User, fchown, geteuid, unlinkat};
use secrecy::SecretString;

/// A `.top` is a few hundred bytes; more than this is none of ours.
const TOP_LIMIT: u64 = 64 * 1024;

/// An account's folder.
pub(super) struct Folder(File);

impl Folder {
    /// Opens the account's folder; `None` when there is none.
    pub(super) fn open(directory: &Path, account: &str) -> io::Result<Option<Self>> {
        let directory = open_directory(directory)?;
        match open_below(&directory, account) {
            Ok(folder) => Ok(Some(Self(folder))),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the account's folder, made when it is missing.
    pub(super) fn open_or_make(directory: &Path, account: &str) -> io::Result<Self> {
        let directory = open_directory(directory)?;
        loop {
            match open_below(&directory, account) {
                Ok(folder) => return Ok(Self(folder)),
                Err(Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
            match mkdirat(&directory, account, Mode::S_IRWXU) {
                Ok(()) => {
                    let folder = open_below(&directory, account)?;
                    if geteuid().is_root() {
                        let (user, group) = owner_of_folders(&directory)?;
                        fchown(&folder, Some(user.into()), Some(group.into()))?;
                    }
                    // After the owner: a change of owner takes the bit away.
                    fchmod(&folder, Mode::S_IRWXU | Mode::S_ISGID)?;
                    directory.sync_all()?;
                    return Ok(Self(folder));
                }
                // Somebody else made it meanwhile.
                Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// When a file was last written; `None` when there is none.
    pub(super) fn written(&self, name: &str) -> io::Result<Option<Timestamp>> {
        // Only looked at, never opened: it may be readable by its owner alone.
        match fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if SFlag::from_bits_truncate(stat.st_mode).contains(SFlag::S_IFREG) => {
                Ok(Some(moment(stat.st_mtime, stat.st_mtime_nsec)))
            }
            Ok(_) => Err(Errno::ELOOP.into()),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A file's text and when it was written; `None` when there is none.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<(SecretString, Timestamp)>> {
        let Some(file) = self.open_file(name)? else {
            return Ok(None);
        };
        let metadata = file.metadata()?;
        let mut text = String::new();
        // What is no text is no content of ours; the caller sees another content.
        match file.take(TOP_LIMIT).read_to_string(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => text.clear(),
            Err(error) => return Err(error),
        }
        Ok(Some((SecretString::from(text), written(&metadata))))
    }

    fn open_file(&self, name: &str) -> io::Result<Option<File>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        match openat(&self.0, name, flags, Mode::empty()) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a file with mode 0600 and the folder's owner in place of what is there.
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = format!(
            ".{name}.{:016x}.tmp",
            RandomState::new().build_hasher().finish()
        );
        let written = self.write_new(&temporary, content).and_then(|()| {
            renameat(&self.0, temporary.as_str(), &self.0, name)?;
            self.0.sync_all()
        });
        if written.is_err() {
            // Best effort; the error that matters is the first.
            let _ = unlinkat(&self.0, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Removes a file, if there is one.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => self.0.sync_all(),
            Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn write_new(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let mut file = File::from(openat(&self.0, name, flags, mode)?);
        let (folder, own) = (self.0.metadata()?, file.metadata()?);
        if (folder.uid(), folder.gid()) != (own.uid(), own.gid()) {
            fchown(&file, Some(folder.uid().into()), Some(folder.gid().into()))?;
        }
        // The mode as asked for, whatever the umask.
        fchmod(&file, mode)?;
        file.write_all(content)?;
        file.sync_all()
    }
}

fn written(metadata: &std::fs::Metadata) -> Timestamp {
    moment(metadata.mtime(), metadata.mtime_nsec())
}

fn moment(seconds: i64, nanoseconds: i64) -> Timestamp {
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or(0);
    Timestamp::new(seconds, nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(File::from(openat(AT_FDCWD, path, flags, Mode::empty())?))
}

fn open_below(directory: &File, name: &str) -> Result<File, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder: OwnedFd = openat(directory.as_fd(), name, flags, Mode::empty())?;
    Ok(File::from(folder))
}

/// Who owns folders: the credd makes them for HTCondor's user, after whom the directory's group is
/// named; without such a user, the directory's owner.
fn owner_of_folders(directory: &File) -> io::Result<(u32, u32)> {
    let metadata = directory.metadata()?;
    let group = Group::from_gid(metadata.gid().into())?;
    let user = match group {
        Some(group) => User::from_name(&group.name)?.map(|user| user.uid.as_raw()),
        None => None,
    };
    Ok((user.unwrap_or(metadata.uid()), metadata.gid()))
}
