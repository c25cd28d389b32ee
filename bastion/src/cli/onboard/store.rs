//! Storing of refresh tokens at Vault.

use htvault::{Claims, Client, OidcLogin};
use jiff::Timestamp;

use crate::model::delivery::Credential;

/// Stores the refresh token of a login, and revokes the login. Returns the expiry of the refresh token, if known.
///
/// # Errors
/// Another person logged in, or Vault refuses: the reason, and what to do.
pub(super) async fn store(
    client: &Client,
    credential: &Credential,
    login: &OidcLogin,
) -> Result<Option<Timestamp>, String> {
    let stored = if may_store(credential, &login.credkey) {
        client
            .store_refresh_token(&credential.full_url, &credential.issuer, login)
            .await
            .map_err(|error| error.to_string())
    } else {
        Err(stranger(credential, &login.credkey))
    };
    // Not needed any more, and it would be valid for weeks; if this fails it expires by itself.
    let _ = client.revoke_self(&login.login.token).await;
    stored.map(|()| Claims::read(login.refresh_token.expose()).and_then(|claims| claims.expires))
}

/// Returns true when a login of `credkey` may be stored for this credential: by its owner, or by the person that owns a
/// robot (`user/purpose/host`).
fn may_store(credential: &Credential, credkey: &str) -> bool {
    let rest = credential.credkey.strip_prefix(credkey);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn stranger(credential: &Credential, credkey: &str) -> String {
    let (account, own) = (&credential.identity.account, &credential.credkey);
    let person = own.split('/').next().unwrap_or(own);
    format!(
        "{credkey} logged in, but the credential of account {account} is {own}'s, so nothing was stored; log out at the \
         issuer (or use a private window), run this again and log in as {person}, or set `credkey: {credkey}` for the \
         account"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::credential;

    #[test]
    fn only_the_owner_or_a_robots_person_may_store() {
        let mut credential = credential("cmsprod", "cms_crab");
        assert!(may_store(&credential, "cmsprod"));
        for other in ["crabtw", "cms", "cmsprod2", "cmsprod/bastion/host", ""] {
            assert!(!may_store(&credential, other), "{other}");
        }
        credential.credkey = "cmsprod/bastion/host.test".to_owned();
        assert!(may_store(&credential, "cmsprod"));
        assert!(may_store(&credential, "cmsprod/bastion/host.test"));
        assert!(!may_store(&credential, "cms"));
        let message = stranger(&credential, "crabtw");
        for part in [
            "crabtw logged in",
            "account cmsprod",
            "log in as cmsprod,",
            "credkey: crabtw",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}
