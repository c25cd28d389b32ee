//! State that survives a restart: one file, `state.json` in the state directory, and one writer.
//!
//! Always true: it contains no secret. A change is in memory at once, and on disk a moment later, so that a login or
//! token whose maker is killed is known to the next start; who must not go on before that waits for `Store::written`. A
//! reader of the file sees the old state or the new one, never a part. A disk that hangs or is full delays only the
//! writing: it is reported (`Store::problem`) and counted, and the state is written as soon as the disk answers. Where there
//! is no file the lifetimes of tokens at credds are estimates, until each token is replaced; one that cannot be read ends the
//! start, since it says what was revoked.

mod content;
mod file;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::model::delivery::DeliveryId;
use crate::model::records::TokenRecords;
use crate::system::locked::locked;
pub(crate) use content::{Change, Content, Unfinished};

/// Delay after a change of the set of tokens, so that changes within this time are written together. The file is written
/// as a whole: without it, a start of 2,000 deliveries spends most of its processor time on that.
const GATHER: Duration = Duration::from_millis(25);
/// The same for changes that leave the set of tokens as it is: expiries that were read, mostly. A large site has
/// several a second.
const GATHER_FACTS: Duration = Duration::from_mins(1);
/// Longest pause after a failed write.
const RETRY: Duration = Duration::from_secs(10);
/// Time after which a disk that does not answer is reported.
const HANGS: Duration = Duration::from_secs(10);

/// The state. Cheap to clone; the last clone that is dropped ends the writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    shared: Arc<Shared>,
    writer: Option<Arc<AbortOnDropHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Notify,
    /// The set of tokens changed, or a caller waits for the disk.
    urgent: Notify,
    /// Number of changes that are on disk.
    written: watch::Sender<u64>,
    /// Number of writes that failed.
    failed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    content: Content,
    /// Number of changes.
    changes: u64,
    problem: Option<String>,
    /// Reason why revocations may be missing, since a start.
    missing: Option<String>,
}

impl Store {
    /// Reads the state of a directory, and writes its changes there from now on. Files of earlier versions are
    /// converted. Blocks while it reads; must be called within a runtime.
    ///
    /// # Errors
    /// The state is there and cannot be read: the reason, and what to do.
    pub(crate) fn open(state: &Path) -> Result<Self, String> {
        let (content, is_carried) = file::load(state, true)?;
        let mut store = Self::of(content);
        store.inner().missing = file::missing_revocations(state);
        let writer = write_changes(Arc::clone(&store.shared), state.to_owned());
        store.writer = Some(Arc::new(AbortOnDropHandle::new(tokio::spawn(writer))));
        if is_carried {
            store.change(|_| ());
        }
        Ok(store)
    }

    /// Reads the state of a directory, as far as this user may; changes stay in memory.
    pub(crate) fn read_only(state: &Path) -> Self {
        let read = file::load(state, false);
        Self::of(read.map(|(content, _)| content).unwrap_or_default())
    }

    fn of(content: Content) -> Self {
        let store = Self::default();
        store.inner().content = content;
        store
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner()
    }

    /// Calls `read` with the state.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&Content) -> R) -> R {
        read(&self.inner().content)
    }

    /// Changes the state.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Content) -> R) -> R {
        let mut inner = self.inner();
        let result = change(&mut inner.content);
        inner.changes += 1;
        drop(inner);
        self.shared.urgent.notify_one();
        self.shared.changed.notify_one();
        result
    }

    /// Replaces the records of a delivery; an equal one is not written again.
    pub(crate) fn record(&self, id: &DeliveryId, records: TokenRecords, now: Timestamp) {
        self.change_if(|content| content.record(id, records, now));
    }

    /// Returns the records of a delivery.
    pub(crate) fn records_of(&self, id: &DeliveryId) -> Option<TokenRecords> {
        self.read(|content| content.deliveries.get(id).cloned())
    }

    /// Removes tokens and logins that have expired.
    pub(crate) fn drop_expired(&self, now: Timestamp) {
        self.change_if(|content| content.drop_expired(now));
    }

    /// Applies `change`, which returns its extent.
    pub(crate) fn change_if(&self, change: impl FnOnce(&mut Content) -> Change) {
        let mut inner = self.inner();
        let change = change(&mut inner.content);
        if change == Change::Nothing {
            return;
        }
        inner.changes += 1;
        drop(inner);
        if change == Change::Tokens {
            self.shared.urgent.notify_one();
        }
        self.shared.changed.notify_one();
    }

    /// Waits until everything that was changed before is on disk.
    ///
    /// # Errors
    /// It is not within the deadline: the reason, and what to do.
    pub(crate) async fn written(&self, deadline: Duration) -> Result<(), String> {
        if self.writer.is_none() {
            return Ok(());
        }
        let changes = self.inner().changes;
        let mut written = self.shared.written.subscribe();
        let mut failed = self.shared.failed.subscribe();
        self.shared.urgent.notify_one();
        let is_written = tokio::select! {
            biased;
            written = written.wait_for(|written| *written >= changes) => written.is_ok(),
            _ = failed.changed() => false,
            () = tokio::time::sleep(deadline) => false,
        };
        let slow = || "the state directory is written too slowly".to_owned();
        if is_written {
            Ok(())
        } else {
            Err(self.problem().unwrap_or_else(slow))
        }
    }

    /// Reason why the state is not on disk, or is not whole; `None` while all is well.
    pub(crate) fn problem(&self) -> Option<String> {
        let inner = self.inner();
        inner.problem.as_ref().or(inner.missing.as_ref()).cloned()
    }

    /// Number of writes that failed.
    #[cfg(test)]
    pub(crate) fn failures(&self) -> u64 {
        *self.shared.failed.borrow()
    }
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        locked(&self.inner)
    }

    /// Records the result of a write.
    fn report(&self, problem: Option<String>) {
        let mut inner = self.inner();
        match (&inner.problem, &problem) {
            (before, Some(problem)) if before.as_ref() != Some(problem) => warn!("{problem}"),
            (Some(_), None) => info!("state directory writable again"),
            _ => {}
        }
        inner.problem = problem;
    }
}

/// The writer: one write at a time, on a thread for operations that block.
async fn write_changes(shared: Arc<Shared>, state: PathBuf) {
    let mut pause = GATHER_FACTS;
    loop {
        while shared.inner().changes <= *shared.written.borrow() {
            shared.changed.notified().await;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.urgent.notified() => tokio::time::sleep(GATHER).await,
        }
        let (path, source) = (state.clone(), Arc::clone(&shared));
        let mut writing = tokio::task::spawn_blocking(move || {
            let changes = source.inner().changes;
            file::save(&path, &source)?;
            let missing = file::missing_revocations(&path);
            source.inner().missing = missing;
            io::Result::Ok(changes)
        });
        let ended = loop {
            tokio::select! {
                ended = &mut writing => break ended,
                () = tokio::time::sleep(HANGS) => {
                    let words = format!("the disk of the state directory {} does not answer", state.display());
                    shared.report(Some(words));
                }
            }
        };
        let result = ended.unwrap_or_else(|error| Err(error.into()));
        match result {
            Ok(changes) => {
                pause = GATHER_FACTS;
                shared.report(None);
                shared.written.send_replace(changes);
            }
            Err(error) => {
                pause = RETRY;
                shared.report(Some(format!(
                    "the state directory {} cannot be written: {error}; correct `state` or the directory's owner and \
                     permissions, or make room",
                    state.display()
                )));
                shared.failed.send_modify(|failed| *failed += 1);
            }
        }
    }
}

#[cfg(test)]
mod tests;
