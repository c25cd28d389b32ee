//! Words that thousands of credentials have in common (hosts, issuers, scopes), kept once.

use std::collections::HashSet;
use std::sync::Arc;

/// The words in use.
#[derive(Debug, Default)]
pub struct Words(HashSet<Arc<str>>);

impl Words {
    /// Makes a word the one that all others of the same letters share.
    pub fn share(&mut self, word: &mut Arc<str>) {
        match self.0.get(word) {
            Some(known) => *word = Arc::clone(known),
            None => {
                self.0.insert(Arc::clone(word));
            }
        }
    }

    /// Forgets words that nobody else has any more.
    pub fn forget_unused(&mut self) {
        self.0.retain(|word| Arc::strong_count(word) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_words_become_one_and_are_forgotten_with_their_last_user() {
        let mut words = Words::default();
        let (mut one, mut two): (Arc<str>, Arc<str>) = ("cms".into(), "cms".into());
        words.share(&mut one);
        words.share(&mut two);
        assert!(Arc::ptr_eq(&one, &two));
        drop(one);
        words.forget_unused();
        assert_eq!(words.0.len(), 1);
        drop(two);
        words.forget_unused();
        assert!(words.0.is_empty());
    }
}
