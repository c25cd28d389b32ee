//! What the admin of a realm does at Keycloak's admin endpoint.
//!
//! What always holds: the admin's token is in no text that is printed.

use anyhow::{Context as _, ensure};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::realm::NAME;
use crate::dev::issuer::CLIENT_ID;

/// An admin who is logged in, for a minute.
pub struct Admin {
    http: reqwest::Client,
    url: String,
    token: SecretString,
}

impl Admin {
    pub(super) async fn log_in(
        http: reqwest::Client,
        url: &str,
        name: &str,
        password: &SecretString,
    ) -> anyhow::Result<Self> {
        let form = Serializer::new(String::new())
            .append_pair("grant_type", "password")
            .append_pair("client_id", "admin-cli")
            .append_pair("username", name)
            .append_pair("password", password.expose_secret())
            .finish();
        let endpoint = format!("{url}/realms/master/protocol/openid-connect/token");
        let request = http.post(endpoint).body(form);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = request.send().await.context("Keycloak does not answer")?;
        let status = answer.status();
        ensure!(status.is_success(), "the admin cannot log in: {status}");
        let given: Value = answer.json().await.context("no token in the answer")?;
        let token = given.get("access_token").and_then(Value::as_str);
        Ok(Self {
            token: token.context("no token in the answer")?.into(),
            url: format!("{url}/admin/realms/{NAME}"),
            http,
        })
    }

    /// Ends all sessions of a person at the Vault's client, those by which it refreshes tokens while the
    /// person is away; gives their number.
    pub async fn end_sessions(&self, subject: &str) -> anyhow::Result<usize> {
        let search = format!("clients?clientId={CLIENT_ID}");
        let clients = self.call(Method::GET, &search).await?;
        let client = clients.pointer("/0/id").and_then(Value::as_str);
        let client = client.context("the realm does not know the Vault")?;
        let list = format!("users/{subject}/offline-sessions/{client}");
        let found = self.call(Method::GET, &list).await?;
        let sessions = found.as_array().context("no list of sessions")?;
        for session in sessions {
            let id = session.get("id").and_then(Value::as_str);
            let id = id.context("a session without a name")?;
            let path = format!("sessions/{id}?isOffline=true");
            self.call(Method::DELETE, &path).await?;
        }
        Ok(sessions.len())
    }

    async fn call(&self, method: Method, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}/{path}", self.url);
        let request = self.http.request(method.clone(), url);
        let request = request.bearer_auth(self.token.expose_secret());
        let answer = request.send().await.context("Keycloak does not answer")?;
        let status = answer.status();
        ensure!(status.is_success(), "{method} {path}: {status}");
        let body = answer.bytes().await?;
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }
}
