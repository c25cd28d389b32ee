//! What the operator of a real Vault asks of it, with its root token.
//!
//! What always holds: the token is in no text that is printed; requests come from an address that
//! no client has, since quotas count by address.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use reqwest::{Method, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::dev::tls;

/// The operator's address.
pub const OPERATOR: Ipv4Addr = Ipv4Addr::new(127, 83, 0, 199);
/// The address of what stands in for the plugin.
pub const REFRESHER: Ipv4Addr = Ipv4Addr::new(127, 83, 0, 198);

/// The operator's side of one server.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    url: String,
    token: SecretString,
}

/// A status and its body; null where there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Reply {
    /// The error texts, which hold no secret.
    #[must_use]
    pub fn errors(&self) -> String {
        self.body
            .get("errors")
            .map_or_else(String::new, Value::to_string)
    }
}

impl Api {
    /// The server at `url`, without a token yet, asked from an address of the sandbox.
    pub fn new(url: &str, ca_file: &Path, from: Ipv4Addr) -> anyhow::Result<Self> {
        let trust = tls::client(ca_file).map_err(|words| anyhow!(words))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(trust)
            .https_only(true)
            .no_proxy()
            .local_address(IpAddr::V4(from))
            .redirect(redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            .build()
            .context("HTTP cannot be set up")?;
        Ok(Self {
            http,
            url: url.to_owned(),
            token: SecretString::default(),
        })
    }

    /// The same server with this token.
    #[must_use]
    pub fn with_token(&self, token: SecretString) -> Self {
        Self {
            token,
            ..self.clone()
        }
    }

    /// Its token, for a client at another address.
    pub(super) fn token_of(&self) -> SecretString {
        self.token.clone()
    }

    /// The same token at another server.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    /// Sends one request, whatever its answer is.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Reply> {
        let url = format!("{}/v1/{path}", self.url);
        let mut request = self.http.request(method, &url);
        if !self.token.expose_secret().is_empty() {
            request = request.header("X-Vault-Token", self.token.expose_secret());
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("{url} does not answer"))?;
        let status = answer.status().as_u16();
        let text = answer.bytes().await.unwrap_or_default();
        Ok(Reply {
            status,
            body: serde_json::from_slice(&text).unwrap_or_default(),
        })
    }

    /// Sends one request that must succeed; gives its body.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let name = method.clone();
        let reply = self.send(method, path, body).await?;
        ensure!(
            (200..300).contains(&reply.status),
            "{name} {path}: status {} {}",
            reply.status,
            reply.errors()
        );
        Ok(reply.body)
    }

    /// Writes to a path.
    pub async fn write(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, &body).await
    }

    /// Reads a path; none when nothing is there.
    pub async fn read(&self, path: &str) -> anyhow::Result<Option<Value>> {
        self.found(Method::GET, path).await
    }

    /// The names below a path.
    pub async fn list(&self, path: &str) -> anyhow::Result<Vec<String>> {
        let list = Method::from_bytes(b"LIST").context("a method")?;
        let body = self.found(list, path).await?.unwrap_or_default();
        let keys = body.pointer("/data/keys").and_then(Value::as_array);
        let names = keys.into_iter().flatten().filter_map(Value::as_str);
        Ok(names.map(str::to_owned).collect())
    }

    async fn found(&self, method: Method, path: &str) -> anyhow::Result<Option<Value>> {
        let reply = self.send(method, path, &Value::Null).await?;
        match reply.status {
            404 => Ok(None),
            200..300 => Ok(Some(reply.body)),
            status => Err(anyhow!("{path}: status {status} {}", reply.errors())),
        }
    }
}
