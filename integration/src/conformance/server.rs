//! The server that is looked at, by raw HTTPS.
//!
//! What always holds: only the authorities of the given file are trusted, no proxy and no redirect
//! is followed, an answer of any size takes bounded memory.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use reqwest::{Method, redirect};

use super::recorded::{Answer, Request};
use crate::dev::tls;

/// Longer than the server waits for its issuer.
const TIMEOUT: Duration = Duration::from_mins(1);
/// No answer of Vault is longer.
const LONGEST: usize = 1 << 20;

/// A server.
#[derive(Clone, Debug)]
pub struct Server {
    http: reqwest::Client,
    url: String,
}

impl Server {
    /// The server at `url`, whose certificate an authority in `ca_file` must have signed.
    pub fn new(url: &str, ca_file: &Path) -> anyhow::Result<Self> {
        let trust = tls::client(ca_file).map_err(|words| anyhow!(words))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(trust)
            .https_only(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()
            .context("HTTP cannot be set up")?;
        Ok(Self {
            http,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// The same trust for another server.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self {
            http: self.http.clone(),
            url: url.trim_end_matches('/').to_owned(),
        }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request as it is.
    pub async fn send(&self, request: &Request) -> anyhow::Result<Answer> {
        let method = Method::from_bytes(request.method.as_bytes())
            .with_context(|| format!("{} is no method", request.method))?;
        let mut builder = self
            .http
            .request(method, format!("{}{}", self.url, request.path));
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        // No query in an error text: a secret could be in it.
        let unreachable = |error: reqwest::Error| {
            anyhow!(error.without_url()).context(format!("{} does not answer", self.url))
        };
        let mut response = builder
            .body(request.body.clone())
            .send()
            .await
            .map_err(unreachable)?;
        let headers = (response.headers().iter())
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect();
        let status = response.status();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&part);
            ensure!(body.len() <= LONGEST, "the answer has more than 1 MiB");
        }
        Ok(Answer {
            status: status.as_u16(),
            reason: status.canonical_reason().unwrap_or_default().to_owned(),
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}
