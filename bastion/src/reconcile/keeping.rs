//! What the service keeps between runs for people: which deliveries they cut off, how old grants are.
//!
//! What holds: an order to cut off is on disk before it is answered; a file that cannot be read or
//! written is said and stops nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{error, warn};

use super::Reconciler;
use crate::delivery::{Credential, DeliveryId, Selection};
use crate::grants::{self, GrantLine, Grants};
use crate::moment::after;
use crate::problem::Kind;
use crate::revoke::kept_off::{self, KeptOff};
use crate::transport::Transport;
use crate::vault::Vault;

/// A warning is said again after this.
const AGAIN: Duration = Duration::from_hours(24);

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// Where; nowhere in tests of other things.
    state: Option<PathBuf>,
    kept_off: KeptOff,
    grants: Grants,
    /// Until when a warning of a grant is not said again.
    warned: BTreeMap<String, Timestamp>,
}

impl Keeping {
    fn try_to<T>(
        &self,
        what: &str,
        work: impl FnOnce(&Path) -> std::io::Result<T>,
    ) -> Result<Option<T>, String> {
        let Some(state) = &self.state else {
            return Ok(None);
        };
        work(state).map(Some).map_err(|fault| {
            let told = format!(
                "{what} in {}: {fault}; correct the directory's owner and permissions, or `state` in the configuration",
                state.display()
            );
            error!("{told}");
            told
        })
    }

    fn read_grants(&mut self) {
        let read = self.try_to("the age of grants cannot be read", grants::store::read);
        if let Ok(Some(grants)) = read {
            self.grants = grants;
        }
    }

    /// Notes on disk that deliveries are kept off, or no longer.
    pub(super) fn set_kept_off(
        &mut self,
        ids: &[DeliveryId],
        since: Option<Timestamp>,
    ) -> Result<(), String> {
        let ids: Vec<&DeliveryId> = ids
            .iter()
            .filter(|id| since.is_some() || self.kept_off.contains_key(id))
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        for id in &ids {
            match since {
                Some(since) => drop(self.kept_off.entry((*id).clone()).or_insert(since)),
                None => drop(self.kept_off.remove(id)),
            }
        }
        let set = |state: &Path| kept_off::set(state, ids.iter().copied(), since);
        self.try_to("what is cut off cannot be kept", set).map(drop)
    }

    /// Since when a delivery is kept off.
    pub(super) fn kept_off(&self, id: &DeliveryId) -> Option<Timestamp> {
        self.kept_off.get(id).copied()
    }

    /// A credential works; `refused_since` is since when it did not, until now.
    fn worked(
        &mut self,
        credential: &Credential,
        refused_since: Option<Timestamp>,
        now: Timestamp,
    ) {
        let name = grants::name(credential);
        let known = self.grants.get(&name).cloned().unwrap_or_default();
        // What had been good and was refused is another one now.
        let last = known.onboarded.max(known.first_worked);
        let is_other = last.is_some() && refused_since.is_some_and(|since| Some(since) > last);
        if known.first_worked.is_some() && !is_other {
            return;
        }
        let change = |state: &Path| {
            grants::store::change(state, &name, |kept| {
                // Another grant than before: given by `onboard`, which noted it, or elsewhere.
                if !is_other || kept.onboarded != known.onboarded {
                    kept.first_worked.get_or_insert(now);
                } else {
                    *kept = grants::Known {
                        first_worked: Some(now),
                        ..grants::Known::default()
                    };
                }
            })
        };
        match self.try_to("the age of a grant cannot be kept", change) {
            Ok(Some(grants)) => self.grants = grants,
            // In memory at least, so that this is not tried at each look.
            _ => self.grants.entry(name).or_default().first_worked = Some(now),
        }
    }
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// Keeps things for people in this folder, and goes by what is kept there.
    pub fn keep_in(&mut self, state: &Path) {
        let keeping = &mut self.keeping;
        keeping.state = Some(state.to_owned());
        let read = keeping.try_to("what is cut off cannot be read", kept_off::read);
        if let Ok(Some(kept_off)) = read {
            keeping.kept_off = kept_off;
        }
        keeping.read_grants();
        for (id, entry) in &mut self.entries {
            entry.record.cut_off = keeping.kept_off(id);
        }
    }

    /// What is known of each grant.
    pub(super) fn grant_lines(&self, now: Timestamp) -> Vec<GrantLine> {
        let nothing = grants::Known::default();
        let all = self
            .entries
            .values()
            .map(|entry| &entry.delivery.credential);
        grants::credentials(all)
            .iter()
            .map(|credential| {
                let known = self.keeping.grants.get(&grants::name(credential));
                grants::line(credential, known.unwrap_or(&nothing), now)
            })
            .collect()
    }

    /// Warns of grants that may run out; of each once a day.
    pub(super) fn warn_of_grants(&mut self, now: Timestamp) {
        for line in self.grant_lines(now) {
            let Some(message) = &line.message else {
                continue;
            };
            let key = format!("{}/{}", line.account, line.service);
            let said = self.keeping.warned.get(&key);
            if said.is_none_or(|until| now >= *until) {
                warn!(account = line.account, service = line.service, "{message}");
                self.keeping.warned.insert(key, after(now, AGAIN));
            }
        }
    }

    /// Notes that a delivery's grant works; `before` is what was wrong until now, and since when.
    pub(super) fn grant_worked(
        &mut self,
        id: &DeliveryId,
        before: Option<(Kind, Timestamp)>,
        now: Timestamp,
    ) {
        if let Some(entry) = self.entries.get(id) {
            let credential = Arc::clone(&entry.delivery.credential);
            let refused = before.filter(|(kind, _)| *kind == Kind::NotOnboarded);
            let since = refused.map(|(_, since)| since);
            self.keeping.worked(&credential, since, now);
        }
    }

    /// Somebody logged in for these credentials; when the refresh tokens end, if that was said.
    /// They are tried at once.
    pub(super) fn onboarded(
        &mut self,
        selection: &Selection,
        ends: Option<Timestamp>,
    ) -> Result<(), String> {
        let now = self.now();
        let meant = self.entries.iter().filter(|(id, _)| selection.holds(id));
        let credentials = grants::credentials(meant.map(|(_, entry)| &entry.delivery.credential));
        self.obey(&super::Order::Retry(selection.clone()));
        let mut result = Ok(());
        for credential in &credentials {
            let name = grants::name(credential);
            let known = grants::Known {
                onboarded: Some(now),
                first_worked: None,
                said_to_end: ends,
            };
            self.keeping.grants.insert(name.clone(), known.clone());
            let key = format!("{}/{}", credential.identity.account, credential.service);
            self.keeping.warned.remove(&key);
            let change = |state: &Path| grants::store::change(state, &name, |kept| *kept = known);
            let kept = self
                .keeping
                .try_to("the age of a grant cannot be kept", change);
            result = result.and(kept.map(drop));
        }
        result
    }

    /// Refresh tokens that are forgotten have no age any more.
    pub(super) fn grants_forgotten(&mut self, names: &[String]) {
        for name in names {
            self.keeping.grants.remove(name);
            let forget = |state: &Path| grants::store::forget(state, name);
            // Said already.
            let _ = self
                .keeping
                .try_to("the age of a grant cannot be forgotten", forget);
        }
    }
}
