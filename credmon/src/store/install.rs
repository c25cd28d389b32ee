//! Atomic installation of a file: a reader sees the old content or the new one, and nothing between.
//!
//! The new content is a file of its own (random name, made with `O_EXCL`, never through a link),
//! which has its mode, owner and content before it is renamed over the old one. Whatever step fails,
//! the old file is untouched and the new one is removed, if not at once then as a leftover by a later
//! scan. Steps are named, so that an error says where, and tests stop at each.

use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::path::Path;

use htvault::clock::{Clock as _, SystemClock};
use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat};
use nix::unistd::{Gid, Uid, fchown, fsync, linkat};

use super::folder::{Folder, file_id, kind, kind_name};
use crate::model::FileId;

/// Prefix of the names of files that are being written; the writer's process id follows.
const TEMPORARY: &str = ".credmon-";

/// Age in seconds from which on a temporary file of a living process is a leftover, too: its number
/// may have gone to another. Writing takes milliseconds.
const LEFTOVER_AGE: i64 = 120;

/// Names that are looked at beside an output.
const OUTPUT_NAMES: usize = 1000;

/// Steps of an installation, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    SetMode,
    SetOwner,
    Write,
    Sync,
    Rename,
    Check,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "creating the file",
            Self::SetMode => "setting its mode",
            Self::SetOwner => "setting its owner",
            Self::Write => "writing",
            Self::Sync => "writing to disk",
            Self::Rename => "replacing the old file",
            Self::Check => "checking the new file",
        }
    }
}

/// Why a file was not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InstallError {
    #[error("{}: {}", step.name(), errno.desc())]
    System { step: Step, errno: Errno },
    #[error("it is {0}, and only plain files are replaced")]
    NotAFile(&'static str),
}

/// Owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This process's user, and the group that the system gives.
    Own,
    /// This process's user, and this group if the system permits.
    Group(Gid),
    /// These, or it fails.
    Exactly(Uid, Gid),
}

/// Mode, owner and durability of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileAttributes {
    /// Whatever the umask.
    pub(crate) mode: Mode,
    pub(crate) owner: Owner,
    /// The content must be on disk before the file is in place.
    pub(crate) sync: bool,
}

/// Installs a file with this content in place of what is there.
pub(crate) fn install(
    folder: &Folder,
    name: &str,
    attributes: FileAttributes,
    content: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<FileStat, InstallError> {
    let replaceable = [
        SFlag::S_IFREG,
        SFlag::S_IFLNK,
        SFlag::S_IFIFO,
        SFlag::S_IFSOCK,
    ];
    check_kind(folder, name, &replaceable)?;
    let mut temporary = Temporary::new(folder);
    let own = temporary.name.clone();
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // Its owner's rights at most, until it has its owner.
    let first = attributes.mode & Mode::S_IRWXU;
    let created = at(Step::Create, || openat(folder, own.as_str(), flags, first))?;
    let mut file = File::from(created);
    // Before the owner, for only the owner may set it.
    let stat = at(Step::SetMode, || {
        let stat = fstat(&file)?;
        if stat.st_mode & 0o7777 != attributes.mode.bits() {
            fchmod(&file, attributes.mode)?;
        }
        Ok(stat)
    })?;
    at(Step::SetOwner, || set_owner(&file, &stat, attributes.owner))?;
    at(Step::Write, || {
        content(&mut file).map_err(|error| Errno::try_from(error).unwrap_or(Errno::EIO))
    })?;
    if attributes.sync {
        at(Step::Sync, || fsync(&file))?;
    }
    at(Step::Rename, || {
        renameat(folder, own.as_str(), folder, name)
    })?;
    temporary.installed = true;
    // The rename changed the file's times.
    at(Step::Check, || fstat(&file))
}

/// Installs bytes.
pub(crate) fn install_bytes(
    folder: &Folder,
    name: &str,
    attributes: FileAttributes,
    content: &[u8],
) -> Result<FileStat, InstallError> {
    install(folder, name, attributes, |file| file.write_all(content))
}

/// Place of an output file that an admin named: its folder, which `open` opens, and its name; `None` for `/dev/null`.
pub(crate) fn output_place(
    path: &Path,
    open: impl FnOnce(&Path) -> Result<Folder, String>,
) -> Result<Option<(Folder, &str)>, String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or("it names no file")?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let folder = open(parent.unwrap_or(Path::new(".")))?;
    if folder.is_null_device(name) {
        return Ok(None);
    }
    check_output(&folder, name).map_err(|error| error.to_string())?;
    Ok(Some((folder, name)))
}

/// Refuses a name at which something else than a plain file or a link stands: what an admin named
/// as an output may be a device or pipe of the whole machine.
fn check_output(folder: &Folder, name: &str) -> Result<(), InstallError> {
    check_kind(folder, name, &[SFlag::S_IFREG, SFlag::S_IFLNK])
}

