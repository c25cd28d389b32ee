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
use axum::response::Response;
use htvault::clock::Clock;
use secrecy::SecretString;

use super::admin::Admin;
use super::controls::{Controls, Troubles};
use super::faults::At;
use super::issuer::{self, Issuer};
use super::issuer_client::IssuerClient;
use super::login::TicketCheck;
use super::node::{Condition, Node};
use super::outside::OutsideIssuers;
use super::parts::{IssuerState, Parts};
use super::policy::Owner;
use super::port::Port;
use super::request_log::{Entry, RequestLog};
use super::secrets::Credential;
use super::settings::{RoleName, Settings};
use super::state_file::{Changes, Keeper, StateFile};
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
    /// What is wrong from the start.
    pub troubles: Troubles,
    /// Where the admin endpoint listens, if it does: a loopback address.
    pub admin_listen: Option<SocketAddr>,
    /// Where the state is kept over a restart; else it is gone with the server.
    pub state: Option<StateFile>,
}

/// A server that runs.
pub struct Server {
    parts: Arc<Parts>,
    admin: Option<Admin>,
    keeper: Option<Keeper>,
}

impl Server {
    /// Starts both halves.
    pub async fn start(start: Start) -> anyhow::Result<Self> {
        let settings = Arc::new(start.settings);
        let controls = Arc::new(Controls::new(start.troubles, &start.clock));
        let vault_clock: Arc<dyn Clock> = controls.vault_clock.clone();
        let issuer_clock: Arc<dyn Clock> = controls.issuer_clock.clone();
        let files = &start.files;
        let vault_tls = tls::server(&files.certificate, &files.key).map_err(|e| anyhow!(e))?;
        let issuer_tls =
            tls::server(&files.issuer_certificate, &files.issuer_key).map_err(|e| anyhow!(e))?;
        let trust = tls::client(&files.ca_file).map_err(|e| anyhow!(e))?;
        let log = start.log.map(Arc::new);

        let changes = Arc::new(Changes::default());
        let mut issuer = Issuer::new(Arc::clone(&settings), issuer_clock, Arc::clone(&changes))
            .map_err(|_| anyhow!("cannot make the issuer's key"))?;
        let mut before = None;
        let mut state = start.state;
        if let Some(kept) = state.as_mut().and_then(StateFile::take) {
            issuer = issuer.restored(kept.key, kept.grants);
            before = Some((kept.cluster, kept.tokens, kept.credentials));
        }
        let issuer = Arc::new(issuer);
        let watched = Watched {
            log: log.clone(),
            clock: start.clock,
            controls: Arc::clone(&controls),
        };
        let issuer_port = Port::open(
            start.issuer_listen,
            issuer_tls,
            watched.around(issuer::http::routes(Arc::clone(&issuer))),
        )
        .await
        .with_context(|| format!("the issuer cannot listen on {}", start.issuer_listen))?;

        let client = IssuerClient::new(
            &settings.issuer_url,
            issuer_port.address(),
            trust,
            issuer.client_secret().clone(),
            OutsideIssuers::new(&settings.outside_issuers),
            settings.issuer_timeout,
            Arc::clone(&vault_clock),
        )
        .map_err(|e| anyhow!(e))?;
        let mut vault = Vault::new(settings, vault_clock, client, Arc::clone(&changes));
        if let Some((cluster, tokens, credentials)) = before {
            vault = vault.restored(cluster, tokens, credentials);
        }
        let vault = Arc::new(vault);
        let (mut nodes, mut node_ports) = (Vec::new(), Vec::new());
        for (address, number) in start.listen.into_iter().zip(1..) {
            let (vault, tickets) = (Arc::clone(&vault), Arc::clone(&start.tickets));
            let (log, controls) = (log.clone(), Arc::clone(&controls));
            let node = Arc::new(Node::new(number, vault, tickets, log, controls));
            if number > 1 {
                node.set_condition(Condition::Standby);
            }
            let routes = Arc::clone(&node).routes();
            let port = Port::open(address, Arc::clone(&vault_tls), routes)
                .await
                .with_context(|| format!("cannot listen on {address}"))?;
            nodes.push(node);
            node_ports.push(port);
        }
        let parts = Arc::new(Parts {
            vault,
            nodes,
            ports: node_ports,
            issuer,
            issuer_port,
            controls,
        });
        let admin =
            match start.admin_listen {
                None => None,
                Some(address) => {
                    let started = Admin::start(address, Arc::clone(&parts)).await;
                    Some(started.with_context(|| {
                        format!("the admin endpoint cannot listen on {address}")
                    })?)
                }
            };
        let keeper = state.map(|state| {
            let parts = Arc::clone(&parts);
            state.keep(changes, move || parts.kept())
        });
        let server = Self {
            parts,
            admin,
            keeper,
        };
        let vault = server.vault();
        for grant in &vault.settings.grants {
            if vault.secrets.get(&grant.secret_name()).is_none() {
                server.seed_grant(&grant.role, &grant.credkey);
            }
        }
        Ok(server)
    }

