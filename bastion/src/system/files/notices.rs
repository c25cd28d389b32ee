//! Change notices for directories, from the kernel (inotify).
//!
//! Always true: a notice only wakes its subscribers, which read their files themselves. Where the kernel gives none (its
//! limits, network file systems), they rescan after a time of their own choice.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use notify::event::EventKindMask;
use notify::{Config, ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::system::locked::locked;

/// Events after which a path may lead to another file, or a file may have another content.
const EVENTS: EventKindMask = EventKindMask::CORE;

/// A watcher of the kernel, for files of one kind: a file system that hangs holds up only its own. It
/// exists from the first directory on.
#[derive(Clone, Debug)]
pub(crate) struct Notices {
    /// `None` when the kernel has no more of them.
    watcher: Arc<OnceLock<Option<Mutex<Watcher>>>>,
    changed: watch::Sender<()>,
    kind: &'static str,
}

#[derive(Debug)]
struct Watcher {
    kernel: RecommendedWatcher,
    /// Directories that the kernel's limit of watches leaves out.
    left_out: BTreeSet<PathBuf>,
}

impl Notices {
    /// Notices of no directory yet; `kind` names the files in messages.
    pub(crate) fn new(kind: &'static str) -> Self {
        Self {
            watcher: Arc::default(),
            changed: watch::Sender::new(()),
            kind,
        }
    }

    /// Notices of all directories, from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Watches a directory, besides others. One that took the place of another has to be watched again;
    /// changes before that are not noticed. Blocks.
    pub(crate) fn watch(&self, directory: &Path) {
        let Some(watcher) = self.watcher.get_or_init(|| self.begin()) else {
            return;
        };
        let mut watcher = locked(watcher);
        let Watcher { kernel, left_out } = &mut *watcher;
        // The path may lead to another directory by now. It may be watched for the first time, too.
        let _ = kernel.unwatch(directory);
        let result = kernel.watch(directory, RecursiveMode::NonRecursive);
        if let Err(error) = &result
            && matches!(error.kind, ErrorKind::MaxFilesWatch)
        {
            // Directories are watched again with each scan of them: it is said once until none is left out.
            if left_out.is_empty() {
                warn!(
                    "the kernel's limit of watches is reached: changes of {} in {} and elsewhere are noticed later; \
                     raise fs.inotify.max_user_watches",
                    self.kind,
                    directory.display()
                );
            }
            left_out.insert(directory.to_owned());
            return;
        }
        left_out.remove(directory);
        if let Err(error) = result {
            debug!("{} cannot be watched: {error}", directory.display());
        }
    }

    fn begin(&self) -> Option<Mutex<Watcher>> {
        let wake = self.changed.clone();
        let on_event = move |event: notify::Result<Event>| {
            if let Err(error) = event {
                debug!("inotify: {error}");
            }
            wake.send_replace(());
        };
        let config = Config::default().with_event_kinds(EVENTS);
        let watcher = RecommendedWatcher::new(on_event, config).inspect_err(|error| {
            warn!(
                "inotify unavailable ({error}): changes of {} are noticed later; raise \
                 fs.inotify.max_user_instances",
                self.kind
            );
        });
        let kernel = watcher.ok()?;
        let left_out = BTreeSet::new();
        Some(Mutex::new(Watcher { kernel, left_out }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn changes_in_watched_directories_wake_all_who_wait() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().join("here");
        fs::create_dir(&here).unwrap();
        let notices = Notices::new("tests");
        let (mut first, mut second) = (notices.subscribe(), notices.subscribe());
        notices.watch(&here);
        notices.watch(&folder.path().join("none"));
        fs::write(here.join("file"), "new").unwrap();
        first.changed().await.unwrap();
        second.changed().await.unwrap();

        // A directory that took the place of another one.
        fs::rename(&here, folder.path().join("gone")).unwrap();
        fs::create_dir(&here).unwrap();
        notices.watch(&here);
        let mut third = notices.subscribe();
        fs::write(here.join("file"), "newer").unwrap();
        third.changed().await.unwrap();
    }
}
