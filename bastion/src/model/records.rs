//! Facts that survive a restart: tokens by their accessors, access tokens that were read, with issuer and subject.
//!
//! Always true: they contain no secret; an accessor names a token and grants nothing.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::delivery::Credential;
use super::moment::{after, until};

/// Most tokens of one delivery that are stored besides the current one, far above what any outage leaves; those that
/// expire first are dropped.
const MOST_OTHERS: usize = 1000;

/// A vault token, by its accessor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its accessor.
    pub accessor: String,
    /// Its lifetime.
    #[serde(flatten)]
    pub life: Life,
}

/// Lifetime of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Time of issue, by this host's clock.
    pub issued: Timestamp,
    /// Expiry.
    pub expires: Timestamp,
}

impl Life {
    /// The lifetime of a token that expires `length` after its issue.
    #[must_use]
    pub fn new(issued: Timestamp, length: Duration) -> Self {
        let expires = after(issued, length);
        Self { issued, expires }
    }

    /// Returns its length.
    #[must_use]
    pub fn length(self) -> Duration {
        until(self.issued, self.expires)
    }
}

/// The vault token that is at a schedd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledToken {
    /// The token.
    #[serde(flatten)]
    pub token: TokenRecord,
    /// Time when it was stored, by the schedd's clock, once that was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Timestamp>,
    /// Requested content that it was stored for: see [`requested_content`].
    #[serde(rename = "asks")]
    pub requested: String,
    /// Lifetime of an access token that was read with it last, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_seconds: Option<u64>,
    /// Issuer and subject of access tokens that were read with it.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "bearer")]
    pub subject: Option<TokenSubject>,
    /// Access tokens that were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_reads: Vec<AccessRead>,
    /// Time until which jobs surely have a valid access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs_safe_until: Option<Timestamp>,
}

/// State of one delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecords {
    /// The token at the schedd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Box<InstalledToken>>,
    /// Others that may still be valid: replaced ones that could not be revoked, and ones that were created and
    /// perhaps never stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<TokenRecord>,
}

/// A login that may still be valid. Only the process that made it can revoke it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginRecord {
    /// The token.
    #[serde(flatten)]
    pub token: TokenRecord,
    /// Account that logged in.
    pub account: String,
    /// HTCondor's service name of the credential.
    pub service: String,
}

/// An access token that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRead {
    /// Time when it was read first.
    pub at: Timestamp,
    /// Its expiry.
    pub expires: Timestamp,
    /// It was read before the vault token that is at the schedd was stored there.
    #[serde(skip)]
    pub before_store: bool,
}

/// Issuer and subject of an access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSubject {
    /// `iss`
    pub issuer: String,
    /// `sub`
    pub subject: String,
}

/// Requested content of a credential's token, in one line without secret: another line means other content.
#[must_use]
pub fn requested_content(credential: &Credential) -> String {
    let mut text = credential.url.to_string();
    for (key, value) in [
        (" scopes=", credential.scope_list()),
        (" audience=", credential.audience.clone()),
    ] {
        if let Some(value) = value {
            text.push_str(key);
            text.push_str(&value);
        }
    }
    text
}

impl TokenRecords {
    /// Records of these tokens; of too many, those that expire last.
    pub(crate) fn new(current: Option<Box<InstalledToken>>, mut others: Vec<TokenRecord>) -> Self {
        others.sort_by(|a, b| (b.life.expires, &a.accessor).cmp(&(a.life.expires, &b.accessor)));
        others.dedup();
        others.truncate(MOST_OTHERS);
        Self { current, others }
    }

    /// Every token that it names.
    pub fn iter(&self) -> impl Iterator<Item = &TokenRecord> + Clone {
        let current = self.current.as_ref().map(|installed| &installed.token);
        current.into_iter().chain(&self.others)
    }

    /// Removes tokens that have expired.
    pub(crate) fn drop_expired(&mut self, now: Timestamp) {
        self.others.retain(|token| token.life.expires > now);
        let current = self.current.take();
        self.current = current.filter(|installed| installed.token.life.expires > now);
    }
}