    /// Where the nodes listen, or would, in the order they were given.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.parts.ports.iter().map(Port::address).collect()
    }

    /// Where the issuer listens, or would.
    #[must_use]
    pub fn issuer_address(&self) -> SocketAddr {
        self.parts.issuer_port.address()
    }

    /// Where the admin endpoint listens, if there is one.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// All parts, to do to them what the admin endpoint does.
    #[must_use]
    pub fn parts(&self) -> &Arc<Parts> {
        &self.parts
    }

    /// Faults, quota, LDAP, clocks.
    #[must_use]
    pub fn controls(&self) -> &Arc<Controls> {
        &self.parts.controls
    }

    /// The nodes, to put them into another state.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.parts.nodes
    }

    /// The state that the nodes share.
    #[must_use]
    pub fn vault(&self) -> &Arc<Vault> {
        &self.parts.vault
    }

    /// The issuer, to revoke grants or add some.
    #[must_use]
    pub fn issuer(&self) -> &Arc<Issuer> {
        &self.parts.issuer
    }

    /// A login token for a principal, without a ticket: for tests in process only, which have no
    /// KDC. No request can cause this.
    #[must_use]
    pub fn seed_login(&self, role: &RoleName, name: &str, realm: &str) -> Option<SecretString> {
        let owner = Owner {
            name: name.to_owned(),
            domain: realm.to_owned(),
        };
        let vault = &self.parts.vault;
        let issued = vault.log_in(role, owner, vault.clock.now())?;
        Some(issued.text.into())
    }

    /// Stores a new refresh token, as if this person had onboarded now.
    pub fn seed_grant(&self, role: &RoleName, credkey: &str) {
        let refresh_token = self.parts.issuer.grant(role, credkey);
        let name = format!("{}/{credkey}:{}", role.issuer, role.role);
        let credential = Credential::onboarded(&role.issuer, refresh_token);
        self.parts.vault.store(name, credential);
    }

    /// Makes the issuer unreachable.
    pub async fn stop_issuer(&self) {
        self.parts.issuer_port.down().await;
    }

    /// Makes the issuer reachable again, at the same address.
    pub async fn start_issuer(&self) -> anyhow::Result<()> {
        self.parts.set_issuer(IssuerState::Up).await
    }

    /// Stops both halves.
    pub async fn stop(self) {
        drop(self.admin);
        // Whoever hangs is let go.
        self.parts.controls.reset();
        self.parts.issuer_port.down().await;
        for port in &self.parts.ports {
            port.down().await;
        }
        if let Some(keeper) = self.keeper {
            keeper.stop().await;
        }
    }
}

/// What stands around the issuer: faults, and the request log.
#[derive(Clone)]
struct Watched {
    log: Option<Arc<RequestLog>>,
    clock: Arc<dyn Clock>,
    controls: Arc<Controls>,
}

impl Watched {
    fn around(self, routes: Router) -> Router {
        routes.layer(from_fn(move |request: Request, next: Next| {
            let watched = self.clone();
            async move { watched.serve(request, next).await }
        }))
    }

    async fn serve(self, request: Request, next: Next) -> Response {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let path = uri.path().trim_start_matches('/');
        let response = match self.controls.interfere(At::Issuer, path).await {
            Some(response) => response,
            None => next.run(request).await,
        };
        if let Some(log) = &self.log {
            log.note(&Entry {
                time: self.clock.now(),
                server: "issuer",
                method: method.as_str(),
                path: uri.path(),
                query: uri.query().unwrap_or_default(),
                status: response.status().as_u16(),
                token: None,
            });
        }
        response
    }
}
