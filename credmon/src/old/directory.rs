//! The credential directory as it is: which credentials there are, and what changed since the last
//! look.
//!
//! [`Directory::look_at`] takes no hint of what happened in a folder; it looks at all of it, and
//! reads only the files that changed. [`Directory::glance_at`] is for telling that this is not needed.
//! No secret is kept: of a `.top` only where its token is read, of a `.use` only its life. Whatever a
//! folder holds, the others are served; a folder or file that vanishes in the middle is as if it had
//! never been there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag};
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC,
    TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs,
};
use nix::unistd::{Gid, getegid};

use crate::old::complete_top::{TopStamp, read_top};
use crate::old::folder::{FileId, Folder};
use crate::old::folders::Folders;
use crate::old::listing::{self, Listing, Trust};
use crate::old::service_name::CredentialId;
use crate::old::top_file::{Lane, TopFault};
use crate::old::use_file;
use crate::old::used::Used;

/// A credential as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub id: CredentialId,
    /// Which `.top`.
    pub stamp: TopStamp,
    /// Whom to ask, or what is wrong with the `.top`.
    pub top: Result<Arc<Lane>, Box<TopFault>>,
    /// The access token in place.
    pub used: Option<Used>,
}

/// What a look at one account's folder found.
#[derive(Debug, Default)]
pub struct Found {
    /// The credentials, in no order.
    pub credentials: Vec<Seen>,
    /// What is odd there and therefore left alone: a path below the directory, and why.
    pub oddities: BTreeMap<String, String>,
}

/// Why the directory cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryFault {
    /// The configuration names none.
    #[error(
        "no credential directory is configured: set SEC_CREDENTIAL_DIRECTORY_OAUTH, or name one with --cred-dir"
    )]
    NotConfigured,
    /// Others may look into it or write there.
    #[error(
        "credential directory {path} is open to others (mode {mode:04o}): set it to 2770, owned by root and condor's group"
    )]
    Open {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The system refuses.
    #[error("credential directory {path} cannot be used: {step}: {}", errno.desc())]
    Refused {
        /// Which.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What the system says.
        errno: Errno,
    },
}

/// The credential directory, checked and open.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    root: Folder,
    /// The group of access tokens.
    group: Gid,
    /// The device that the directory is on.
    device: u32,
    /// Whether that is the machine's memory.
    is_memory: bool,
    /// Whether the kernel sees all that changes there.
    is_local: bool,
}

/// File systems that nobody changes but through this host's kernel, so that it can tell of each
/// change.
const LOCAL: [FsType; 6] = [
    TMPFS_MAGIC,
    EXT4_SUPER_MAGIC,
    XFS_SUPER_MAGIC,
    BTRFS_SUPER_MAGIC,
    F2FS_SUPER_MAGIC,
    OVERLAYFS_SUPER_MAGIC,
];

impl Directory {
    /// Opens the directory, and makes it when it is missing (mode 2770).
    ///
    /// # Errors
    /// It is open to others, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, DirectoryFault> {
        let refused = |step| {
            move |errno| DirectoryFault::Refused {
                path: path.to_owned(),
                step,
                errno,
            }
        };
        let root = match Folder::open(path) {
            Err(Errno::ENOENT) => {
                make(path).map_err(refused("making it"))?;
                Folder::open(path)
            }
            other => other,
        }
        .map_err(refused("opening it"))?;
        let stat = root.stat().map_err(refused("looking at it"))?;
        if stat.st_mode & Mode::S_IRWXO.bits() != 0 {
            return Err(DirectoryFault::Open {
                path: path.to_owned(),
                mode: stat.st_mode & 0o7777,
            });
        }
        let access = nix::unistd::AccessFlags::R_OK
            | nix::unistd::AccessFlags::W_OK
            | nix::unistd::AccessFlags::X_OK;
        nix::unistd::faccessat(&root, ".", access, nix::fcntl::AtFlags::AT_EACCESS)
            .map_err(refused("reading and writing there"))?;
        let hands_on = stat.st_mode & Mode::S_ISGID.bits() != 0;
        let group = if hands_on {
            Gid::from_raw(stat.st_gid)
        } else {
            getegid()
        };
        // One that cannot be asked is taken for a disk elsewhere.
        let kind = fstatfs(&root).map(|system| system.filesystem_type()).ok();
        Ok(Self {
            path: path.to_owned(),
            root,
            group,
            device: FileId::from(&stat).device(),
            is_memory: kind == Some(TMPFS_MAGIC),
            is_local: kind.is_some_and(|kind| LOCAL.contains(&kind)),
        })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its descriptor.
    #[must_use]
    pub fn root(&self) -> &Folder {
        &self.root
    }

