//! Which accounts there are, and which credentials a folder holds, remembered while the directory or
//! the folder is unchanged.
//!
//! Listing a folder costs far more than looking at its files one by one, and a look each minute
//! lists thousands. Names cannot change without the folder's own times; a change in the same tick of
//! the kernel's clock as the listing would be missed, so a full look uses only a listing made well
//! after the folder's last change.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use nix::errno::Errno;

use crate::directory::{Directory, DirectoryFault};
use crate::folder::{FileId, Folder};
use crate::placing;
use crate::renewal::OwnChange;
use crate::service_name::{CredentialId, is_account};

/// How long a folder must have been unchanged when it was listed, in seconds: longer than any file
/// system's clock ticks, and than clocks of file servers differ.
const QUIET: i64 = 5;

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Credentials: names that end in `.top`.
    pub credentials: Vec<CredentialId>,
    /// Names that end in `.top` but are none that HTCondor gives.
    pub odd: Vec<String>,
}

/// The names in the credential directory that may be those of accounts' folders.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// In their order.
    listed: Arc<[Arc<str>]>,
    /// Found since.
    found: BTreeSet<Arc<str>>,
}

impl Accounts {
    fn new(names: Vec<String>) -> Self {
        let names = names.into_iter().filter(|name| is_account(name));
        let mut names: Vec<Arc<str>> = names.map(Arc::from).collect();
        names.sort_unstable();
        Self {
            listed: names.into(),
            found: BTreeSet::new(),
        }
    }

    /// Those that were listed.
    #[must_use]
    pub fn listed(&self) -> Arc<[Arc<str>]> {
        Arc::clone(&self.listed)
    }

    /// Whether a name is among them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        let listed = self.listed.binary_search_by(|known| (**known).cmp(name));
        listed.is_ok() || self.found.contains(name)
    }

    /// A folder of this name was found.
    pub fn add(&mut self, name: &Arc<str>) {
        if !self.contains(name) {
            self.found.insert(Arc::clone(name));
        }
    }

    /// Whether these are of the same listing, and nothing was found since.
    #[must_use]
    pub fn are_those(&self, others: &Self) -> bool {
        Arc::ptr_eq(&self.listed, &others.listed)
            && self.found.is_empty()
            && others.found.is_empty()
    }
}

/// Listings of folders that were unchanged for a while, the directory itself among them.
#[derive(Debug, Default)]
pub struct Listings {
    accounts: Option<(FileId, Accounts)>,
    folders: HashMap<Box<str>, Known>,
}

/// What is known of a folder.
#[derive(Debug)]
struct Known {
    id: FileId,
    /// Whether it was unchanged for a while when it was listed.
    is_settled: bool,
    listing: Listing,
}

impl Listings {
    /// The accounts in the directory.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn accounts(
        &mut self,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<Accounts, DirectoryFault> {
        let id = (directory.root().stat().ok()).map(|stat| FileId::from(&stat));
        if let (Some(id), Some((known, accounts))) = (id, &self.accounts)
            && *known == id
        {
            return Ok(accounts.clone());
        }
        self.accounts = None;
        let names = directory.names(now)?;
        let is_settled = is_settled(&names);
        let accounts = Accounts::new(names);
        if let Some(id) = id.filter(|id| is_settled && is_quiet(*id, now)) {
            self.accounts = Some((id, accounts.clone()));
        }
        Ok(accounts)
    }

    /// Whether what an account's folder holds is known, and the folder is this file. That is for who
    /// is told of changes besides: one in the same tick of the clock as the listing does not show.
    #[must_use]
    pub fn knows(&self, user: &str, folder: FileId) -> bool {
        let known = self.folders.get(user);
        known.is_some_and(|known| known.id == folder)
    }

    /// A token of ours was put into a folder, which adds no name that is looked for. Whatever
    /// somebody else does just then is told by an event, or found by the next full look.
    pub fn follow(&mut self, user: &str, change: OwnChange) {
        let known = self.folders.get_mut(user);
        if let Some(known) = known.filter(|known| known.id == change.before) {
            known.id = change.after;
            known.is_settled = false;
        }
    }

    /// Forgets what an account's folder holds.
    pub fn forget(&mut self, user: &str) {
        self.folders.remove(user);
    }

