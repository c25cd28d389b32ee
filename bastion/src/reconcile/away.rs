//! Deliveries that are wanted no longer, as long as a token of theirs lives.
//!
//! What holds: nothing is tried for them; what is known of their tokens is kept, so that an order
//! can still cut them off, and one that is wanted again goes on where it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Entry, Reconciler};
use crate::delivery::{DeliveryId, Selection};
use crate::push::Outcome;
use crate::report::Unwanted;
use crate::revoke::{Cut, by_name, leftover};
use crate::transport::Transport;
use crate::vault::Vault;

/// Those that are wanted no longer.
#[derive(Default)]
pub(super) struct Away(pub(super) BTreeMap<DeliveryId, Box<Entry>>);

impl Away {
    /// Keeps one in mind.
    pub(super) fn keep(&mut self, id: DeliveryId, mut entry: Box<Entry>) {
        // Nobody waits for it any more.
        entry.record.asked = false;
        self.0.insert(id, entry);
    }

    /// Forgets those of which nothing lives and nothing runs.
    pub(super) fn drop_ended(&mut self, now: Timestamp) {
        self.0.retain(|_, entry| {
            let lives = entry.tokens.end().is_some_and(|end| end > now);
            lives || entry.running || entry.to_cut.is_some()
        });
    }
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// A delivery, whether it is wanted or not.
    pub(super) fn known_mut(&mut self, id: &DeliveryId) -> Option<&mut Box<Entry>> {
        self.entries.get_mut(id).or_else(|| self.away.0.get_mut(id))
    }

    /// What is wanted no longer while a token of it lives, of before a restart too.
    pub(super) fn unwanted(&self, now: Timestamp) -> Vec<Unwanted> {
        self.parts.store.read(|content| {
            let notes = content.deliveries.iter();
            notes
                .filter(|(id, _)| !self.entries.contains_key(id))
                .filter_map(|(id, note)| Unwanted::new(id, note, now))
                .collect()
        })
    }

    /// A try has ended whose delivery was configured away meanwhile: what was made is noted.
    pub(super) fn finish_away(&mut self, id: &DeliveryId, outcome: Option<Outcome>) {
        let now = self.now();
        let Some(entry) = self.away.0.get_mut(id) else {
            return;
        };
        entry.running = false;
        entry.stop = None;
        if let Some(outcome) = outcome {
            // Whether it went well concerns nobody any more.
            let _ = entry.note(outcome, now);
        }
        let note = entry.to_note();
        self.parts.store.note(id, note, now);
        self.begin_cuts();
    }

    /// All deliveries, those too that are wanted no longer.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = (&DeliveryId, &mut Box<Entry>)> {
        self.entries.iter_mut().chain(&mut self.away.0)
    }

    /// Brings to mind what only the store knows of, as far as its schedd can be reached. What
    /// cannot is answered: its tokens by name.
    pub(super) fn recall(&mut self, selection: &Selection, leave_schedds: bool) -> Vec<Cut> {
        let now = self.now();
        self.parts.store.drop_ended(now);
        let notes = self.parts.store.read(|content| content.deliveries.clone());
        let mut named = Vec::new();
        for (id, note) in &notes {
            let is_known = self.entries.contains_key(id) || self.away.0.contains_key(id);
            if is_known || !selection.holds(id) {
                continue;
            }
            match leftover(self.searches.listed(), self.searches.searches(), id) {
                Some(delivery) => {
                    let entry = Box::new(Entry::new(Arc::new(delivery), Some(note)));
                    self.away.0.insert(id.clone(), entry);
                }
                None => named.push(by_name(id, note, now, leave_schedds)),
            }
        }
        named
    }
}
