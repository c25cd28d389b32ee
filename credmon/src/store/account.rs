//! The scanner's knowledge of one account: its credentials, and the version of its folder that was
//! listed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::folder::Folder;
use super::observe;
use crate::model::{FileId, Observed};

/// Age of the last change of a folder from which on its names are taken for known: far above the
/// ticks of any clock, and above the age at which a leftover is removed.
const SETTLED: Duration = Duration::from_mins(3);

/// Credentials of an account.
#[derive(Default)]
pub(super) struct Account {
    /// Version of the folder that was listed, and when.
    pub(super) listed: (FileId, Timestamp),
    /// In the order of their services.
    pub(super) credentials: Vec<Arc<Observed>>,
}

impl Account {
    /// `true` when this version of its folder has the names that are known. One that had changed just
    /// before it was listed may have changed once more within the same tick of its clock.
    pub(super) fn lists(&self, folder: FileId) -> bool {
        let (known, at) = self.listed;
        let at = i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX);
        let settled = i64::try_from(SETTLED.as_nanos()).unwrap_or(i64::MAX);
        known == folder && folder.changed.saturating_add(settled) < at
    }

    /// `true` when folder and files are those that are known: there is nothing to read.
    pub(super) fn is_current(&self, root: &Folder, folder: FileId) -> bool {
        let is_known = |known| observe::is_current(root, known);
        self.lists(folder) && self.credentials.iter().all(is_known)
    }

    pub(super) fn get(&self, service: &str) -> Option<&Arc<Observed>> {
        self.credentials.get(self.place_of(service)?)
    }

    pub(super) fn get_mut(&mut self, service: &str) -> Option<&mut Arc<Observed>> {
        let place = self.place_of(service)?;
        self.credentials.get_mut(place)
    }

    fn place_of(&self, service: &str) -> Option<usize> {
        let order = |known: &Arc<Observed>| (**known.id.service()).cmp(service);
        self.credentials.binary_search_by(order).ok()
    }
}
