//! A credential directory on this host, for a bastion that lives on the schedd and for trying
//! everything without HTCondor.
//!
//! Writes `<directory>/<account>/<service>.top` as the credd does; a credmon that watches the
//! directory does the rest. Nothing is deleted unless that is asked for. A file system that hangs
//! holds up its own directory and nothing else, on few threads and with a deadline.

mod check;
mod exposure;
mod folder;

use std::io;
use std::path::{Path, PathBuf};

use htvault::Claims;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::Observation;
use crate::delivery::Delivery;
use crate::files::{DIRECTORIES, Failure};
use crate::problem::{Cause, Kind, Problem};

pub(crate) use check::faults;
use folder::{Folder, FolderError};

/// Sees what is stored for a delivery.
///
/// # Errors
/// The directory, or what is in it, cannot be read.
pub async fn observe(delivery: &Delivery, directory: &Path) -> Result<Observation, Problem> {
    let account = delivery.id.account.clone();
    let service = delivery.id.service.clone();
    run(delivery, directory, "read", move |directory| {
        let Some(folder) = Folder::open(&directory, &account)? else {
            return Ok(Observation::default());
        };
        let (content, stored) = folder.read(&format!("{service}.top"))?.unzip();
        Ok(Observation {
            stored,
            served: folder.written(&format!("{service}.use"))?,
            serves_until: end_of(&folder, &format!("{service}.use")),
            content,
        })
    })
    .await
}

/// Stores `top` for a delivery.
///
/// # Errors
/// The directory is missing, may not be written, or lets others in.
pub async fn store(
    delivery: &Delivery,
    directory: &Path,
    top: &SecretString,
) -> Result<(), Problem> {
    let account = delivery.id.account.clone();
    let name = format!("{}.top", delivery.id.service);
    let top = top.clone();
    run(delivery, directory, "written", move |directory| {
        let folder = Folder::open_or_make(&directory, &account)?;
        folder.replace(&name, top.expose_secret().as_bytes())
    })
    .await
}

/// Deletes what is stored for a delivery, and the access token made of it.
///
/// # Errors
/// The directory is missing or may not be written.
pub async fn delete(delivery: &Delivery, directory: &Path) -> Result<(), Problem> {
    let account = delivery.id.account.clone();
    let service = delivery.id.service.clone();
    run(delivery, directory, "written", move |directory| {
        let Some(folder) = Folder::open(&directory, &account)? else {
            return Ok(());
        };
        // First what it is made of, or the credmon might make another.
        folder.remove(&format!("{service}.top"))?;
        folder.remove(&format!("{service}.use"))
    })
    .await
}

async fn run<T: Send + 'static>(
    delivery: &Delivery,
    directory: &Path,
    what: &str,
    work: impl FnOnce(PathBuf) -> Result<T, FolderError> + Send + 'static,
) -> Result<T, Problem> {
    let path = directory.to_owned();
    let why = match DIRECTORIES.run(directory, move || work(path)).await {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => format!("{error}; {}", advice(&error)),
        Err(Failure::Broken(why)) => return Err(Problem::internal(delivery, &why)),
        Err(failure) => failure.to_string(),
    };
    Err(Problem::new(
        Cause::schedd(delivery),
        Kind::Transport,
        format!(
            "credential directory {} cannot be {what}: {why}",
            directory.display()
        ),
    ))
}

/// Expiry of the access token for jobs, as it says itself; `None` where it may not be read or is no
/// JWT.
fn end_of(folder: &Folder, name: &str) -> Option<Timestamp> {
    let (text, _) = folder.read(name).ok().flatten()?;
    Claims::read(text.expose_secret())?.expires
}

fn advice(error: &FolderError) -> &str {
    match error {
        FolderError::System(error) => system_advice(error),
        FolderError::NotPlain { .. } => "remove it",
        FolderError::Exposed(exposure) => &exposure.advice,
    }
}

fn system_advice(error: &io::Error) -> &'static str {
    use nix::libc::{ELOOP, ENOTDIR};
    match error.raw_os_error() {
        Some(ELOOP | ENOTDIR) => {
            "a symbolic link or a file is where a folder is expected, remove it"
        }
        _ => match error.kind() {
            io::ErrorKind::NotFound => "make it (mode 2770, root:condor), or correct the path",
            io::ErrorKind::PermissionDenied => {
                "run the service as root, or as a user who may write there"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
            io::ErrorKind::ReadOnlyFilesystem => {
                "its file system is read-only for this service; in the systemd unit name it in ReadWritePaths"
            }
            _ => "see the system's words",
        },
    }
}

#[cfg(test)]
mod tests;