fn check_kind(folder: &Folder, name: &str, allowed: &[SFlag]) -> Result<(), InstallError> {
    let stat = at(Step::Create, || folder.stat_of(name))?;
    match stat.as_ref().map(kind) {
        Some(kind) if !allowed.contains(&kind) => Err(InstallError::NotAFile(kind_name(kind))),
        _ => Ok(()),
    }
}

fn set_owner(file: &File, stat: &FileStat, owner: Owner) -> Result<(), Errno> {
    let (user, group) = match owner {
        Owner::Own => return Ok(()),
        Owner::Group(group) => (None, group),
        Owner::Exactly(user, group) => (Some(user), group),
    };
    if stat.st_gid == group.as_raw() && user.is_none_or(|user| stat.st_uid == user.as_raw()) {
        return Ok(());
    }
    match (fchown(file, user, Some(group)), owner) {
        // Only root may give files away; the file of HTCondor's own monitor has its group then, too.
        (Err(_), Owner::Group(_)) => Ok(()),
        (other, _) => other,
    }
}

fn at<T>(step: Step, act: impl FnOnce() -> Result<T, Errno>) -> Result<T, InstallError> {
    #[cfg(test)]
    tests::may_stop(step)?;
    act().map_err(|errno| InstallError::System { step, errno })
}

/// Removes temporary files that a killed run left beside an output. Processes of other hosts may write there, too: only the
/// age counts. The folder may be an agent's own, who may put any number of files there.
pub(crate) fn remove_output_leftovers(folder: &Folder) {
    let (names, _) = folder.first_names(OUTPUT_NAMES).unwrap_or_default();
    remove_leftovers(folder, &names, SystemClock.now(), |_| false);
}

/// Removes temporary files that a killed run left: at once when their writer is gone.
pub(crate) fn remove_leftovers(
    folder: &Folder,
    names: &[String],
    now: Timestamp,
    is_gone: fn(&str) -> bool,
) {
    let mut removed = Vec::new();
    for name in names.iter().filter(|name| is_temporary(name)) {
        let Ok(Some(stat)) = folder.stat_of(name) else {
            continue;
        };
        if is_gone(name) || stat.st_mtime.saturating_add(LEFTOVER_AGE) < now.as_second() {
            match folder.remove(name) {
                Ok(()) => removed.push(name),
                Err(errno) => tracing::debug!("{name} cannot be removed: {errno}"),
            }
        }
    }
    if let Some(first) = removed.first() {
        let count = removed.len();
        tracing::info!(
            "temporary files of runs that were killed removed: {count}, such as {first}"
        );
    }
}

/// `true` when the process of this host that wrote a temporary file has ended.
pub(crate) fn writer_is_gone(name: &str) -> bool {
    let rest = name.strip_prefix(TEMPORARY);
    let writer = rest.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
    writer.is_some_and(|id| id != std::process::id() && !Path::new(&format!("/proc/{id}")).exists())
}

/// `true` for the name of a file that is being written.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}

/// Takes a version of a file out of its place, to be removed when what is returned is dropped; `None` when another one
/// is there, at whatever moment that comes.
pub(super) fn take_version<'a>(
    folder: &'a Folder,
    name: &str,
    version: FileId,
) -> Result<Option<Temporary<'a>>, Errno> {
    let mut taken = Temporary::new(folder);
    let aside = taken.name.as_str();
    match renameat(folder, name, folder, aside) {
        Err(Errno::ENOENT) => return Ok(None),
        renamed => renamed?,
    }
    let stat = folder.stat_of(aside).ok().flatten();
    if stat.is_some_and(|stat| file_id(&stat).place() == version.place()) {
        return Ok(Some(taken));
    }
    match linkat(folder, aside, folder, name, AtFlags::empty()) {
        // Or a newer one came meanwhile.
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(_) => {
            let put_back = renameat(folder, aside, folder, name);
            // What could not be put back is not removed at once.
            taken.installed = true;
            put_back?;
        }
    }
    Ok(None)
}

/// A file that is removed when dropped, unless it was installed.
pub(super) struct Temporary<'a> {
    folder: &'a Folder,
    name: String,
    installed: bool,
}

impl<'a> Temporary<'a> {
    fn new(folder: &'a Folder) -> Self {
        Self {
            folder,
            installed: false,
            name: format!("{TEMPORARY}{}-{:016x}.tmp", std::process::id(), random()),
        }
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        #[cfg(test)]
        if tests::is_cut_off() {
            return;
        }
        if !self.installed
            && let Err(errno) = self.folder.remove(&self.name)
        {
            tracing::debug!("{} cannot be removed: {errno}", self.name);
        }
    }
}

/// Bits that nobody guesses: the standard library's hashes are keyed by the system's randomness.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
pub(crate) mod tests;
