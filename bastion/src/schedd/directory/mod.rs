//! A credential directory on this host, for a bastion that runs on the schedd and for trying everything
//! without HTCondor: `<directory>/<account>/<service>.top`, written as the credd does.
//!
//! Always true: nothing is deleted unless that is asked for. A file system that hangs holds up its own
//! directory and nothing else, on few threads and with a deadline.

mod check;
mod exposure;
mod folder;

use std::path::{Path, PathBuf};

use htvault::Claims;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::Observation;
use crate::model::delivery::Delivery;
use crate::model::problem::{Cause, Kind, Problem};
use crate::system::files::{DIRECTORIES, PoolError};

pub(crate) use check::faults;
use folder::{Folder, FolderError};

/// Reads the state of a delivery.
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
        // First the content, or the credmon might make another token of it.
        folder.remove(&format!("{service}.top"))?;
        folder.remove(&format!("{service}.use"))
    })
    .await
}

async fn run<T: Send + 'static>(
    delivery: &Delivery,
    directory: &Path,
    participle: &str,
    work: impl FnOnce(PathBuf) -> Result<T, FolderError> + Send + 'static,
) -> Result<T, Problem> {
    let path = directory.to_owned();
    let (kind, why) = match DIRECTORIES.run(directory, move || work(path)).await {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => (error.kind(), error.to_string()),
        Err(PoolError::Broken(why)) => {
            return Err(Problem::internal(Cause::schedd(delivery), &why));
        }
        Err(failure) => (Kind::Local, failure.to_string()),
    };
    Err(Problem::new(
        Cause::schedd(delivery),
        kind,
        format!(
            "credential directory {} cannot be {participle}: {why}",
            directory.display()
        ),
    ))
}

/// Expiry of the access token for jobs, as it says itself; `None` where it may not be read or is no JWT.
fn end_of(folder: &Folder, name: &str) -> Option<Timestamp> {
    let (text, _) = folder.read(name).ok().flatten()?;
    Claims::read(text.expose_secret())?.expires
}

#[cfg(test)]
mod tests;
