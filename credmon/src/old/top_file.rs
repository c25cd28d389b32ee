//! What a `.top` file says: where the access token is read and with which vault token.
//!
//! It is input from a user, stored through the credd, so it is parsed strictly, and no message
//! repeats any of its values (it holds a secret) but the host's name.

use std::sync::Arc;

use htvault::{CredentialUrl, VaultToken};
use serde::Deserialize;

/// Largest `.top` that is read, in bytes. Real ones have a few hundred.
pub const SIZE_LIMIT: usize = 64 * 1024;

/// The only port that a vault URL may name.
const VAULT_PORT: u16 = 8200;

/// A `.top` file's content, checked.
#[derive(Clone, Debug)]
pub struct Top {
    /// The vault token; a credential with a handle takes its parent's.
    pub vault_token: Option<VaultToken>,
    /// Where the access token is read; a parent need not have one.
    pub url: Option<CredentialUrl>,
    /// Scopes to reduce the access token to.
    pub scopes: Option<String>,
    /// Audience of the access token.
    pub audience: Option<String>,
}

/// Why a `.top` cannot be used. Only a new file helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopFault {
    /// A symbolic link, directory, pipe or the like.
    #[error("it is {0}, not a plain file")]
    NotAFile(&'static str),
    /// Larger than [`SIZE_LIMIT`].
    #[error("it is larger than {SIZE_LIMIT} bytes")]
    TooLarge,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Not JSON, or a value of another type.
    #[error("it is not the JSON that a vault storer writes (line {line}, column {column})")]
    NotJson {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// `vault_url` is missing.
    #[error("it has no vault_url")]
    NoUrl,
    /// `vault_url` is none that is allowed.
    #[error("its vault_url is refused: {0}")]
    BadUrl(&'static str),
    /// `vault_token` is missing, and the name has no handle.
    #[error("it has no vault_token")]
    NoToken,
    /// `vault_token` has characters that no token has.
    #[error("its vault_token holds characters that no token has")]
    BadToken,
    /// The parent that should lend its token is not there.
    #[error("it has no vault_token, and {0}.top, whose token it would take, is not there")]
    NoParent(String),
    /// The parent cannot lend its token.
    #[error("it has no vault_token, and {parent}.top cannot lend one: {fault}")]
    BadParent {
        /// The parent's service.
        parent: String,
        /// What is wrong with it.
        fault: Box<TopFault>,
    },
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    vault_token: Option<String>,
    #[serde(default)]
    vault_url: Option<String>,
    #[serde(default)]
    scopes: Option<String>,
    #[serde(default)]
    audience: Option<String>,
}

/// Reads the content of a `.top` file.
///
/// # Errors
/// What is wrong with it.
pub fn parse(content: &[u8]) -> Result<Top, TopFault> {
    let raw: Raw = serde_json::from_slice(content).map_err(|e| TopFault::NotJson {
        line: e.line(),
        column: e.column(),
    })?;
    let vault_token = match raw.vault_token {
        None => None,
        Some(token) if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) => {
            return Err(TopFault::BadToken);
        }
        Some(token) => Some(VaultToken::from(token)),
    };
    Ok(Top {
        vault_token,
        url: raw.vault_url.as_deref().map(parse_url).transpose()?,
        scopes: raw.scopes.filter(|s| !s.is_empty()),
        audience: raw.audience.filter(|s| !s.is_empty()),
    })
}

fn parse_url(text: &str) -> Result<CredentialUrl, TopFault> {
    if !text.starts_with("https://") {
        return Err(TopFault::BadUrl("it must begin with https://"));
    }
    let url: CredentialUrl = text.parse().map_err(|_| {
        TopFault::BadUrl("it must be https://HOST:8200/v1/… and have no user, query or fragment")
    })?;
    if url.server().port() != VAULT_PORT {
        return Err(TopFault::BadUrl("only port 8200 is allowed"));
    }
    Ok(url)
}

/// Which queue a request belongs to: its host, and the issuer there as far as the path tells it, so
/// that an issuer that hangs does not hold up the others of the same Vault.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    /// Host of the Vault.
    pub host: Arc<str>,
    /// Path up to the issuer.
    pub issuer: Arc<str>,
}

