//! The credential directory: opened, checked, and the operations of a renewal on its files.
//!
//! A folder or file that vanishes during work is as if it had never been there. An error of the
//! system is reported as one; it is never a verdict on a credential.

use std::path::{Path, PathBuf};

use htvault::AccessTokenAnswer;
use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::unistd::{Gid, getegid};

use super::folder::{Folder, file_id};
use super::install::{InstallError, Step, take_version};
use super::top::{self, CompleteTop};
use super::use_file;
use crate::model::{
    CredentialId, Failure, FileId, Outcome, SEE_TO_FILES, TokenInfo, TopProblem, TopStamp,
};

/// The credential directory, open.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Device and inode.
    place: (u64, u64),
    root: Folder,
    /// Group of access tokens.
    group: Gid,
    /// In the machine's memory nothing is synced.
    is_memory: bool,
    /// Permissions that should not be, while the daemon runs.
    warning: Option<String>,
}

/// Why the directory cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error(
        "no credential directory is configured: set SEC_CREDENTIAL_DIRECTORY_OAUTH, or name one with --cred-dir"
    )]
    NotConfigured,
    #[error(
        "credential directory {path} is open to others (mode {mode:04o}): set it to 2770, owned by root and condor's group"
    )]
    Open { path: PathBuf, mode: u32 },
    #[error(
        "credential directory {path} is gone: bring it back (it is not made anew while this daemon runs)"
    )]
    Gone { path: PathBuf },
    #[error("credential directory {path} cannot be used: {step}: {}", errno.desc())]
    System {
        path: PathBuf,
        step: &'static str,
        errno: Errno,
    },
}

impl DirectoryError {
    /// `true` for an error of the system that says nothing of a directory that is open.
    pub(crate) fn may_pass(&self) -> bool {
        let is_gone = |errno: &Errno| matches!(errno, Errno::ENOENT | Errno::ENOTDIR);
        matches!(self, Self::System { errno, .. } if !is_gone(errno))
    }
}

impl Directory {
    /// Opens the directory. At the start (nothing was `served` yet) it is made with mode 2770 when it
    /// is missing. One that others may enter is refused, as HTCondor's own monitor does; a change of
    /// the mode of the one that is served stops nothing and is a warning.
    pub(crate) fn open(path: &Path, served: Option<(u64, u64)>) -> Result<Self, DirectoryError> {
        let error = |step| {
            move |errno| DirectoryError::System {
                path: path.to_owned(),
                step,
                errno,
            }
        };
        let root = match Folder::open(path) {
            Err(Errno::ENOENT) if served.is_none() => {
                make(path).map_err(error("making it"))?;
                Folder::open(path)
            }
            Err(Errno::ENOENT) => {
                return Err(DirectoryError::Gone {
                    path: path.to_owned(),
                });
            }
            other => other,
        }
        .map_err(error("opening it"))?;
        let stat = root.stat().map_err(error("reading its mode"))?;
        let mode = stat.st_mode & 0o7777;
        let open_to_others = stat.st_mode & Mode::S_IRWXO.bits() != 0;
        let warning = DirectoryError::Open {
            path: path.to_owned(),
            mode,
        };
        let place = (stat.st_dev, stat.st_ino);
        if open_to_others && served != Some(place) {
            return Err(warning);
        }
        // HTCondor's own monitor makes tokens in the directory itself, so they get its group where
        // it is set-group-id.
        let inherits = stat.st_mode & Mode::S_ISGID.bits() != 0;
        Ok(Self {
            path: path.to_owned(),
            place,
            group: if inherits {
                Gid::from_raw(stat.st_gid)
            } else {
                getegid()
            },
            is_memory: fstatfs(&root).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC),
            warning: open_to_others.then(|| warning.to_string()),
            root,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn place(&self) -> (u64, u64) {
        self.place
    }

    pub(crate) fn root(&self) -> &Folder {
        &self.root
    }

    pub(crate) fn warning(&self) -> Option<String> {
        self.warning.clone()
    }

    /// Names of files and folders in it.
    pub(crate) fn names(&self) -> Result<Vec<String>, DirectoryError> {
        self.root.names().map_err(|errno| DirectoryError::System {
            path: self.path.clone(),
            step: "listing it",
            errno,
        })
    }

    /// Reads the `.top` that a decision was made from.
    pub(crate) fn fetch(
        &self,
        id: &CredentialId,
        stamp: &TopStamp,
    ) -> Result<CompleteTop, Outcome> {
        let folder = self.folder(id)?;
        match top::read(&folder, id) {
            Some((found, Ok(top))) if found == *stamp => Ok(top),
            // A passing error of the system says nothing of the credential.
            Some((_, Err(problem @ TopProblem::Unreadable(_)))) => Err(Outcome::Failed(
                Failure::local(problem.to_string(), SEE_TO_FILES),
            )),
            _ => Err(Outcome::Changed),
        }
    }

    /// Installs an access token, if `.top` and `.use` are still those that the decision was made
    /// from.
    pub(crate) fn install(
        &self,
        id: &CredentialId,
        stamp: &TopStamp,
        current: Option<FileId>,
        answer: &AccessTokenAnswer,
        now: Timestamp,
    ) -> Result<TokenInfo, Outcome> {
        let folder = self.folder(id)?;
        let present = |name: &str| {
            let stat = folder.stat_of(name).map_err(|errno| failed(id, errno))?;
            Ok::<_, Outcome>(stat.as_ref().map(file_id))
        };
        let is_same_top = top::is_of(stamp, id, present)?;
        let is_same_use = current.is_none() || present(&id.use_name())? == current;
        if !is_same_top || !is_same_use {
            return Err(Outcome::Changed);
        }
        let written = use_file::write(&folder, self.group, !self.is_memory, id, answer, now);
        written.map_err(|error| match error {
            InstallError::System {
                step: Step::Create | Step::Rename,
                errno: Errno::ENOENT,
            } => Outcome::Changed,
            error => Outcome::Failed(Failure::local(
                format!("the access token cannot be installed: {error}"),
                "make the directory writable for this daemon, or make room on its disk",
            )),
        })
    }

    /// Deletes a credential; not when its `.top` is another by now, at whatever moment that comes.
    pub(crate) fn delete(&self, id: &CredentialId, stamp: &TopStamp) -> Result<(), Errno> {
        let folder = self.root.folder(id.user())?;
        let found = top::read(&folder, id).map(|(found, _)| found);
        if found.as_ref() == Some(stamp)
            && let Some(_taken) = take_version(&folder, &id.top_name(), stamp.own)?
        {
            folder.remove(&id.use_name())?;
        }
        Ok(())
    }

    fn folder(&self, id: &CredentialId) -> Result<Folder, Outcome> {
        self.root.folder(id.user()).map_err(|errno| match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => Outcome::Changed,
            errno => failed(id, errno),
        })
    }
}

fn failed(id: &CredentialId, errno: Errno) -> Outcome {
    Outcome::Failed(Failure::local(
        format!(
            "the folder of {} cannot be read: {}",
            id.user(),
            errno.desc()
        ),
        SEE_TO_FILES,
    ))
}

/// Makes the directory. The mode is set explicitly, whatever the umask.
fn make(path: &Path) -> Result<(), Errno> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|e| Errno::try_from(e).unwrap_or(Errno::EIO))?;
    }
    match nix::unistd::mkdir(path, Mode::S_IRWXU) {
        Ok(()) => {}
        Err(Errno::EEXIST) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    let made = Folder::open(path)?;
    fchmod(&made, Mode::S_ISGID | Mode::S_IRWXU | Mode::S_IRWXG)
}

#[cfg(test)]
mod tests;
