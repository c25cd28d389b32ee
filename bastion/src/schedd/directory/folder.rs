//! An account's folder in a credential directory: opened, made, read and written as the credd does.
//!
//! Always true: everything is relative to descriptors of directories, and below the credential directory no
//! symbolic link is followed; a file is replaced at once or not at all, and is on disk when
//! [`Folder::replace`] returns. The credential directory itself is the admin's and may be a link. Nothing is
//! stored where others could read or replace it ([`super::exposure`]).

use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use jiff::Timestamp;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::signal::kill;
use nix::sys::stat::{Mode, fchmod, fstatat, mkdirat};
use nix::unistd::{Pid, UnlinkatFlags, fchown, geteuid, unlinkat};
use secrecy::SecretString;

use super::exposure::{Attributes, check_directory, check_folder, owner_of_folders};
use crate::model::problem::Kind;
use crate::system::files::{self, ReadError, is_passing};

/// A `.top` is a few hundred bytes; more than this is none of ours.
const TOP_LIMIT: u64 = 64 * 1024;

/// Begin of the name of a file that is being written; the writer's process id follows.
const TEMPORARY: &str = ".bastion-";

pub(super) struct Folder(File);

/// Reason why a folder, or a file in it, cannot be used, with advice.
#[derive(Debug, thiserror::Error)]
pub(super) enum FolderError {
    #[error("{0}; {advice}", advice = advice(.0))]
    System(#[from] io::Error),
    #[error("{0}")]
    Refused(String),
}

impl FolderError {
    /// Kind of the problem that it is for a delivery.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::System(error) if is_passing(error) => Kind::Local,
            _ => Kind::Transport,
        }
    }
}

impl From<Errno> for FolderError {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

fn advice(error: &io::Error) -> &'static str {
    use nix::libc::{ELOOP, ENOTDIR};
    match error.raw_os_error() {
        Some(ELOOP | ENOTDIR) => {
            "a symbolic link or a file is where a folder is expected, remove it"
        }
        _ => match error.kind() {
            io::ErrorKind::NotFound => "make it (mode 2770, root:condor), or correct the path",
            io::ErrorKind::PermissionDenied => {
                "run the service as root, or as a user who may write there"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
            io::ErrorKind::ReadOnlyFilesystem => {
                "its file system is read-only for this service; in the systemd unit name it in ReadWritePaths"
            }
            _ => "see the system's words",
        },
    }
}

/// Process that writes a temporary file with this name.
fn writer_of(name: &str) -> Option<Pid> {
    let rest = name.strip_prefix(TEMPORARY)?.strip_suffix(".tmp")?;
    let (writer, _) = rest.split_once('-')?;
    writer
        .parse()
        .ok()
        .filter(|writer| *writer > 0)
        .map(Pid::from_raw)
}

type Result<T, E = FolderError> = std::result::Result<T, E>;

/// Checks a credential directory and the folders there are of these accounts, as before a token is
/// stored. Returns the directory's device and inode.
pub(super) fn check(
    directory: &Path,
    accounts: &[String],
) -> io::Result<((u64, u64), Vec<String>)> {
    let directory = open_directory(directory)?;
    let metadata = directory.metadata()?;
    let above = Attributes::of(&metadata);
    let mut exposures: Vec<String> = check_directory(above).err().into_iter().collect();
    for account in accounts {
        // A folder that cannot be opened is reported when something is stored there.
        if let Ok(folder) = open_below(&directory, account) {
            let folder = Attributes::of(&folder.metadata()?);
            exposures.extend(check_folder(account, folder, above).err());
        }
    }
    Ok(((metadata.dev(), metadata.ino()), exposures))
}

impl Folder {
    pub(super) fn open(directory: &Path, account: &str) -> Result<Option<Self>> {
        let directory = open_directory(directory)?;
        Ok(if_there(open_below(&directory, account))?.map(Self))
    }

