//! The development Vault with its issuer, in this process and without a KDC: its logins are given.
//!
//! What always holds: it is `htvault-dev`'s own server, on an address and under a name of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use htvault::clock::SystemClock;
use secrecy::ExposeSecret as _;

use super::names;
use super::server::unique;
use super::site::Site;
use crate::dev::controls::Troubles;
use crate::dev::login::TicketCheck;
use crate::dev::parts::IssuerState;
use crate::dev::policy::Owner;
use crate::dev::request_log::RequestLog;
use crate::dev::settings::RoleName;
use crate::dev::{Files, Server, Settings, Start};

/// No ticket is good here.
struct NoTickets;

impl TicketCheck for NoTickets {
    fn check(&self, _: &[u8]) -> Result<Owner, String> {
        Err("there is no Kerberos here".to_owned())
    }
}

/// A running Vault.
pub struct Vault {
    /// All of it.
    pub server: Server,
    host: String,
}

impl Vault {
    /// Starts one whose access tokens live so long, with a stored credential of `cmsprod` for each
    /// of `numbers` (`cmsprod/NUMBER`).
    pub async fn start(site: &Site, life: Duration, numbers: usize) -> anyhow::Result<Self> {
        let host = unique("vault");
        let address = names::new_address();
        names::add([(host.as_str(), address)])?;
        let (vault, issuer) = (site.ca.issue(&[&host])?, site.ca.issue(&["issuer.test"])?);
        let grants = (0..numbers).map(|n| format!("cms:cmsprod/{n}:default").parse());
        let settings = Settings {
            name: host.clone(),
            access_token_life: life,
            grants: grants
                .collect::<Result<_, String>>()
                .map_err(anyhow::Error::msg)?,
            ..Settings::default()
        };
        let start = Start {
            settings,
            tickets: Arc::new(NoTickets),
            clock: Arc::new(SystemClock),
            files: Files {
                certificate: vault.certificate,
                key: vault.key,
                issuer_certificate: issuer.certificate,
                issuer_key: issuer.key,
                ca_file: site.ca.file(),
            },
            listen: vec![SocketAddr::from((address, 8200))],
            issuer_listen: SocketAddr::from((address, 8443)),
            log: Some(RequestLog::open(&site.path("requests.jsonl"))?),
            troubles: Troubles::default(),
            admin_listen: None,
            state: None,
        };
        Ok(Self {
            server: Server::start(start).await?,
            host,
        })
    }

    /// Its name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A URL of it; `path` begins after `/v1/`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://{}:8200/v1/{path}", self.host)
    }

    /// The URL of the stored credential with this number.
    #[must_use]
    pub fn creds(&self, number: usize) -> String {
        self.url(&format!("secret/oauth/creds/cms/cmsprod/{number}:default"))
    }

    /// A vault token that may read all of them.
    pub fn vault_token(&self) -> anyhow::Result<String> {
        self.vault_token_of("cmsprod")
    }

    /// A vault token of an account.
    pub fn vault_token_of(&self, account: &str) -> anyhow::Result<String> {
        let role: RoleName = "cms:default".parse().map_err(anyhow::Error::msg)?;
        let token = self.server.seed_login(&role, account, "TEST");
        Ok(token.context("no token")?.expose_secret().to_owned())
    }

    /// Closes the issuer's port, or opens it again.
    pub async fn issuer(&self, state: IssuerState) -> anyhow::Result<()> {
        self.server.parts().set_issuer(state).await
    }
}
