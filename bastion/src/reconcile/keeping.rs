//! Age of grants: noted when they are given and when they first work; people are warned in time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::warn;

use super::Reconciler;
use crate::delivery::{Credential, DeliveryId, Selection};
use crate::grants::{self, GrantLine};
use crate::moment::after;
use crate::problem::Kind;
use crate::store::Store;
use crate::transport::Transport;
use crate::vault::Vault;

/// A warning is said again after this.
const AGAIN: Duration = Duration::from_hours(24);

/// Warnings of grants.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// Until when a warning of a grant is not logged again.
    warned: BTreeMap<String, Timestamp>,
}

/// Notes that a credential works; `refused_since` is the time from which on it did not, until now.
fn worked(
    store: &Store,
    credential: &Credential,
    refused_since: Option<Timestamp>,
    now: Timestamp,
) {
    let name = grants::name(credential);
    let known = store.read(|content| content.grants.get(&name).cloned());
    let known = known.unwrap_or_default();
    // What had been good and was refused is another one now.
    let last = known.onboarded.max(known.first_worked);
    let is_other = last.is_some() && refused_since.is_some_and(|since| Some(since) > last);
    if known.first_worked.is_some() && !is_other {
        return;
    }
    let kept = if is_other {
        grants::Known::default()
    } else {
        known
    };
    let kept = grants::Known {
        first_worked: Some(now),
        ..kept
    };
    store.change(|content| content.grants.insert(name, kept));
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// What is known of each grant.
    pub(super) fn grant_lines(&self, now: Timestamp) -> Vec<GrantLine> {
        let nothing = grants::Known::default();
        let entries = self.entries.values();
        let credentials = grants::credentials(entries.map(|entry| &entry.delivery.credential));
        self.parts.store.read(|content| {
            let line = |credential: &Arc<Credential>| {
                let known = content.grants.get(&grants::name(credential));
                grants::line(credential, known.unwrap_or(&nothing), now)
            };
            credentials.iter().map(line).collect()
        })
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
            worked(&self.parts.store, &credential, since, now);
        }
    }

    /// Somebody logged in for these credentials; `ends` is the expiry of the refresh tokens, if the issuer
    /// said it. They are pushed at once.
    pub(super) fn onboarded(&mut self, selection: &Selection, ends: Option<Timestamp>) {
        let now = self.now();
        let meant = self.entries.iter().filter(|(id, _)| selection.holds(id));
        let credentials = grants::credentials(meant.map(|(_, entry)| &entry.delivery.credential));
        // A new token wakes the credmon, which may wait after a refusal.
        self.obey(&super::Order::Push(selection.clone()));
        let known = grants::Known {
            onboarded: Some(now),
            first_worked: None,
            said_to_end: ends,
        };
        for credential in &credentials {
            let key = format!("{}/{}", credential.identity.account, credential.service);
            self.keeping.warned.remove(&key);
        }
        self.parts.store.change(|content| {
            let names = credentials
                .iter()
                .map(|credential| grants::name(credential));
            content
                .grants
                .extend(names.map(|name| (name, known.clone())));
        });
    }

    /// Refresh tokens that are forgotten have no age any more.
    pub(super) fn grants_forgotten(&mut self, names: &[String]) {
        self.parts.store.change(|content| {
            content.grants.retain(|name, _| !names.contains(name));
        });
    }
}
