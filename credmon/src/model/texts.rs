//! Texts that very many credentials have in common, such as hosts, issuers and scopes: each is in memory once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Texts in use.
struct Texts {
    known: BTreeSet<Arc<str>>,
    /// Number of texts from which on those that nobody has any more are forgotten.
    sweep_at: usize,
}

/// Least number of texts that are looked through for those that nobody has.
const LEAST: usize = 64;

static TEXTS: Mutex<Texts> = Mutex::new(Texts {
    known: BTreeSet::new(),
    sweep_at: LEAST,
});

/// Returns a text, the same one in memory for all who have it.
pub(crate) fn shared_text(text: &str) -> Arc<str> {
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.known.get(text) {
        return known.clone();
    }
    if texts.known.len() >= texts.sweep_at {
        texts.known.retain(|known| Arc::strong_count(known) > 1);
        texts.sweep_at = LEAST.max(2 * texts.known.len());
    }
    let text: Arc<str> = text.into();
    texts.known.insert(text.clone());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_in_memory_once_and_goes_with_its_last_owner() {
        let kept = shared_text("https://issuer.test/");
        for n in 0..10_000 {
            shared_text(&format!("another {n}"));
        }
        assert!(Arc::ptr_eq(&kept, &shared_text("https://issuer.test/")));
        // Other tests have texts, too.
        assert!(TEXTS.lock().unwrap().known.len() < 5000);
    }
}
