//! Claims of attempts: the bounded slots that they take, and the resources that they need.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use super::resources::{Resource, creation, login_by, opened_by, read_by, schedd};
use crate::model::delivery::{Delivery, Target};
use crate::model::records::requested_content;

/// Attempts at a time. Requests to Vault, to KDCs and runs of HTCondor's tools have limits of their own.
pub(super) const TOTAL: usize = 64;
/// Attempts at a time whose tokens one issuer makes.
pub(super) const PER_ISSUER: usize = 48;
/// Attempts at a time for one credential at Vault, whatever the schedds: if it hangs, room is left.
pub(super) const PER_CREDENTIAL: usize = 16;
/// Attempts at a time at one credd: one that is slow leaves room for all others.
pub(super) const PER_CREDD: usize = 4;
/// Attempts at a time in one directory: most of the time each waits for its credmon.
pub(super) const PER_DIRECTORY: usize = 32;

/// All slots that claims refer to.
#[derive(Debug, Default)]
pub(super) struct Slots(BTreeMap<SlotName, Weak<Slot>>);

/// A bounded number of attempts.
#[derive(Debug)]
struct Slot {
    limit: usize,
    /// Changed under the lock of the limits alone.
    running: AtomicUsize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SlotName {
    Program,
    Issuer(String, String),
    Credential(String),
    Schedd(String),
}

/// Everything that attempts of one delivery take part in.
#[derive(Debug, Default)]
pub(super) struct Claims {
    slots: Box<[Arc<Slot>]>,
    /// Resources that an attempt needs, in the order of [`Extent`].
    needs: Box<[(Extent, Resource)]>,
}

/// Extent of an attempt; each includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// Nothing but the schedd is asked.
    Schedd,
    /// Vault is asked, with tokens that are there.
    Vault,
    /// A login is made.
    Login,
}

impl Slots {
    fn get(&mut self, name: SlotName, limit: usize) -> Arc<Slot> {
        let known = self.0.entry(name).or_default();
        known.upgrade().unwrap_or_else(|| {
            let running = AtomicUsize::new(0);
            let slot = Arc::new(Slot { limit, running });
            *known = Arc::downgrade(&slot);
            slot
        })
    }

    pub(super) fn forget_unused(&mut self) {
        self.0.retain(|_, slot| slot.strong_count() > 0);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Resources that an attempt for a delivery needs, in the order of [`Extent`].
pub(super) fn needs(delivery: &Delivery) -> Vec<(Extent, Resource)> {
    let credential = &delivery.credential;
    let mut needs = Vec::new();
    let mut add = |extent, resources: &[Resource]| {
        needs.extend(resources.iter().map(|resource| (extent, resource.clone())));
    };
    if matches!(delivery.target, Target::Credd(_)) {
        add(Extent::Schedd, &[schedd(delivery)]);
    }
    add(Extent::Vault, &read_by(credential));
    add(Extent::Login, &login_by(credential));
    add(Extent::Login, &[creation(credential)]);
    if delivery.target.needs_opener() {
        add(Extent::Vault, &opened_by(&delivery.authorize));
        add(Extent::Login, &login_by(&delivery.authorize));
    }
    needs.sort();
    needs.dedup();
    needs
}

impl Claims {
    pub(super) fn new(delivery: &Delivery, slots: &mut Slots) -> Self {
        let credential = &delivery.credential;
        let vault = credential.url.server().to_string();
        let per_schedd = match delivery.target {
            Target::Credd(_) => PER_CREDD,
            Target::Directory(_) => PER_DIRECTORY,
        };
        let issuer = SlotName::Issuer(vault, credential.issuer.clone());
        let names = [
            // The one that is full most often is asked first.
            (SlotName::Schedd(delivery.id.schedd.clone()), per_schedd),
            (SlotName::Program, TOTAL),
            (
                SlotName::Credential(requested_content(credential)),
                PER_CREDENTIAL,
            ),
            (issuer, PER_ISSUER),
        ];
        Self {
            slots: names.map(|(name, limit)| slots.get(name, limit)).into(),
            needs: needs(delivery).into(),
        }
    }

    /// Claims of something that needs these resources and no slot.
    pub(super) fn without_slots(needs: impl IntoIterator<Item = Resource>) -> Self {
        let needs = needs.into_iter().map(|need| (Extent::Schedd, need));
        Self {
            slots: Box::default(),
            needs: needs.collect(),
        }
    }

    /// Resources that an attempt of this extent needs.
    pub(super) fn needs(&self, extent: Extent) -> impl Iterator<Item = &Resource> + Clone {
        let needs = self.needs.iter().filter(move |(of, _)| *of <= extent);
        needs.map(|(_, resource)| resource)
    }

    /// `true` when one of the slots has no room.
    pub(super) fn is_full(&self) -> bool {
        let is_full = |slot: &Arc<Slot>| slot.running.load(Ordering::Relaxed) >= slot.limit;
        self.slots.iter().any(is_full)
    }

    pub(super) fn occupy(&self) {
        for slot in &self.slots {
            slot.running.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn release(&self) {
        for slot in &self.slots {
            slot.running.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
