//! Watches: which account's folder changed, as the kernel reports it at once (inotify).
//!
//! One watch for the directory and one for each folder, not recursive, each set before the folder is
//! read, so nothing falls between. Events only ask for scans, which check the whole folder
//! anyway. Our own changes (temporary files, and tokens that are renamed over `.use`) ask for none.
//! Where the kernel gives no watches (a limit, a network file system), the full scan each minute
//! finds what there is.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::inotify::{
    AddWatchFlags as Flags, InitFlags, Inotify, InotifyEvent, WatchDescriptor,
};

use super::install::is_temporary;
use super::wakes::{Pending, Wake};
use crate::model::{FileId, is_account};

/// Changes of names in a folder, not of the folder itself.
const NAMES: Flags = Flags::IN_CREATE
    .union(Flags::IN_DELETE)
    .union(Flags::IN_MOVE)
    .union(Flags::IN_ONLYDIR);
/// The same, and those of content, in a folder that is no link: a change of mode or owner is none.
const FILES: Flags = NAMES.union(Flags::IN_MODIFY).union(Flags::IN_DONT_FOLLOW);

/// Readings of events in a row, of 4096 bytes each: who makes events without end holds up no scan.
const READINGS: usize = 64;

/// The kernel's watches on the directory and its folders.
#[derive(Default)]
pub(super) struct Watcher {
    root: PathBuf,
    watches: Option<Watches>,
    failure_reported: bool,
    limit_reported: bool,
}

/// Watches that are set.
struct Watches {
    inotify: Inotify,
    root: WatchDescriptor,
    folders: BTreeMap<Arc<str>, Watch>,
    /// Whose folder a watch belongs to.
    accounts: BTreeMap<WatchDescriptor, Arc<str>>,
    /// Number of the rename that this daemon made last: the kernel gives both halves of a rename one.
    own_rename: Option<u32>,
}

struct Watch {
    descriptor: WatchDescriptor,
    /// Device and inode of the folder.
    place: (u64, u64),
}

impl Watcher {
    /// A watcher of a directory that watches nothing yet.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            ..Self::default()
        }
    }

    /// Watches the directory for new and removed folders, if that is not done yet: other programs may have had all of what
    /// the kernel gives.
    pub(super) fn start(&mut self) {
        if self.watches.is_some() {
            return;
        }
        match Watches::begin(&self.root) {
            Ok(watches) => {
                self.watches = Some(watches);
                if std::mem::take(&mut self.failure_reported) {
                    tracing::info!("inotify is available: changes are noticed at once");
                }
            }
            Err(errno) if !std::mem::replace(&mut self.failure_reported, true) => tracing::warn!(
                "inotify unavailable ({}): changes are noticed by the scan each minute; raise \
                 fs.inotify.max_user_instances and max_user_watches",
                errno.desc()
            ),
            Err(_) => {}
        }
    }

    /// Watches an account's folder, which is this file.
    pub(super) fn watch(&mut self, user: &Arc<str>, folder: FileId) {
        let Some(watches) = &mut self.watches else {
            return;
        };
        let place = folder.place();
        if watches.folders.get(user).map(|watch| watch.place) == Some(place) {
            return;
        }
        watches.remove(user);
        let path = self.root.join(&**user);
        match watches.inotify.add_watch(&path, FILES) {
            Ok(descriptor) => watches.add(user, Watch { descriptor, place }),
            Err(Errno::ENOSPC) => {
                if !std::mem::replace(&mut self.limit_reported, true) {
                    tracing::warn!(
                        "the kernel's limit of watches is reached at {} folders: changes in others \
                         are noticed by the scan each minute; raise fs.inotify.max_user_watches",
                        self.len()
                    );
                }
            }
            Err(errno) => tracing::debug!("{} cannot be watched: {errno}", path.display()),
        }
    }

    /// Forgets a folder that is gone.
    pub(super) fn unwatch(&mut self, user: &Arc<str>) {
        if let Some(watches) = &mut self.watches {
            watches.remove(user);
        }
    }

    /// Number of watched folders.
    pub(super) fn len(&self) -> usize {
        self.watches.as_ref().map_or(0, |all| all.folders.len())
    }

    /// Can be read when there are events.
    pub(super) fn events(&self) -> Option<BorrowedFd<'_>> {
        self.watches.as_ref().map(|all| all.inotify.as_fd())
    }

    /// Adds the scans that events ask for.
    pub(super) fn report(&mut self, pending: &mut Pending) {
        for _ in 0..READINGS {
            let Some(watches) = &mut self.watches else {
                return;
            };
            let is_alive = match watches.inotify.read_events() {
                Ok(events) => events.iter().all(|event| watches.take(event, pending)),
                Err(Errno::EAGAIN) => return,
                Err(errno) => {
                    tracing::debug!("inotify: {errno}");
                    false
                }
            };
            if !is_alive {
                // The next full scan sets all anew: folders may have come in the place of others.
                self.watches = None;
                pending.add(Wake::ScanAll);
            }
        }
    }
}

impl Watches {
    fn begin(root: &Path) -> nix::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Self {
            root: inotify.add_watch(root, NAMES)?,
            inotify,
            folders: BTreeMap::new(),
            accounts: BTreeMap::new(),
            own_rename: None,
        })
    }

    fn add(&mut self, user: &Arc<str>, watch: Watch) {
        // The kernel gives a folder that was renamed the watch that it had.
        if let Some(before) = self.accounts.insert(watch.descriptor, user.clone()) {
            self.folders.remove(&before);
        }
        self.folders.insert(user.clone(), watch);
    }

    fn remove(&mut self, user: &Arc<str>) {
        if let Some(watch) = self.folders.remove(user) {
            self.accounts.remove(&watch.descriptor);
            // The kernel ends the watch of a folder that is gone.
            let _ = self.inotify.rm_watch(watch.descriptor);
        }
    }

    /// Takes an event; `false` when events were lost, or the watch of the directory has ended.
    fn take(&mut self, event: &InotifyEvent, pending: &mut Pending) -> bool {
        if event.mask.contains(Flags::IN_Q_OVERFLOW) {
            return false;
        }
        if event.mask.contains(Flags::IN_IGNORED) {
            if let Some(user) = self.accounts.remove(&event.wd) {
                self.folders.remove(&user);
            }
            return event.wd != self.root;
        }
        if let Some(wake) = self.wake(event) {
            pending.add(wake);
        }
        true
    }

    /// The scan that an event asks for, if somebody else made the change and it may need a renewal.
    fn wake(&mut self, event: &InotifyEvent) -> Option<Wake> {
        let name = event.name.as_ref()?.to_str()?;
        if event.wd == self.root {
            // Files beside the folders are others' or our own; a link in the place of a folder is found each minute.
            let is_folder = event.mask.contains(Flags::IN_ISDIR) && is_account(name);
            return is_folder.then(|| Wake::Folder(name.into()));
        }
        if event.mask.contains(Flags::IN_MOVED_FROM) {
            self.own_rename = is_temporary(name).then_some(event.cookie);
        }
        let is_own = is_temporary(name)
            || event.mask.contains(Flags::IN_MOVED_TO) && self.own_rename == Some(event.cookie);
        let is_credential = matches!(name.rsplit_once('.'), Some((_, "top" | "use")));
        let user = self.accounts.get(&event.wd)?;
        (is_credential && !is_own).then(|| Wake::Scan(user.clone()))
    }
}

#[cfg(test)]
mod tests;
