//! What stands in for the oauthapp plugin of HTVault, which is not to be had: fills the key-value
//! store at `secret/oauth` with fresh access tokens.
//!
//! What always holds: a refresh token that somebody stores there by the real policies is taken out
//! within a moment, and only then there is an access token to read; what was deleted is forgotten; an
//! access token that the issuer does not renew stays until it is replaced, expired or not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use htvault::clock::{Clock as _, SystemClock};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use url::form_urlencoded::Serializer;

use super::api::Api;
use crate::wait;

const CREDS: &str = "secret/oauth/creds/";
/// How often it looks for what was stored or deleted.
const PAUSE: Duration = Duration::from_millis(100);

/// The issuer's token endpoint, and the client that asks there.
#[derive(Clone, Debug)]
pub struct TokenEndpoint {
    /// Its URL.
    pub url: String,
    /// The client's name.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: SecretString,
}

/// The task that refreshes. It ends when dropped.
#[derive(Debug)]
pub struct Refresher {
    task: JoinHandle<()>,
    endpoints: Shared<TokenEndpoint>,
    refusals: Shared<String>,
}

/// What a refresher and its task have in common, by name.
type Shared<T> = Arc<Mutex<BTreeMap<String, T>>>;

struct Stored {
    refresh_token: SecretString,
    server: String,
    /// When it is asked for the next time.
    due: Timestamp,
}

struct Work {
    api: Api,
    browser: reqwest::Client,
    endpoints: Shared<TokenEndpoint>,
    stored: BTreeMap<String, Stored>,
    refusals: Shared<String>,
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    token_type: String,
    expires_in: i64,
    refresh_token: Option<String>,
}

impl Refresher {
    /// Begins to refresh what is stored for the issuers that are added.
    #[must_use]
    pub fn start(api: Api, browser: reqwest::Client) -> Self {
        let (endpoints, refusals) = (Arc::default(), Arc::default());
        let mut work = Work {
            api,
            browser,
            endpoints: Arc::clone(&endpoints),
            stored: BTreeMap::new(),
            refusals: Arc::clone(&refusals),
        };
        let task = tokio::spawn(async move {
            loop {
                // A server that is sealed or without a leader is asked again.
                let _ = work.turn().await;
                wait::pass(PAUSE).await;
            }
        });
        Self {
            task,
            endpoints,
            refusals,
        }
    }

    /// Adds an issuer by its name at the Vault.
    pub fn add(&self, issuer: &str, endpoint: TokenEndpoint) {
        let mut endpoints = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        endpoints.insert(issuer.to_owned(), endpoint);
    }

    /// What the issuer said when it refused to renew, by the name of the credential.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<String, String> {
        let refusals = self.refusals.lock();
        refusals.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Work {
    /// Looks at all that is stored, and renews what is due.
    async fn turn(&mut self) -> anyhow::Result<()> {
        let names = self.names().await?;
        self.stored.retain(|name, _| names.contains(name));
        for name in names {
            let path = format!("{CREDS}{name}");
            if let Some(body) = self.api.read(&path).await?
                && let Some(token) = text(&body, "/data/refresh_token")
            {
                let stored = Stored {
                    refresh_token: token.into(),
                    server: text(&body, "/data/server").unwrap_or_default(),
                    due: SystemClock.now(),
                };
                self.stored.insert(name.clone(), stored);
            }
            let now = SystemClock.now();
            if self
                .stored
                .get(&name)
                .is_some_and(|stored| stored.due <= now)
            {
                let renewed = self.renew(&name, &path).await;
                let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
                match renewed {
                    Ok(()) => refusals.remove(&name),
                    Err(error) => refusals.insert(name, format!("{error:#}")),
                };
            }
        }
        Ok(())
    }

    /// The names of all credentials: `ISSUER/CREDKEY:ROLE`.
    async fn names(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for name in self.api.list(&format!("{CREDS}{folder}")).await? {
                let name = format!("{folder}{name}");
                if name.ends_with('/') {
                    folders.push(name);
                } else {
                    found.push(name);
                }
            }
        }
        Ok(found)
    }

    async fn renew(&mut self, name: &str, path: &str) -> anyhow::Result<()> {
        let Self {
            api,
            browser,
            endpoints,
            stored,
            ..
        } = self;
        let stored = stored.get_mut(name).context("it is stored")?;
        let endpoint = {
            let endpoints = endpoints.lock().unwrap_or_else(PoisonError::into_inner);
            endpoints.get(&stored.server).cloned()
        };
        let endpoint =
            endpoint.with_context(|| format!("there is no issuer {:?}", stored.server))?;
        let form = Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", stored.refresh_token.expose_secret())
            .finish();
        let asked = SystemClock.now();
        // Asked again soon, whatever comes of it.
        stored.due = asked.saturating_add(SignedDuration::from_secs(1))?;
        let answer = browser
            .post(&endpoint.url)
            .basic_auth(
                &endpoint.client_id,
                Some(endpoint.client_secret.expose_secret()),
            )
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        if !status.is_success() {
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let error = text(&body, "/error").unwrap_or_default();
            anyhow::bail!("{status} {error}");
        }
        let given: Given = serde_json::from_slice(&body).context("no tokens in the answer")?;
        // Some issuers let a refresh token be used once.
        if let Some(next) = given.refresh_token {
            stored.refresh_token = next.into();
        }
        ensure!(given.expires_in > 0, "the access token has ended");
        let life = SignedDuration::from_secs(given.expires_in);
        stored.due = asked.saturating_add(life / 8)?;
        let data = json!({
            "access_token": given.access_token,
            "expire_time": asked.saturating_add(life)?.to_string(),
            "server": stored.server,
            "type": given.token_type,
        });
        api.call(Method::POST, path, &data).await.map(drop)
    }
}

fn text(body: &Value, place: &str) -> Option<String> {
    body.pointer(place)?.as_str().map(str::to_owned)
}
