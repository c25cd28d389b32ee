//! The scanner's knowledge of one account: its credentials, and the version of its folder that was
//! listed.

use super::folder::Folder;
use super::observe;
use crate::model::{FileId, Heartbeat, Observed};

/// Credentials of an account.
#[derive(Default)]
pub(super) struct Account {
    /// Version of the folder whose names are known.
    pub(super) listed: Option<FileId>,
    /// In the order of their services.
    pub(super) credentials: Vec<Observed>,
}

impl Account {
    /// `true` when folder and files are those that are known: there is nothing to read.
    pub(super) fn is_current(&self, root: &Folder, folder: FileId, heartbeat: &Heartbeat) -> bool {
        let is_known = |known| {
            heartbeat.beat();
            observe::is_current(root, known)
        };
        self.listed == Some(folder) && self.credentials.iter().all(is_known)
    }

    pub(super) fn get(&self, service: &str) -> Option<&Observed> {
        self.credentials.get(self.place_of(service)?)
    }

    pub(super) fn get_mut(&mut self, service: &str) -> Option<&mut Observed> {
        let place = self.place_of(service)?;
        self.credentials.get_mut(place)
    }

    fn place_of(&self, service: &str) -> Option<usize> {
        let order = |known: &Observed| (**known.top.id.service()).cmp(service);
        self.credentials.binary_search_by(order).ok()
    }
}
