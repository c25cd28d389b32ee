//! What the operator of a real Vault asks of it, with its root token.
//!
//! What always holds: the token is in no text that is printed; requests come from an address of
//! their own, so that no quota that a test has used up refuses them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use reqwest::{Method, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::dev::tls;

/// Quotas count by client address: nobody else has this one.
const OWN_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 83, 0, 199));

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
    /// The server at `url`, without a token yet.
    pub fn new(url: &str, ca_file: &Path) -> anyhow::Result<Self> {
        let trust = tls::client(ca_file).map_err(|words| anyhow!(words))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(trust)
            .https_only(true)
            .no_proxy()
            .local_address(OWN_ADDRESS)
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

    /// A living token by its accessor; none when it is dead.
    pub async fn token(&self, accessor: &str) -> anyhow::Result<Option<Value>> {
        let path = "auth/token/lookup-accessor";
        let asked = json!({"accessor": accessor});
        let reply = self.send(Method::POST, path, &asked).await?;
        match reply.status {
            200 => Ok(reply.body.get("data").cloned()),
            // How it says "no such accessor".
            403 | 404 => Ok(None),
            status => Err(anyhow!("{path}: status {status} {}", reply.errors())),
        }
    }

    /// The accessors of all living tokens that this login mount made, children included.
    pub async fn accessors(&self) -> anyhow::Result<Vec<String>> {
        self.list("auth/token/accessors").await
    }
}
