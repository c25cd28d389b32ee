//! What others see: log, status file, metrics file.
//!
//! Two threads of their own write them, the log's and the [`Publisher`]'s: a file that cannot be
//! written, or whose file system hangs, stops nothing and is reported by the others.

mod account_lines;
pub(crate) mod log;
mod metrics;
pub(crate) mod status_file;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::Gid;

pub(crate) use account_lines::AccountLines;

use crate::config::Outputs;
use crate::model::{Heartbeat, Snapshot, lock};
use crate::store::{self, FileAttributes, Folder, Owner};

/// Writes the latest snapshot to files. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Publisher {
    shared: Arc<(Mutex<Pending>, Condvar)>,
    heartbeat: Heartbeat,
}

#[derive(Debug, Default)]
struct Pending {
    snapshot: Option<(Outputs, Snapshot)>,
    writing: bool,
    problems: Vec<String>,
    /// Those that were known when the snapshot was handed over.
    known: Vec<String>,
}

impl Publisher {
    /// Starts the thread that writes. `earlier`: a thread that writes something older, perhaps: its end is waited for.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(earlier: Option<JoinHandle<()>>) -> io::Result<Self> {
        let publisher = Self::default();
        let writer = publisher.clone();
        std::thread::Builder::new()
            .name("report".to_owned())
            .spawn(move || writer.run(earlier))?;
        Ok(publisher)
    }

    /// Hands over what is to be written. A snapshot that was not written yet is replaced.
    pub(crate) fn publish(&self, outputs: &Outputs, snapshot: Snapshot) {
        let pending = &mut *lock(&self.shared.0);
        pending.snapshot = Some((outputs.clone(), snapshot));
        pending.known.clone_from(&pending.problems);
        self.shared.1.notify_all();
    }

    /// Files that could not be written the last time.
    pub(crate) fn problems(&self) -> Vec<String> {
        lock(&self.shared.0).problems.clone()
    }

    pub(crate) fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Waits until everything is written, for so long at most. Returns problems that were not known before the latest
    /// snapshot.
    pub(crate) fn flush(&self, deadline: Duration) -> Vec<String> {
        let is_busy = |pending: &mut Pending| pending.snapshot.is_some() || pending.writing;
        let (pending, written) = &*self.shared;
        // A file system that hangs keeps the last status.
        let waited = written.wait_timeout_while(lock(pending), deadline, is_busy);
        let (pending, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let problems = pending.problems.iter();
        problems
            .filter(|p| !pending.known.contains(p))
            .cloned()
            .collect()
    }

    fn run(&self, mut earlier: Option<JoinHandle<()>>) {
        loop {
            let is_empty = |pending: &mut Pending| pending.snapshot.is_none();
            let waited = self.shared.1.wait_while(lock(&self.shared.0), is_empty);
            let mut pending = waited.unwrap_or_else(PoisonError::into_inner);
            let Some((outputs, snapshot)) = pending.snapshot.take() else {
                continue;
            };
            pending.writing = true;
            drop(pending);
            if let Some(earlier) = earlier.take() {
                let file = outputs.status_file.as_deref();
                let _working = self.heartbeat.start(file.unwrap_or("".as_ref()));
                // One that panicked writes nothing any more, either.
                let _ = earlier.join();
            }
            let problems = write(&outputs, &snapshot, &self.heartbeat);
            let mut pending = lock(&self.shared.0);
            (pending.problems, pending.writing) = (problems, false);
            drop(pending);
            self.shared.1.notify_all();
        }
    }
}

/// Writes all files; what could not be written.
pub(crate) fn write(outputs: &Outputs, snapshot: &Snapshot, heartbeat: &Heartbeat) -> Vec<String> {
    let mut problems = Vec::new();
    let mut replace = |what: &str, path: &Option<PathBuf>, mode, content: &Content<'_>| {
        let Some(path) = path else { return };
        let _working = heartbeat.start(path);
        if let Err(error) = replace(path, mode, content) {
            let path = path.display();
            problems.push(format!("the {what} {path} cannot be written: {error}"));
        }
    };
    replace(
        "status file (CREDMON_HTVAULT_STATUS_FILE)",
        &outputs.status_file,
        outputs.status_mode,
        &|to| status_file::write(to, snapshot),
    );
    replace(
        "metrics file (CREDMON_HTVAULT_METRICS_FILE)",
        &outputs.metrics_file,
        0o644,
        &|to| metrics::write(to, snapshot, outputs.metrics_per_credential),
    );
    problems
}

/// Writes the content of a file.
type Content<'c> = dyn Fn(&mut dyn Write) -> io::Result<()> + 'c;

/// Replaces a file for others to read; its group is the folder's. `/dev/null` is left alone.
fn replace(path: &Path, mode: u32, content: &Content<'_>) -> Result<(), String> {
    let open = |parent: &Path| Folder::open(parent).map_err(|errno| errno.desc().to_owned());
    let Some((folder, name)) = store::output_place(path, open)? else {
        return Ok(());
    };
    let group = folder.stat().map(|stat| Gid::from_raw(stat.st_gid));
    let attributes = FileAttributes {
        mode: Mode::from_bits_truncate(mode),
        owner: group.map_or(Owner::Own, Owner::Group),
        sync: false,
    };
    store::remove_output_leftovers(&folder);
    let installed = store::install(&folder, name, attributes, |file| {
        let mut buffer = BufWriter::with_capacity(64 * 1024, file);
        content(&mut buffer)?;
        buffer.flush()
    });
    installed.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
