//! Random names in the forms that the real server uses. Nothing here repeats, nothing is stored.

use rand::RngExt as _;

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `length` random letters and digits, from a cryptographic generator.
#[must_use]
pub fn letters(length: usize) -> String {
    let mut generator = rand::rng();
    (0..length)
        .filter_map(|_| LETTERS.get(generator.random_range(0..LETTERS.len())))
        .map(|letter| char::from(*letter))
        .collect()
}

/// A random identifier in the form of a UUID.
#[must_use]
pub fn uuid() -> String {
    uuid_of(rand::random())
}

/// These bits in the form of a UUID.
#[must_use]
pub fn uuid_of(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    let mut text = String::with_capacity(36);
    for (place, letter) in hex.chars().enumerate() {
        if matches!(place, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_form() {
        assert_eq!(letters(24).len(), 24);
        assert_ne!(letters(24), letters(24));
        assert_eq!(uuid_of(1), "00000000-0000-0000-0000-000000000001");
    }
}