    /// Opens the account's folder for storing, made when it is missing.
    pub(super) fn open_or_make(directory: &Path, account: &str) -> Result<Self> {
        let directory = open_directory(directory)?;
        let above = Attributes::of(&directory.metadata()?);
        check_directory(above).map_err(FolderError::Refused)?;
        loop {
            if let Some(folder) = if_there(open_below(&directory, account))? {
                let checked = check_folder(account, Attributes::of(&folder.metadata()?), above);
                return checked.map(|()| Self(folder)).map_err(FolderError::Refused);
            }
            match mkdirat(&directory, account, Mode::S_IRWXU) {
                Ok(()) => {
                    let folder = open_below(&directory, account)?;
                    if geteuid().is_root() {
                        let (user, group) = owner_of_folders(above)?;
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

    /// Time when a file was last written; `None` when there is none.
    pub(super) fn written(&self, name: &str) -> Result<Option<Timestamp>> {
        // Not opened: it may be readable by its owner alone.
        let stat = fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let Some(stat) = if_there(stat)? else {
            return Ok(None);
        };
        match files::other_kind(stat.st_mode) {
            None => Ok(Some(moment(stat.st_mtime, stat.st_mtime_nsec))),
            Some(kind) => Err(not_plain(name, kind)),
        }
    }

    /// A file's text and when it was written; `None` when there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<(SecretString, Timestamp)>> {
        let flags = OFlag::O_RDONLY
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC;
        let file = match openat(&self.0, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(not_plain(name, "a symbolic link")),
            Err(Errno::ENXIO) => return Err(not_plain(name, "a socket")),
            Err(error) => return Err(error.into()),
        };
        // A file that is no text, or too long, is no content of ours; the caller sees another one.
        let text = match files::read_from(&file, TOP_LIMIT) {
            Ok(content) => String::from_utf8(content.to_vec()).unwrap_or_default(),
            Err(ReadError::TooLarge(_)) => String::new(),
            Err(ReadError::NotPlain(kind)) => return Err(not_plain(name, kind)),
            Err(ReadError::System(error)) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        let written = moment(metadata.mtime(), metadata.mtime_nsec());
        Ok(Some((SecretString::from(text), written)))
    }

    /// Replaces a file, with mode 0600 and the folder's owner.
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> Result<()> {
        // Without the file's own name, which may be as long as a name can be.
        let random = RandomState::new().build_hasher().finish();
        let temporary = format!("{TEMPORARY}{}-{random:016x}.tmp", std::process::id());
        self.remove_leftovers();
        let written = self.write_new(&temporary, content).and_then(|()| {
            renameat(&self.0, temporary.as_str(), &self.0, name)?;
            Ok(self.0.sync_all()?)
        });
        if written.is_err() {
            // Best effort; the error that matters is the first.
            let _ = unlinkat(&self.0, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Removes temporary files of processes that were killed while they wrote: each holds a vault token. Best effort.
    fn remove_leftovers(&self) {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(mut entries) = Dir::openat(&self.0, ".", flags, Mode::empty()) else {
            return;
        };
        for name in entries
            .iter()
            .flatten()
            .map(|entry| entry.file_name().to_owned())
        {
            let writer = name.to_str().ok().and_then(writer_of);
            if writer.is_some_and(|writer| kill(writer, None) == Err(Errno::ESRCH)) {
                let _ = unlinkat(&self.0, name.as_c_str(), UnlinkatFlags::NoRemoveDir);
            }
        }
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        if if_there(unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir))?.is_some() {
            self.0.sync_all()?;
        }
        Ok(())
    }

    fn write_new(&self, name: &str, content: &[u8]) -> Result<()> {
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
        Ok(file.sync_all()?)
    }
}

fn not_plain(name: &str, kind: &str) -> FolderError {
    FolderError::Refused(format!(
        "{name} is {kind}, and a plain file is expected there; remove it"
    ))
}

fn if_there<T>(result: Result<T, Errno>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
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
    Ok(File::from(openat(directory, name, flags, Mode::empty())?))
}
