//! How the Vault half asks the issuer: real HTTPS, so that an outage of the issuer is real.
//!
//! What always holds: the connection goes to the address where the issuer listens, and the
//! certificate is checked for the issuer's name; an outside issuer is found by its own name. Error
//! texts follow those of the real server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use htvault::clock::Clock;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::form_urlencoded::Serializer;
use url::{Host, Url};

use super::duration::after;
use super::issuer::{CLIENT_ID, device};
use super::outside::{Endpoint, OutsideIssuers};
use super::secrets::{AccessToken, IssuerFailure, Refreshed};
use super::settings::RoleName;

/// A client of the issuer.
pub struct IssuerClient {
    http: reqwest::Client,
    url: String,
    address: SocketAddr,
    client_secret: SecretString,
    outside: OutsideIssuers,
    clock: Arc<dyn Clock>,
}

/// A device flow that the issuer has opened.
pub struct DeviceBegun {
    /// What the issuer knows it by.
    pub device_code: SecretString,
    /// Where somebody approves it.
    pub url: String,
    /// The seconds between polls.
    pub interval: u64,
}

/// What an approved device flow gave.
pub struct DeviceTokens {
    /// Who approved it.
    pub credkey: String,
    /// The refresh token.
    pub refresh_token: SecretString,
}

/// Why a poll gave no tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollFailure {
    /// Not yet: `authorization_pending` or `slow_down`.
    Waiting(String),
    /// Never, with the issuer's code.
    Refused(String),
    /// The issuer could not be asked.
    Transient(String),
}

#[derive(Deserialize)]
struct DeviceOpened {
    device_code: String,
    verification_uri_complete: String,
    #[serde(default)]
    interval: u64,
}

#[derive(Deserialize)]
struct DeviceGiven {
    refresh_token: String,
    id_token: String,
}

/// Claims of an identity token: ours, and the standard one, by which other issuers name the person.
#[derive(Deserialize)]
struct Identity {
    credkey: Option<String>,
    preferred_username: Option<String>,
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    token_type: String,
    #[serde(default)]
    expires_in: u64,
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    error_description: Option<String>,
}

impl IssuerClient {
    /// A client for the issuer at `url`, which listens at `address` and has a certificate that
    /// `tls` trusts.
    pub fn new(
        url: &str,
        address: SocketAddr,
        tls: rustls::ClientConfig,
        client_secret: SecretString,
        outside: OutsideIssuers,
        timeout: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let parsed = Url::parse(url).map_err(|error| format!("issuer URL {url}: {error}"))?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .timeout(timeout);
        let mut dialled = parsed.clone();
        if let Some(Host::Domain(host)) = parsed.host() {
            builder = builder.resolve(host, address);
        }
        // The name stays, for TLS; the port is the one that is listened on.
        if dialled.set_port(Some(address.port())).is_err() {
            return Err(format!("issuer URL {url} cannot have a port"));
        }
        Ok(Self {
            http: builder.build().map_err(|error| error.to_string())?,
            url: dialled.as_str().trim_end_matches('/').to_owned(),
            address,
            client_secret,
            outside,
            clock,
        })
    }

    /// A new access token for a refresh token.
    pub async fn refresh(
        &self,
        issuer: &str,
        refresh_token: &SecretString,
    ) -> Result<Refreshed, IssuerFailure> {
        let form = Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", refresh_token.expose_secret())
            .finish();
        self.ask(issuer, form).await
    }

    /// A narrower access token for an access token.
    pub async fn exchange(
        &self,
        issuer: &str,
        access_token: &str,
        scopes: &[String],
        audiences: &[String],
    ) -> Result<AccessToken, IssuerFailure> {
        let form = exchange_form(access_token, scopes, audiences);
        Ok(self.ask(issuer, form).await?.access)
    }

    /// Opens a device flow for a role with its scopes; the error is in words.
    pub async fn authorize_device(
        &self,
        role: &RoleName,
        scopes: &[String],
    ) -> Result<DeviceBegun, String> {
        let form = Serializer::new(String::new())
            .append_pair("role", &role.role)
            .append_pair("scope", &with_openid(scopes))
            .finish();
        let (status, body) = self.post(&role.issuer, Endpoint::Device, form).await?;
        if let Ok(opened) = serde_json::from_slice::<DeviceOpened>(&body)
            && status.is_success()
        {
            return Ok(DeviceBegun {
                device_code: opened.device_code.into(),
                url: opened.verification_uri_complete,
                interval: opened.interval,
            });
        }
        Err(format!("issuer responded with status {status}"))
    }

