//! The content of `<service>.top`: what the credd keeps and the credmon reads.
//!
//! JSON with `vault_token`, `vault_url` and, for reduced tokens, `scopes` and `audience`, as
//! HTCondor's own storer writes it. It holds a secret and is never printed.

use htvault::VaultToken;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::model::delivery::Credential;

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    vault_token: String,
    vault_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scopes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audience: Option<String>,
}

/// Content for a credential with this token.
#[must_use]
pub fn write(credential: &Credential, token: &VaultToken) -> SecretString {
    let content = Content {
        vault_token: token.expose().to_owned(),
        vault_url: credential.url.to_string(),
        scopes: credential.scope_list(),
        audience: credential.audience.clone(),
    };
    // Four strings always make JSON.
    SecretString::from(serde_json::to_string(&content).unwrap_or_default())
}

/// The token of a content that asks for just what the credential is; `None` for any other.
#[must_use]
pub fn token_of(credential: &Credential, text: &SecretString) -> Option<VaultToken> {
    let content: Content = serde_json::from_str(text.expose_secret()).ok()?;
    let same = content.vault_url == credential.url.to_string()
        && content.scopes == credential.scope_list()
        && content.audience == credential.audience;
    let is_token = !content.vault_token.is_empty()
        && content
            .vault_token
            .bytes()
            .all(|byte| byte.is_ascii_graphic());
    (same && is_token).then(|| VaultToken::from(content.vault_token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::credential;

    #[test]
    fn what_no_token_is_is_none() {
        let credential = credential("cmsprod", "cms_crab");
        for token in ["", "s.\n", "s. a", "\u{1b}[2J", "é"] {
            let text = write(&credential, &VaultToken::from(token.to_owned()));
            assert!(token_of(&credential, &text).is_none(), "{token:?}");
        }
    }

    #[test]
    fn it_reads_as_htcondors_own() {
        let mut credential = credential("cmsprod", "cms_crab");
        let token = VaultToken::from("s.abc".to_owned());
        assert_eq!(
            write(&credential, &token).expose_secret(),
            r#"{"vault_token":"s.abc","vault_url":"https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:crab"}"#
        );
        credential.scopes = vec!["storage.read:/".to_owned(), "compute.read".to_owned()];
        credential.audience = Some("https://any".to_owned());
        assert_eq!(
            write(&credential, &token).expose_secret(),
            r#"{"vault_token":"s.abc","vault_url":"https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:crab","scopes":"storage.read:/,compute.read","audience":"https://any"}"#
        );
    }

    #[test]
    fn only_a_content_for_the_same_credential_gives_its_token() {
        let credential = credential("cmsprod", "cms_crab");
        let text = write(&credential, &VaultToken::from("s.abc".to_owned()));
        let found = token_of(&credential, &text);
        assert_eq!(found.as_ref().map(VaultToken::expose), Some("s.abc"));
        let mut other = credential.clone();
        other.scopes = vec!["storage.read:/".to_owned()];
        assert!(token_of(&other, &text).is_none());
        assert!(token_of(&credential, &SecretString::from("{}")).is_none());
        assert!(token_of(&credential, &SecretString::from("s.abc")).is_none());
    }
}
