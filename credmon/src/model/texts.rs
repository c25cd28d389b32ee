//! Texts that very many credentials have in common, such as hosts, issuers and scopes: each is in memory once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::lock;

static TEXTS: Mutex<BTreeSet<Arc<str>>> = Mutex::new(BTreeSet::new());

/// Returns a text, the same one in memory for all who have it.
pub(crate) fn shared_text(text: &str) -> Arc<str> {
    let mut texts = lock(&TEXTS);
    if let Some(known) = texts.get(text) {
        return known.clone();
    }
    let text: Arc<str> = text.into();
    texts.insert(text.clone());
    text
}

/// Forgets texts that nobody has any more.
pub(crate) fn forget_unused_texts() {
    let mut texts = lock(&TEXTS);
    texts.retain(|text| Arc::strong_count(text) > 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_in_memory_once_and_goes_with_its_last_owner() {
        let kept = shared_text("https://issuer.test/");
        shared_text("a text that nobody keeps");
        forget_unused_texts();
        assert!(Arc::ptr_eq(&kept, &shared_text("https://issuer.test/")));
        assert!(!TEXTS.lock().unwrap().contains("a text that nobody keeps"));
    }
}
