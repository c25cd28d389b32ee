//! Rows in the order of their names, in little memory: many thousands are kept.
//!
//! A row stays in its [`Slot`] as long as it is there, so that others can refer to it by four bytes
//! instead of by its name. What always holds: no two rows have the same name, and a search takes as
//! many steps as the number of rows has binary digits.

use std::cmp::Ordering;

use slab::Slab;

/// A name in two parts, in the order of the first.
pub type Name<'n> = (&'n str, &'n str);

/// What has a name that stays the same.
pub trait Named {
    /// The name.
    fn name(&self) -> Name<'_>;
}

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl Slot {
    fn new(key: usize) -> Self {
        // No memory holds four billion rows.
        Self(u32::try_from(key).unwrap_or(u32::MAX))
    }

    /// The slot of a number.
    #[cfg(test)]
    pub(crate) fn numbered(number: u32) -> Self {
        Self(number)
    }

    /// Its number: from 0, and given again when a row has gone.
    #[must_use]
    pub fn number(self) -> usize {
        // A pointer is not shorter than 32 bits on any system that HTCondor runs on.
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The rows.
#[derive(Clone, Debug)]
pub struct Table<T> {
    rows: Slab<T>,
    order: Vec<Slot>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            rows: Slab::new(),
            order: Vec::new(),
        }
    }
}

