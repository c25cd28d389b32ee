//! What a hostile server is asked, and what it answers.

use std::time::Duration;

use serde_json::{Value, json};

use super::token::AccessToken;
use crate::dev::tokens::TokenKey;

/// What a request gets.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A whole response.
    Reply {
        /// The HTTP status.
        status: u16,
        /// Headers besides the length.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// Nothing; the connection stays open.
    Silence,
    /// A head, then one byte of the body each time, without end.
    Drip(Duration),
    /// Heads that announce an answer (103), without end and as fast as they are taken.
    Announcements,
    /// The connection is closed.
    Close,
}

impl Answer {
    /// A response of some media type.
    #[must_use]
    pub fn of(status: u16, media: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::Reply {
            status,
            headers: vec![("Content-Type".to_owned(), media.to_owned())],
            body: body.into(),
        }
    }

    /// A response in JSON.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::of(status, "application/json", body.to_string())
    }

    /// Vault's own form of an error.
    #[must_use]
    pub fn error(status: u16, text: &str) -> Self {
        Self::json(status, &json!({"errors": [text]}))
    }

    /// Vault's answer with an access token.
    #[must_use]
    pub fn access_token(token: &str) -> Self {
        Self::json(
            200,
            &json!({"data": {"access_token": token, "type": "Bearer"}}),
        )
    }

    /// The same with a new token of this life.
    #[must_use]
    pub fn living(life: Duration) -> Self {
        Self::access_token(&AccessToken::living(life).text())
    }

    /// The answer to `lookup-self` for a vault token that lives for a day.
    #[must_use]
    pub fn alive() -> Self {
        let data = json!({"ttl": 86_400, "accessor": "a", "policies": ["default"],
            "expire_time": super::token::now() + jiff::SignedDuration::from_hours(24)});
        Self::json(200, &json!({"data": data}))
    }

    /// What a good Vault answers, with access tokens of so many seconds.
    #[must_use]
    pub fn good(request: &Request, seconds: u64) -> Self {
        if request.is_lookup() {
            Self::alive()
        } else {
            Self::living(Duration::from_secs(seconds))
        }
    }

    /// What a good Vault answers, with this text as the access token.
    #[must_use]
    pub fn giving(request: &Request, token: &str) -> Self {
        if request.is_lookup() {
            Self::alive()
        } else {
            Self::access_token(token)
        }
    }

    /// Vault's answer to a dead vault token.
    #[must_use]
    pub fn denied() -> Self {
        Self::error(403, "permission denied")
    }

    /// The same response with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Reply { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

/// A request that a server saw.
#[derive(Clone, Debug)]
pub struct Request {
    /// The path, without the query.
    pub path: String,
    /// The query.
    pub query: String,
    /// What its vault token is known by.
    pub(super) token: Option<TokenKey>,
}

impl Request {
    /// Whether it carried this vault token.
    #[must_use]
    pub fn bears(&self, token: &str) -> bool {
        self.token == Some(TokenKey::of(token.as_bytes()))
    }

    /// Whether it asks about the vault token itself.
    #[must_use]
    pub fn is_lookup(&self) -> bool {
        self.path.ends_with("/lookup-self")
    }
}
