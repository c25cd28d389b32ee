//! What is due when, in an order that can be asked for cheaply with many thousands of credentials.
//!
//! A credential has at most one place: it waits for its time, or it is ready in its lane, most
//! urgent first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use crate::service_name::CredentialId;
use crate::top_file::Lane;

/// Order among what is ready; smaller goes first. Times are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Jobs or users wait for it since then.
    WaitedFor(i64),
    /// Its token ends then.
    Ends(i64),
}

/// When a credential is due, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub due: Timestamp,
    /// In which lane.
    pub lane: Lane,
    /// In which order there.
    pub urgency: Urgency,
}

/// The agenda.
#[derive(Debug, Default)]
pub struct Agenda {
    entries: HashMap<CredentialId, (Entry, bool)>,
    waiting: BTreeSet<(Timestamp, CredentialId)>,
    ready: BTreeMap<Lane, BTreeSet<(Urgency, CredentialId)>>,
}

impl Agenda {
    /// Gives a credential its place, or none.
    pub fn set(&mut self, id: &CredentialId, entry: Option<Entry>) {
        if self.entries.get(id).map(|(entry, _)| entry) == entry.as_ref() {
            return;
        }
        if let Some((old, ready)) = self.entries.remove(id) {
            if ready {
                self.remove_ready(&old, id);
            } else {
                self.waiting.remove(&(old.due, id.clone()));
            }
        }
        if let Some(entry) = entry {
            self.waiting.insert((entry.due, id.clone()));
            self.entries.insert(id.clone(), (entry, false));
        }
    }

    fn remove_ready(&mut self, entry: &Entry, id: &CredentialId) {
        if let Some(lane) = self.ready.get_mut(&entry.lane) {
            lane.remove(&(entry.urgency, id.clone()));
            if lane.is_empty() {
                self.ready.remove(&entry.lane);
            }
        }
    }

    /// Makes ready what is due.
    pub fn ripen(&mut self, now: Timestamp) {
        while let Some((due, id)) = self.waiting.pop_first() {
            if due > now {
                self.waiting.insert((due, id));
                return;
            }
            if let Some((entry, ready)) = self.entries.get_mut(&id) {
                *ready = true;
                let lane = self.ready.entry(entry.lane.clone()).or_default();
                lane.insert((entry.urgency, id));
            }
        }
    }

    /// Takes out the most urgent of what is ready in lanes that have room, if it is urgent enough.
    pub fn take(
        &mut self,
        has_room: impl Fn(&Lane) -> bool,
        is_enough: impl Fn(&Urgency) -> bool,
    ) -> Option<CredentialId> {
        let firsts = self.ready.iter().filter(|(lane, _)| has_room(lane));
        let first = firsts.filter_map(|(_, ids)| ids.first()).min();
        let (_, id) = first.filter(|(urgency, _)| is_enough(urgency))?;
        let id = id.clone();
        self.set(&id, None);
        Some(id)
    }

    /// When something more will be due.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// How many are ready but wait for room.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.ready.values().map(BTreeSet::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: usize) -> CredentialId {
        CredentialId::new("u", &format!("s{n}")).unwrap()
    }

    fn entry(due: i64, host: u8, order: i64) -> Entry {
        Entry {
            due: Timestamp::from_second(due).unwrap(),
            lane: Lane {
                host: host.to_string().into(),
                issuer: "cms".into(),
            },
            urgency: Urgency::Ends(order),
        }
    }

    proptest! {
        #[test]
        fn all_that_is_due_comes_once_in_order_of_urgency(
            steps in proptest::collection::vec((0usize..10, 0i64..100, 0u8..3, 0i64..50), 0..60),
            now in 0i64..100,
        ) {
            let mut agenda = Agenda::default();
            let mut model = BTreeMap::new();
            let now = Timestamp::from_second(now).unwrap();
            for (n, due, host, order) in steps {
                let entry = (host > 0).then(|| entry(due, host, order));
                agenda.set(&id(n), entry.clone());
                model.insert(id(n), entry);
            }
            agenda.ripen(now);
            let entries = model.iter().filter_map(|(id, entry)| Some((id, entry.as_ref()?)));
            let mut expected: Vec<_> = entries
                .filter(|(_, entry)| entry.due <= now)
                .map(|(id, entry)| (entry.urgency, id.clone()))
                .collect();
            expected.sort();
            prop_assert_eq!(agenda.queued(), expected.len());
            for (_, id) in expected {
                prop_assert_eq!(agenda.take(|_| true, |_| true), Some(id));
            }
            prop_assert_eq!(agenda.take(|_| true, |_| true), None);
            prop_assert!(agenda.ready.is_empty());
            prop_assert!(agenda.next().is_none_or(|next| next > now));
        }
    }

    #[test]
    fn a_lane_without_room_holds_up_no_other() {
        let mut agenda = Agenda::default();
        agenda.set(&id(1), Some(entry(0, 1, 0)));
        agenda.set(&id(2), Some(entry(0, 2, 1)));
        agenda.ripen(Timestamp::from_second(0).unwrap());
        assert_eq!(
            agenda.take(|lane| &*lane.host == "2", |_| true),
            Some(id(2))
        );
        assert_eq!(agenda.take(|lane| &*lane.host == "2", |_| true), None);
        assert_eq!(agenda.queued(), 1);
    }
}
