//! The addresses of an HTVault as they are now, each with connections of its own.
//!
//! A name may stand for several addresses, and several names may be given. [`Directory`] looks them
//! up again every few minutes and follows changes of the certificate authorities, both in the
//! background: requests go on with what is known.

mod directory;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::runtime::{self, Handle};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use crate::credential_url::ServerUrl;
use crate::error::{Error, ErrorKind};
use crate::preference::{Health, Preference};
use crate::settings::Settings;
use crate::transport::is_of_this_host;

pub(crate) use directory::Directory;

/// Runtimes whose connections are kept: more than any program of ours has.
const RUNTIMES: usize = 8;
/// Addresses of one name that are used: each may be tried for each request.
const ADDRESSES: usize = 16;
/// Idle connections that are kept to all addresses of a client together, at one for each at least.
const IDLE: usize = 16;

/// One address of an HTVault.
pub(crate) struct Endpoint {
    pub(crate) server: ServerUrl,
    /// Known unless the caller's own HTTP client does the look-up.
    pub(crate) address: Option<SocketAddr>,
    connections: Arc<Connections>,
    /// Idle connections that are kept.
    idle: usize,
}

impl Endpoint {
    /// Name of the address in messages.
    pub(crate) fn name(&self) -> String {
        self.address
            .map_or_else(|| self.server.to_string(), |address| address.to_string())
    }

    /// Connections of the runtime that this is called on.
    ///
    /// # Errors
    /// HTTP cannot be set up.
    pub(crate) fn http(&self, settings: &Settings) -> Result<reqwest::Client, Error> {
        let (tls, of) = match &*self.connections {
            Connections::Given(http) => return Ok(http.clone()),
            Connections::Own { tls, of } => (tls, of),
        };
        let here = Handle::current().id();
        let mut of = of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, http)) = of.iter().find(|(runtime, _)| *runtime == here) {
            return Ok(http.clone());
        }
        let tls = (**tls).clone();
        let http = connect(settings, &self.server, self.address, self.idle, tls)?;
        if of.len() == RUNTIMES {
            of.pop_front();
        }
        of.push_back((here, http.clone()));
        Ok(http)
    }
}

/// Connections to an address.
enum Connections {
    /// Connections of this crate, of each runtime its own: one that another thread opened would
    /// have each request go there and back.
    Own {
        tls: Box<ClientConfig>,
        of: Mutex<VecDeque<(runtime::Id, reqwest::Client)>>,
    },
    /// Connections of the caller's HTTP client.
    Given(reqwest::Client),
}

impl Connections {
    fn new(tls: ClientConfig) -> Arc<Self> {
        let (tls, of) = (Box::new(tls), Mutex::default());
        Arc::new(Self::Own { tls, of })
    }
}

/// All addresses, in the order in which they were given and found.
pub(crate) struct Endpoints {
    pub(crate) list: Vec<Endpoint>,
    preference: Mutex<Preference>,
}

impl Endpoints {
    pub(crate) fn preference(&self) -> MutexGuard<'_, Preference> {
        // Health is a hint: a panic elsewhere does not make it wrong.
        self.preference
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Endpoints of these addresses; one that was there before keeps its health, and with
    /// `keep_connections` its connections: those of other authorities are of no use.
    fn build(
        found: Vec<(ServerUrl, SocketAddr)>,
        before: Option<&Self>,
        tls: &ClientConfig,
        keep_connections: bool,
    ) -> Self {
        let (mut list, mut health) = (Vec::new(), Vec::new());
        let idle = (IDLE / found.len().max(1)).max(1);
        for (server, address) in found {
            let old = before.and_then(|before| {
                let index = (before.list.iter())
                    .position(|e| e.server == server && e.address == Some(address))?;
                let connections = Arc::clone(&before.list.get(index)?.connections);
                Some((connections, before.preference().health(index)))
            });
            let known = old
                .as_ref()
                .map_or_else(Health::default, |(_, health)| *health);
            let connections = old.filter(|_| keep_connections).map_or_else(
                || Connections::new(tls.clone()),
                |(connections, _)| connections,
            );
            health.push(known);
            list.push(Endpoint {
                server,
                address: Some(address),
                connections,
                idle,
            });
        }
        Self {
            list,
            preference: Mutex::new(Preference::new(health)),
        }
    }

