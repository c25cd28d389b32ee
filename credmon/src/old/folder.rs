//! Folders of the credential directory, always by descriptor: no symbolic link is followed, and a
//! folder that is replaced while we work is not confused with its successor.

use std::os::fd::{AsFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// What tells a file from every other and from an earlier content: where it is and when anything of
/// it changed last. (The time of its content's last change would tell no more: it moves with that one,
/// or is set at will.) Short, for several are kept of each credential. The default is no file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u32,
    /// Length in bytes, as far as it fits: its change times tell longer ones apart.
    size: u32,
    inode: u64,
    /// Time of the last change of anything, a rename included.
    pub changed: FileTime,
}

impl FileId {
    /// The device that it is on.
    #[must_use]
    pub fn device(&self) -> u32 {
        self.device
    }

    /// Where it is, whatever becomes of it there.
    #[must_use]
    pub fn place(&self) -> Place {
        (self.device, self.inode)
    }
}

/// Device and inode.
pub type Place = (u32, u64);

/// A time of a file: nanoseconds since 1970, as many as the file system keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileTime(i64);

impl FileTime {
    fn new(seconds: i64, nanoseconds: i64) -> Self {
        Self(
            seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(nanoseconds),
        )
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn as_second(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }
}

impl From<&FileStat> for FileId {
    fn from(stat: &FileStat) -> Self {
        Self {
            // Linux numbers its devices with 32 bits.
            device: u32::try_from(stat.st_dev).unwrap_or(u32::MAX),
            size: u32::try_from(stat.st_size).unwrap_or(u32::MAX),
            inode: stat.st_ino,
            changed: FileTime::new(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// A folder that is open.
#[derive(Debug)]
pub struct Folder(OwnedFd);

/// Why a file could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// There is none.
    Missing,
    /// It is something else than a plain file.
    NotAFile(&'static str),
    /// It is larger than allowed.
    TooLarge,
    /// The system refuses.
    Refused(Errno),
}

const FOLDER: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

impl Folder {
    /// Opens a directory by its path. Links on the way are followed: an admin chose it.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &std::path::Path) -> Result<Self, Errno> {
        nix::fcntl::open(path, FOLDER.difference(OFlag::O_NOFOLLOW), Mode::empty()).map(Self)
    }

    /// Opens a folder in this one, if it is one and no link to one.
    ///
    /// # Errors
    /// What the system says: `ENOENT`, or `ENOTDIR` or `ELOOP` for what is no folder.
    pub fn folder(&self, name: &str) -> Result<Self, Errno> {
        openat(&self.0, name, FOLDER, Mode::empty()).map(Self)
    }

    /// The folder's own mode, owner and so on.
    ///
    /// # Errors
    /// What the system says.
    pub fn stat(&self) -> Result<FileStat, Errno> {
        fstat(&self.0)
    }

    /// What is at a name; `None` for nothing. A link is not followed.
    ///
    /// # Errors
    /// What the system says.
    pub fn look(&self, name: &str) -> Result<Option<FileStat>, Errno> {
        match fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Goes through the names in the folder that are text, without `.` and `..`, in no order.
    ///
    /// # Errors
    /// What the system says.
    pub fn go_through(&self, mut each: impl FnMut(&str)) -> Result<(), Errno> {
        // A descriptor of its own, for reading moves its position.
        let again = openat(&self.0, ".", FOLDER, Mode::empty())?;
        for entry in Dir::from_fd(again)? {
            if let Ok(name) = entry?.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                each(name);
            }
        }
        Ok(())
    }

    /// The names in the folder.
    #[cfg(test)]
    pub(crate) fn names(&self) -> Result<Vec<String>, Errno> {
        let mut names = Vec::new();
        self.go_through(|name| names.push(name.to_owned()))?;
        Ok(names)
    }

    /// Reads a plain file of at most `limit` bytes, and says which file it was.
    ///
    /// # Errors
    /// See [`ReadFault`].
    pub fn read(&self, name: &str, limit: usize) -> Result<(FileId, Content), ReadFault> {
        let (stat, content) = self.read_all(name, limit)?;
        Ok((FileId::from(&stat), content))
    }

    /// Reads a plain file of at most `limit` bytes, and tells all that the system knows of it.
    ///
    /// # Errors
    /// See [`ReadFault`].
    pub fn read_all(&self, name: &str, limit: usize) -> Result<(FileStat, Content), ReadFault> {
        // Non-blocking, so that a pipe in the place of a file does not hold us up.
        let flags = OFlag::O_RDONLY
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC;
        let file = openat(&self.0, name, flags, Mode::empty()).map_err(|error| match error {
            Errno::ENOENT => ReadFault::Missing,
            Errno::ELOOP => ReadFault::NotAFile("a symbolic link"),
            Errno::ENXIO => ReadFault::NotAFile("a socket"),
            error => ReadFault::Refused(error),
        })?;
        let stat = fstat(&file).map_err(ReadFault::Refused)?;
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        if kind != SFlag::S_IFREG {
            return Err(ReadFault::NotAFile(kind_name(kind)));
        }
        // Room for one byte more than there is: one call reads all and sees that it is all.
        let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        let mut content = Content::new(vec![0; size.min(limit).saturating_add(1)]);
        let mut have = 0;
        while let Some(room) = content.get_mut(have..).filter(|room| !room.is_empty()) {
            match nix::unistd::read(&file, room) {
                Ok(0) => break,
                Ok(count) => have += count,
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(ReadFault::Refused(error)),
            }
            if have == size {
                break;
            }
        }
        if have > limit {
            return Err(ReadFault::TooLarge);
        }
        content.truncate(have);
        Ok((stat, content))
    }

    /// Removes a file; one that is gone is no error.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, name: &str) -> Result<(), Errno> {
        match unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            other => other,
        }
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Bytes of a file, zeroed when dropped.
pub type Content = secrecy::zeroize::Zeroizing<Vec<u8>>;

/// What something that is no plain file is.
fn kind_name(kind: SFlag) -> &'static str {
    match kind {
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFIFO => "a pipe",
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFSOCK => "a socket",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_plain_files_of_bounded_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("plain"), "content").unwrap();
        std::fs::write(at("large"), [b'x'; 101]).unwrap();
        symlink("plain", at("link")).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let read = |name| folder.read(name, 100).map(|(_, content)| content.to_vec());
        assert_eq!(read("plain").unwrap(), b"content");
        assert_eq!(read("large"), Err(ReadFault::TooLarge));
        assert_eq!(read("link"), Err(ReadFault::NotAFile("a symbolic link")));
        assert_eq!(read("directory"), Err(ReadFault::NotAFile("a directory")));
        assert_eq!(read("pipe"), Err(ReadFault::NotAFile("a pipe")));
        assert_eq!(read("socket"), Err(ReadFault::NotAFile("a socket")));
        assert_eq!(read("none"), Err(ReadFault::Missing));
    }

    #[test]
    fn a_link_to_a_folder_is_not_opened_and_a_removed_folder_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        symlink("real", dir.path().join("link")).unwrap();
        let root = Folder::open(dir.path()).unwrap();
        assert!(matches!(
            root.folder("link").unwrap_err(),
            Errno::ELOOP | Errno::ENOTDIR
        ));
        let real = root.folder("real").unwrap();
        std::fs::remove_dir(dir.path().join("real")).unwrap();
        assert_eq!(real.read("x.top", 10).unwrap_err(), ReadFault::Missing);
        assert_eq!(root.folder("real").unwrap_err(), Errno::ENOENT);
    }

    #[test]
    fn a_file_that_was_replaced_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "1").unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let first = folder.read("a", 10).unwrap().0;
        assert_eq!(first, FileId::from(&folder.look("a").unwrap().unwrap()));
        std::fs::write(dir.path().join("b"), "1").unwrap();
        std::fs::rename(dir.path().join("b"), &path).unwrap();
        assert_ne!(first, folder.read("a", 10).unwrap().0);
    }
}
