//! The credential directory and all other files that this daemon writes: scans and watches, `.top`
//! and `.use`, atomic installation, copies.
//!
//! Everything here may block on a file system that hangs. So it runs on threads of its own
//! ([`Scanner`], [`copies`]) or through [`with_deadline`], never on the loop that drives the rest.

mod account;
pub(crate) mod copies;
mod directory;
mod folder;
mod install;
mod observation;
mod observe;
mod odd_names;
mod own_files;
mod scan;
pub(crate) mod top;
mod use_file;
mod wakes;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use htvault::AccessTokenAnswer;
use jiff::Timestamp;

pub(crate) use directory::Directory;
pub(crate) use folder::Folder;
pub(crate) use install::{FileAttributes, Owner, install, output_place, remove_output_leftovers};
pub(crate) use observation::{Observation, ScanReport};
pub(crate) use scan::Scanner;
pub(crate) use top::CompleteTop;
#[cfg(test)]
pub(crate) use wakes::Wakes;
pub(crate) use wakes::{Installed, Wake, Waker, wakes};

use crate::model::{Failure, Outcome, RenewalTask, TokenInfo};

/// Deadline of one operation on files: far above what a disk needs.
const DEADLINE: Duration = Duration::from_secs(30);

/// Files of credentials, as a renewal needs them: those of the directory, or of a simulation.
pub(crate) trait Files: Send + Sync + 'static {
    /// Reads the `.top` that a task was decided from.
    fn read_top(
        self: &Arc<Self>,
        task: &RenewalTask,
    ) -> impl Future<Output = Result<CompleteTop, Outcome>> + Send;

    /// Installs an access token, if `.top` and `.use` are still those that the task was decided from.
    fn install_use(
        self: &Arc<Self>,
        task: &RenewalTask,
        answer: AccessTokenAnswer,
        now: Timestamp,
    ) -> impl Future<Output = Result<TokenInfo, Outcome>> + Send;
}

impl Files for Directory {
    async fn read_top(self: &Arc<Self>, task: &RenewalTask) -> Result<CompleteTop, Outcome> {
        let (directory, id, stamp) = (self.clone(), task.id.clone(), task.stamp.clone());
        with_deadline(move || directory.fetch(&id, &stamp)).await
    }

    async fn install_use(
        self: &Arc<Self>,
        task: &RenewalTask,
        answer: AccessTokenAnswer,
        now: Timestamp,
    ) -> Result<TokenInfo, Outcome> {
        let (directory, id, stamp) = (self.clone(), task.id.clone(), task.stamp.clone());
        let current = task.current().map(|token| token.file);
        with_deadline(move || directory.install(&id, &stamp, current, &answer, now)).await
    }
}

/// Does an operation on files on a thread that may hang. Work that has not begun by the deadline is
/// never done.
async fn with_deadline<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Outcome> + Send + 'static,
) -> Result<T, Outcome> {
    let (answer, result) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        if !answer.is_closed() {
            // Who asked has given up meanwhile.
            let _ = answer.send(work());
        }
    });
    match tokio::time::timeout(DEADLINE, result).await {
        Ok(Ok(done)) => done,
        // The runtime ends, or the work panicked, which the panic hook has logged.
        Ok(Err(_)) => Err(Outcome::Failed(Failure::local(
            "an operation on files broke off".to_owned(),
            "report this as an error of this program",
        ))),
        Err(_) => Err(Outcome::Failed(Failure::local(
            format!(
                "the file system of the credential directory has not answered for {} s",
                DEADLINE.as_secs()
            ),
            "see to the disk or file server of the credential directory",
        ))),
    }
}
