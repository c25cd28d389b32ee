//! Issuers that stand elsewhere: where a token is asked for, as their discovery documents say.
//!
//! What always holds: a document is read once, when an endpoint is first needed, and again as long as
//! that fails.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;
use tokio::sync::OnceCell;

/// An issuer and its URL, written `NAME=URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideIssuer {
    /// Its name at the Vault.
    pub name: String,
    /// Its URL, as its tokens name it.
    pub url: String,
}

impl FromStr for OutsideIssuer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, url)) if !name.is_empty() && is_https(url) => Ok(Self {
                name: name.to_owned(),
                url: url.trim_end_matches('/').to_owned(),
            }),
            _ => Err(format!("{text:?} is not of the form NAME=https://…")),
        }
    }
}

fn is_https(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| url.scheme() == "https" && url.has_host())
}

/// A call of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Tokens.
    Token,
    /// Beginning of a device flow.
    Device,
}

/// Where the endpoints of an issuer are.
#[derive(Debug, Deserialize)]
struct Document {
    token_endpoint: String,
    device_authorization_endpoint: String,
}

/// All issuers that stand elsewhere, by name.
#[derive(Debug, Default)]
pub struct OutsideIssuers {
    known: BTreeMap<String, (String, OnceCell<Document>)>,
}

impl OutsideIssuers {
    /// These issuers; nothing is asked yet.
    #[must_use]
    pub fn new(urls: &BTreeMap<String, String>) -> Self {
        let known = (urls.iter())
            .map(|(name, url)| (name.clone(), (url.clone(), OnceCell::new())))
            .collect();
        Self { known }
    }

    /// The URL of an endpoint; none for an issuer that is no outside one.
    pub async fn endpoint(
        &self,
        http: &reqwest::Client,
        issuer: &str,
        endpoint: Endpoint,
    ) -> Option<Result<String, String>> {
        let (url, document) = self.known.get(issuer)?;
        let document = document.get_or_try_init(|| discover(http, url)).await;
        Some(document.map(|document| match endpoint {
            Endpoint::Token => document.token_endpoint.clone(),
            Endpoint::Device => document.device_authorization_endpoint.clone(),
        }))
    }
}

async fn discover(http: &reqwest::Client, issuer: &str) -> Result<Document, String> {
    let url = format!("{issuer}/.well-known/openid-configuration");
    let cannot = |error: &dyn std::fmt::Display| format!("Get \"{url}\": {error}");
    let answer = http.get(&url).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status);
    let answer = answer.map_err(|error| cannot(&error.without_url()))?;
    let body = answer.bytes().await;
    let body = body.map_err(|error| cannot(&error.without_url()))?;
    serde_json::from_slice(&body).map_err(|error| cannot(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_has_a_name_and_an_https_url() {
        let issuer: OutsideIssuer = "grid=https://sso.example.org/realms/grid/".parse().unwrap();
        assert_eq!(issuer.name, "grid");
        assert_eq!(issuer.url, "https://sso.example.org/realms/grid");
        for wrong in [
            "grid",
            "=https://a.example",
            "grid=http://a.example",
            "grid=a",
        ] {
            assert!(wrong.parse::<OutsideIssuer>().is_err(), "{wrong}");
        }
    }
}
