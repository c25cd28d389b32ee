//! Values made at their first use, one for each key, each behind a lock of its own.
//!
//! Always true: callers with one key wait for each other, callers with different keys never do.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

use crate::system::locked::locked;

pub(crate) type Locked<T> = Arc<tokio::sync::Mutex<T>>;

/// Values by key. Their locks may be held while something is waited for.
#[derive(Debug)]
pub(crate) struct Keyed<K, T>(Mutex<HashMap<K, Locked<T>>>);

impl<K, T> Default for Keyed<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T: Default> Keyed<K, T> {
    pub(crate) async fn lock(&self, key: K) -> OwnedMutexGuard<T> {
        let value = Arc::clone(locked(&self.0).entry(key).or_default());
        value.lock_owned().await
    }

    /// All values; some may be locked.
    pub(crate) fn values(&self) -> Vec<Locked<T>> {
        locked(&self.0).values().cloned().collect()
    }
}
