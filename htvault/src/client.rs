//! The client of one HTVault: requests, timeouts, limits on size, and fail-over.
//!
//! Connections are kept and re-used. No proxy of the environment is used, no redirect followed,
//! and an answer is read up to a bound, so a broken server cannot fill the memory.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::StatusCode;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::zeroize::Zeroizing;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::time::Instant;
use tracing::debug;

use crate::answer::{Answered, Envelope, decode, refusal};
use crate::budget::{Budget, Denied, Permit, RequestsUsed};
use crate::call::{Auth, Call, authorization};
use crate::credential_url::ServerUrl;
use crate::endpoints::{Directory, Endpoint, finish};
use crate::error::{Error, ErrorKind, FailureScope};
use crate::settings::{After429, Settings};
use crate::tls::Authorities;
use crate::transport;

/// Largest answer that is read, in bytes. Real answers have a few kilobytes.
const ANSWER_LIMIT: usize = 256 * 1024;

/// A client of one HTVault. Cheap to clone; clones share connections, health and budget.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    /// Counts the requests of this clone.
    counter: Option<Arc<AtomicU32>>,
}

struct Shared {
    settings: Arc<Settings>,
    directory: Directory,
    budget: Budget,
}

/// Status and body of a success. The body may hold a token.
struct Received {
    status: StatusCode,
    body: Zeroizing<Vec<u8>>,
}

impl Received {
    fn envelope<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        request: &str,
    ) -> Result<Envelope<T>, Error> {
        decode(request, self.status.as_u16(), &self.body, &call.secrets())
    }
}

