//! What only the operator of a server can bring about, for `htvault-dev`: its admin endpoint and
//! the approval page of its issuer.
//!
//! What always holds: what [`Admin::bring`] brought, [`Admin::restore`] takes back, killed tokens
//! excepted.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::cases::State;
use super::names::Names;
use super::recorded::Request;
use super::server::Server;
use crate::dev::tls;

/// The admin endpoint of an `htvault-dev`.
#[derive(Clone, Debug)]
pub struct Admin {
    http: reqwest::Client,
    url: String,
}

impl Admin {
    /// The endpoint at `url`, plain HTTP on a loopback address.
    ///
    /// HTTP is set up with the trust of `ca_file`, although nothing here is encrypted.
    pub fn new(url: &str, ca_file: &Path) -> anyhow::Result<Self> {
        let trust = tls::client(ca_file).map_err(|words| anyhow!(words))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(trust)
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .context("HTTP cannot be set up")?;
        Ok(Self {
            http,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// Brings the server into a state. Of [`State::RateLimited`] this is the quota alone, which
    /// then has to be used up. `false`: the endpoint cannot do that with its server.
    pub async fn bring(&self, state: State, names: &Names) -> anyhow::Result<bool> {
        let condition = |name: &str| ("/nodes/all", json!({"condition": name}));
        let (path, body) = match state {
            State::Sealed => condition("sealed"),
            State::Standby => condition("standby"),
            State::Leaderless => condition("leaderless"),
            State::LdapDown => ("/ldap", json!({"up": false})),
            State::IssuerDown => ("/issuer", json!({"state": "down"})),
            State::IssuerHangs => ("/issuer", json!({"state": "hung"})),
            State::RateLimited => ("/quota", json!({"quota": "1/1m/1m"})),
            State::RefreshRefused => {
                let role = format!("{}:{}", names.issuer, names.role);
                let victim = json!({"credkey": names.credkey, "role": role});
                return self.try_call(Method::POST, "/kill", &victim).await;
            }
        };
        self.try_call(Method::PUT, path, &body).await
    }

    /// Takes all states back, except [`State::RefreshRefused`]: what was killed stays dead.
    pub async fn restore(&self) -> anyhow::Result<()> {
        self.call(Method::DELETE, "/faults", &Value::Null)
            .await
            .map(drop)
    }

    /// The same, but `false` where the endpoint does not know how.
    async fn try_call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<bool> {
        let (status, words) = self.send(method, path, body).await?;
        match status {
            StatusCode::NOT_IMPLEMENTED => Ok(false),
            _ => accepted(status, path, &words).map(|()| true),
        }
    }

    /// Sends one request of the endpoint's own, for example `PUT /nodes/1 {"up": false}`; gives
    /// its answer.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, words) = self.send(method, path, body).await?;
        accepted(status, path, &words)?;
        serde_json::from_str(&words)
            .with_context(|| format!("the admin endpoint answers no JSON to {path}: {words}"))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<(StatusCode, String)> {
        let url = format!("{}{path}", self.url);
        let answer = (self.http.request(method, &url).json(body).send().await)
            .with_context(|| format!("the admin endpoint {} does not answer", self.url))?;
        let status = answer.status();
        Ok((status, answer.text().await.unwrap_or_default()))
    }
}

fn accepted(status: StatusCode, path: &str, words: &str) -> anyhow::Result<()> {
    ensure!(
        status.is_success(),
        "the admin endpoint answers {status} to {path}: {words}"
    );
    Ok(())
}

/// Approves a device flow at the page of an `htvault-dev`'s issuer, as the person who is called
/// `credkey`; the issuer is trusted as `trust` is.
pub async fn approve(trust: &Server, auth_url: &str, credkey: &str) -> anyhow::Result<()> {
    let page = url::Url::parse(auth_url).context("auth_url is no URL")?;
    let code = page
        .query_pairs()
        .find(|(name, _)| name == "user_code")
        .context("auth_url has no user_code")?;
    let body = Serializer::new(String::new())
        .append_pair("user_code", &code.1)
        .append_pair("credkey", credkey)
        .append_pair("action", "approve")
        .finish();
    let request = Request {
        method: "POST".into(),
        path: page.path().to_owned(),
        headers: vec![(
            "Content-Type".into(),
            "application/x-www-form-urlencoded".into(),
        )],
        body,
    };
    let issuer = trust.at(&page.origin().ascii_serialization());
    let answer = issuer.send(&request).await?;
    ensure!(
        answer.status == 200,
        "the approval page answers {}",
        answer.status
    );
    Ok(())
}
