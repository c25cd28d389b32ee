//! Which credentials the names in a folder are, and how long one can go by them.
//!
//! Listing a folder costs far more than looking at its files one by one, and a look each minute
//! lists thousands. Names cannot change without the folder's own times; a change in the same tick of
//! the kernel's clock as the listing would be missed, so a full look uses only a listing made well
//! after the folder's last change.

use std::sync::Arc;

use jiff::Timestamp;
use nix::errno::Errno;

use crate::old::folder::{FileId, Folder};
use crate::old::placing;
use crate::old::service_name::CredentialId;

/// How long a folder must have been unchanged when it was listed, in seconds: longer than any file
/// system's clock ticks, and than clocks of file servers differ.
const QUIET: i64 = 5;

/// How far one can go by a listing while the folder's times are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// All the way: nothing can have changed.
    Full,
    /// With being told of changes besides, until the next full look.
    WithEvents,
}

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Credentials: names that end in `.top`. In their order.
    pub credentials: Vec<CredentialId>,
    /// Names that end in `.top` but are none that HTCondor gives.
    pub odd: Vec<String>,
    /// Whether it may be remembered.
    pub trust: Option<Trust>,
}

impl Listing {
    /// Lists an account's folder, which was this file just before. Files of ours that were left
    /// behind are removed by the way.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(
        user: &Arc<str>,
        folder: &Folder,
        file: FileId,
        now: Timestamp,
    ) -> Result<Self, Errno> {
        let mut listing = Self::default();
        let has_all = go_through(folder, now, |name| {
            let service = name.strip_suffix(".top").unwrap_or_default();
            if service.is_empty() || service.starts_with('.') {
                return;
            }
            match CredentialId::new(user, service) {
                Some(id) => listing.credentials.push(id),
                None => listing.odd.push(name.escape_default().to_string()),
            }
        })?;
        listing.credentials.sort_unstable();
        listing.credentials.dedup();
        // Odd names are not kept, but told by each full look.
        let trust = if is_quiet(file, now) && listing.odd.is_empty() {
            Trust::Full
        } else {
            Trust::WithEvents
        };
        listing.trust = has_all.then_some(trust);
        Ok(listing)
    }

    /// What a folder still holds that is the same file as when it was listed with full trust.
    #[must_use]
    pub fn as_before(credentials: Vec<CredentialId>) -> Self {
        Self {
            credentials,
            odd: Vec::new(),
            trust: Some(Trust::Full),
        }
    }
}

/// Whether a folder had not changed for a while.
pub(crate) fn is_quiet(folder: FileId, now: Timestamp) -> bool {
    folder.changed.as_second().saturating_add(QUIET) < now.as_second()
}

/// Goes through the names in a folder but those of our temporary files, of which leftovers are
/// removed. Whether there are no others: each may become a leftover without a change of the folder.
///
/// # Errors
/// What the system says.
pub(crate) fn go_through(
    folder: &Folder,
    now: Timestamp,
    mut each: impl FnMut(&str),
) -> Result<bool, Errno> {
    let mut temporary = Vec::new();
    folder.go_through(|name| {
        if placing::is_temporary(name) {
            temporary.push(name.to_owned());
        } else {
            each(name);
        }
    })?;
    placing::remove_leftovers(folder, &temporary, now);
    Ok(temporary.is_empty())
}
