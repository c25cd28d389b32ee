//! What is due when, in an order that can be asked for cheaply with many thousands of credentials.
//!
//! A credential has at most one place: it waits for its time, or it is ready in its lane, most
//! urgent first. In which lane and how urgent it is, is asked when its time has come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::old::second::Second;
use crate::old::table::Slot;
use crate::old::top_file::Lane;

/// Order among what is ready; smaller goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Jobs or users wait for it since then.
    WaitedFor(Second),
    /// Its token ends then.
    Ends(Second),
}

/// Where a credential is.
#[derive(Clone, Debug, Default)]
enum Place {
    #[default]
    Nowhere,
    /// It waits for its time.
    Waiting(Second),
    /// It is ready in its lane.
    Ready(Arc<Lane>, Urgency),
}

/// The agenda. Credentials are known by their slots in the table of all.
#[derive(Debug, Default)]
pub struct Agenda {
    places: Vec<Place>,
    waiting: BTreeSet<(Second, Slot)>,
    ready: BTreeMap<Arc<Lane>, BTreeSet<(Urgency, Slot)>>,
}

impl Agenda {
    /// Gives a credential its place by when it is due, or none.
    pub fn set(&mut self, slot: Slot, due: Option<Second>) {
        let number = slot.number();
        if self.places.len() <= number {
            if due.is_none() {
                return;
            }
            self.places.resize_with(number + 1, Place::default);
        }
        let Some(place) = self.places.get_mut(number) else {
            return;
        };
        if let (Place::Waiting(at), Some(due)) = (&*place, due)
            && *at == due
        {
            return;
        }
        // One that is ready may have become more or less urgent: it goes through its time again.
        match std::mem::replace(place, due.map_or(Place::Nowhere, Place::Waiting)) {
            Place::Nowhere => {}
            Place::Waiting(at) => _ = self.waiting.remove(&(at, slot)),
            Place::Ready(lane, urgency) => self.remove_ready(&lane, urgency, slot),
        }
        if let Some(due) = due {
            self.waiting.insert((due, slot));
        }
    }

    fn remove_ready(&mut self, lane: &Arc<Lane>, urgency: Urgency, slot: Slot) {
        if let Some(queue) = self.ready.get_mut(lane) {
            queue.remove(&(urgency, slot));
            if queue.is_empty() {
                self.ready.remove(lane);
            }
        }
    }

    /// Makes ready what is due. `order` tells the lane and the urgency of a credential; one without
    /// has no place any more.
    pub fn ripen(&mut self, now: Timestamp, order: impl Fn(Slot) -> Option<(Arc<Lane>, Urgency)>) {
        let now = Second::from(now);
        while let Some(&(due, slot)) = self.waiting.first()
            && due <= now
        {
            self.waiting.pop_first();
            let place = match order(slot) {
                Some((lane, urgency)) => {
                    let queue = self.ready.entry(Arc::clone(&lane)).or_default();
                    queue.insert((urgency, slot));
                    Place::Ready(lane, urgency)
                }
                None => Place::Nowhere,
            };
            if let Some(at) = self.places.get_mut(slot.number()) {
                *at = place;
            }
        }
    }

    /// Takes out the most urgent of what is ready in lanes that have room, if it is urgent enough.
    pub fn take(
        &mut self,
        has_room: impl Fn(&Lane) -> bool,
        is_enough: impl Fn(&Urgency) -> bool,
    ) -> Option<Slot> {
        let firsts = self.ready.iter().filter(|(lane, _)| has_room(lane));
        let first = firsts.filter_map(|(_, slots)| slots.first()).min();
        let &(_, slot) = first.filter(|(urgency, _)| is_enough(urgency))?;
        self.set(slot, None);
        Some(slot)
    }

    /// When something more will be due.
    #[must_use]
    pub fn next(&self) -> Option<Second> {
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

    fn at(second: i64) -> Second {
        Second::new(second)
    }

    fn now(second: i64) -> Timestamp {
        at(second).timestamp()
    }

    fn lane(host: u8) -> Arc<Lane> {
        Arc::new(Lane {
            host: host.to_string().into(),
            issuer: "cms".into(),
        })
    }

    proptest! {
        #[test]
        fn all_that_is_due_comes_once_in_order_of_urgency(
            steps in proptest::collection::vec((0u32..10, 0i64..100, 0u8..3, 0i64..50), 0..60),
            (early, late) in (0i64..100, 0i64..100),
        ) {
            let mut agenda = Agenda::default();
            let mut model = BTreeMap::new();
            let half = steps.len() / 2;
            let order_in = |model: &BTreeMap<Slot, Option<(i64, u8, i64)>>, slot| {
                let (_, host, order) = model.get(&slot).copied().flatten()?;
                Some((lane(host), Urgency::Ends(at(order))))
            };
            for (number, (n, due, host, order)) in steps.into_iter().enumerate() {
                // Some are ready already when others get their place, and theirs may change.
                if number == half {
                    agenda.ripen(now(early), |slot| order_in(&model, slot));
                }
                let entry = (host > 0).then_some((due, host, order));
                model.insert(Slot::numbered(n), entry);
                agenda.set(Slot::numbered(n), entry.map(|entry| at(entry.0)));
            }
            let by = if half > 0 { early.max(late) } else { late };
            agenda.ripen(now(by), |slot| order_in(&model, slot));
            let entries = model.iter().filter_map(|(slot, entry)| Some((*slot, (*entry)?)));
            let mut expected: Vec<_> = entries
                .filter(|(_, entry)| entry.0 <= by)
                .map(|(slot, entry)| (entry.2, slot))
                .collect();
            expected.sort();
            prop_assert_eq!(agenda.queued(), expected.len());
            for (_, slot) in expected {
                prop_assert_eq!(agenda.take(|_| true, |_| true), Some(slot));
            }
            prop_assert_eq!(agenda.take(|_| true, |_| true), None);
            prop_assert!(agenda.ready.is_empty());
            prop_assert!(agenda.next().is_none_or(|next| next > at(by)));
            let places = agenda.places.iter();
            let waiting = places.filter(|place| matches!(place, Place::Waiting(_)));
            prop_assert_eq!(waiting.count(), agenda.waiting.len());
        }
    }

    #[test]
    fn a_lane_without_room_holds_up_no_other() {
        let mut agenda = Agenda::default();
        let (one, two) = (Slot::numbered(1), Slot::numbered(2));
        agenda.set(one, Some(at(0)));
        agenda.set(two, Some(at(0)));
        agenda.ripen(now(0), |slot| {
            let order = i64::from(slot == two);
            let host = if slot == one { 1 } else { 2 };
            Some((lane(host), Urgency::Ends(at(order))))
        });
        assert_eq!(agenda.take(|lane| &*lane.host == "2", |_| true), Some(two));
        assert_eq!(agenda.take(|lane| &*lane.host == "2", |_| true), None);
        assert_eq!(agenda.queued(), 1);
    }

    #[test]
    fn a_place_takes_few_bytes() {
        assert_eq!(size_of::<Place>(), 24);
    }
}
