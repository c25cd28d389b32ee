//! Watches: reports to the scanner at once which account's folder changed.
//!
//! One watch for the directory and one for each folder, not recursive, each set before the folder is
//! read, so nothing falls between. Events only wake the scanner, which checks the whole folder
//! anyway. Our own changes (temporary files, and tokens that are renamed over `.use`) wake nobody.
//! Where the kernel gives no watches (a limit, a network file system), the full scan each minute
//! finds what there is.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use notify::event::{EventKindMask, ModifyKind, RenameMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::install::is_temporary;
use super::wakes::Wake;
use crate::model::{FileId, is_account};

/// Events that may need a scan: not a change of mode or owner, which changes no content.
const EVENTS: EventKindMask = EventKindMask::CREATE
    .union(EventKindMask::REMOVE)
    .union(EventKindMask::MODIFY_DATA)
    .union(EventKindMask::MODIFY_NAME);

/// The kernel's watches on the directory and its folders.
pub(super) struct Watcher {
    notify: Option<RecommendedWatcher>,
    root: PathBuf,
    wake: Sender<Wake>,
    /// Folders with a watch: which file the folder was.
    watched: BTreeMap<Arc<str>, (u64, u64)>,
    failure_reported: bool,
    limit_reported: bool,
}

impl Watcher {
    /// A watcher of a directory that watches nothing yet.
    pub(super) fn new(root: &Path, wake: Sender<Wake>) -> Self {
        Self {
            notify: None,
            root: root.to_owned(),
            wake,
            watched: BTreeMap::new(),
            failure_reported: false,
            limit_reported: false,
        }
    }

    /// Watches the directory for new and removed folders, if that is not done yet: other programs may have had all of what
    /// the kernel gives.
    pub(super) fn start(&mut self) {
        if self.notify.is_some() {
            return;
        }
        match begin(&self.root, self.wake.clone()) {
            Ok(notify) => {
                self.notify = Some(notify);
                if std::mem::take(&mut self.failure_reported) {
                    tracing::info!("inotify is available: changes are noticed at once");
                }
            }
            Err(error) if !std::mem::replace(&mut self.failure_reported, true) => tracing::warn!(
                "inotify unavailable ({error}): changes are noticed by the scan each minute; raise \
                 fs.inotify.max_user_instances and max_user_watches"
            ),
            Err(_) => {}
        }
    }

    /// Watches an account's folder, which is this file.
    pub(super) fn watch(&mut self, user: &Arc<str>, folder: FileId) {
        let place = (folder.device, folder.inode);
        if self.watched.get(user) == Some(&place) {
            return;
        }
        self.unwatch(user);
        let path = self.root.join(&**user);
        let Some(notify) = &mut self.notify else {
            return;
        };
        match notify.watch(&path, RecursiveMode::NonRecursive) {
            Ok(()) => _ = self.watched.insert(user.clone(), place),
            Err(error) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => {
                if !std::mem::replace(&mut self.limit_reported, true) {
                    tracing::warn!(
                        "the kernel's limit of watches is reached at {} folders: changes in others \
                         are noticed by the scan each minute; raise fs.inotify.max_user_watches",
                        self.watched.len()
                    );
                }
            }
            Err(error) => tracing::debug!("{} cannot be watched: {error}", path.display()),
        }
    }

    /// Forgets a folder that is gone.
    pub(super) fn unwatch(&mut self, user: &Arc<str>) {
        if self.watched.remove(user).is_some()
            && let Some(notify) = &mut self.notify
        {
            // The kernel ended the watch with the folder.
            let _ = notify.unwatch(&self.root.join(&**user));
        }
    }

    /// Number of watched folders.
    pub(super) fn len(&self) -> usize {
        self.watched.len()
    }
}

/// Begins to watch a directory.
fn begin(root: &Path, wake: Sender<Wake>) -> notify::Result<RecommendedWatcher> {
    let path = root.to_owned();
    let mut own_rename = None;
    let on_event = move |event: notify::Result<Event>| {
        let wakes = match event {
            Ok(event) if is_own_rename(&event, &mut own_rename) => Vec::new(),
            Ok(event) => wakes(&event, &path),
            Err(error) => {
                tracing::debug!("inotify: {error}");
                vec![Wake::ScanAll]
            }
        };
        for changed in wakes {
            // The scanner has ended.
            let _ = wake.send(changed);
        }
    };
    let config = Config::default()
        .with_event_kinds(EVENTS)
        .with_follow_symlinks(false);
    let mut notify = RecommendedWatcher::new(on_event, config)?;
    notify.watch(root, RecursiveMode::NonRecursive)?;
    Ok(notify)
}

/// `true` for the events of a rename from a temporary file of ours. The kernel gives both halves of a
/// rename one number (`own`: that of our latest).
fn is_own_rename(event: &Event, own: &mut Option<usize>) -> bool {
    let name = |path: &PathBuf| {
        path.file_name()
            .and_then(OsStr::to_str)
            .is_some_and(is_temporary)
    };
    match event.kind {
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
            let is_own = event.paths.iter().any(name);
            *own = event.tracker().filter(|_| is_own);
            is_own
        }
        EventKind::Modify(ModifyKind::Name(_)) => own.is_some() && event.tracker() == *own,
        _ => false,
    }
}

/// The scans that an event asks for.
fn wakes(event: &Event, root: &Path) -> Vec<Wake> {
    if event.need_rescan() {
        return vec![Wake::ScanAll];
    }
    let paths = event.paths.iter();
    let mut wakes: Vec<Wake> = paths.filter_map(|p| wake(event.kind, p, root)).collect();
    wakes.dedup();
    wakes
}

/// The scan that a change at a path asks for, if somebody else made it and it may need a renewal.
fn wake(kind: EventKind, path: &Path, root: &Path) -> Option<Wake> {
    if path == root {
        // Files of ours are made there; that it is gone is found by the next scan.
        return matches!(kind, EventKind::Remove(_)).then_some(Wake::ScanAll);
    }
    let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
    if folder == root {
        let of_a_folder = !matches!(kind, EventKind::Modify(ModifyKind::Data(_)))
            && is_account(name)
            && !matches!(name, "pid" | "CREDMON_COMPLETE");
        return of_a_folder.then(|| Wake::Folder(name.into()));
    }
    let is_credential =
        !is_temporary(name) && matches!(name.rsplit_once('.'), Some((_, "top" | "use")));
    let user = folder.file_name()?.to_str()?;
    is_credential.then(|| Wake::Scan(user.into()))
}

#[cfg(test)]
mod tests;
