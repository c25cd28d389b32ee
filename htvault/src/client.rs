//! The connection to one HTVault: requests, limits of time and size, and answers made into types.
//!
//! Connections are kept and re-used. No proxy of the environment is used, no redirect followed,
//! and an answer is read up to a bound, so a broken server cannot fill the memory.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::debug;

use crate::budget::{Budget, RequestsUsed};
use crate::credential_url::ServerUrl;
use crate::endpoints::{Endpoint, Resolver};
use crate::error::{Error, ErrorKind};
use crate::secret::VaultToken;
use crate::settings::Settings;
use crate::tls::Authorities;

/// Largest answer that is read, in bytes. Real answers have a few kilobytes.
const ANSWER_LIMIT: usize = 256 * 1024;

/// A client of one HTVault. Cheap to clone; clones share connections, health and budget.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    settings: Settings,
    resolver: Resolver,
    budget: Budget,
}

/// A request to come.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) auth: Auth<'a>,
    pub(crate) body: Option<serde_json::Value>,
}

/// How a request is authorised.
pub(crate) enum Auth<'a> {
    Token(&'a VaultToken),
    #[cfg_attr(
        not(feature = "kerberos"),
        allow(dead_code, reason = "only Kerberos logs in so")
    )]
    Negotiate(&'a str),
    /// The OIDC flow before its end: the path says it all.
    Nothing,
}

/// The envelope of every answer.
#[derive(Deserialize)]
pub(crate) struct Envelope<T> {
    pub(crate) data: Option<T>,
    pub(crate) auth: Option<crate::vault_token::AuthBlock>,
    #[serde(default)]
    pub(crate) warnings: Option<Vec<String>>,
}

/// The body of an answer that is no success: errors, or (at a refused login) warnings only.
#[derive(Default, Deserialize)]
struct Failure {
    #[serde(default)]
    errors: Option<Vec<String>>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

impl Client {
    /// Makes a client; nothing is sent yet, no name looked up.
    ///
    /// # Errors
    /// The certificate authorities cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        Ok(Self::with_authorities(
            settings,
            Authorities::read(&settings.tls)?,
        ))
    }

    /// The same with authorities that were read before, where the settings say.
    #[must_use]
    pub fn with_authorities(settings: &Settings, authorities: Authorities) -> Self {
        Self(Arc::new(Shared {
            settings: settings.clone(),
            resolver: Resolver::new(authorities),
            budget: Budget::new(settings.limit),
        }))
    }

    /// The first server: the one that URLs of stored credentials name.
    #[must_use]
    pub fn server(&self) -> &ServerUrl {
        self.0.settings.server()
    }

    /// The settings that this client was made with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// What is used of the bound on requests now; `None` without one.
    #[must_use]
    pub fn requests_used(&self) -> Option<RequestsUsed> {
        self.0.budget.used()
    }

    /// Sends a request whose answer has a body.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
    ) -> Result<Answered<T>, Error> {
        let request = self.name(&call);
        let understand = |body: &[u8]| {
            serde_json::from_slice(body).map_err(|e| {
                Error::bad_answer(&request, format!("the answer is not understood: {e}"))
            })
        };
        let envelope = self.send(&call, &request, understand).await?;
        Ok(Answered { request, envelope })
    }

    /// Sends a request whose answer is empty.
    pub(crate) async fn call_for_nothing(&self, call: Call<'_>) -> Result<(), Error> {
        let request = self.name(&call);
        self.send(&call, &request, |_| Ok(())).await
    }

    /// Method and URL, without query, for messages; whose request it is, where the URL does not
    /// say it.
    fn name(&self, call: &Call<'_>) -> String {
        let request = format!("{} {}{}", call.method, self.server(), call.path);
        match call.auth {
            Auth::Token(token) => match token.owner() {
                Some(owner) if !call.path.contains(owner) => format!("{owner}: {request}"),
                _ => request,
            },
            _ => request,
        }
    }

    /// Tries one address after the other, until one gives an answer that the others would give
    /// too: success, or a refusal.
    async fn send<T>(
        &self,
        call: &Call<'_>,
        request: &str,
        understand: impl Fn(&[u8]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Shared {
            settings,
            resolver,
            budget,
        } = &*self.0;
        let endpoints = resolver.endpoints(settings).await?;
        let order = endpoints.preference().order(Instant::now());
        let mut failures = Vec::new();
        for index in order {
            let Some(endpoint) = endpoints.list.get(index) else {
                continue;
            };
            let permit = budget
                .permit(settings.patience)
                .await
                .map_err(|denied| Error::denied(request, denied))?;
            let answer = self
                .send_to(endpoint, call, request)
                .await
                .and_then(|body| understand(&body));
            match answer {
                Err(error) if error.kind().fails_over() => {
                    debug!(address = %endpoint.address, %error, "the next address is tried");
                    endpoints.preference().failed(index, Instant::now());
                    failures.push((endpoint.address, error));
                }
                answer => {
                    endpoints.preference().succeeded(index, Instant::now());
                    match &answer {
                        Err(error) if error.kind() == ErrorKind::RateLimited => {
                            permit.refused(error.retry_after());
                        }
                        _ => permit.answered(),
                    }
                    return answer;
                }
            }
        }
        if failures.iter().all(|(_, error)| error.status().is_none()) {
            // No address was reached: perhaps the name has others now.
            resolver.look_up_again().await;
        }
        Err(Error::of_all_addresses(request, failures))
    }

    async fn send_to(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        request: &str,
    ) -> Result<Vec<u8>, Error> {
        let login = matches!(call.auth, Auth::Negotiate(_));
        let mut builder = endpoint
            .http(&self.0.settings)?
            .request(call.method.clone(), endpoint.server.join(call.path));
        if !call.query.is_empty() {
            builder = builder.query(call.query);
        }
        match call.auth {
            Auth::Token(token) => {
                let name = HeaderName::from_static("x-vault-token");
                builder = builder.header(name, sensitive(token.expose().to_owned())?);
            }
            Auth::Negotiate(token) => {
                builder = builder.header(AUTHORIZATION, sensitive(format!("Negotiate {token}"))?);
            }
            Auth::Nothing => {}
        }
        if let Some(body) = &call.body {
            builder = builder.json(body);
        }
        let transport =
            |e: &reqwest::Error| Error::from_transport(request, e, &self.0.settings.tls);
        let mut response = builder.send().await.map_err(|e| transport(&e))?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let length = response.content_length().unwrap_or_default();
        let length = usize::try_from(length).unwrap_or(ANSWER_LIMIT);
        let mut body = Vec::with_capacity(length.min(ANSWER_LIMIT));
        while let Some(chunk) = response.chunk().await.map_err(|e| transport(&e))? {
            if body.len() + chunk.len() > ANSWER_LIMIT {
                return Err(Error::bad_answer(
                    request,
                    format!("the answer is larger than {ANSWER_LIMIT} bytes"),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(body);
        }
        let failure: Failure = serde_json::from_slice(&body).unwrap_or_default();
        let mut words = failure.errors.unwrap_or_default();
        if words.is_empty() {
            words = failure.warnings.unwrap_or_default();
        }
        Err(Error::from_answer(request, status.as_u16(), &words, login).after(retry_after))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.settings).finish()
    }
}

/// `Retry-After` in seconds; a date in it is not used by any Vault.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

/// An answer with a body, and the request's name for messages about it.
pub(crate) struct Answered<T> {
    pub(crate) request: String,
    pub(crate) envelope: Envelope<T>,
}

/// A header's value that no debug output shows.
fn sensitive(value: String) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        Error::configuration("the vault token holds characters that no token has".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}
