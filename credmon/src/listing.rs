//! Which credentials a folder holds, remembered while the folder is unchanged.
//!
//! Listing a folder costs far more than looking at its files one by one, and a look each minute
//! lists thousands. Names cannot change without the folder's own times; a change in the same tick of
//! the kernel's clock as the listing would be missed, so only a listing made well after the
//! folder's last change is remembered.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use nix::errno::Errno;

use crate::folder::{FileId, Folder};
use crate::placing;
use crate::service_name::CredentialId;

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

/// Listings of folders that were unchanged for a while.
#[derive(Debug, Default)]
pub struct Listings(HashMap<Box<str>, (FileId, Listing)>);

impl Listings {
    /// What a folder holds.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(&mut self, user: &str, folder: &Folder, now: Timestamp) -> Result<Listing, Errno> {
        let id = FileId::from(&folder.stat()?);
        if let Some((known, listing)) = self.0.get(user)
            && *known == id
        {
            return Ok(listing.clone());
        }
        self.0.remove(user);
        let names = folder.names()?;
        placing::remove_leftovers(folder, &names, now);
        let mut listing = Listing::default();
        for name in &names {
            let service = name.strip_suffix(".top").unwrap_or_default();
            if service.is_empty() || service.starts_with('.') {
                continue;
            }
            match CredentialId::new(user, service) {
                Some(credential) => listing.credentials.push(credential),
                None => listing.odd.push(name.escape_default().to_string()),
            }
        }
        let quiet = id.changed.as_second().saturating_add(QUIET) < now.as_second();
        // A temporary file is looked for again: it may become a leftover without a change.
        if quiet && !names.iter().any(|name| placing::is_temporary(name)) {
            listing.credentials.shrink_to_fit();
            self.0.insert(user.into(), (id, listing.clone()));
        }
        Ok(listing)
    }

    /// Forgets folders that are gone.
    pub fn keep(&mut self, present: &BTreeSet<String>) {
        if self.0.len() > present.len() {
            self.0.retain(|name, _| present.contains(&**name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Credentials;

    #[test]
    fn a_folder_is_listed_again_after_any_change_and_never_remembered_while_young() {
        let credentials = Credentials::new();
        let mut listings = Listings::default();
        credentials.store("u", "a", "h", "s");
        let root = Folder::open(credentials.path()).unwrap();
        let folder = root.folder("u").unwrap();
        let made = folder.stat().unwrap().st_ctime;
        let mut count = |after: i64| {
            let now = Timestamp::from_second(made + after).unwrap();
            let listing = listings.of("u", &folder, now).unwrap();
            (listing.credentials.len(), listings.0.len())
        };
        assert_eq!(count(0), (1, 0));
        assert_eq!(count(QUIET), (1, 0));
        assert_eq!(count(100), (1, 1));
        assert_eq!(count(101), (1, 1));
        credentials.store("u", "b", "h", "s");
        assert_eq!(count(200), (2, 1));
        std::fs::remove_file(credentials.file("u", "a.top")).unwrap();
        assert_eq!(count(200).0, 1);
    }
}
