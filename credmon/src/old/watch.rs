//! Notices at once when something changes in the credential directory.
//!
//! Told is in which folders something changed, not what: whoever waits looks at these anew, or at
//! everything when it is not clear where (the kernel's queue ran over, the directory itself moved).
//! Changes that this daemon makes itself (temporary files, `.use`, `pid`) wake nobody. Where the
//! kernel gives no watches (a limit, a network file system), the regular look each minute finds
//! what there is; a limit that is reached is said once. Which folder has which watch is kept in
//! [`Folders`]: [`Folders::covers`] says of which folders one can trust in being told; after a queue
//! that ran over, of none until it is looked at again.
//!
//! The kernel's interface is used directly, with one watch for the directory and one for each
//! folder, each set before the folder is read, so nothing falls between; a library's recursive
//! watch sets it after the event of the folder's creation, and reports files opened for reading
//! too, our own included.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::old::folder::{FileId, Folder, Place};
use crate::old::folders::Folders;

const ROOT: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

const FOLDER: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_ONLYDIR)
    .union(AddWatchFlags::IN_DONT_FOLLOW);

struct Events(Inotify);

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[allow(
    deprecated,
    reason = "tokio's replacement is unsafe to call; its condition, that the descriptor stays \
              open and the same, holds since Events owns it and never gives it away"
)]
fn register(inotify: Inotify) -> std::io::Result<AsyncFd<Events>> {
    AsyncFd::with_interest(Events(inotify), Interest::READABLE)
}

/// Least time between two readings of the kernel's queue. Each token that is put in place makes
/// four events there, which are none of our business: in a rush many are read at once.
const READ_GAP: Duration = Duration::from_millis(2);

/// Where something changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// In these folders.
    pub folders: BTreeSet<Arc<str>>,
    /// It is not clear where.
    pub everything: bool,
}

/// The kernel's watches on the directory and its folders.
pub struct Watch {
    events: Option<AsyncFd<Events>>,
    path: PathBuf,
    root: Option<Place>,
    limit_told: bool,
    /// When the kernel's queue is read again at the earliest.
    read_again: Option<Instant>,
    /// Tests cannot change the kernel's limit, ...
    #[cfg(test)]
    limit: Option<usize>,
    /// ... nor let it lose events.
    #[cfg(test)]
    pub(crate) is_deaf: bool,
}

impl Watch {
    /// Makes it; nothing is watched yet.
    #[must_use]
    pub fn new() -> Self {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let events = Inotify::init(flags)
            .map_err(std::io::Error::from)
            .and_then(register);
        let events = events
            .inspect_err(|error| {
                tracing::warn!(
                    "changes are only noticed each minute, for inotify cannot be used ({error}); \
                     if too many are in use, raise sysctl fs.inotify.max_user_instances and restart"
                );
            })
            .ok();
        Self {
            events,
            path: PathBuf::new(),
            root: None,
            limit_told: false,
            read_again: None,
            #[cfg(test)]
            limit: None,
            #[cfg(test)]
            is_deaf: false,
        }
    }

    /// Watches the directory for new and vanished folders.
    pub fn root(&mut self, path: &Path, root: &Folder, folders: &mut Folders) {
        let place = root.stat().ok().map(|stat| FileId::from(&stat).place());
        if self.root == place && self.path == path {
            return;
        }
        path.clone_into(&mut self.path);
        folders.forget_watches();
        self.root = place.filter(|_| self.add(path, ROOT, folders).is_some());
    }

    /// Watches an account's folder, which is this file.
    pub fn folder(&mut self, name: &str, file: FileId, folders: &mut Folders) {
        if folders.covers(name, file) {
            return;
        }
        if let Some(watch) = self.add(&self.path.join(name), FOLDER, folders) {
            folders.watch(name, file, watch);
        }
    }

    /// At most this many folders are watched.
    #[cfg(test)]
    pub(crate) fn limited(limit: usize) -> Self {
        Self {
            limit: Some(limit),
            ..Self::new()
        }
    }

