//! Names in the directory that are left alone, or cannot be read just now: each is logged once.

use std::collections::BTreeMap;

/// Names that are remembered.
pub(super) const LIMIT: usize = 100;

/// Paths below the directory, and why they are left alone.
#[derive(Debug, Default)]
pub(super) struct OddNames(pub(super) BTreeMap<String, String>);

impl OddNames {
    /// Logs a name, if name or reason is new.
    pub(super) fn report(&mut self, path: &str, why: &str) {
        if self.0.get(path).is_some_and(|known| known == why) || self.0.len() >= LIMIT {
            return;
        }
        tracing::warn!("{path} is left alone: {why}");
        self.0.insert(path.to_owned(), why.to_owned());
    }

    /// Forgets a folder's name.
    pub(super) fn forget(&mut self, user: &str) {
        self.0.remove(user);
    }

    /// Forgets the names in a folder, which is read anew.
    pub(super) fn forget_below(&mut self, user: &str) {
        let prefix = format!("{user}/");
        self.0.retain(|path, _| !path.starts_with(&prefix));
    }
}
