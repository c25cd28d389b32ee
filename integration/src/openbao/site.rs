//! The chain with a real OpenBao for its Vault: `htvault-dev` is left with its issuer, whose tokens
//! the refresher stores.
//!
//! What always holds: the accounts of the chain have onboarded, by the real OIDC mount; OpenBao
//! listens where the chain's programs expect their Vault.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use htvault::{Client, CredentialUrl, Settings, VaultToken};
use reqwest::redirect;

use super::api::{Api, REFRESHER};
use super::ldap::Ldap;
use super::refresher::{Refresher, TokenEndpoint};
use super::setup::{self, Issuer};
use super::{OpenBao, Release};
use crate::chain::{ACCOUNTS, Chain, ISSUER, Lives};
use crate::conformance::server::Server;
use crate::dev::issuer::CLIENT_ID;
use crate::dev::settings::{RoleName, RoleScopes, Settings as DevSettings};
use crate::dev::tls;
use crate::onboarding::onboard;
use crate::wait;
use crate::wait::FAR;

/// Where `htvault-dev` has its Vault half, which nobody asks here.
const ASIDE: &str = "127.83.0.9:8200";
/// The name of one node, and of the Vault of most tests.
pub const ONE_NODE: [&str; 1] = ["vault.test"];
/// Three nodes, which `cluster.test` is the name of.
pub const THREE_NODES: [&str; 3] = ["vault.test", "vault2.test", "vault3.test"];

/// The running parts, in the order in which they must end.
pub struct Site {
    /// What fills the key-value store.
    pub refresher: Refresher,
    /// The Vault.
    pub bao: OpenBao,
    /// What its logins dial.
    pub ldap: Ldap,
    /// KDC, issuer, certificates.
    pub chain: Chain,
    /// What trusts the servers.
    trust: Server,
    url: String,
    keytab: PathBuf,
    /// The principal in it.
    service: String,
}

/// The issuer's roles: those that `htvault-dev` has by default, and the chain's own.
fn roles() -> anyhow::Result<Vec<(RoleName, Vec<String>)>> {
    let own: RoleScopes = Chain::STORAGE_ROLE
        .parse()
        .map_err(|words| anyhow!("{words}"))?;
    let mut roles = DevSettings::default().roles;
    roles.insert(own.name, own.scopes);
    Ok(roles.into_iter().collect())
}

impl Site {
    /// Starts one node, `vault.test`.
    pub async fn start(folder: &Path, lives: Lives) -> anyhow::Result<Self> {
        Self::start_at(folder, lives, &ONE_NODE, "vault.test").await
    }

