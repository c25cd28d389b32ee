//! Folders by descriptor: no symbolic link is followed, and a folder that is replaced during work is
//! not confused with its successor. Only plain files are read, with a bound and without blocking.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, makedev};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::model::FileId;

/// Bytes of a file, zeroed when dropped.
pub(crate) type Content = secrecy::zeroize::Zeroizing<Vec<u8>>;

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

/// Why a file was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    Missing,
    /// Something else than a plain file.
    NotAFile(&'static str),
    TooLarge,
    System(Errno),
}

const FOLDER: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Identity of a file's present version.
pub(crate) fn file_id(stat: &FileStat) -> FileId {
    FileId {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        changed: stat.st_ctime.saturating_mul(1_000_000_000) + stat.st_ctime_nsec,
    }
}

/// Kind of a file, by its mode.
pub(crate) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Name of what is no plain file.
pub(crate) fn kind_name(kind: SFlag) -> &'static str {
    match kind {
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFIFO => "a pipe",
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFSOCK => "a socket",
        _ => "a device",
    }
}

impl Folder {
    /// Opens a directory by its path. Links on the way are followed: an admin chose it.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        nix::fcntl::open(path, FOLDER.difference(OFlag::O_NOFOLLOW), Mode::empty()).map(Self)
    }

    /// Opens a directory by its absolute path, step by step, through no link.
    pub(crate) fn open_without_links(path: &Path) -> Result<Self, Errno> {
        let mut folder = Self::open(Path::new("/"))?;
        for step in path.components() {
            match step {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => {
                    folder = openat(&folder.0, name, FOLDER, Mode::empty()).map(Self)?;
                }
                Component::ParentDir | Component::Prefix(_) => return Err(Errno::ELOOP),
            }
        }
        Ok(folder)
    }

    /// Opens a folder in this one; `ENOTDIR` or `ELOOP` for what is none.
    pub(crate) fn folder(&self, name: &str) -> Result<Self, Errno> {
        openat(&self.0, name, FOLDER, Mode::empty()).map(Self)
    }

    pub(crate) fn stat(&self) -> Result<FileStat, Errno> {
        fstat(&self.0)
    }

    /// Metadata of what stands at a name, itself if it is a link; `None` for nothing.
    pub(crate) fn stat_of(&self, name: &str) -> Result<Option<FileStat>, Errno> {
        match fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `true` for `/dev/null`, which means "off" as the name of an output file.
    pub(crate) fn is_null_device(&self, name: &str) -> bool {
        let stat = self.stat_of(name).ok().flatten();
        stat.is_some_and(|stat| kind(&stat) == SFlag::S_IFCHR && stat.st_rdev == makedev(1, 3))
    }

    /// Names in the folder that are text, without `.` and `..`, in no order.
    pub(crate) fn names(&self) -> Result<Vec<String>, Errno> {
        self.first_names(usize::MAX).map(|(names, _)| names)
    }

    /// The same, but of so many entries at most: an account may fill its folder. And whether these are all.
    pub(crate) fn first_names(&self, limit: usize) -> Result<(Vec<String>, bool), Errno> {
        // A descriptor of its own, for reading moves its position.
        let again = openat(&self.0, ".", FOLDER, Mode::empty())?;
        let (mut names, mut count) = (Vec::new(), 0);
        for entry in Dir::from_fd(again)? {
            let entry = entry?;
            let name = entry.file_name().to_str();
            if matches!(name, Ok("." | "..")) {
                continue;
            }
            if count == limit {
                return Ok((names, false));
            }
            count += 1;
            names.extend(name.ok().map(str::to_owned));
        }
        Ok((names, true))
    }

    /// Reads a plain file of at most `limit` bytes.
    pub(crate) fn read(&self, name: &str, limit: usize) -> Result<(FileStat, Content), ReadError> {
        // Non-blocking, so that a pipe in the place of a file does not block.
        let flags = OFlag::O_RDONLY
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC;
        let file = openat(&self.0, name, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::ENOENT => ReadError::Missing,
            Errno::ELOOP => ReadError::NotAFile("a symbolic link"),
            Errno::ENXIO => ReadError::NotAFile("a socket"),
            errno => ReadError::System(errno),
        })?;
        let stat = fstat(&file).map_err(ReadError::System)?;
        if kind(&stat) != SFlag::S_IFREG {
            return Err(ReadError::NotAFile(kind_name(kind(&stat))));
        }
        // Room for one byte more than there is: one call reads all and sees that it is all.
        let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        let mut content = Content::new(vec![0; size.min(limit).saturating_add(1)]);
        let mut have = 0;
        while let Some(room) = content.get_mut(have..).filter(|room| !room.is_empty()) {
            match nix::unistd::read(&file, room) {
                Ok(0) => break,
                Ok(count) => have += count,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(ReadError::System(errno)),
            }
        }
        if have > limit {
            return Err(ReadError::TooLarge);
        }
        content.truncate(have);
        Ok((stat, content))
    }

    /// Removes a file; one that is gone is no error.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Errno> {
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

#[cfg(test)]
mod tests;
