//! Observations of the scanner.

use std::sync::Arc;

use super::directory::{Directory, DirectoryError};
use crate::model::{CredentialId, Observed};

/// Observation of the scanner.
#[derive(Debug)]
pub(crate) enum Observation {
    /// The directory can be used from now on, or cannot.
    Directory(Result<Arc<Directory>, DirectoryError>),
    /// A credential is new, or one of its files changed.
    Changed(Observed),
    Gone(CredentialId),
    /// A full scan is over, or could not be made.
    Scanned(ScanReport),
}

/// Result of a full scan.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScanReport {
    /// The directory could be opened and listed: all credentials are known.
    pub(crate) is_complete: bool,
    /// Folders whose changes are noticed at once.
    pub(crate) watched_folders: usize,
    /// Problems that the scan itself met, in words.
    pub(crate) problems: Vec<String>,
}
