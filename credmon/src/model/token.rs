//! An access token without the token: its claims, as far as they are reported or decided on.

use std::sync::Arc;

use htvault::Claims;
use jiff::Timestamp;

use super::{FileId, TEXT_LIMIT, shared_text};

/// Longest list of scopes in a report, in characters; a forged token may hold anything.
const SCOPES_LIMIT: usize = 2 * TEXT_LIMIT;

/// Lifetime of a token, by its own claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) issued: Timestamp,
    pub(crate) expires: Timestamp,
}

impl Lifetime {
    /// Claims of a token, else its end by other knowledge. A token without a plausible time of issue
    /// is taken for issued at `received`.
    pub(crate) fn of(
        claims: Option<&Claims>,
        expires: Option<Timestamp>,
        received: Timestamp,
    ) -> Option<Self> {
        let expires = claims.and_then(|c| c.expires).or(expires)?;
        let issued = claims.and_then(|c| c.issued.or(c.not_before));
        // `iat: 0` and the like say nothing: no token of the field lives for years.
        let plausible = |issued: &Timestamp| {
            *issued < expires && expires.as_second() - issued.as_second() < 5 * 365 * 86_400
        };
        Some(Self {
            issued: issued.filter(plausible).unwrap_or(received),
            expires,
        })
    }

    /// Length in seconds; 0 for nonsense.
    pub(crate) fn length(self) -> i64 {
        self.expires
            .as_second()
            .saturating_sub(self.issued.as_second())
            .max(0)
    }
}

/// Access token in a `.use` file, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenInfo {
    /// The file that holds it.
    pub(crate) file: FileId,
    /// Modification time of the file.
    pub(crate) written: Timestamp,
    /// `None` for a token that does not say.
    pub(crate) lifetime: Option<Lifetime>,
    /// `jti`.
    pub(crate) id: Option<Box<str>>,
    /// `iss`.
    pub(crate) issuer: Option<Arc<str>>,
    /// `sub`.
    pub(crate) subject: Option<Box<str>>,
    /// `scope`, separated by blanks.
    pub(crate) scopes: Option<Arc<str>>,
}

impl TokenInfo {
    pub(crate) fn new(
        file: FileId,
        written: Timestamp,
        lifetime: Option<Lifetime>,
        claims: Option<&Claims>,
    ) -> Self {
        let text = |text: Option<&String>| Some(htvault::text::printable(text?, TEXT_LIMIT));
        let scopes = claims
            .map(|c| c.scopes.join(" "))
            .filter(|scopes| !scopes.is_empty());
        Self {
            file,
            written,
            lifetime,
            id: text(claims.and_then(|c| c.id.as_ref())).map(Into::into),
            issuer: text(claims.and_then(|c| c.issuer.as_ref())).map(|text| shared_text(&text)),
            subject: text(claims.and_then(|c| c.subject.as_ref())).map(Into::into),
            scopes: scopes
                .map(|scopes| shared_text(&htvault::text::printable(&scopes, SCOPES_LIMIT))),
        }
    }

    /// `true` when issuer and subject are the same: two tokens of one credential.
    pub(crate) fn is_of_same_identity(&self, issuer: Option<&str>, subject: Option<&str>) -> bool {
        self.issuer.as_deref() == issuer && self.subject.as_deref() == subject
    }
}
