//! The addresses of an HTVault as they are now: each with connections of its own.
//!
//! A name may stand for several addresses, and several names may be given. They are looked up again
//! every few minutes; an address that stays keeps its connections and its health. When the files
//! with certificate authorities change, all connections are made anew with the new ones. A look-up
//! or a file that fails leaves what worked before in place.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::runtime::{self, Handle};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::credential_url::ServerUrl;
use crate::error::Error;
use crate::preference::{Health, Preference};
use crate::settings::Settings;
use crate::tls::Authorities;

/// How often names are looked up again: as long as a preference stays put.
const LOOK_UP_AGAIN: Duration = crate::preference::STAY;
/// How often the files with certificate authorities are looked at.
const LOOK_AT_FILES: Duration = Duration::from_secs(10);
/// Runtimes whose connections are kept: more than any program of ours has.
const RUNTIMES: usize = 8;

/// One address of an HTVault.
pub(crate) struct Endpoint {
    pub(crate) server: ServerUrl,
    pub(crate) address: SocketAddr,
    connections: Arc<Connections>,
}

impl Endpoint {
    /// Connections of the runtime that this is called on.
    ///
    /// # Errors
    /// HTTP cannot be set up.
    pub(crate) fn http(&self, settings: &Settings) -> Result<reqwest::Client, Error> {
        let connections = &self.connections;
        let here = Handle::current().id();
        let mut of = (connections.of.lock()).unwrap_or_else(PoisonError::into_inner);
        if let Some((_, http)) = of.iter().find(|(runtime, _)| *runtime == here) {
            return Ok(http.clone());
        }
        let tls = connections.tls.clone();
        let http = connect(settings, &self.server, self.address, tls)?;
        if of.len() == RUNTIMES {
            of.pop_front();
        }
        of.push_back((here, http.clone()));
        Ok(http)
    }
}

/// The connections to an address, of each runtime its own: one that another thread opened would
/// have each request go there and back.
struct Connections {
    tls: ClientConfig,
    of: Mutex<VecDeque<(runtime::Id, reqwest::Client)>>,
}

impl Connections {
    fn new(tls: ClientConfig) -> Arc<Self> {
        let of = Mutex::default();
        Arc::new(Self { tls, of })
    }
}

/// All addresses, in the order in which they were given and found.
pub(crate) struct Endpoints {
    pub(crate) list: Vec<Endpoint>,
    preference: Mutex<Preference>,
    looked_up: Instant,
    looked_at_files: Mutex<Instant>,
    authorities: Authorities,
}

impl Endpoints {
    pub(crate) fn preference(&self) -> MutexGuard<'_, Preference> {
        // Health is a hint: a panic elsewhere does not make it wrong.
        self.preference
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time to look at names or files again.
    fn is_due(&self, settings: &Settings, now: Instant) -> bool {
        if now >= self.looked_up + LOOK_UP_AGAIN {
            return true;
        }
        let mut looked = self
            .looked_at_files
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if now < *looked + LOOK_AT_FILES {
            return false;
        }
        *looked = now;
        !self.authorities.are_those_of(&settings.tls)
    }
}

/// Keeps the present [`Endpoints`] of a client.
pub(crate) struct Resolver {
    present: tokio::sync::Mutex<Option<Arc<Endpoints>>>,
    /// Those that were there at the beginning, until they are used.
    first: Mutex<Option<Authorities>>,
}

impl Resolver {
    pub(crate) fn new(authorities: Authorities) -> Self {
        Self {
            present: tokio::sync::Mutex::new(None),
            first: Mutex::new(Some(authorities)),
        }
    }

