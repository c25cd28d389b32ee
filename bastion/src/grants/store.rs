//! What is kept of grants between runs: `grants.json` in the folder of the state.

use std::io;
use std::path::{Path, PathBuf};

use super::{Grants, Known};
use crate::kept;

const NAME: &str = "grants";

/// Where grants are kept.
#[must_use]
pub fn file(state: &Path) -> PathBuf {
    kept::path(state, NAME)
}

/// What is kept. Nothing when there is no file yet.
///
/// # Errors
/// The file cannot be read or understood.
pub fn read(state: &Path) -> io::Result<Grants> {
    kept::read(state, NAME)
}

/// Changes what is kept of one grant; gives all of them.
///
/// # Errors
/// The file cannot be read, understood or written.
pub fn change(state: &Path, name: &str, change: impl FnOnce(&mut Known)) -> io::Result<Grants> {
    kept::change(state, NAME, |grants: &mut Grants| {
        change(grants.entry(name.to_owned()).or_default());
    })
}

/// Forgets a grant; gives the others.
///
/// # Errors
/// As for [`change`].
pub fn forget(state: &Path, name: &str) -> io::Result<Grants> {
    kept::change(state, NAME, |grants: &mut Grants| {
        grants.remove(name);
    })
}
