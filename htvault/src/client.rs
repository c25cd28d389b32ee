//! The connection to one HTVault: requests, limits of time and size, and answers made into types.
//!
//! Connections are kept and re-used. No proxy of the environment is used, no redirect followed,
//! and an answer is read up to a bound, so a broken server cannot fill the memory.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::credential_url::ServerUrl;
use crate::error::Error;
use crate::secret::VaultToken;
use crate::tls::TlsSettings;

/// Largest answer that is read, in bytes. Real answers have a few kilobytes.
const ANSWER_LIMIT: usize = 256 * 1024;

/// How to reach an HTVault.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's address.
    pub server: ServerUrl,
    /// Which certificate authorities are trusted.
    pub tls: TlsSettings,
    /// Limit for making a connection.
    pub connect_timeout: Duration,
    /// Limit for a whole request. Vault itself waits 30 s for an issuer that hangs.
    pub request_timeout: Duration,
}

impl Settings {
    /// Settings with the usual limits (5 s to connect, 40 s for all) and the system's authorities.
    #[must_use]
    pub fn new(server: ServerUrl) -> Self {
        Self {
            server,
            tls: TlsSettings::default(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(40),
        }
    }
}

/// A client of one HTVault. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    settings: Arc<Settings>,
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
    /// Makes a client; nothing is sent yet.
    ///
    /// # Errors
    /// The certificate authorities cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(settings.tls.client_config()?)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("htvault-rs/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.request_timeout)
            .pool_idle_timeout(Duration::from_mins(1))
            .build()
            .map_err(|e| Error::configuration(format!("HTTP cannot be set up: {e}")))?;
        Ok(Self {
            http,
            settings: Arc::new(settings.clone()),
        })
    }

    /// The server that this client speaks to.
    #[must_use]
    pub fn server(&self) -> &ServerUrl {
        &self.settings.server
    }

    /// Sends a request whose answer has a body.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
    ) -> Result<Answered<T>, Error> {
        let request = self.name(&call);
        let body = self.send(call, &request).await?;
        let envelope = serde_json::from_slice(&body).map_err(|e| {
            Error::bad_answer(&request, format!("the answer is not understood: {e}"))
        })?;
        Ok(Answered { request, envelope })
    }

    /// Sends a request whose answer is empty.
    pub(crate) async fn call_for_nothing(&self, call: Call<'_>) -> Result<(), Error> {
        let request = self.name(&call);
        self.send(call, &request).await.map(drop)
    }

    /// Method and URL, without query, for messages.
    fn name(&self, call: &Call<'_>) -> String {
        format!("{} {}{}", call.method, self.settings.server, call.path)
    }

    async fn send(&self, call: Call<'_>, request: &str) -> Result<Vec<u8>, Error> {
        let login = matches!(call.auth, Auth::Negotiate(_));
        let mut builder = self
            .http
            .request(call.method, self.settings.server.join(call.path));
        if !call.query.is_empty() {
            builder = builder.query(call.query);
        }
        let (header, value) = match call.auth {
            Auth::Token(token) => (
                HeaderName::from_static("x-vault-token"),
                token.expose().to_owned(),
            ),
            Auth::Negotiate(token) => (AUTHORIZATION, format!("Negotiate {token}")),
        };
        builder = builder.header(header, sensitive(value)?);
        if let Some(body) = &call.body {
            builder = builder.json(body);
        }
        let transport = |e: &reqwest::Error| Error::from_transport(request, e, &self.settings.tls);
        let mut response = builder.send().await.map_err(|e| transport(&e))?;
        let status = response.status();
        let mut body = Vec::new();
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
        Err(Error::from_answer(request, status.as_u16(), &words, login))
    }
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
