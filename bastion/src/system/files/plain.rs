//! Reads of plain files that an admin or another program names.
//!
//! Always true: a FIFO, device, socket or directory is refused with an error, and none of them blocks the caller: the
//! kind is checked before the file is opened, and again when it is open. The size is bounded.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;
use secrecy::zeroize::Zeroizing;

/// Content of a file, zeroed when dropped: some files hold keys.
pub(crate) type FileContent = Zeroizing<Vec<u8>>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    System(#[from] io::Error),
    /// The kind of file, such as "a FIFO".
    #[error("it is {0}, and only plain files are read")]
    NotPlain(&'static str),
    #[error("it is larger than {} KiB", .0 / 1024)]
    TooLarge(u64),
}

impl ReadError {
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::System(_) => "correct the path or its permissions",
            Self::NotPlain(_) => "put a plain file there or correct the path",
            Self::TooLarge(_) => "make it smaller or correct the path",
        }
    }
}

/// Returns true for an error that may pass without a change of what is named or permitted: this host or a file system
/// lacks something for now, or does not answer.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    use nix::libc::{EIO, EPERM, ESTALE, ETIMEDOUT};
    match error.raw_os_error() {
        // Of files and programs, it speaks of their owners.
        Some(EPERM) => false,
        Some(EIO | ESTALE | ETIMEDOUT) => true,
        _ => {
            let is_full = matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            );
            is_full || htvault::is_of_this_host(error)
        }
    }
}

/// Identity and version of a file: another one after it was replaced or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Stamp of the file at a path, behind links; `None` when there is none. Blocks.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Kind of a file by its mode; `None` for a plain file.
pub(crate) fn other_kind(mode: u32) -> Option<&'static str> {
    match SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => None,
        SFlag::S_IFDIR => Some("a directory"),
        SFlag::S_IFIFO => Some("a FIFO"),
        SFlag::S_IFLNK => Some("a symbolic link"),
        SFlag::S_IFSOCK => Some("a socket"),
        _ => Some("a device"),
    }
}

/// Opens a plain file for reading. Links are followed: an admin chose the path.
pub(crate) fn open(path: &Path) -> Result<File, ReadError> {
    // Before it is opened: opening alone has an effect on some devices.
    check_kind(std::fs::metadata(path)?.mode())?;
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags.bits()).open(path)?;
    // Another file may have taken its place meanwhile.
    check_kind(file.metadata()?.mode())?;
    Ok(file)
}

pub(crate) fn read(path: &Path, limit: u64) -> Result<FileContent, ReadError> {
    read_from(&open(path)?, limit)
}

pub(crate) fn read_from(file: &File, limit: u64) -> Result<FileContent, ReadError> {
    let metadata = file.metadata()?;
    check_kind(metadata.mode())?;
    let size = metadata.len().min(limit);
    // Room for one byte more than there is, so that no copy is left behind by a buffer that grows.
    let room = usize::try_from(size).unwrap_or(0).saturating_add(1);
    let mut content = FileContent::new(Vec::with_capacity(room));
    file.take(limit.saturating_add(1))
        .read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|length| length <= limit) {
        Ok(content)
    } else {
        Err(ReadError::TooLarge(limit))
    }
}

fn check_kind(mode: u32) -> Result<(), ReadError> {
    other_kind(mode).map_or(Ok(()), |kind| Err(ReadError::NotPlain(kind)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    fn refusal(path: &Path) -> String {
        read(path, 4).unwrap_err().to_string()
    }

    #[test]
    fn a_plain_file_is_read_up_to_the_limit_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "1234").unwrap();
        symlink(&file, folder.path().join("link")).unwrap();
        assert_eq!(*read(&folder.path().join("link"), 4).unwrap(), b"1234");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(refusal(&file), "it is larger than 0 KiB");
        std::fs::write(&file, "").unwrap();
        assert_eq!(*read(&file, 4).unwrap(), b"");
    }

    #[test]
    fn what_is_no_plain_file_is_refused_in_words_and_blocks_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        symlink(path("fifo"), path("link")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for (path, kind) in [
            (path("fifo"), "a FIFO"),
            (path("link"), "a FIFO"),
            (path("socket"), "a socket"),
            (folder.path().to_owned(), "a directory"),
            ("/dev/zero".into(), "a device"),
        ] {
            let words = format!("it is {kind}, and only plain files are read");
            assert_eq!(refusal(&path), words);
        }
        assert!(refusal(&path("none")).contains("No such file"));
    }

    #[test]
    fn what_this_host_lacks_for_now_is_told_from_what_somebody_has_to_correct() {
        use nix::libc;
        let is_passing = |errno| is_passing(&io::Error::from_raw_os_error(errno));
        for errno in [
            libc::EMFILE,
            libc::ENOMEM,
            libc::EIO,
            libc::ESTALE,
            libc::ENOSPC,
        ] {
            assert!(is_passing(errno), "{errno}");
        }
        for errno in [libc::EPERM, libc::EACCES, libc::ENOENT, libc::EROFS] {
            assert!(!is_passing(errno), "{errno}");
        }
    }

    #[test]
    fn a_file_that_is_replaced_or_written_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(FileStamp::of(&path), None);
        std::fs::write(&path, "old").unwrap();
        let old = FileStamp::of(&path).unwrap();
        assert_eq!(FileStamp::of(&path), Some(old), "nothing happened");
        let new = folder.path().join("new");
        std::fs::write(&new, "new").unwrap();
        std::fs::rename(&new, &path).unwrap();
        let replaced = FileStamp::of(&path).unwrap();
        assert_ne!(replaced, old);
        std::fs::write(&path, "longer").unwrap();
        assert_ne!(FileStamp::of(&path), Some(replaced));
    }

    #[test]
    fn a_file_whose_size_is_not_known_before_is_bounded_too() {
        // Zero by its metadata, and longer than that.
        let error = read(Path::new("/proc/self/status"), 100).unwrap_err();
        assert!(matches!(error, ReadError::TooLarge(100)), "{error}");
        assert!(read(Path::new("/proc/self/status"), 1 << 20).is_ok());
    }
}