impl<T: Named> Table<T> {
    /// The row in a slot.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.rows.get(slot.number())
    }

    /// The row in a slot. Its name must stay.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.rows.get_mut(slot.number())
    }

    /// Where the row of a name is.
    #[must_use]
    pub fn find(&self, name: Name<'_>) -> Option<Slot> {
        let at = self.search(name).ok()?;
        self.order.get(at).copied()
    }

    /// The row of a name, and where it is.
    #[must_use]
    pub fn row(&self, name: Name<'_>) -> Option<(Slot, &T)> {
        let slot = self.find(name)?;
        Some((slot, self.get(slot)?))
    }

    /// Puts in a row, in place of one of the same name.
    pub fn insert(&mut self, row: T) -> Slot {
        let at = self.search(row.name());
        let known = at.ok().and_then(|at| self.order.get(at).copied());
        if let Some(slot) = known {
            if let Some(old) = self.get_mut(slot) {
                *old = row;
            }
            return slot;
        }
        let slot = Slot::new(self.rows.insert(row));
        self.order.insert(at.unwrap_or_else(|at| at), slot);
        slot
    }

    /// Makes room for so many more rows, and no more than that.
    pub fn reserve(&mut self, rows: usize) {
        self.rows.reserve_exact(rows);
        self.order.reserve_exact(rows);
    }

    /// Takes a row out.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        let at = self.search(self.get(slot)?.name());
        if let Ok(at) = at {
            self.order.remove(at);
        }
        self.rows.try_remove(slot.number())
    }

    /// All rows, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        let row = |&slot: &Slot| Some((slot, self.get(slot)?));
        self.order.iter().filter_map(row)
    }

    /// The rows whose name has this first part, in the order of their names.
    pub fn of<'t>(&'t self, first: &'t str) -> impl Iterator<Item = (Slot, &'t T)> {
        let from = self.search((first, "")).unwrap_or_else(|at| at);
        let rest = self.order.get(from..).unwrap_or_default().iter();
        let row = |&slot: &Slot| Some((slot, self.get(slot)?));
        rest.map_while(row)
            .take_while(move |(_, row)| row.name().0 == first)
    }

    /// The rows whose name comes after this one, in the order of their names.
    pub fn after(&self, name: Name<'_>) -> impl Iterator<Item = (Slot, &T)> {
        let from = self.search(name).map_or_else(|at| at, |at| at + 1);
        let rest = self.order.get(from..).unwrap_or_default().iter();
        rest.filter_map(|&slot| Some((slot, self.get(slot)?)))
    }

    /// All rows, in no order. Their names must stay.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.rows.iter_mut().map(|(_, row)| row)
    }

    /// Takes out the rows that are not to stay.
    pub fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) {
        self.rows.retain(|_, row| stays(row));
        let rows = &self.rows;
        self.order.retain(|slot| rows.contains(slot.number()));
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn search(&self, name: Name<'_>) -> Result<usize, usize> {
        let compare = |row: &T| row.name().cmp(&name);
        self.order
            .binary_search_by(|&slot| self.get(slot).map_or(Ordering::Less, compare))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug, PartialEq)]
    struct Row((String, String), u32);

    impl Named for Row {
        fn name(&self) -> Name<'_> {
            (&self.0.0, &self.0.1)
        }
    }

    proptest! {
        #[test]
        fn a_table_is_an_ordered_map_whose_rows_stay_where_they_are(
            steps in proptest::collection::vec((any::<bool>(), "[ab.]{0,2}", "[ab.]{0,2}", 0u32..9), 0..80),
        ) {
            let mut table: Table<Row> = Table::default();
            let mut model: BTreeMap<(String, String), u32> = BTreeMap::new();
            let mut slots: BTreeMap<(String, String), Slot> = BTreeMap::new();
            for (put, first, second, value) in steps {
                let name = (first, second);
                if put {
                    let slot = table.insert(Row(name.clone(), value));
                    prop_assert_eq!(*slots.entry(name.clone()).or_insert(slot), slot);
                    model.insert(name, value);
                } else if let Some(slot) = table.find((&name.0, &name.1)) {
                    let value = model.remove(&name);
                    prop_assert_eq!(slots.remove(&name), Some(slot));
                    prop_assert_eq!(table.remove(slot).map(|row| row.1), value);
                    prop_assert_eq!(table.get(slot), None);
                } else {
                    prop_assert_eq!(model.get(&name), None);
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(table.is_empty(), model.is_empty());
            }
            let rows = table.iter().map(|(slot, row)| (slot, row.clone()));
            let expected = model.iter().map(|(name, value)| (slots[name], Row(name.clone(), *value)));
            prop_assert_eq!(rows.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            for first in ["", "a", "ab", "b", "."] {
                let of = table.of(first).map(|(_, row)| row.0.1.clone());
                let expected = model.keys().filter(|name| name.0 == first).map(|name| name.1.clone());
                prop_assert_eq!(of.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            }
            for first in ["", "a", "ab", "b", "."] {
                for second in ["", "a", ".b"] {
                    let after = table.after((first, second)).map(|(_, row)| row.0.clone());
                    let name = (first.to_owned(), second.to_owned());
                    let expected = model.keys().filter(|other| **other > name).cloned();
                    prop_assert_eq!(after.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
                }
            }
            for (name, slot) in &slots {
                let found = table.row((&name.0, &name.1));
                prop_assert_eq!(found.map(|(at, row)| (at, row.1)), Some((*slot, model[name])));
            }
            table.rows_mut().for_each(|row| row.1 += 1);
            table.retain(|row| row.1 > 5);
            model.retain(|_, value| *value + 1 > 5);
            let rows = table.iter().map(|(slot, row)| (slot, row.clone()));
            let expected = model.iter().map(|(name, value)| (slots[name], Row(name.clone(), *value + 1)));
            prop_assert_eq!(rows.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            prop_assert_eq!(table.len(), model.len());
        }
    }

    #[test]
    fn a_row_can_be_changed_in_place_and_a_slot_is_used_again() {
        let mut table: Table<Row> = Table::default();
        let row = |name: &str, value| Row((name.to_owned(), String::new()), value);
        let (a, b) = (table.insert(row("a", 1)), table.insert(row("b", 2)));
        table.get_mut(a).unwrap().1 = 3;
        assert_eq!(table.remove(a), Some(row("a", 3)));
        assert_eq!(table.remove(a), None);
        let c = table.insert(row("c", 4));
        assert_eq!((c, c.number()), (a, 0));
        assert_eq!(table.get(b).unwrap().1, 2);
    }
}
