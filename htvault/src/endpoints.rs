//! The addresses of an HTVault as they are now: each with connections of its own.
//!
//! A name may stand for several addresses, and several names may be given. They are looked up again
//! every few minutes; an address that stays keeps its connections and its health. When the files
//! with certificate authorities change, all connections are made anew with the new ones. A look-up
//! or a file that fails leaves what worked before in place.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
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

/// One address of an HTVault.
pub(crate) struct Endpoint {
    pub(crate) server: ServerUrl,
    pub(crate) address: SocketAddr,
    pub(crate) http: reqwest::Client,
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
                b.list.get(index)?.http.clone(),
                b.preference().health(index),
            ))
        });
        let (http, known) = match kept {
            Some((http, known)) => (http, known),
            None => (
                connections(settings, &server, address, authorities.config())?,
                Health::default(),
            ),
        };
        health.push(known);
        list.push(Endpoint {
            server,
            address,
            http,
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

pub(crate) fn connections(
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