    /// The group of access tokens, whatever folder they are in: the directory's own where it hands
    /// that on (set-group-id, as HTCondor wants it), else ours. HTCondor's own monitor makes them in
    /// the directory itself, which comes to the same. As it was at the look that opened the
    /// directory.
    #[must_use]
    pub fn group(&self) -> Gid {
        self.group
    }

    /// Whether the credential of a stamp is kept in the machine's memory alone: nothing is ever
    /// waited for there, and nothing outlives a power failure.
    #[must_use]
    pub fn is_in_memory(&self, stamp: &TopStamp) -> bool {
        self.is_memory && stamp.own.device() == self.device
    }

    /// Whether the `.top` of a credential is still the one of a stamp, without reading it; `None`
    /// when it is gone. It is looked for by its path, for its folder may have been replaced.
    #[must_use]
    pub fn is_still(&self, id: &CredentialId, stamp: &TopStamp) -> Option<bool> {
        let file = |name: &str| {
            let path = format!("{}/{name}", id.user());
            let stat = self.root.look(&path).ok().flatten();
            stat.as_ref().map(FileId::from)
        };
        let own = file(&id.top_name())?;
        let parent = (stamp.parent.as_ref()).and_then(|_| file(&id.parent()?.top_name()));
        let parent = parent.map(Box::new);
        Some(*stamp == TopStamp { own, parent })
    }

    /// Goes through the names in it. Files of ours that were left behind are removed by the way.
    /// Whether there is no other file of ours that is being written.
    ///
    /// # Errors
    /// The directory itself cannot be read.
    pub fn go_through(
        &self,
        now: Timestamp,
        each: impl FnMut(&str),
    ) -> Result<bool, DirectoryFault> {
        listing::go_through(&self.root, now, each).map_err(|errno| DirectoryFault::Refused {
            path: self.path.clone(),
            step: "listing it",
            errno,
        })
    }

    /// Which file an account's folder is, where that tells whether names were added or removed in it
    /// and where the kernel tells of all else that happens: on a file system of this host's, the
    /// same as the directory's. One system call.
    #[must_use]
    pub fn glance_at(&self, user: &str) -> Option<FileId> {
        if !self.is_local {
            return None;
        }
        let stat = self.root.look(user).ok().flatten()?;
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        let folder = FileId::from(&stat);
        let is_here = kind == SFlag::S_IFDIR && folder.device() == self.device;
        is_here.then_some(folder)
    }

    /// Looks at an account's folder. `known` is what an earlier look found there, and `folders` tell
    /// whether that is all; `watch` is called with the folder before it is read.
    pub fn look_at(
        &self,
        user: &Arc<str>,
        now: Timestamp,
        known: Vec<Seen>,
        folders: &mut Folders,
        watch: impl FnOnce(FileId, &mut Folders),
    ) -> Found {
        let mut found = Found::default();
        let listed = folders.take(user);
        let odd = match self.root.folder(user) {
            Ok(folder) => {
                folders.add(user);
                let looked = folder.stat().and_then(|stat| {
                    let file = FileId::from(&stat);
                    watch(file, folders);
                    let all = listed == Some(file);
                    let trust = observe_folder(user, &folder, file, now, known, all, &mut found)?;
                    if let Some(trust) = trust {
                        folders.remember(user, file, trust);
                    }
                    Ok(())
                });
                let fault = looked.err().filter(|errno| *errno != Errno::ENOENT);
                fault.map(Errno::desc)
            }
            Err(Errno::ENOENT) => None,
            // Plain files stand here by right: marks, pid, CREDMON_COMPLETE, keys.
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                let link = |stat: nix::sys::stat::FileStat| {
                    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFLNK
                };
                let is_link = self.root.look(user).ok().flatten().is_some_and(link);
                is_link.then_some("a symbolic link is not followed")
            }
            Err(error) => Some(error.desc()),
        };
        if let Some(why) = odd {
            found.oddities.insert(user.to_string(), why.to_owned());
        }
        found
    }

    /// Deletes a credential, `.use` first; not when `.top` is another by now.
    ///
    /// # Errors
    /// What the system says.
    pub fn delete(&self, id: &CredentialId, stamp: &TopStamp) -> Result<(), Errno> {
        let folder = self.root.folder(id.user())?;
        if read_top(&folder, id).is_none_or(|(is, _)| is != *stamp) {
            return Ok(());
        }
        folder.remove(&id.use_name())?;
        folder.remove(&id.top_name())
    }
}

