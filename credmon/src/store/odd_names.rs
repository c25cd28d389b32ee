//! Names in the directory that are left alone, or cannot be read just now: each is logged once, and of each account
//! only some, so that none fills the log or hides what is said of others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Names of one account that are remembered, and lines of it in the log from one full scan to the next.
pub(super) const LIMIT: usize = 10;

/// Something that is left alone: its path below the directory, and the reason.
type Left = (String, String);

/// Names that are left alone, by account.
#[derive(Debug, Default)]
pub(super) struct OddNames(BTreeMap<Arc<str>, Account>);

/// Names of one account that are left alone.
#[derive(Debug, Default)]
struct Account {
    /// Paths below the directory, with the reasons.
    left: BTreeMap<String, String>,
    /// Lines in the log since the last full scan.
    lines: usize,
}

impl OddNames {
    /// A full scan begins, with these folders: others are forgotten.
    pub(super) fn begin(&mut self, folders: &BTreeSet<String>) {
        self.0.retain(|user, _| folders.contains(&**user));
        self.0.values_mut().for_each(|account| account.lines = 0);
    }

    /// Takes in that a folder is left alone as a whole.
    pub(super) fn report(&mut self, user: &Arc<str>, why: &str) {
        self.found(user, vec![(user.to_string(), why.to_owned())], Vec::new());
    }

    /// A folder can be read.
    pub(super) fn forget(&mut self, user: &Arc<str>) {
        if let Some(account) = self.0.get_mut(user) {
            account.left.remove(&**user);
        }
    }

    /// Takes in all that is left alone of an account: bounds that it exceeds, and names in its folder, with the reasons.
    /// Logs those that are new.
    pub(super) fn found(&mut self, user: &Arc<str>, mut left: Vec<Left>, mut names: Vec<Left>) {
        names.sort_unstable();
        names.truncate(LIMIT);
        // Bounds first: no name hides them.
        left.append(&mut names);
        if left.is_empty() && !self.0.contains_key(user) {
            return;
        }
        let account = self.0.entry(user.clone()).or_default();
        for (path, why) in &left {
            if account.left.get(path) != Some(why) && account.lines < LIMIT {
                account.lines += 1;
                tracing::warn!("{path} is left alone: {why}");
            }
        }
        account.left = left.into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::LogLines;

    impl OddNames {
        /// All that is remembered.
        pub(in super::super) fn paths(&self) -> Vec<String> {
            let accounts = self.0.values();
            accounts
                .flat_map(|account| account.left.keys().cloned())
                .collect()
        }
    }

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
