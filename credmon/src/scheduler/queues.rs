//! Queues and indices of credentials: they follow from the records, and are brought up to date with each change.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::time::Instant;

use super::record::{Record, Urgency};
use super::{Dependency, dependencies};
use crate::model::{CredentialId, Now, Target};

/// All queues.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// Credentials with a task under way, even if they are gone: no other queue but the last has them.
    pub(super) running: BTreeSet<CredentialId>,
    /// Credentials that wait for their renewal.
    pub(super) waiting: BTreeSet<(Instant, CredentialId)>,
    /// Credentials that are due for one issuer, the most urgent first.
    pub(super) ready: BTreeMap<Target, BTreeSet<(Urgency, CredentialId)>>,
    /// Vault tokens whose expiry is to be looked up.
    pub(super) look_ups: BTreeSet<(Instant, CredentialId)>,
    /// Credentials that have worked with a host or issuer.
    pub(super) proven: BTreeMap<Dependency, BTreeSet<CredentialId>>,
}

impl Queues {
    /// Adds a credential wherever it belongs now.
    pub(super) fn add(&mut self, record: &Record, now: Now) {
        let id = &record.top.id;
        if self.running.contains(id) {
            return;
        }
        match (record.due, record.route()) {
            (Some(due), Some(route)) if due <= now.mono => {
                let queue = self.ready.entry(route.target()).or_default();
                queue.insert((record.urgency(), id.clone()));
            }
            (Some(due), _) => _ = self.waiting.insert((due, id.clone())),
            (None, _) => {}
        }
        if let Some(at) = record.look_up_at {
            self.look_ups.insert((at, id.clone()));
        }
    }

    /// Removes a credential from wherever it was added, as long as its record is the same.
    pub(super) fn remove(&mut self, record: &Record) {
        let id = &record.top.id;
        if let Some(due) = record.due {
            self.waiting.remove(&(due, id.clone()));
        }
        if let Some(at) = record.look_up_at {
            self.look_ups.remove(&(at, id.clone()));
        }
        if let Some(route) = record.route() {
            let entry = (record.urgency(), id.clone());
            remove(&mut self.ready, route.target(), &entry);
        }
    }

    /// A credential has worked with the host and issuer `now`, and `before` with these: mostly the same.
    pub(super) fn set_proven(
        &mut self,
        id: &CredentialId,
        before: Option<&Target>,
        now: Option<&Target>,
    ) {
        if before == now {
            return;
        }
        let both = |target: Option<&Target>| {
            let both = target.map(|(host, issuer)| dependencies(host, issuer));
            both.into_iter().flatten()
        };
        for dependency in both(before) {
            remove(&mut self.proven, dependency, id);
        }
        for dependency in both(now) {
            let proven = self.proven.entry(dependency).or_default();
            proven.insert(id.clone());
        }
    }
}

/// Removes from one of many sets, and the set with its last element.
fn remove<K: Ord, T: Ord>(sets: &mut BTreeMap<K, BTreeSet<T>>, key: K, element: &T) {
    if let Entry::Occupied(mut set) = sets.entry(key) {
        set.get_mut().remove(element);
        if set.get().is_empty() {
            set.remove();
        }
    }
}