impl Lane {
    /// The lane of a credential.
    #[must_use]
    pub fn of(url: &CredentialUrl) -> Self {
        let path = url.path();
        let issuer = ["/creds/", "/sts/"]
            .iter()
            .find_map(|kind| path.split_once(kind))
            .map_or(path, |(mount, rest)| {
                // Older servers have one mount for each issuer: secret/oauth-ISSUER/creds/….
                if mount.contains("/oauth-") {
                    mount
                } else {
                    rest.split('/').next().unwrap_or(rest)
                }
            });
        Self {
            host: url.server().host().into(),
            issuer: issuer.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const URL: &str = "https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:crab";

    fn fault(json: &str) -> TopFault {
        parse(json.as_bytes()).unwrap_err()
    }

    #[test]
    fn what_a_storer_writes_is_read() {
        let top = parse(
            format!(
                r#"{{"vault_token":"s.x","vault_url":"{URL}","scopes":"a b","audience":"https://x"}}"#
            )
            .as_bytes(),
        )
        .unwrap();
        assert_eq!(top.vault_token.unwrap().expose(), "s.x");
        assert_eq!(top.url.unwrap().to_string(), URL);
        assert_eq!(top.scopes.as_deref(), Some("a b"));
        assert_eq!(top.audience.as_deref(), Some("https://x"));
        let child = parse(format!(r#"{{"vault_url":"{URL}","scopes":null,"other":1}}"#).as_bytes());
        assert!(child.unwrap().vault_token.is_none());
    }

    #[test]
    fn other_addresses_are_refused() {
        for url in [
            "http://vault.test:8200/v1/x",
            "https://vault.test/v1/x",
            "https://vault.test:443/v1/x",
            "https://vault.test:8200/v2/x",
            "https://vault.test:8200/v1",
            "https://vault.test:8200/v1/../v2/x",
            "https://u:p@vault.test:8200/v1/x",
            "https://vault.test:8200/v1/x?y=1",
            "file:///etc/passwd",
            "",
        ] {
            let json = format!(r#"{{"vault_token":"s.x","vault_url":"{url}"}}"#);
            assert!(matches!(fault(&json), TopFault::BadUrl(_)), "{url}");
        }
    }

    #[test]
    fn messages_repeat_nothing_of_the_content() {
        for json in [
            r#"{"vault_token":"s.secret", oops"#,
            r#"{"vault_token":["s.secret"]}"#,
            r#"{"vault_token":"s.secret\u0000"}"#,
            r#"{"vault_token":"s.secret","vault_token":"s.secret"}"#,
            r#"{"vault_token":"x","vault_url":"https://s.secret"}"#,
            "s.secret",
        ] {
            let text = format!("{0} {0:?}", fault(json));
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn a_lane_is_host_and_issuer() {
        let issuer = |path: &str| {
            let url: CredentialUrl = format!("https://vault.test:8200/v1/{path}")
                .parse()
                .unwrap();
            Lane::of(&url).issuer
        };
        assert_eq!(&*issuer("secret/oauth/creds/cms/cmsprod:crab"), "cms");
        assert_eq!(&*issuer("secret/oauth/sts/cms/a/b/c:default"), "cms");
        assert_eq!(
            &*issuer("secret/oauth-dune/creds/a:b"),
            "/v1/secret/oauth-dune"
        );
    }

    proptest! {
        #[test]
        fn nothing_panics(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&content);
        }

        #[test]
        fn no_url_panics(url in "\\PC{0,60}") {
            let _ = parse(serde_json::json!({"vault_url": url}).to_string().as_bytes());
        }
    }
}
