//! A bounded cache in which no account makes entries of others go.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// Values by name, which accounts use. When it is full, of the account with the most entries of its own that one goes which
/// was not used for longest; where no account has two, of all. So no account makes entries of others go by many of its own.
#[derive(Debug)]
pub(super) struct FairCache<V> {
    limit: usize,
    entries: HashMap<Arc<str>, Entry<V>>,
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

impl<V> FairCache<V> {
    /// `limit`: entries at most.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            entries: HashMap::new(),
            uses: 0,
        }
    }

    /// Returns a value that an account uses.
    pub(super) fn get(&mut self, name: &str, account: &Arc<str>) -> Option<&mut V> {
        let entry = self.entries.get_mut(name)?;
        self.uses += 1;
        entry.used = self.uses;
        entry.account.take_if(|known| known != account);
        Some(&mut entry.value)
    }

    /// Returns a value without using it.
    pub(super) fn peek(&mut self, name: &str) -> Option<&mut V> {
        self.entries.get_mut(name).map(|entry| &mut entry.value)
    }

    /// Adds a value that an account uses, of a name that has none.
    pub(super) fn add(&mut self, name: &str, value: V, account: &Arc<str>) {
        if self.entries.len() >= self.limit {
            self.make_room();
        }
        self.uses += 1;
        let entry = Entry {
            value,
            account: Some(account.clone()),
            used: self.uses,
        };
        self.entries.insert(name.into(), entry);
    }

    fn make_room(&mut self) {
        let mut of_account: HashMap<&str, usize> = HashMap::new();
        for account in self
            .entries
            .values()
            .filter_map(|entry| entry.account.as_deref())
        {
            *of_account.entry(account).or_default() += 1;
        }
        let count = |entry: &Entry<V>| {
            let own = entry
                .account
                .as_deref()
                .and_then(|account| of_account.get(account));
            own.copied().unwrap_or(1)
        };
        let rank = |entry: &Entry<V>| (Reverse(count(entry)), entry.used);
        let first = self.entries.iter().min_by_key(|(_, entry)| rank(entry));
        if let Some(first) = first.map(|(name, _)| name.clone()) {
            self.entries.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl<V> FairCache<V> {
        pub(in super::super) fn len(&self) -> usize {
            self.entries.len()
        }
    }

    #[test]
    fn entries_are_bounded_and_no_account_makes_those_of_others_go() {
        let (many, few): (Arc<str>, Arc<str>) = ("many".into(), "few".into());
        let mut cache = FairCache::<()>::new(8);
        // The site's own Vault, which all ask, and one that a single account uses.
        cache.add("vault.test", (), &many);
        assert!(cache.get("vault.test", &few).is_some());
        assert!(cache.get("vault.test", &many).is_some());
        cache.add("own.test", (), &few);
        for n in 0..20 {
            cache.add(&format!("h{n}.test"), (), &many);
            assert!(cache.entries.len() <= 8);
        }
        for host in ["vault.test", "own.test", "h19.test"] {
            assert!(cache.peek(host).is_some(), "{host}");
        }
        assert!(cache.peek("h0.test").is_none());
    }

    #[test]
    fn of_an_account_that_one_goes_which_was_not_used_for_longest() {
        let user: Arc<str> = "u".into();
        let mut cache = FairCache::<u8>::new(2);
        cache.add("a", 1, &user);
        cache.add("b", 2, &user);
        assert_eq!(cache.get("a", &user).copied(), Some(1));
        cache.add("c", 3, &user);
        assert!(cache.peek("a").is_some() && cache.peek("b").is_none());
    }
}