    #[cfg(test)]
    fn is_full(&self, folders: &Folders) -> bool {
        self.limit.is_some_and(|limit| folders.watched() >= limit)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "only tests have a limit of their own")]
    fn is_full(&self, _: &Folders) -> bool {
        false
    }

    fn add(
        &mut self,
        path: &Path,
        what: AddWatchFlags,
        folders: &Folders,
    ) -> Option<WatchDescriptor> {
        let events = self.events.as_ref()?;
        let added = if self.is_full(folders) {
            Err(Errno::ENOSPC)
        } else {
            events.get_ref().0.add_watch(path, what)
        };
        match added {
            Ok(watch) => Some(watch),
            Err(Errno::ENOSPC) => {
                if !std::mem::replace(&mut self.limit_told, true) {
                    tracing::warn!(
                        "the kernel's limit of watches is reached at {} folders; changes in further \
                         ones are noticed each minute only; raise sysctl fs.inotify.max_user_watches",
                        folders.watched()
                    );
                }
                None
            }
            Err(error) => {
                tracing::debug!("{} cannot be watched: {error}", path.display());
                None
            }
        }
    }

    /// Waits until something changed in the directory or in one of these folders. Nothing is lost
    /// when it is cancelled.
    pub async fn changed(&mut self, folders: &mut Folders) -> Change {
        loop {
            let Some(events) = &self.events else {
                return std::future::pending().await;
            };
            if let Some(at) = self.read_again {
                tokio::time::sleep_until(at).await;
                self.read_again = None;
            }
            let Ok(mut ready) = events.readable().await else {
                return std::future::pending().await;
            };
            self.read_again = Some(Instant::now() + READ_GAP);
            let mut change = Change::default();
            loop {
                match events.get_ref().0.read_events() {
                    Ok(some) if some.is_empty() => break,
                    Ok(some) => {
                        for event in some {
                            #[cfg(test)]
                            if self.is_deaf {
                                continue;
                            }
                            change.take_in(&event, folders);
                        }
                    }
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => {
                        ready.clear_ready();
                        break;
                    }
                    Err(error) => {
                        tracing::debug!("inotify: {error}");
                        ready.clear_ready();
                        break;
                    }
                }
            }
            drop(ready);
            if change != Change::default() {
                return change;
            }
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

impl Change {
    fn take_in(&mut self, event: &InotifyEvent, folders: &mut Folders) {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            // The end of a watch may be among what was lost: each is set again, which changes
            // nothing for one that is still there.
            folders.doubt_watches();
            self.everything = true;
            return;
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            // The folder is gone; another one in its place may get its number.
            self.folders.extend(folders.watch_ended(event.wd));
            return;
        }
        if !is_relevant(event) {
            return;
        }
        let named = event.name.as_deref().and_then(std::ffi::OsStr::to_str);
        let folder = match folders.watched_by(event.wd) {
            Some(folder) => Some(Arc::clone(folder)),
            None if event.mask.contains(AddWatchFlags::IN_ISDIR) => {
                named.map(|name| folders.kept(name))
            }
            None => None,
        };
        match folder {
            Some(folder) => _ = self.folders.insert(folder),
            None => self.everything = true,
        }
    }
}

/// Whether an event is one that somebody else made and that may need a renewal.
fn is_relevant(event: &InotifyEvent) -> bool {
    let always =
        AddWatchFlags::IN_ISDIR | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
    if event.mask.intersects(always) {
        return true;
    }
    let name = event.name.as_deref().unwrap_or_default().as_encoded_bytes();
    // While a `.top` is written there is nothing to read yet. A `.use` of ours is written under
    // another name, put in place, and then closed.
    let of_a_top = !AddWatchFlags::IN_MODIFY;
    let of_a_use = AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_ATTRIB;
    let is_of = |ending: &[u8], events| name.ends_with(ending) && event.mask.intersects(events);
    is_of(b".top", of_a_top) || is_of(b".use", of_a_use)
}

#[cfg(test)]
mod tests;
