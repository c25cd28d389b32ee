//! A front before the development Vault (load balancer, firewall, standby): it passes requests on, answers some
//! in Vault's place, or changes the access tokens that go through it.
//!
//! What always holds: its certificate is the test authority's (or one that the test brings); what it does can be
//! changed while it runs; it remembers the paths that were asked for, and no secret: a test that has to know
//! secrets sees requests and answers by a watcher of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::{Context as _, anyhow};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::answer::Answer;
use super::token::AccessToken;
use crate::ca::{Ca, Issued};
use crate::dev::listener::Listener;
use crate::dev::tls;

/// Largest body that is passed on.
const LONGEST: usize = 1 << 20;

/// What a front does with a request.
#[derive(Clone)]
pub enum Handling {
    /// It passes it on.
    Pass,
    /// It answers in Vault's place; only a whole reply can be given.
    Answer(Answer),
    /// It passes it on, and changes the access token in the answer.
    Change(fn(AccessToken) -> AccessToken),
    /// It passes it on, and changes the answer.
    Edit(fn(&mut Value)),
    /// It refuses with this status, and quotes the request: its token, its ticket, its body.
    Quote(u16),
    /// It never answers.
    Hang,
}

/// What is done with a request for a path below `/v1/`.
type Rule = Arc<dyn Fn(&str) -> Handling + Send + Sync>;

/// Sees headers and body of whatever is passed on, in both directions.
type Watcher = Arc<dyn Fn(&HeaderMap, &[u8]) + Send + Sync>;

struct Shared {
    behind: String,
    client: reqwest::Client,
    rule: RwLock<Rule>,
    watcher: RwLock<Watcher>,
    asked: Mutex<Vec<String>>,
}

/// A front that runs.
pub struct Front {
    shared: Arc<Shared>,
    _listeners: Vec<Listener>,
}

impl Front {
    /// Starts one on these addresses before the Vault at the URL `behind`, with a certificate for all names of
    /// the sandbox's Vault.
    pub async fn start(
        ca: &Ca,
        addresses: &[SocketAddr],
        behind: &str,
        rule: impl Fn(&str) -> Handling + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let issued = ca.issue(&["front.test", "vault.test", "cluster.test"])?;
        Self::with_certificate(&issued, &ca.file(), addresses, behind, rule).await
    }

    /// The same with another certificate; `ca_file` is what the Vault behind is trusted by.
    pub async fn with_certificate(
        issued: &Issued,
        ca_file: &Path,
        addresses: &[SocketAddr],
        behind: &str,
        rule: impl Fn(&str) -> Handling + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let config = tls::server(&issued.certificate, &issued.key).map_err(|e| anyhow!(e))?;
        let trust = tls::client(ca_file).map_err(|e| anyhow!(e))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(trust)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .context("cannot make the front's client")?;
        let shared = Arc::new(Shared {
            behind: behind.to_owned(),
            client,
            rule: RwLock::new(Arc::new(rule)),
            watcher: RwLock::new(Arc::new(|_, _| ())),
            asked: Mutex::default(),
        });
        let mut listeners = Vec::new();
        for address in addresses {
            let router = Router::new()
                .fallback(serve)
                .with_state(Arc::clone(&shared));
            let listener = Listener::start(*address, Arc::clone(&config), router);
            listeners.push(listener.await?);
        }
        Ok(Self {
            shared,
            _listeners: listeners,
        })
    }

    /// Changes what it does.
    pub fn rule(&self, rule: impl Fn(&str) -> Handling + Send + Sync + 'static) {
        let former = self.shared.rule.write();
        *former.unwrap_or_else(PoisonError::into_inner) = Arc::new(rule);
    }

    /// From now on this sees what is passed on, before it goes on.
    pub fn watch(&self, watcher: impl Fn(&HeaderMap, &[u8]) + Send + Sync + 'static) {
        let former = self.shared.watcher.write();
        *former.unwrap_or_else(PoisonError::into_inner) = Arc::new(watcher);
    }

    /// The paths that were asked for so far.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        let asked = self.shared.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn handling(&self, path: &str) -> Handling {
        let rule = Arc::clone(&self.rule.read().unwrap_or_else(PoisonError::into_inner));
        rule(path)
    }

    fn watcher(&self) -> Watcher {
        Arc::clone(&self.watcher.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Passes a request on; gives status, headers and body of the answer.
    async fn pass(&self, request: Request) -> anyhow::Result<(StatusCode, HeaderMap, Vec<u8>)> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().context("a request has a path")?;
        let mut headers = parts.headers;
        headers.remove(HOST);
        let mut passed = self
            .client
            .request(parts.method, format!("{}{target}", self.behind))
            .headers(headers.clone());
        let body = to_bytes(body, LONGEST).await?;
        let watcher = self.watcher();
        watcher(&headers, &body);
        if !body.is_empty() {
            passed = passed.body(body);
        }
        let answer = passed.send().await?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        // The body is whole here.
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        let body = answer.bytes().await?.to_vec();
        watcher(&headers, &body);
        Ok((status, headers, body))
    }
}

async fn serve(State(front): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix("/v1/").unwrap_or(path).to_owned();
    let handling = front.handling(&path);
    let asked = front.asked.lock();
    asked.unwrap_or_else(PoisonError::into_inner).push(path);
    match handling {
        Handling::Answer(answer) => return reply(answer),
        Handling::Quote(status) => return quote(&front.watcher(), status, request).await,
        Handling::Hang => return std::future::pending().await,
        Handling::Pass | Handling::Change(_) | Handling::Edit(_) => {}
    }
    match front.pass(request).await {
        Ok((status, headers, body)) => {
            let body = edited(&body, &handling).unwrap_or(body);
            (status, headers, body).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

fn reply(answer: Answer) -> Response {
    let Answer::Reply {
        status,
        headers,
        body,
    } = answer
    else {
        return (StatusCode::NOT_IMPLEMENTED, "only whole replies").into_response();
    };
    let mut reply = Response::builder().status(status);
    for (name, value) in headers {
        reply = reply.header(name, value);
    }
    let made = reply.body(Body::from(body));
    made.unwrap_or_else(|error| (StatusCode::NOT_IMPLEMENTED, error.to_string()).into_response())
}

/// An error as Vault words it, with all that the request holds.
async fn quote(watcher: &Watcher, status: u16, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, LONGEST).await.unwrap_or_default();
    watcher(&parts.headers, &body);
    let headers = parts.headers.values();
    let quoted = headers.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let errors: Vec<String> = quoted
        .chain([String::from_utf8_lossy(&body).into_owned()])
        .map(|text| format!("refused: {text}"))
        .collect();
    let media = "application/json";
    reply(Answer::of(
        status,
        media,
        json!({ "errors": errors }).to_string(),
    ))
}

/// A changed answer; `None` where nothing is to be changed.
fn edited(body: &[u8], handling: &Handling) -> Option<Vec<u8>> {
    let mut answer: Value = serde_json::from_slice(body).ok()?;
    match handling {
        Handling::Change(change) => {
            let token = answer.pointer_mut("/data/access_token")?;
            let changed = change(AccessToken::read(token.as_str()?)?).text();
            *token = changed.into();
        }
        Handling::Edit(edit) => edit(&mut answer),
        Handling::Pass | Handling::Answer(_) | Handling::Quote(_) | Handling::Hang => return None,
    }
    Some(answer.to_string().into_bytes())
}
