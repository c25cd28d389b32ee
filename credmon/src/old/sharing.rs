//! What thousands of credentials have in common (names of services, whom they ask, what their
//! tokens allow), kept once.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// The values in use.
#[derive(Debug)]
pub struct Shared<T: ?Sized>(HashSet<Arc<T>>);

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: ?Sized + Eq + Hash> Shared<T> {
    /// Makes a value the one that all who have the same share.
    pub fn share(&mut self, value: &mut Arc<T>) {
        match self.0.get(value) {
            Some(known) => *value = Arc::clone(known),
            None => {
                self.0.insert(Arc::clone(value));
            }
        }
    }

    /// Forgets values that nobody else has any more.
    pub fn forget_unused(&mut self) {
        self.0.retain(|value| Arc::strong_count(value) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_become_one_and_are_forgotten_with_their_last_user() {
        let mut shared = Shared::default();
        let (mut one, mut two): (Arc<str>, Arc<str>) = ("cms".into(), "cms".into());
        shared.share(&mut one);
        shared.share(&mut two);
        assert!(Arc::ptr_eq(&one, &two));
        drop(one);
        shared.forget_unused();
        assert_eq!(shared.0.len(), 1);
        drop(two);
        shared.forget_unused();
        assert!(shared.0.is_empty());
    }
}