    /// Starts nodes at these names; `name` is the Vault's for its clients and in its Kerberos principal.
    pub async fn start_at(
        folder: &Path,
        lives: Lives,
        hosts: &[&'static str],
        name: &str,
    ) -> anyhow::Result<Self> {
        let mut chain = Chain::start_cluster(folder, lives, &[ASIDE]).await?;
        // What is onboarded here is a grant of the issuer, which outlives it.
        chain.keep_state().await?;
        let keytab = folder.join("openbao.keytab");
        let service = format!("host/{name}");
        chain
            .kdc
            .add_principal_with_keytab(&service, &keytab)
            .await?;
        let mut ldap = Ldap::default();
        ldap.open().await?;
        let bao = OpenBao::start(folder, &chain.ca, Release::WithKerberos, hosts).await?;

        let (http, ca_file) = (http(&chain)?, chain.ca.file());
        let api = Api::new(&bao.url(), &ca_file, REFRESHER)?.with_token(bao.api.token_of());
        let url = format!("https://{name}:8200");
        let secret = chain.issuer_client_secret()?;
        setup::secrets(&bao.api).await?;
        let site = Self {
            refresher: Refresher::start(api, http),
            bao,
            ldap,
            trust: Server::new(&url, &ca_file)?,
            chain,
            url,
            keytab,
            service,
        };
        let issuer = Issuer {
            name: "cms",
            url: ISSUER,
            client_id: CLIENT_ID,
            client_secret: &secret,
            algorithm: "ES256",
            credkey_claim: "credkey",
            roles: roles()?,
        };
        let token_endpoint = format!("{ISSUER}/token");
        site.add_issuer(&issuer, &token_endpoint).await?;
        site.onboard_all().await?;
        Ok(site)
    }

    /// Makes the mounts of an issuer, and begins to refresh what is stored for it.
    pub async fn add_issuer(
        &self,
        issuer: &Issuer<'_>,
        token_endpoint: &str,
    ) -> anyhow::Result<()> {
        let Self { bao, keytab, .. } = self;
        setup::kerberos(&bao.api, &issuer.roles, keytab, &self.service).await?;
        setup::oidc(&bao.api, issuer, self.chain.ca.pem(), &self.url).await?;
        let endpoint = TokenEndpoint {
            url: token_endpoint.to_owned(),
            client_id: issuer.client_id.to_owned(),
            client_secret: issuer.client_secret.clone(),
        };
        self.refresher.add(issuer.name, endpoint);
        Ok(())
    }

    /// A client of this Vault as bastion and credmon have it.
    pub fn client(&self) -> anyhow::Result<Client> {
        self.client_of(&self.url)
    }

    /// A client of one node.
    pub fn client_at(&self, host: &str) -> anyhow::Result<Client> {
        self.client_of(&format!("https://{host}:8200"))
    }

    fn client_of(&self, url: &str) -> anyhow::Result<Client> {
        let mut settings = Settings::new(url.parse()?);
        settings.tls.ca_file = Some(self.chain.ca.file());
        Ok(Client::new(&settings)?)
    }

    /// Where a credential is stored.
    pub fn creds(&self, credkey: &str, role: &str) -> anyhow::Result<CredentialUrl> {
        let server = self.url.parse()?;
        Ok(CredentialUrl::creds(&server, "cms", credkey, role)?)
    }

    async fn onboard_all(&self) -> anyhow::Result<()> {
        for account in ACCOUNTS {
            for service in account.services {
                let (_, role) = service.split_once('_').unwrap_or((service, "default"));
                self.onboard(account.name, role).await?;
            }
        }
        Ok(())
    }

    /// Does what a person does the first time, and waits until there is an access token.
    pub async fn onboard(&self, credkey: &str, role: &str) -> anyhow::Result<()> {
        self.onboard_for(credkey, credkey, role).await
    }

    /// The same for the credential of a robot, whose person logs in.
    pub async fn onboard_for(&self, person: &str, credkey: &str, role: &str) -> anyhow::Result<()> {
        let name: RoleName = format!("cms:{role}")
            .parse()
            .map_err(|words| anyhow!("{words}"))?;
        let client = self.client()?;
        onboard(&client, &self.trust, &name, person, credkey)
            .await
            .with_context(|| format!("{credkey} cannot onboard for {role}"))?;
        let path = format!("secret/oauth/creds/cms/{credkey}:{role}");
        wait::until("an access token", FAR, async || {
            let body = self
                .bao
                .api
                .read(&path)
                .await?
                .context("nothing is stored")?;
            let token = body.pointer("/data/access_token");
            token.context("only a refresh token is stored").map(drop)
        })
        .await
    }

    /// The operator's view of a token: none when it is dead.
    pub async fn lives(&self, token: &VaultToken) -> anyhow::Result<bool> {
        let answer = self.client()?.lookup_self(token).await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == htvault::ErrorKind::TokenRejected => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// A client that trusts the test's authority.
fn http(chain: &Chain) -> anyhow::Result<reqwest::Client> {
    let trust = tls::client(&chain.ca.file()).map_err(|words| anyhow!(words))?;
    reqwest::Client::builder()
        .tls_backend_preconfigured(trust)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .build()
        .context("HTTP cannot be set up")
}
