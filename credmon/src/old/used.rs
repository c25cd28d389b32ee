//! What is known of an access token in place, without the token.
//!
//! Small, for there are thousands; what many tokens say alike is kept once. Bounded, for a forged
//! token in place may say anything.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use htvault::Claims;
use jiff::Timestamp;

use crate::old::folder::FileId;
use crate::old::schedule::Life;
use crate::old::second::Second;

/// Longest claim that is kept, in characters.
const CLAIM_LIMIT: usize = 2048;

/// An access token in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Which file.
    pub file: FileId,
    /// When its content was written.
    pub written: Second,
    /// How long it lives; `None` when it does not say.
    pub life: Option<Life>,
    /// Its identifier (`jti`).
    pub token_id: TokenId,
    /// What it says that others say, too.
    pub grant: Arc<Grant>,
}

/// What tokens of the same user and sort have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grant {
    /// What it allows (`scope`), separated by blanks.
    pub scopes: Option<Box<str>>,
    /// Who issued it (`iss`).
    pub issuer: Option<Box<str>>,
}

impl Used {
    /// What is kept of a token.
    #[must_use]
    pub fn new(file: FileId, written: Second, life: Option<Life>, claims: Option<&Claims>) -> Self {
        let short = |text: &str| text.chars().take(CLAIM_LIMIT).collect::<String>();
        let scopes = claims.map(|c| c.scopes.join(" ")).filter(|s| !s.is_empty());
        let id = claims.and_then(|c| c.id.as_deref());
        Self {
            file,
            written,
            life,
            token_id: id.map_or(TokenId::None, |id| TokenId::of(&short(id))),
            grant: Arc::new(Grant {
                scopes: scopes.map(|scopes| short(&scopes).into()),
                issuer: claims.and_then(|c| Some(short(c.issuer.as_ref()?).into())),
            }),
        }
    }
}

/// The life that a token states. Without a time of issue, it began `now`.
#[must_use]
pub fn life(claims: Option<&Claims>, expires: Option<Timestamp>, now: Timestamp) -> Option<Life> {
    let expires = claims.and_then(|c| c.expires).or(expires)?;
    let issued = claims.and_then(|c| c.issued.or(c.not_before));
    Some(Life {
        issued: issued.unwrap_or(now).into(),
        expires: expires.into(),
    })
}

/// A token's identifier (`jti`). Most are a UUID, in 36 characters; they are kept in 16 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenId {
    /// It has none.
    None,
    /// A UUID in small letters.
    Uuid([u8; 16]),
    /// Another text.
    Text(Box<str>),
}

impl TokenId {
    /// Of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        uuid(text).map_or_else(|| Self::Text(text.into()), Self::Uuid)
    }

    /// The text it was made of, if it has any.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::None => None,
            Self::Uuid(bytes) => Some(shown(bytes).into()),
            Self::Text(text) => Some((&**text).into()),
        }
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_deref().unwrap_or("none"))
    }
}

/// A UUID as RFC 9562 writes it. By hand, for thousands are told at a time.
fn shown(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            let letter = if digit < 10 {
                b'0' + digit
            } else {
                b'a' + (digit - 10)
            };
            text.push(char::from(letter));
        }
    }
    text
}

/// Reads a UUID as [`TokenId`] shows it (RFC 9562, in small letters); `None` for all else.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut digits = 0;
    if text.len() != 36 {
        return None;
    }
    for (at, letter) in text.bytes().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if letter != b'-' {
                return None;
            }
            continue;
        }
        let digit = match letter {
            b'0'..=b'9' => letter - b'0',
            b'a'..=b'f' => letter - b'a' + 10,
            _ => return None,
        };
        let byte = bytes.get_mut(digits / 2)?;
        *byte = *byte << 4 | digit;
        digits += 1;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_uuid_is_kept_in_few_bytes() {
        let id = "6701926f-0f4b-4a4b-8e3c-5b7ea9b51f00";
        assert!(matches!(TokenId::of(id), TokenId::Uuid(_)));
        assert!(size_of::<Used>() <= 80 && size_of::<Option<Used>>() <= 80);
        assert_eq!(TokenId::None.text(), None);
    }

    proptest! {
        #[test]
        fn an_identifier_is_told_as_it_was(
            text in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\
                     |[0-9a-fA-F-]{36}|\\PC{0,40}|none",
        ) {
            let id = TokenId::of(&text);
            prop_assert_eq!(id.text(), Some(Cow::from(&*text)));
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
