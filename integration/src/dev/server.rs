//! The whole server put together: issuer, Vault, listeners.
//!
//! What always holds: when [`Server::start`] returns, both halves answer and every grant of the
//! settings is stored. The issuer can be stopped and started alone, for an outage.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use htvault::clock::Clock;
use rustls::ServerConfig;
use secrecy::SecretString;

use super::issuer::{self, Issuer};
use super::issuer_client::IssuerClient;
use super::listener::Listener;
use super::login::TicketCheck;
use super::node::{Condition, Node};
use super::policy::Owner;
use super::request_log::{Entry, RequestLog};
use super::secrets::Credential;
use super::settings::{RoleName, Settings};
use super::tls;
use super::vault::Vault;

/// The PEM files that TLS needs.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate of the Vault half.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The certificate of the issuer.
    pub issuer_certificate: PathBuf,
    /// Its key.
    pub issuer_key: PathBuf,
    /// The authority that the Vault half trusts the issuer by.
    pub ca_file: PathBuf,
}

/// All that a server is started with.
pub struct Start {
    /// What it is to be.
    pub settings: Settings,
    /// Who checks tickets.
    pub tickets: Arc<dyn TicketCheck>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// TLS.
    pub files: Files,
    /// Where the nodes of the Vault half listen (the first is active, others are standbys that
    /// share its state); port 0 for any that is free.
    pub listen: Vec<SocketAddr>,
    /// Where the issuer listens; port 0 for any that is free.
    pub issuer_listen: SocketAddr,
    /// Where requests are noted.
    pub log: Option<RequestLog>,
}

/// A server that runs.
pub struct Server {
    vault: Arc<Vault>,
    nodes: Vec<Arc<Node>>,
    listeners: Vec<Listener>,
    issuer: Arc<Issuer>,
    issuer_tls: Arc<ServerConfig>,
    issuer_address: SocketAddr,
    issuer_listener: Option<Listener>,
    log: Option<Arc<RequestLog>>,
    clock: Arc<dyn Clock>,
}

impl Server {
    /// Starts both halves.
    pub async fn start(start: Start) -> anyhow::Result<Self> {
        let settings = Arc::new(start.settings);
        let clock = start.clock;
        let files = &start.files;
        let vault_tls = tls::server(&files.certificate, &files.key).map_err(|e| anyhow!(e))?;
        let issuer_tls =
            tls::server(&files.issuer_certificate, &files.issuer_key).map_err(|e| anyhow!(e))?;
        let trust = tls::client(&files.ca_file).map_err(|e| anyhow!(e))?;
        let log = start.log.map(Arc::new);

        let issuer = Issuer::new(Arc::clone(&settings), Arc::clone(&clock))
            .map_err(|_| anyhow!("cannot make the issuer's key"))?;
        let issuer = Arc::new(issuer);
        let issuer_listener = Listener::start(
            start.issuer_listen,
            Arc::clone(&issuer_tls),
            issuer_routes(&issuer, log.clone(), Arc::clone(&clock)),
        )
        .await
        .with_context(|| format!("the issuer cannot listen on {}", start.issuer_listen))?;
        let issuer_address = issuer_listener.address();

        let client = IssuerClient::new(
            &settings.issuer_url,
            issuer_address,
            trust,
            issuer.client_secret().clone(),
            settings.issuer_timeout,
            Arc::clone(&clock),
        )
        .map_err(|e| anyhow!(e))?;
        let vault = Vault::new(Arc::clone(&settings), Arc::clone(&clock), client);
        for grant in &settings.grants {
            let refresh_token = issuer.grant(&grant.role, &grant.credkey);
            let credential = Credential::onboarded(&grant.role.issuer, refresh_token);
            vault.secrets.put(grant.secret_name(), credential);
        }
        let vault = Arc::new(vault);
        let (mut nodes, mut listeners) = (Vec::new(), Vec::new());
        for address in start.listen {
            let (vault, tickets) = (Arc::clone(&vault), Arc::clone(&start.tickets));
            let node = Arc::new(Node::new(vault, tickets, log.clone()));
            if !nodes.is_empty() {
                node.set_condition(Condition::Standby);
            }
            let routes = Arc::clone(&node).routes();
            let listener = Listener::start(address, Arc::clone(&vault_tls), routes)
                .await
                .with_context(|| format!("cannot listen on {address}"))?;
            nodes.push(node);
            listeners.push(listener);
        }
        Ok(Self {
            vault,
            nodes,
            listeners,
            issuer,
            issuer_tls,
            issuer_address,
            issuer_listener: Some(issuer_listener),
            log,
            clock,
        })
    }

    /// Where the nodes listen, in the order they were given.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Where the issuer listens, or would.
    #[must_use]
    pub fn issuer_address(&self) -> SocketAddr {
        self.issuer_address
    }

    /// The nodes, to put them into another state.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The state that the nodes share.
    #[must_use]
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// The issuer, to revoke grants or add some.
    #[must_use]
    pub fn issuer(&self) -> &Arc<Issuer> {
        &self.issuer
    }

    /// A login token for a principal, without a ticket: for tests in process only, which have no
    /// KDC. No request can cause this.
    #[must_use]
    pub fn seed_login(&self, role: &RoleName, name: &str, realm: &str) -> Option<SecretString> {
        let owner = Owner {
            name: name.to_owned(),
            domain: realm.to_owned(),
        };
        let issued = self.vault.log_in(role, owner, self.clock.now())?;
        Some(issued.text.into())
    }

    /// Stores a new refresh token, as if this person had onboarded now.
    pub fn seed_grant(&self, role: &RoleName, credkey: &str) {
        let refresh_token = self.issuer.grant(role, credkey);
        let name = format!("{}/{credkey}:{}", role.issuer, role.role);
        let credential = Credential::onboarded(&role.issuer, refresh_token);
        self.vault.secrets.put(name, credential);
    }

    /// Makes the issuer unreachable.
    pub async fn stop_issuer(&mut self) {
        if let Some(listener) = self.issuer_listener.take() {
            listener.stop().await;
        }
    }

    /// Makes the issuer reachable again, at the same address.
    pub async fn start_issuer(&mut self) -> anyhow::Result<()> {
        if self.issuer_listener.is_none() {
            let routes = issuer_routes(&self.issuer, self.log.clone(), Arc::clone(&self.clock));
            let tls = Arc::clone(&self.issuer_tls);
            let listener = Listener::start(self.issuer_address, tls, routes)
                .await
                .with_context(|| format!("the issuer cannot listen on {}", self.issuer_address))?;
            self.issuer_listener = Some(listener);
        }
        Ok(())
    }

    /// Stops both halves.
    pub async fn stop(mut self) {
        self.stop_issuer().await;
        for listener in self.listeners {
            listener.stop().await;
        }
    }
}

fn issuer_routes(
    issuer: &Arc<Issuer>,
    log: Option<Arc<RequestLog>>,
    clock: Arc<dyn Clock>,
) -> Router {
    let routes = issuer::http::routes(Arc::clone(issuer));
    let Some(log) = log else {
        return routes;
    };
    routes.layer(from_fn(move |request: Request, next: Next| {
        let (log, clock) = (Arc::clone(&log), Arc::clone(&clock));
        async move {
            let (method, uri) = (request.method().clone(), request.uri().clone());
            let response = next.run(request).await;
            log.note(&Entry {
                time: clock.now(),
                server: "issuer",
                method: method.as_str(),
                path: uri.path(),
                query: uri.query().unwrap_or_default(),
                status: response.status().as_u16(),
                token: None,
            });
            response
        }
    }))
}
