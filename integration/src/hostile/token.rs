//! Access tokens as JSON web tokens: made for servers of our own, read from `.use` files.
//!
//! What always holds: the signature is random, so each token is another text; nothing here verifies
//! one, as the credmon does not.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use htvault::clock::{Clock as _, SystemClock};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::dev::random;

/// The issuer of tokens that are made here.
pub const ISSUER: &str = "https://issuer.example/cms";
/// Their subject.
pub const SUBJECT: &str = "cmsprod";

/// Now, by this process's clock.
#[must_use]
pub fn now() -> Timestamp {
    SystemClock.now()
}

/// A token to be made, or one that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessToken {
    /// All claims.
    pub claims: Map<String, Value>,
}

impl AccessToken {
    /// A token that begins now.
    #[must_use]
    pub fn living(life: Duration) -> Self {
        let now = now().as_second();
        let end = now.saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX));
        let claims = json!({
            "iss": ISSUER, "sub": SUBJECT, "aud": "https://wlcg.cern.ch/jwt/v1/any",
            "iat": now, "nbf": now, "exp": end, "jti": random::letters(16),
            "scope": "storage.read:/", "wlcg.ver": "1.0",
        });
        Self {
            claims: claims.as_object().cloned().unwrap_or_default(),
        }
    }

    /// The same with another value of a claim; `null` removes it.
    #[must_use]
    pub fn with(mut self, claim: &str, value: Value) -> Self {
        if value.is_null() {
            self.claims.remove(claim);
        } else {
            self.claims.insert(claim.to_owned(), value);
        }
        self
    }

    /// The token itself.
    #[must_use]
    pub fn text(&self) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!(
            "{}.{}.{}",
            part(&json!({"alg": "ES256", "typ": "JWT", "kid": "test"})),
            part(&Value::Object(self.claims.clone())),
            URL_SAFE_NO_PAD.encode(random::letters(64))
        )
    }

    /// Reads a token; `None` for what is none.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.trim_end().split('.');
        let (_, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
        let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims = serde_json::from_slice(&bytes).ok()?;
        (!signature.is_empty() && parts.next().is_none()).then_some(Self { claims })
    }

    fn number(&self, claim: &str) -> Option<i64> {
        self.claims.get(claim).and_then(Value::as_i64)
    }

    /// Its end, in seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> Option<i64> {
        self.number("exp")
    }

    /// Its time of issue, in seconds since 1970.
    #[must_use]
    pub fn issued(&self) -> Option<i64> {
        self.number("iat")
    }

    /// A claim that is a text.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// Seconds that it has left, by this process's clock.
    #[must_use]
    pub fn left(&self) -> Option<i64> {
        Some(self.expires()? - now().as_second())
    }
}