    /// What a folder holds. A name that is `known` is kept once.
    ///
    /// # Errors
    /// What the system says.
    pub fn of<'k>(
        &mut self,
        user: &str,
        folder: &Folder,
        now: Timestamp,
        known: impl Fn(&CredentialId) -> Option<&'k CredentialId>,
    ) -> Result<Listing, Errno> {
        let id = FileId::from(&folder.stat()?);
        if let Some(known) = self.folders.get(user)
            && known.id == id
            && known.is_settled
        {
            return Ok(known.listing.clone());
        }
        self.folders.remove(user);
        let names = folder.names()?;
        placing::remove_leftovers(folder, &names, now);
        let mut listing = Listing::default();
        for name in &names {
            let service = name.strip_suffix(".top").unwrap_or_default();
            if service.is_empty() || service.starts_with('.') {
                continue;
            }
            match CredentialId::new(user, service) {
                Some(id) => {
                    let id = known(&id).cloned().unwrap_or(id);
                    listing.credentials.push(id);
                }
                None => listing.odd.push(name.escape_default().to_string()),
            }
        }
        if is_settled(&names) {
            listing.credentials.shrink_to_fit();
            let known = Known {
                id,
                is_settled: is_quiet(id, now),
                listing: listing.clone(),
            };
            self.folders.insert(user.into(), known);
        }
        Ok(listing)
    }

    /// Forgets folders that are gone.
    pub fn keep(&mut self, present: &Accounts) {
        self.folders.retain(|name, _| present.contains(name));
    }
}

/// Whether a folder had not changed for a while.
fn is_quiet(folder: FileId, now: Timestamp) -> bool {
    folder.changed.as_second().saturating_add(QUIET) < now.as_second()
}

/// A temporary file is looked for again: it may become a leftover without a change.
fn is_settled(names: &[String]) -> bool {
    !names.iter().any(|name| placing::is_temporary(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Credentials;

    #[test]
    fn a_folder_is_listed_again_after_any_change_and_while_young() {
        let credentials = Credentials::new();
        let mut listings = Listings::default();
        credentials.store("u", "a", "h", "s");
        let root = Folder::open(credentials.path()).unwrap();
        let folder = root.folder("u").unwrap();
        let made = folder.stat().unwrap().st_ctime;
        let mut count = |after: i64| {
            let now = Timestamp::from_second(made + after).unwrap();
            let listing = listings.of("u", &folder, now, |_| None).unwrap();
            let id = FileId::from(&folder.stat().unwrap());
            assert!(listings.knows("u", id));
            (listing.credentials.len(), listings.folders["u"].is_settled)
        };
        assert_eq!(count(0), (1, false));
        assert_eq!(count(QUIET), (1, false));
        assert_eq!(count(100), (1, true));
        assert_eq!(count(101), (1, true));
        credentials.store("u", "b", "h", "s");
        assert_eq!(count(200), (2, true));
        std::fs::remove_file(credentials.file("u", "a.top")).unwrap();
        assert_eq!(count(200).0, 1);
    }

    #[test]
    fn accounts_are_listed_again_after_a_change_and_keep_what_is_found_meanwhile() {
        let credentials = Credentials::new();
        let mut listings = Listings::default();
        credentials.store("b", "cms", "h", "s");
        std::fs::write(credentials.path().join(".hidden"), "").unwrap();
        let directory = Directory::open(credentials.path()).unwrap();
        let changed = directory.root().stat().unwrap().st_ctime;
        let mut accounts = |after: i64| {
            let now = Timestamp::from_second(changed + after).unwrap();
            listings.accounts(&directory, now).unwrap()
        };
        let young = accounts(0);
        assert_eq!(*young.listed(), [Arc::from("b")]);
        assert!(!young.are_those(&accounts(0)));
        let mut old = accounts(100);
        assert!(old.are_those(&accounts(100)));
        credentials.store("a", "cms", "h", "s");
        assert!(!old.contains("a"));
        old.add(&"a".into());
        assert!(old.contains("a") && !old.are_those(&old.clone()));
        assert_eq!(*accounts(100).listed(), [Arc::from("a"), Arc::from("b")]);
    }

    #[test]
    fn a_change_of_ours_is_followed_only_from_what_is_known() {
        let credentials = Credentials::new();
        credentials.store("u", "a", "h", "s");
        let root = Folder::open(credentials.path()).unwrap();
        let folder = root.folder("u").unwrap();
        let is = || FileId::from(&folder.stat().unwrap());
        let mut listings = Listings::default();
        let late = Timestamp::MAX;
        listings.of("u", &folder, late, |_| None).unwrap();
        let first = is();
        credentials.put("u", "a.use", "1");
        let second = is();
        assert!(first != second && !listings.knows("u", second));
        let change = |before, after| OwnChange { before, after };
        listings.follow("u", change(second, second));
        assert!(listings.knows("u", first));
        listings.follow("u", change(first, second));
        assert!(listings.knows("u", second));
        // Full looks make sure again.
        assert!(!listings.folders["u"].is_settled);
        listings.of("u", &folder, late, |_| None).unwrap();
        assert!(listings.folders["u"].is_settled);
    }
}
