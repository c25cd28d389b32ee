//! What a bastion does for one delivery, by hand: a login by keytab, and what comes of it.

use htvault::kerberos::Ticket;
use htvault::{AccessTokenRequest, Client, CredentialUrl, Settings, VaultToken};

use super::{Chain, VAULT};
use crate::kdc::REALM;

/// An account that has logged in to Vault for a role.
pub struct Login {
    vault: Client,
    token: VaultToken,
    url: CredentialUrl,
}

impl Login {
    /// Logs in with the account's keytab. The process must use the chain's KDC ([`crate::kdc::Kdc::use_here`]).
    pub async fn new(chain: &Chain, account: &str, role: &str) -> anyhow::Result<Self> {
        let mut settings = Settings::new(VAULT.parse()?);
        settings.tls.ca_file = Some(chain.ca.file());
        let vault = Client::new(&settings)?;
        let keytab = chain.keytabs().join(format!("{account}.keytab"));
        let ticket = Ticket::from_keytab(&format!("{account}@{REALM}"), &keytab)?;
        let negotiate = ticket.negotiate("host", vault.settings().kerberos_host())?;
        let token = vault.login("cms", role, &negotiate).await?.token;
        let url = CredentialUrl::creds(vault.server(), "cms", account, role)?;
        Ok(Self { vault, token, url })
    }

    /// An access token.
    pub async fn access_token(&self) -> anyhow::Result<String> {
        let asked = AccessTokenRequest::default();
        let answer = self.vault.access_token(&self.url, &self.token, &asked);
        Ok(answer.await?.token.expose().to_owned())
    }

    /// What a bastion stores at a schedd.
    #[must_use]
    pub fn secret(&self) -> String {
        let secret = serde_json::json!({
            "vault_token": self.token.expose(), "vault_url": self.url.to_string()
        });
        secret.to_string()
    }
}
