//! A bounded cache in which no account makes entries of others go.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Values that accounts use. When it is full, of the account with the most entries that one goes which was not used for
/// longest. So nobody makes an entry of others go, or one that all share.
#[derive(Debug)]
pub(super) struct FairCache<K, V> {
    limit: usize,
    entries: HashMap<K, Entry<V>>,
    /// Number of uses so far.
    uses: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    /// Account that uses it; `None` when several do.
    account: Option<Arc<str>>,
    /// Number of its last use.
    used: u64,
}

impl<K: Clone + Eq + Hash, V> FairCache<K, V> {
    /// `limit`: entries at most.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            entries: HashMap::new(),
            uses: 0,
        }
    }

    /// Returns a value that an account uses.
    pub(super) fn get<Q>(&mut self, key: &Q, account: &Arc<str>) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let entry = self.entries.get_mut(key)?;
        self.uses += 1;
        entry.used = self.uses;
        entry.account.take_if(|known| known != account);
        Some(&mut entry.value)
    }

    /// Returns a value without using it.
    pub(super) fn peek<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// Adds a value that an account uses.
    pub(super) fn insert(&mut self, key: K, value: V, account: &Arc<str>) {
        if self.entries.len() >= self.limit && !self.entries.contains_key(&key) {
            self.make_room();
        }
        self.uses += 1;
        let entry = Entry {
            value,
            account: Some(account.clone()),
            used: self.uses,
        };
        self.entries.insert(key, entry);
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn make_room(&mut self) {
        let mut of_account: HashMap<Option<&str>, usize> = HashMap::new();
        for entry in self.entries.values() {
            *of_account.entry(entry.account.as_deref()).or_default() += 1;
        }
        let count = |entry: &Entry<V>| of_account.get(&entry.account.as_deref()).copied();
        let rank = |entry: &Entry<V>| (Reverse(count(entry)), entry.used);
        let first = self.entries.iter().min_by_key(|(_, entry)| rank(entry));
        if let Some(first) = first.map(|(key, _)| key.clone()) {
            self.entries.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_bounded_and_no_account_makes_those_of_others_go() {
        let (many, few): (Arc<str>, Arc<str>) = ("many".into(), "few".into());
        let mut cache = FairCache::<Arc<str>, ()>::new(8);
        // The site's own Vault, which all ask, and one that a single account uses.
        cache.insert("vault.test".into(), (), &many);
        assert!(cache.get("vault.test", &few).is_some());
        assert!(cache.get("vault.test", &many).is_some());
        cache.insert("own.test".into(), (), &few);
        for n in 0..20 {
            cache.insert(format!("h{n}.test").into(), (), &many);
            assert!(cache.entries.len() <= 8);
        }
        for host in ["vault.test", "own.test", "h19.test"] {
            assert!(cache.peek(host).is_some(), "{host}");
        }
        assert!(cache.peek("h0.test").is_none());
        // One that is there already needs no room.
        cache.insert("own.test".into(), (), &few);
        assert_eq!(cache.entries.len(), 8);
        cache.clear();
        assert!(cache.get("own.test", &few).is_none());
    }

    #[test]
    fn of_an_account_that_one_goes_which_was_not_used_for_longest() {
        let user: Arc<str> = "u".into();
        let mut cache = FairCache::<Arc<str>, u8>::new(2);
        cache.insert("a".into(), 1, &user);
        cache.insert("b".into(), 2, &user);
        assert_eq!(cache.get("a", &user).copied(), Some(1));
        cache.insert("c".into(), 3, &user);
        assert!(cache.peek("a").is_some() && cache.peek("b").is_none());
    }
}