    /// Asks whether a device flow was approved.
    pub async fn poll_device(
        &self,
        issuer: &str,
        device_code: &SecretString,
    ) -> Result<DeviceTokens, PollFailure> {
        let form = Serializer::new(String::new())
            .append_pair("grant_type", device::GRANT_TYPE)
            .append_pair("device_code", device_code.expose_secret())
            .finish();
        let (status, body) =
            (self.post(issuer, Endpoint::Token, form).await).map_err(PollFailure::Transient)?;
        if status.is_success() {
            let unreadable = || PollFailure::Transient("unreadable answer of the issuer".into());
            let given: DeviceGiven = serde_json::from_slice(&body).map_err(|_| unreadable())?;
            let credkey = credkey(&given.id_token).ok_or_else(unreadable)?;
            return Ok(DeviceTokens {
                credkey,
                refresh_token: given.refresh_token.into(),
            });
        }
        match serde_json::from_slice::<Refused>(&body) {
            Ok(refused) if matches!(&*refused.error, "authorization_pending" | "slow_down") => {
                Err(PollFailure::Waiting(refused.error))
            }
            Ok(refused) if status.is_client_error() => Err(PollFailure::Refused(refused.error)),
            _ => Err(PollFailure::Transient(format!(
                "issuer responded with status {status}"
            ))),
        }
    }

    /// Sends a form to an endpoint of an issuer; the error is in words.
    async fn post(
        &self,
        issuer: &str,
        endpoint: Endpoint,
        form: String,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let url = match self.outside.endpoint(&self.http, issuer, endpoint).await {
            Some(url) => url?,
            None => match endpoint {
                Endpoint::Token => format!("{}/{issuer}/token", self.url),
                Endpoint::Device => format!("{}/{issuer}/devicecode", self.url),
            },
        };
        let in_words = |error: reqwest::Error| self.in_words(&url, &error);
        let response = self
            .http
            .post(&url)
            .basic_auth(CLIENT_ID, Some(self.client_secret.expose_secret()))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .map_err(in_words)?;
        let status = response.status();
        let body = response.bytes().await.map_err(in_words)?;
        Ok((status, body.to_vec()))
    }

    async fn ask(&self, issuer: &str, form: String) -> Result<Refreshed, IssuerFailure> {
        let asked_at = self.clock.now();
        let posted = self.post(issuer, Endpoint::Token, form).await;
        let (status, body) = posted.map_err(IssuerFailure::Transient)?;
        if status.is_success()
            && let Ok(given) = serde_json::from_slice::<Given>(&body)
        {
            return Ok(Refreshed {
                access: AccessToken {
                    text: given.access_token.into(),
                    kind: given.token_type.into(),
                    expires: after(asked_at, Duration::from_secs(given.expires_in)),
                },
                refresh_token: given.refresh_token.map(SecretString::from),
            });
        }
        match serde_json::from_slice::<Refused>(&body) {
            Ok(refused) if status.is_client_error() => {
                let mut words = format!("server rejected request: {}", refused.error);
                if let Some(description) = refused.error_description {
                    words.push_str(": ");
                    words.push_str(&description);
                }
                Err(IssuerFailure::Rejected(words))
            }
            _ => Err(IssuerFailure::Transient(format!(
                "oauth2: cannot fetch token: {status}"
            ))),
        }
    }

    /// An error of the connection as the real server words it.
    fn in_words(&self, url: &str, error: &reqwest::Error) -> String {
        if error.is_timeout() {
            return format!(
                "Post \"{url}\": context deadline exceeded (Client.Timeout exceeded while \
                 awaiting headers)"
            );
        }
        let mut last: &dyn std::error::Error = error;
        while let Some(source) = last.source() {
            last = source;
        }
        let refused = (last.downcast_ref::<io::Error>())
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if refused {
            let address = self.address;
            return format!("Post \"{url}\": dial tcp {address}: connect: connection refused");
        }
        format!("Post \"{url}\": {last}")
    }
}

/// Who an identity token is of. It came over TLS from the issuer itself, which makes it as good as
/// its signature would.
fn credkey(token: &str) -> Option<String> {
    let claims = token.split('.').nth(1)?;
    let claims: Identity = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims.credkey.or(claims.preferred_username)
}

/// Scopes in one text. Without `openid` no issuer gives an identity token.
fn with_openid(scopes: &[String]) -> String {
    let others = scopes.iter().map(String::as_str);
    let others = others.filter(|scope| *scope != "openid");
    let all: Vec<&str> = std::iter::once("openid").chain(others).collect();
    all.join(" ")
}

fn exchange_form(access_token: &str, scopes: &[String], audiences: &[String]) -> String {
    let access = "urn:ietf:params:oauth:token-type:access_token";
    let grant = "urn:ietf:params:oauth:grant-type:token-exchange";
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", grant)
        .append_pair("subject_token", access_token)
        .append_pair("subject_token_type", access)
        .append_pair("requested_token_type", access);
    if !scopes.is_empty() {
        form.append_pair("scope", &scopes.join(" "));
    }
    for audience in audiences {
        form.append_pair("audience", audience);
    }
    form.finish()
}
