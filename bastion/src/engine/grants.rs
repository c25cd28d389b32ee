//! Age of grants: stored when they are given and when they first work; people are warned in time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::warn;

use crate::model::delivery::Credential;
use crate::model::grants::{self, GrantLine};
use crate::store::{Change, Store};

/// A warning is logged again after this.
const AGAIN: Duration = Duration::from_hours(24);

/// Warnings of grants that may run out.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    /// Time until which a warning is not logged again, by account and service.
    logged: BTreeMap<(String, String), Instant>,
}

impl Warnings {
    /// Logs the warnings that there are, each once a day.
    pub(super) fn log(&mut self, grants: &[GrantLine]) {
        let now = Instant::now();
        self.logged.retain(|_, until| now < *until);
        for line in grants {
            let Some(message) = &line.message else {
                continue;
            };
            let key = (line.account.clone(), line.service.clone());
            if let Entry::Vacant(entry) = self.logged.entry(key) {
                warn!(account = line.account, service = line.service, "{message}");
                entry.insert(now + AGAIN);
            }
        }
    }

    /// The next warnings of these credentials are new.
    pub(super) fn forget(&mut self, credentials: &[Arc<Credential>]) {
        for credential in credentials {
            let account = credential.identity.account.clone();
            self.logged.remove(&(account, credential.service.clone()));
        }
    }
}

/// Stores that a credential works; `refused_since` is the time from which on it did not, until now.
pub(super) fn worked(
    store: &Store,
    credential: &Credential,
    refused_since: Option<Timestamp>,
    now: Timestamp,
) {
    let name = grants::name(credential);
    store.change_if(|content| {
        let known = content.grants.entry(name).or_default();
        // What had been good and was refused is another one now.
        let last = known.onboarded.max(known.first_worked);
        let is_other = last.is_some() && refused_since.is_some_and(|since| Some(since) > last);
        if is_other {
            *known = grants::GrantAge::default();
        } else if known.first_worked.is_some() {
            return Change::Nothing;
        }
        known.first_worked = Some(now);
        Change::Facts
    });
}
