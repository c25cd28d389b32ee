//! Names in the directory that are left alone, or cannot be read just now: each is logged once, and of each account
//! only some, so that none fills the log or hides what is said of others.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Names of one account that are remembered, and lines of it in the log from one full scan to the next.
pub(super) const LIMIT: usize = 10;

/// What is left alone: its path below the directory, and the reason.
type Left = (String, String);

/// Names that are left alone, by account.
#[derive(Debug, Default)]
pub(super) struct OddNames(BTreeMap<Arc<str>, Account>);

/// Names of one account that are left alone.
#[derive(Debug, Default)]
struct Account {
    /// Reason why its folder is.
    folder: Option<String>,
    /// Paths below the directory, with the reasons.
    names: BTreeMap<String, String>,
    /// Lines in the log since the last full scan.
    lines: usize,
}

impl Account {
    fn log(&mut self, path: &str, why: &str) {
        if self.lines < LIMIT {
            self.lines += 1;
            tracing::warn!("{path} is left alone: {why}");
        }
    }
}

impl OddNames {
    /// A full scan begins, with these folders in order: others are forgotten.
    pub(super) fn begin(&mut self, folders: &[Arc<str>]) {
        self.0.retain(|user, _| folders.binary_search(user).is_ok());
        self.0.values_mut().for_each(|account| account.lines = 0);
    }

    /// Logs why a folder is left alone, if that is new.
    pub(super) fn report(&mut self, user: &Arc<str>, why: &str) {
        let account = self.0.entry(user.clone()).or_default();
        if account.folder.as_deref() != Some(why) {
            account.folder = Some(why.to_owned());
            account.log(user, why);
        }
    }

    /// A folder can be read.
    pub(super) fn forget(&mut self, user: &Arc<str>) {
        if let Some(account) = self.0.get_mut(user) {
            account.folder = None;
        }
    }

    /// Takes in the bounds that a folder exceeds, and the names that are left alone in it, with the reasons: logs those
    /// that are new.
    pub(super) fn found(&mut self, user: &Arc<str>, bounds: Vec<Left>, mut names: Vec<Left>) {
        if bounds.is_empty() && names.is_empty() && !self.0.contains_key(user) {
            return;
        }
        let account = self.0.entry(user.clone()).or_default();
        names.sort_unstable();
        names.truncate(LIMIT);
        // Bounds first: no name hides them.
        let names: Vec<Left> = bounds.into_iter().chain(names).collect();
        for (path, why) in &names {
            if account.names.get(path) != Some(why) {
                account.log(path, why);
            }
        }
        account.names = names.into_iter().collect();
    }

    /// All that is remembered.
    #[cfg(test)]
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        for (user, account) in &self.0 {
            paths.extend(account.folder.as_ref().map(|_| user.to_string()));
            paths.extend(account.names.keys().cloned());
        }
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::LogLines;

    #[test]
    fn odd_names_hide_no_bound_and_one_bound_no_other() {
        let (lines, _logging) = LogLines::of_this_thread();
        let left = |path: &str| (format!("u/{path}"), "a reason".to_owned());
        let names = || (0..2 * LIMIT).map(|n| left(&format!("{n}.top"))).collect();
        let mut odd = OddNames::default();
        let user = "u".into();
        odd.found(&user, vec![left("…"), left("….top")], names());
        assert_eq!(lines.with("u/… is left alone").len(), 1);
        assert_eq!(lines.with("u/….top is left alone").len(), 1);
        assert_eq!(lines.with("is left alone").len(), LIMIT);
        assert_eq!(odd.paths().len(), LIMIT + 2);
    }
}
