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
mod observe;
mod odd_names;
mod own_files;
mod scan;
mod top;
mod use_file;
mod wakes;
mod watch;

use std::time::Duration;

pub(crate) use directory::Directory;
pub(crate) use folder::Folder;
pub(crate) use install::{FileAttributes, Owner, check_output, install};
pub(crate) use scan::{Observation, ScanReport, Scanner};
pub(crate) use top::CompleteTop;
pub(crate) use wakes::{Installed, Wake};

use crate::model::{Failure, Outcome};

/// Deadline of one operation on files: far above what a disk needs.
const DEADLINE: Duration = Duration::from_secs(30);

/// Does an operation on files on a thread that may hang. Work that has not begun by the deadline is
/// never done.
pub(crate) async fn with_deadline<T: Send + 'static>(
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