    /// The servers as they are named, over the caller's HTTP client.
    pub(crate) fn over(http: &reqwest::Client, settings: &Settings) -> Self {
        let endpoint = |server: &ServerUrl| Endpoint {
            server: server.clone(),
            address: None,
            connections: Arc::new(Connections::Given(http.clone())),
            idle: IDLE,
        };
        let list: Vec<Endpoint> = settings.servers().iter().map(endpoint).collect();
        let health = vec![Health::default(); list.len()];
        Self {
            list,
            preference: Mutex::new(Preference::new(health)),
        }
    }
}

/// All addresses of all servers; servers whose name is not found are left out while one is.
pub(crate) async fn look_up(settings: &Settings) -> Result<Vec<(ServerUrl, SocketAddr)>, Error> {
    let mut tasks = JoinSet::new();
    for (index, server) in settings.servers().iter().enumerate() {
        let (settings, server) = (settings.clone(), server.clone());
        tasks.spawn(async move { (index, look_up_one(&settings, &server).await) });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_by_key(|(index, _)| *index);
    let mut found = Vec::new();
    let mut failures: Vec<(String, Error)> = Vec::new();
    for ((_, answer), server) in answers.into_iter().zip(settings.servers()) {
        match answer {
            Ok(addresses) => {
                for address in addresses {
                    if !found.contains(&(server.clone(), address)) {
                        found.push((server.clone(), address));
                    }
                }
            }
            Err(error) => {
                debug!(%server, %error, "name not found");
                failures.push((server.to_string(), error));
            }
        }
    }
    if found.is_empty() {
        let name = settings.server().to_string();
        return Err(Error::of_all_addresses(&name, failures));
    }
    Ok(found)
}

async fn look_up_one(settings: &Settings, server: &ServerUrl) -> Result<Vec<SocketAddr>, Error> {
    let (host, port) = (server.bare_host(), server.port());
    if let Ok(number) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(number, port)]);
    }
    let name = server.to_string();
    let limit = settings.resolve_timeout;
    match timeout(limit, settings.resolver.resolve(host, port)).await {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(Error::new(
            ErrorKind::Unreachable,
            &name,
            "the name has no address",
        )),
        Ok(Ok(mut addresses)) => {
            addresses.truncate(ADDRESSES);
            Ok(addresses)
        }
        Ok(Err(error)) => {
            let kind = if is_of_this_host(&error) {
                ErrorKind::LocalResource
            } else {
                ErrorKind::Unreachable
            };
            let words = format!("the name is not found ({error})");
            Err(Error::new(kind, &name, &words).caused_by(error))
        }
        Err(_) => Err(Error::new(
            ErrorKind::Unreachable,
            &name,
            &format!("DNS did not answer within {} s", limit.as_secs_f64()),
        )),
    }
}

/// A client of one address alone, which keeps so many idle connections. They live as long as the runtime that
/// opened them.
pub(crate) fn connect(
    settings: &Settings,
    server: &ServerUrl,
    address: Option<SocketAddr>,
    idle: usize,
    tls: ClientConfig,
) -> Result<reqwest::Client, Error> {
    // A connection that is not made is told from an answer that does not come only where it ends first.
    let connect_timeout = (settings.connect_timeout).min(settings.request_timeout / 10 * 9);
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .tls_info(true)
        .https_only(true)
        .no_proxy()
        .user_agent(concat!("htvault-rs/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        .timeout(settings.request_timeout)
        .pool_idle_timeout(Duration::from_mins(1))
        .pool_max_idle_per_host(idle);
    if let Some(address) = address {
        builder = builder.resolve(server.bare_host(), address);
    }
    finish(builder)
}

/// Builds a client that follows no redirect: the next host would get the vault token.
pub(crate) fn finish(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Error> {
    builder
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .build()
        .map_err(|e| Error::configuration(&format!("HTTP cannot be set up: {e}")).caused_by(e))
}

#[cfg(test)]
mod tests;