impl Client {
    /// Makes a client that trusts the authorities of [`Settings::tls`](Settings) and follows changes
    /// of their files. Nothing is sent yet, no name looked up; only the files are read, which blocks.
    ///
    /// # Errors
    /// The certificate authorities cannot be read; the error names the file and the reason.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let authorities = Authorities::read(&settings.tls)?;
        let settings = Arc::new(settings.clone());
        let directory = Directory::new(Arc::clone(&settings), authorities, true);
        Ok(Self::of(settings, directory))
    }

    /// Makes a client that trusts exactly these authorities for ever; messages name where they were found. A caller
    /// that wants to follow changes of the files checks [`Authorities::are_those_of`] and makes a new client.
    #[must_use]
    pub fn with_authorities(settings: &Settings, authorities: Authorities) -> Self {
        let mut settings = settings.clone();
        settings.tls = authorities.settings().clone();
        let settings = Arc::new(settings);
        let directory = Directory::new(Arc::clone(&settings), authorities, false);
        Self::of(settings, directory)
    }

    /// Makes a client over an HTTP client of the caller's, for proxies, other TLS or DNS.
    ///
    /// Its redirects and its `Referer` are switched off: a redirect would carry the vault token to
    /// another host. Its timeouts, TLS and DNS are the caller's: [`Settings::tls`](Settings),
    /// `resolver` and the timeouts are not used. Servers of the list are tried in turn, but not
    /// the addresses of one name.
    ///
    /// ```
    /// use htvault::{Client, Settings};
    ///
    /// let settings = Settings::new("https://htvault.example.org:8200".parse()?);
    /// # rustls::crypto::ring::default_provider().install_default().ok();
    /// let http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(40));
    /// let client = Client::with_http(&settings, http)?;
    /// # Ok::<(), htvault::Error>(())
    /// ```
    ///
    /// # Errors
    /// HTTP cannot be set up.
    pub fn with_http(settings: &Settings, http: reqwest::ClientBuilder) -> Result<Self, Error> {
        let http = finish(http)?;
        let settings = Arc::new(settings.clone());
        let directory = Directory::over(Arc::clone(&settings), &http);
        Ok(Self::of(settings, directory))
    }

    fn of(settings: Arc<Settings>, directory: Directory) -> Self {
        let budget = Budget::new(settings.limit);
        let shared = Shared {
            settings,
            directory,
            budget,
        };
        Self {
            shared: Arc::new(shared),
            counter: None,
        }
    }

    /// The first server: the one that URLs of stored credentials name.
    #[must_use]
    pub fn server(&self) -> &ServerUrl {
        self.shared.settings.server()
    }

    /// Settings of this client.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Use of the limit on requests now; `None` without one.
    #[must_use]
    pub fn requests_used(&self) -> Option<RequestsUsed> {
        self.shared.budget.used()
    }

    /// Lets the next request through, though the server asked to wait by a 429: a person wants to know
    /// now. Others wait until it is answered, for a moment at most.
    pub fn retry_now(&self) {
        self.shared.budget.retry_now();
    }

    /// A clone that adds each HTTP request that it sends to a counter: a call may send one to each address.
    #[must_use]
    pub fn counting(&self, requests: Arc<AtomicU32>) -> Self {
        Self {
            counter: Some(requests),
            ..self.clone()
        }
    }

    /// Sends a request whose answer has a body.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
    ) -> Result<Answered<T>, Error> {
        let request = self.name(&call);
        let understand = |received: &Received| received.envelope(&call, &request);
        let envelope = self.send(&call, &request, understand).await?;
        Ok(Answered { request, envelope })
    }

    /// Sends a request whose answer is empty, or has nothing but warnings. A page of something between is no success.
    pub(crate) async fn call_for_nothing(&self, call: Call<'_>) -> Result<(), Error> {
        let request = self.name(&call);
        let understand = |received: &Received| {
            if received.body.is_empty() {
                return Ok(());
            }
            let envelope = received.envelope::<IgnoredAny>(&call, &request);
            envelope.map(drop)
        };
        self.send(&call, &request, understand).await
    }

    /// Method and URL, without query, for messages; and the owner of the token, where the URL does
    /// not name it.
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
        understand: impl Fn(&Received) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let header = authorization(call.auth, request)?;
        let endpoints = self.shared.directory.endpoints().await?;
        let order = endpoints.preference().order(Instant::now());
        let mut failures = Vec::new();
        // Addresses that failed for this path. Whether it is their fault, another address tells.
        let mut suspects = Vec::new();
        let blame = |suspects: &[usize]| {
            let mut preference = endpoints.preference();
            for suspect in suspects {
                preference.failed(*suspect, Instant::now());
            }
        };
        for index in order {
            let Some(endpoint) = endpoints.list.get(index) else {
                continue;
            };
            let permit = self.permit(request).await?;
            if let Some(counter) = &self.counter {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            let answer = self
                .send_to(endpoint, call, header.clone(), request)
                .await
                .and_then(|received| understand(&received));
            match answer {
                Err(error) if error.kind().fails_over() => {
                    let is_last = call.once && !transport::was_not_read(&error);
                    debug!(address = endpoint.name(), %error, is_last, "no use of this address");
                    if error.status().is_some() || error.kind() == ErrorKind::BadAnswer {
                        permit.answered();
                    }
                    if error.scope() == FailureScope::Host {
                        endpoints.preference().failed(index, Instant::now());
                    } else if error.scope() != FailureScope::Local {
                        suspects.push(index);
                    }
                    failures.push((endpoint.name(), error));
                    if is_last {
                        // Whether it is the address's fault, the caller's next attempt tells: it begins elsewhere.
                        blame(&suspects);
                        break;
                    }
                }
                answer => {
                    blame(&suspects);
                    endpoints.preference().succeeded(index, Instant::now());
                    return self.settle(&permit, answer);
                }
            }
        }
        let unreached =
            |error: &Error| error.status().is_none() && error.scope() == FailureScope::Host;
        if failures.iter().all(|(_, error)| unreached(error)) {
            // Perhaps the name has other addresses now.
            self.shared.directory.look_up_again();
        }
        Err(Error::of_all_addresses(request, failures))
    }

    /// Leave to send one request.
    async fn permit(&self, request: &str) -> Result<Permit, Error> {
        let permit = self
            .shared
            .budget
            .permit(self.shared.settings.limit_wait)
            .await;
        permit.map_err(|denied| {
            let (words, until) = match denied {
                Denied::Full(until) => ("not sent: our own limit on requests is reached", until),
                Denied::Blocked(until) => ("not sent: the server refuses requests for now", until),
            };
            let wait = until.saturating_duration_since(Instant::now());
            // Without the time, which would be untrue as soon as the message is older.
            let error = Error::new(ErrorKind::RateLimited, request, words).after(Some(wait));
            match denied {
                Denied::Full(_) => error
                    .in_scope(FailureScope::Local)
                    .advise("raise the limit on requests that is configured here, or ask less"),
                Denied::Blocked(_) => error,
            }
        })
    }

    /// Tells the budget of an answer. The error of a 429 gets the time for which nothing is sent.
    fn settle<T>(&self, permit: &Permit, answer: Result<T, Error>) -> Result<T, Error> {
        match answer {
            Err(error) if error.kind() == ErrorKind::RateLimited => {
                Err(match self.shared.settings.after_429 {
                    After429::BlockClient => {
                        let rest = permit.refused(error.retry_after());
                        error.after(Some(rest))
                    }
                    After429::LeaveToCaller => error,
                })
            }
            answer => {
                permit.answered();
                answer
            }
        }
    }

    async fn send_to(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        header: Option<(HeaderName, HeaderValue)>,
        request: &str,
    ) -> Result<Received, Error> {
        let settings = &*self.shared.settings;
        let login = matches!(call.auth, Auth::Negotiate(_));
        let mut builder = endpoint
            .http(settings)?
            .request(call.method.clone(), endpoint.server.join(call.path));
        if !call.query.is_empty() {
            builder = builder.query(call.query);
        }
        if let Some((name, value)) = header {
            builder = builder.header(name, value);
        }
        if let Some(namespace) = &settings.namespace {
            let value = HeaderValue::try_from(namespace.as_str()).map_err(|_| {
                Error::configuration("the namespace holds characters that no namespace has")
            })?;
            builder = builder.header(HeaderName::from_static("x-vault-namespace"), value);
        }
        if let Some(body) = &call.body {
            builder = builder.json(body);
        }
        let failed = |error: reqwest::Error| transport::failure(request, error, &settings.tls);
        let mut response = builder.send().await.map_err(failed)?;
        let status = response.status();
        let body = transport::body(&mut response, ANSWER_LIMIT).await;
        let Some(body) = body.map_err(failed)? else {
            let words = format!("the answer is larger than {ANSWER_LIMIT} bytes");
            return Err(Error::bad_answer(request, &words));
        };
        if status.is_success() {
            return Ok(Received { status, body });
        }
        let headers = response.headers();
        let secrets = call.secrets();
        Err(refusal(request, status, headers, &body, &secrets, login))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client")
            .field(&self.shared.settings)
            .finish()
    }
}
