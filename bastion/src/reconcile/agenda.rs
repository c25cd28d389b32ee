//! Which deliveries are to be thought about now: thousands wait, and few change.
//!
//! What holds: whatever changed since its last thought is thought about, and whatever waited long
//! enough; what is neither costs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Entry;
use crate::delivery::Delivery;

/// The agenda.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// Everything is thought about anew.
    everything: bool,
    changed: Vec<Arc<Delivery>>,
    /// By moment, and in the order in which they were noted.
    later: BTreeMap<(Timestamp, u64), Arc<Delivery>>,
    noted: u64,
}

impl Agenda {
    /// Whatever was decided is decided anew.
    pub(super) fn everything(&mut self) {
        self.everything = true;
    }

    /// Something changed for this one, or it is still to be begun.
    pub(super) fn changed(&mut self, delivery: Arc<Delivery>) {
        self.changed.push(delivery);
    }

    /// It waits no longer.
    pub(super) fn again(&mut self, entry: &mut Entry) {
        entry.waits_until = None;
        self.changed(Arc::clone(&entry.delivery));
    }

    /// Nothing is to be done for this one before `until`.
    pub(super) fn wait(&mut self, delivery: Arc<Delivery>, until: Timestamp) {
        // What waits for a change waits for no moment.
        if until < Timestamp::MAX {
            self.noted += 1;
            self.later.insert((until, self.noted), delivery);
        }
    }

    /// When to ask again, if nothing changes.
    pub(super) fn next(&self) -> Timestamp {
        let first = self.later.first_key_value();
        first.map_or(Timestamp::MAX, |((until, _), _)| *until)
    }

    /// Takes those that are to be thought about now, in the order of names and each once; `all` are
    /// all that there are. Some of them may wait still.
    pub(super) fn take<'a>(
        &mut self,
        now: Timestamp,
        all: impl Iterator<Item = &'a Arc<Delivery>>,
    ) -> Vec<Arc<Delivery>> {
        let mut due = std::mem::take(&mut self.changed);
        if std::mem::take(&mut self.everything) {
            self.later.clear();
            due.clear();
            due.extend(all.map(Arc::clone));
            return due;
        }
        while let Some(first) = self.later.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        due.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        due.dedup_by(|a, b| a.id == b.id);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Target;
    use crate::fixtures::delivery;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn only_what_changed_or_waited_long_enough_is_thought_about() {
        let new = |account| {
            Arc::new(delivery(
                account,
                "cms",
                "ap1",
                Target::Directory("/c".into()),
            ))
        };
        let all = ["a", "b", "c"].map(new);
        let [a, b, c] = &all;
        let mut agenda = Agenda::default();
        let take = |agenda: &mut Agenda, second| {
            let due = agenda.take(at(second), all.iter());
            let names = due.iter().map(|delivery| delivery.id.account.clone());
            names.collect::<Vec<_>>()
        };
        agenda.everything();
        agenda.changed(Arc::clone(b));
        assert_eq!(take(&mut agenda, 0), ["a", "b", "c"]);
        assert!(take(&mut agenda, 0).is_empty());

        agenda.wait(Arc::clone(b), at(20));
        agenda.wait(Arc::clone(a), at(20));
        agenda.wait(Arc::clone(a), at(10));
        agenda.wait(Arc::clone(c), Timestamp::MAX);
        assert_eq!(agenda.next(), at(10));
        assert!(take(&mut agenda, 9).is_empty());
        assert_eq!(take(&mut agenda, 10), ["a"]);
        agenda.changed(Arc::clone(c));
        agenda.changed(Arc::clone(a));
        assert_eq!(take(&mut agenda, 20), ["a", "b", "c"], "each once");
        assert_eq!(agenda.next(), Timestamp::MAX);

        agenda.wait(Arc::clone(a), at(30));
        agenda.everything();
        assert_eq!(take(&mut agenda, 25), ["a", "b", "c"]);
        assert_eq!(agenda.next(), Timestamp::MAX, "decided anew");
    }
}
