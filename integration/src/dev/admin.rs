//! The admin endpoint: plain HTTP and JSON, on loopback only, to make things go wrong and right.
//!
//! What always holds: no secret is ever shown; a web page in a browser of the same machine cannot
//! use it (changes need `Content-Type: application/json`, the `Host` must be a loopback address);
//! a request that is refused changes nothing and is told why.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use jiff::SignedDuration;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::duration;
use super::fault_text::Written;
use super::faults::Fault;
use super::node::Condition;
use super::parts::{IssuerState, Parts};
use super::quota::Quota;
use super::settings::RoleName;
use crate::address::listen_async;

/// An endpoint that listens. Dropping it stops it.
pub struct Admin {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Admin {
    /// Starts to listen; the caller has checked that the address is a loopback one.
    pub async fn start(address: SocketAddr, parts: Arc<Parts>) -> std::io::Result<Self> {
        let socket = listen_async(address).await?;
        let address = socket.local_addr()?;
        let routes = routes(parts);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(socket, routes).await {
                tracing::warn!(%error, "the admin endpoint has ended");
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Shared = State<Arc<Parts>>;

/// The endpoint as a web service.
fn routes(parts: Arc<Parts>) -> Router {
    Router::new()
        .route("/faults", get(show).post(add).delete(reset))
        .route("/faults/{id}", delete(clear))
        .route("/nodes/{node}", put(set_node))
        .route("/issuer", put(set_issuer))
        .route("/ldap", put(set_ldap))
        .route("/clock", put(set_clock))
        .route("/quota", put(set_quota))
        .route("/tokens", get(tokens))
        .route("/kill", post(kill))
        .fallback(async || {
            let paths = "/faults /faults/ID /nodes/N /issuer /ldap /clock /quota /tokens /kill";
            refuse(StatusCode::NOT_FOUND, &format!("paths are {paths}"))
        })
        .layer(from_fn(only_from_here))
        .with_state(parts)
}

/// Keeps web pages out.
async fn only_from_here(request: Request, next: Next) -> Response {
    if !names_loopback(request.headers()) {
        return refuse(StatusCode::FORBIDDEN, "the Host is no loopback address");
    }
    let changes = matches!(*request.method(), Method::POST | Method::PUT);
    let kind = request.headers().get(CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if changes && !is_json {
        let words = "Content-Type must be application/json (curl --json does it)";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, words);
    }
    next.run(request).await
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let address = host.parse::<SocketAddr>().map(|address| address.ip());
    let address = address.or_else(|_| host.trim_matches(['[', ']']).parse::<IpAddr>());
    let name = host.split(':').next();
    address.is_ok_and(|address| address.is_loopback()) || name == Some("localhost")
}

fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let mut text = serde_json::to_vec_pretty(body).unwrap_or_default();
    text.push(b'\n');
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, text).into_response()
}

fn refuse(status: StatusCode, words: &str) -> Response {
    answer(status, &json!({"error": words}))
}

fn bad(words: &str) -> Response {
    refuse(StatusCode::BAD_REQUEST, words)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn signed(shift: SignedDuration) -> String {
    let sign = if shift.is_negative() { "-" } else { "" };
    format!("{sign}{}", duration::print(shift.unsigned_abs()))
}

/// Everything that is set, as JSON.
async fn state(parts: &Parts) -> Value {
    let controls = &parts.controls;
    let faults: Vec<Value> = (controls.faults().iter())
        .map(|rule| {
            let mut shown = serde_json::to_value(Written::from(&rule.fault)).unwrap_or_default();
            if let Some(fields) = shown.as_object_mut() {
                fields.insert("id".to_owned(), rule.id.into());
                fields.insert("met".to_owned(), rule.met.into());
            }
            shown
        })
        .collect();
    let mut nodes = Vec::new();
    for ((node, port), number) in parts.nodes.iter().zip(&parts.ports).zip(1_u32..) {
        nodes.push(json!({
            "node": number,
            "address": port.address(),
            "condition": node.condition().to_string(),
            "up": port.is_up().await,
        }));
    }
    json!({
        "faults": faults,
        "nodes": nodes,
        "issuer": {
            "address": parts.issuer_port.address(),
            "state": parts.issuer_state().await.to_string(),
        },
        "ldap": {"up": !controls.ldap_is_down()},
        "clock": {
            "vault": signed(controls.vault_clock.shift()),
            "issuer": signed(controls.issuer_clock.shift()),
        },
        "quota": {
            "quota": controls.quota().map(|quota| quota.to_string()),
            "retry_after": controls.retry_after(),
        },
    })
}

/// The answer to a change: how everything is now.
async fn changed(parts: &Parts) -> Response {
    answer(StatusCode::OK, &state(parts).await)
}

async fn show(State(parts): Shared) -> Response {
    changed(&parts).await
}

async fn add(State(parts): Shared, body: Bytes) -> Response {
    let fault = match read::<Written>(&body).map(Fault::try_from) {
        Ok(Ok(fault)) => fault,
        Ok(Err(words)) | Err(words) => return bad(&words),
    };
    let id = parts.controls.add(fault);
    answer(StatusCode::CREATED, &json!({"id": id}))
}

async fn clear(State(parts): Shared, Path(id): Path<String>) -> Response {
    match id.parse() {
        Ok(id) if parts.controls.clear(id) => changed(&parts).await,
        _ => refuse(StatusCode::NOT_FOUND, &format!("there is no fault {id}")),
    }
}

async fn reset(State(parts): Shared) -> Response {
    match parts.reset().await {
        Ok(()) => changed(&parts).await,
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
    }
}

/// A field whose text is read as on the command line.
fn text<'de, D, T>(source: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    let written = Option::<String>::deserialize(source)?;
    let read = written.map(|text| text.parse()).transpose();
    read.map_err(D::Error::custom)
}

fn shift<'de, D: Deserializer<'de>>(source: D) -> Result<Option<SignedDuration>, D::Error> {
    let written = Option::<String>::deserialize(source)?;
    let read = written.map(|text| duration::parse(&text)).transpose();
    read.map_err(D::Error::custom)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeChange {
    #[serde(default, deserialize_with = "text")]
    condition: Option<Condition>,
    up: Option<bool>,
}

async fn set_node(State(parts): Shared, Path(node): Path<String>, body: Bytes) -> Response {
    let change: NodeChange = match read(&body) {
        Ok(change) => change,
        Err(words) => return bad(&words),
    };
    let numbers: Vec<usize> = match node.parse::<usize>() {
        _ if node == "all" => (1..=parts.nodes.len()).collect(),
        Ok(number) if (1..=parts.nodes.len()).contains(&number) => vec![number],
        _ => {
            let words = format!(
                "there is no node {node}: it is 1 to {} or all",
                parts.nodes.len()
            );
            return refuse(StatusCode::NOT_FOUND, &words);
        }
    };
    for number in numbers {
        let mut done = change
            .condition
            .map_or(Ok(()), |wanted| parts.set_condition(number, wanted));
        if let (Ok(()), Some(up)) = (&done, change.up) {
            done = parts.set_node_up(number, up).await;
        }
        if let Err(error) = done {
            return refuse(StatusCode::CONFLICT, &format!("{error:#}"));
        }
    }
    changed(&parts).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerChange {
    #[serde(deserialize_with = "text")]
    state: Option<IssuerState>,
}

async fn set_issuer(State(parts): Shared, body: Bytes) -> Response {
    let state = match read::<IssuerChange>(&body) {
        Ok(change) => change.state.unwrap_or(IssuerState::Up),
        Err(words) => return bad(&words),
    };
    match parts.set_issuer(state).await {
        Ok(()) => changed(&parts).await,
        Err(error) => refuse(StatusCode::CONFLICT, &format!("{error:#}")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LdapChange {
    up: bool,
}

async fn set_ldap(State(parts): Shared, body: Bytes) -> Response {
    match read::<LdapChange>(&body) {
        Ok(change) => parts.controls.set_ldap_down(!change.up),
        Err(words) => return bad(&words),
    }
    changed(&parts).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockChange {
    #[serde(default, deserialize_with = "shift")]
    vault: Option<SignedDuration>,
    #[serde(default, deserialize_with = "shift")]
    issuer: Option<SignedDuration>,
}

async fn set_clock(State(parts): Shared, body: Bytes) -> Response {
    let change: ClockChange = match read(&body) {
        Ok(change) => change,
        Err(words) => return bad(&words),
    };
    if let Some(shift) = change.vault {
        parts.controls.vault_clock.set_shift(shift);
    }
    if let Some(shift) = change.issuer {
        parts.controls.issuer_clock.set_shift(shift);
    }
    changed(&parts).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaChange {
    #[serde(deserialize_with = "text")]
    quota: Option<Quota>,
    retry_after: Option<bool>,
}

async fn set_quota(State(parts): Shared, body: Bytes) -> Response {
    let change: QuotaChange = match read(&body) {
        Ok(change) => change,
        Err(words) => return bad(&words),
    };
    parts.controls.set_quota(change.quota);
    if let Some(says) = change.retry_after {
        parts.controls.set_retry_after(says);
    }
    changed(&parts).await
}

async fn tokens(State(parts): Shared) -> Response {
    let living = parts.vault.living_tokens();
    let shown: Vec<Value> = (living.iter())
        .map(|(_, token)| {
            let policies: Vec<String> = (token.spec.policies.iter())
                .map(ToString::to_string)
                .collect();
            json!({
                "accessor": token.spec.accessor,
                "owner": token.spec.owner.name,
                "path": token.spec.path,
                "policies": policies,
                "expire_time": token.expires,
                "orphan": token.is_orphan(),
            })
        })
        .collect();
    answer(StatusCode::OK, &shown)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Victim {
    credkey: Option<String>,
    #[serde(default, deserialize_with = "text")]
    role: Option<RoleName>,
    accessor: Option<String>,
}

async fn kill(State(parts): Shared, body: Bytes) -> Response {
    let victim: Victim = match read(&body) {
        Ok(victim) => victim,
        Err(words) => return bad(&words),
    };
    let role = victim.role;
    let killed = match (victim.credkey, victim.accessor) {
        (Some(credkey), None) => parts.kill_refresh_tokens(&credkey, role.as_ref()),
        (None, Some(accessor)) if role.is_none() => parts.kill_vault_token(&accessor),
        _ => {
            let words = "name a credkey (and a role), for its refresh tokens, or an accessor, for \
                         a Vault token";
            return bad(words);
        }
    };
    match killed {
        0 => refuse(StatusCode::NOT_FOUND, "there is no such token"),
        killed => answer(StatusCode::OK, &json!({"killed": killed})),
    }
}
