//! Notices at once when something changes in the credential directory.
//!
//! Only that something changed is told, not what: whoever waits looks at everything anew. Changes
//! that this daemon makes itself (temporary files, `.use`, `pid`) wake nobody. Where the kernel
//! gives no watches (a limit, a network file system), the regular look each minute finds what
//! there is; a limit that is reached is said once.
//!
//! The kernel's interface is used directly, with one watch for the directory and one for each
//! folder, each set before the folder is read, so nothing falls between; a library's recursive
//! watch sets it after the event of the folder's creation, and reports files opened for reading
//! too, our own included.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::folder::Folder;

const ROOT: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

const FOLDER: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
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

/// Device and inode of a folder that is watched.
type Place = (u64, u64);

/// The watches on the directory and its folders.
pub struct Watch {
    events: Option<AsyncFd<Events>>,
    path: PathBuf,
    root: Option<Place>,
    folders: HashMap<String, Place>,
    limit_told: bool,
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
                    "changes are only noticed each minute, for inotify cannot be used: {error}"
                );
            })
            .ok();
        Self {
            events,
            path: PathBuf::new(),
            root: None,
            folders: HashMap::new(),
            limit_told: false,
        }
    }

    /// Watches the directory for new and vanished folders.
    pub fn root(&mut self, path: &Path, root: &Folder) {
        let place = place(root);
        if self.root == place && self.path == path {
            return;
        }
        path.clone_into(&mut self.path);
        self.folders.clear();
        self.root = place.filter(|_| self.add(path, ROOT));
    }

    /// Watches an account's folder.
    pub fn folder(&mut self, name: &str, folder: &Folder) {
        let Some(place) = place(folder) else {
            return;
        };
        if self.folders.get(name) != Some(&place) && self.add(&self.path.join(name), FOLDER) {
            self.folders.insert(name.to_owned(), place);
        }
    }

    /// Forgets folders that are gone; the kernel has dropped their watches.
    pub fn keep(&mut self, present: &[String]) {
        if self.folders.len() > present.len() {
            let present: std::collections::HashSet<&String> = present.iter().collect();
            self.folders.retain(|name, _| present.contains(name));
        }
    }

    fn add(&mut self, path: &Path, what: AddWatchFlags) -> bool {
        let Some(events) = &self.events else {
            return false;
        };
        match events.get_ref().0.add_watch(path, what) {
            Ok(_) => true,
            Err(Errno::ENOSPC) => {
                if !std::mem::replace(&mut self.limit_told, true) {
                    tracing::warn!(
                        "the kernel's limit of watches is reached at {} folders; changes in further \
                         ones are noticed each minute only; raise sysctl fs.inotify.max_user_watches",
                        self.folders.len()
                    );
                }
                false
            }
            Err(error) => {
                tracing::debug!("{} cannot be watched: {error}", path.display());
                false
            }
        }
    }

    /// Waits until something changed. Nothing is lost when it is cancelled.
    pub async fn changed(&mut self) {
        let Some(events) = &self.events else {
            return std::future::pending().await;
        };
        loop {
            let Ok(mut ready) = events.readable().await else {
                return std::future::pending().await;
            };
            let mut matters = false;
            loop {
                match events.get_ref().0.read_events() {
                    Ok(read) if read.is_empty() => break,
                    Ok(read) => matters |= read.iter().any(is_relevant),
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
            if matters {
                return;
            }
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

fn place(folder: &Folder) -> Option<Place> {
    let stat = folder.stat().ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// Whether an event is one that somebody else made and that may need a renewal.
fn is_relevant(event: &InotifyEvent) -> bool {
    let always = AddWatchFlags::IN_Q_OVERFLOW
        | AddWatchFlags::IN_ISDIR
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF;
    if event.mask.intersects(always) {
        return true;
    }
    let name = event.name.as_deref().unwrap_or_default().as_encoded_bytes();
    let taken_away = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
    name.ends_with(b".top") || (name.ends_with(b".use") && event.mask.intersects(taken_away))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};

    struct Fixture {
        dir: tempfile::TempDir,
        watch: Watch,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("u")).unwrap();
            let mut watch = Watch::new();
            let root = Folder::open(dir.path()).unwrap();
            watch.root(dir.path(), &root);
            watch.folder("u", &root.folder("u").unwrap());
            Self { dir, watch }
        }

        fn put(&self, name: &str) {
            let folder = self.dir.path().join("u");
            fs::write(folder.join(".credmon-1.tmp"), "x").unwrap();
            fs::rename(folder.join(".credmon-1.tmp"), folder.join(name)).unwrap();
        }

        /// Events are there as soon as the change is made, so a wait either ends or there is none.
        async fn is_woken(&mut self) -> bool {
            for _ in 0..3 {
                let mut wait = std::pin::pin!(self.watch.changed());
                let polled = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                if polled == Poll::Ready(()) {
                    return true;
                }
                tokio::task::yield_now().await;
            }
            false
        }
    }

    #[tokio::test]
    async fn others_changes_wake_and_our_own_do_not() {
        let mut f = Fixture::new();
        assert!(!f.is_woken().await);
        f.put("cms.top");
        assert!(f.is_woken().await);
        assert!(!f.is_woken().await);
        f.put("cms.use");
        fs::write(f.dir.path().join("pid"), "1").unwrap();
        let _ = fs::read(f.dir.path().join("u/cms.top"));
        assert!(!f.is_woken().await);
        fs::remove_file(f.dir.path().join("u/cms.use")).unwrap();
        assert!(f.is_woken().await);
        fs::create_dir(f.dir.path().join("v")).unwrap();
        assert!(f.is_woken().await);
        fs::remove_dir_all(f.dir.path().join("u")).unwrap();
        assert!(f.is_woken().await);
    }

    #[tokio::test]
    async fn a_folder_made_anew_is_watched_anew() {
        let mut f = Fixture::new();
        fs::remove_dir_all(f.dir.path().join("u")).unwrap();
        fs::create_dir(f.dir.path().join("u")).unwrap();
        assert!(f.is_woken().await);
        let root = Folder::open(f.dir.path()).unwrap();
        f.watch.keep(&[]);
        f.watch.folder("u", &root.folder("u").unwrap());
        f.put("cms.top");
        assert!(f.is_woken().await);
    }
}