/// Makes the directory. The mode is set explicitly, whatever the umask.
fn make(path: &Path) -> Result<(), Errno> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .map_err(|e| e.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    }
    match nix::unistd::mkdir(path, Mode::S_IRWXU) {
        Ok(()) => {}
        Err(Errno::EEXIST) => return Ok(()),
        Err(error) => return Err(error),
    }
    let made = Folder::open(path)?;
    nix::sys::stat::fchmod(&made, Mode::S_ISGID | Mode::S_IRWXU | Mode::S_IRWXG)
}

/// Looks at the credentials in a folder, which is this file: at those that are `known`, where that is
/// `all` of them, else at those that are listed.
fn observe_folder(
    user: &Arc<str>,
    folder: &Folder,
    file: FileId,
    now: Timestamp,
    mut known: Vec<Seen>,
    all: bool,
    found: &mut Found,
) -> Result<Option<Trust>, Errno> {
    known.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let listing = if all {
        Listing::as_before(known.iter().map(|seen| seen.id.clone()).collect())
    } else {
        Listing::of(user, folder, file, now)?
    };
    for name in listing.odd {
        found.oddities.insert(
            format!("{user}/{name}"),
            "HTCondor's service names have letters, digits and -+=_. only".to_owned(),
        );
    }
    let listed = listing.credentials.len();
    let mut known = known.into_iter().peekable();
    for id in listing.credentials {
        while known.next_if(|seen| seen.id < id).is_some() {}
        let before = known.next_if(|seen| seen.id == id);
        found.credentials.extend(see(folder, id, before));
    }
    // When one is gone since, or the system refused to tell, a glance would not look for it.
    let has_all = found.credentials.len() == listed;
    Ok(listing.trust.filter(|_| has_all))
}

fn see(folder: &Folder, id: CredentialId, before: Option<Seen>) -> Option<Seen> {
    let file = |name: &str| {
        let stat = folder.look(name).ok().flatten();
        stat.as_ref().map(FileId::from)
    };
    let own = file(&id.top_name())?;
    let is_unchanged = |seen: &Seen| {
        let lender = seen.stamp.parent.as_deref();
        let top = seen.top.as_ref().map_err(|fault| &**fault);
        seen.stamp.own == own
            && lender.copied() == lender.and_then(|_| file(&id.parent()?.top_name()))
            && !matches!(top, Err(TopFault::NoParent(_)))
    };
    let (unchanged, used) = match before {
        Some(seen) if is_unchanged(&seen) => (Some((seen.id, seen.stamp, seen.top)), seen.used),
        Some(seen) => (None, seen.used),
        None => (None, None),
    };
    let (id, stamp, top) = if let Some(unchanged) = unchanged {
        unchanged
    } else {
        let (stamp, top) = read_top(folder, &id)?;
        let lane = top.map(|top| Arc::new(Lane::of(&top.url)));
        (id, stamp, lane.map_err(Box::new))
    };
    let used_file = file(&id.use_name());
    let used = used.filter(|used| Some(used.file) == used_file);
    let used = used.or_else(|| used_file.and_then(|_| use_file::look(folder, &id)));
    Some(Seen {
        id,
        stamp,
        top,
        used,
    })
}

#[cfg(test)]
mod tests;