    /// The endpoints as of now.
    ///
    /// # Errors
    /// There were none before and no name can be looked up, or the authorities cannot be read.
    pub(crate) async fn endpoints(&self, settings: &Settings) -> Result<Arc<Endpoints>, Error> {
        let mut present = self.present.lock().await;
        let now = Instant::now();
        if let Some(endpoints) = &*present
            && !endpoints.is_due(settings, now)
        {
            return Ok(Arc::clone(endpoints));
        }
        let first = (self.first.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let renewed = renew(settings, present.as_deref(), first, now).await;
        match (renewed, &*present) {
            (Ok(renewed), _) => Ok(Arc::clone(present.insert(Arc::new(renewed)))),
            (Err(error), Some(before)) => {
                warn!(server = %settings.server(), %error, "addresses and authorities stay as they were");
                Ok(Arc::clone(before))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Forgets when names were looked up, so that the next call does it again: after all failed.
    pub(crate) async fn look_up_again(&self) {
        self.present.lock().await.take();
    }
}

async fn renew(
    settings: &Settings,
    before: Option<&Endpoints>,
    first: Option<Authorities>,
    now: Instant,
) -> Result<Endpoints, Error> {
    let before = before.filter(|b| b.authorities.are_those_of(&settings.tls));
    let known = before.map(|before| before.authorities.clone());
    let known = known.or_else(|| first.filter(|first| first.are_those_of(&settings.tls)));
    let authorities = match known {
        Some(known) => known,
        None => Authorities::read(&settings.tls)?,
    };
    let (mut list, mut health) = (Vec::new(), Vec::new());
    for (server, address) in look_up(settings).await? {
        let kept = before.and_then(|b| {
            let index = b
                .list
                .iter()
                .position(|e| e.server == server && e.address == address)?;
            Some((
                Arc::clone(&b.list.get(index)?.connections),
                b.preference().health(index),
            ))
        });
        let new = || (Connections::new(authorities.config()), Health::default());
        let (connections, known) = kept.unwrap_or_else(new);
        health.push(known);
        list.push(Endpoint {
            server,
            address,
            connections,
        });
    }
    Ok(Endpoints {
        list,
        preference: Mutex::new(Preference::new(health)),
        looked_up: now,
        looked_at_files: Mutex::new(now),
        authorities,
    })
}

/// All addresses of all servers; servers whose name is not found are left out while one is.
pub(crate) async fn look_up(settings: &Settings) -> Result<Vec<(ServerUrl, SocketAddr)>, Error> {
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for server in settings.servers() {
        match tokio::net::lookup_host((server.bare_host(), server.port())).await {
            Ok(addresses) => {
                for address in addresses {
                    if !found.contains(&(server.clone(), address)) {
                        found.push((server.clone(), address));
                    }
                }
            }
            Err(error) => {
                debug!(%server, %error, "name not found");
                failures.push(format!("{server}: {error}"));
            }
        }
    }
    if found.is_empty() {
        return Err(Error::unreachable(
            &settings.server().to_string(),
            format!("the name is not found ({})", failures.join("; ")),
        ));
    }
    Ok(found)
}

/// A client of one address alone. Its connections live as long as the runtime that opened them.
pub(crate) fn connect(
    settings: &Settings,
    server: &ServerUrl,
    address: SocketAddr,
    tls: ClientConfig,
) -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .tls_info(true)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("htvault-rs/", env!("CARGO_PKG_VERSION")))
        .resolve(server.bare_host(), address)
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.request_timeout)
        .pool_idle_timeout(Duration::from_mins(1))
        .build()
        .map_err(|e| Error::configuration(format!("HTTP cannot be set up: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runtime_has_connections_of_its_own_and_only_so_many_are_kept() {
        let server: ServerUrl = "https://vault.test:8200".parse().unwrap();
        let settings = Settings::new(server.clone());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let endpoint = Endpoint {
            server,
            address: ([127, 0, 0, 1], 8200).into(),
            connections: Connections::new(tls),
        };
        let runtimes: Vec<_> = (0..=RUNTIMES)
            .map(|_| runtime::Builder::new_current_thread().build().unwrap())
            .collect();
        let kept = || {
            let of = endpoint.connections.of.lock().unwrap();
            of.iter().map(|(id, _)| *id).collect::<Vec<_>>()
        };
        let all: Vec<_> = runtimes.iter().map(|r| r.handle().id()).collect();
        for (index, runtime) in runtimes.iter().enumerate() {
            for _ in 0..2 {
                runtime.block_on(async { endpoint.http(&settings).map(drop).unwrap() });
            }
            assert_eq!(kept(), all[index.saturating_sub(RUNTIMES - 1)..=index]);
        }
    }
}
