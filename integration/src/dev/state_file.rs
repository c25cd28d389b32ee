//! The file that a server's state is kept in.
//!
//! What always holds: the file is whole or as it was before (it is replaced by rename), it can be
//! read by its owner only, and one server at a time uses it. It is written a moment after each
//! change and when the server stops; a file that cannot be written is said in the log and tried
//! again at the next change.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::state::Kept;

/// How long changes are gathered before they are written.
const GATHER: Duration = Duration::from_millis(200);

/// Told of each change of what is kept.
#[derive(Debug, Default)]
pub struct Changes(Notify);

impl Changes {
    /// Something has changed.
    pub fn note(&self) {
        self.0.notify_one();
    }
}

/// A file, locked, and what it held.
pub struct StateFile {
    path: PathBuf,
    kept: Option<Kept>,
    lock: File,
}

impl StateFile {
    /// Reads a file, or prepares to make it; the error is for the person who named it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let mut beside = path.as_os_str().to_owned();
        beside.push(".lock");
        let lock = (File::options().create(true).append(true).open(&beside))
            .map_err(|error| format!("cannot keep the state in {shown}: {error}"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "the state {shown} is in use by another htvault-dev"
                ));
            }
            Err(TryLockError::Error(error)) => {
                return Err(format!("cannot lock the state {shown}: {error}"));
            }
        }
        let kept = match std::fs::read(path) {
            Ok(text) => Some(Kept::read(&text).map_err(|error| {
                format!(
                    "the state {shown} cannot be used: {error}. Move it away to begin with nothing"
                )
            })?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(format!("cannot read the state {shown}: {error}")),
        };
        Ok(Self {
            path: path.to_owned(),
            kept,
            lock,
        })
    }

    /// What the file held.
    pub fn take(&mut self) -> Option<Kept> {
        self.kept.take()
    }

    /// Writes what `look` gives after each change, and at the end.
    pub fn keep(
        self,
        changes: Arc<Changes>,
        look: impl Fn() -> Option<Kept> + Send + Sync + 'static,
    ) -> Keeper {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let look = Arc::new(look);
            let path: Arc<Path> = self.path.into();
            // Held until the end.
            let _lock = self.lock;
            let mut runs = true;
            while runs {
                tokio::select! {
                    () = changes.0.notified() => {
                        tokio::select! {
                            () = sleep(GATHER) => {}
                            _ = stopped.changed() => runs = false,
                        }
                    }
                    _ = stopped.changed() => runs = false,
                }
                let (look, path) = (Arc::clone(&look), Arc::clone(&path));
                let written =
                    spawn_blocking(move || look().map_or(Ok(()), |kept| write(&path, &kept))).await;
                if let Ok(Err(words)) = written {
                    tracing::error!("{words}");
                }
            }
        });
        Keeper { stop, task }
    }
}

/// Whoever writes the file.
pub struct Keeper {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Writes a last time.
    pub async fn stop(self) {
        // Fails only when the task has ended already.
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

/// Replaces the file; temporary files are made for their owner only.
fn write(path: &Path, kept: &Kept) -> Result<(), String> {
    let failed =
        |error: std::io::Error| format!("cannot keep the state in {}: {error}", path.display());
    let text = kept.write().map_err(|error| failed(error.into()))?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(&text).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}
