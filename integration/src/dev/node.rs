//! One node of the server: from a request to an answer.
//!
//! The order is that of the real server: what state the node is in, then calls that need no token,
//! then whether the token lives, then whether its policies allow the call, then the call. What
//! always holds: nothing behind the policies runs for a dead token or against a policy.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use url::form_urlencoded;

use super::answers::Answer;
use super::controls::Controls;
use super::faults::At;
use super::listener::Client;
use super::policy::{Operation, Target, allows};
use super::quota::Counter;
use super::request_log::{Entry, RequestLog};
use super::tokens::Token;
use super::vault::Vault;
use super::{login, oidc, secret_calls, sys, token_calls};

/// What state a node is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It leads, or is alone.
    Active,
    /// It forwards to the leader; only `sys/health` shows it.
    Standby,
    /// It has no key to its storage.
    Sealed,
    /// The cluster is choosing a new leader.
    Leaderless,
}

const CONDITIONS: [Condition; 4] = [
    Condition::Active,
    Condition::Standby,
    Condition::Sealed,
    Condition::Leaderless,
];

/// A node; several may share one [`Vault`].
pub struct Node {
    /// The shared state.
    pub vault: Arc<Vault>,
    /// Who checks tickets.
    pub tickets: Arc<dyn login::TicketCheck>,
    /// Where requests are noted.
    pub log: Option<Arc<RequestLog>>,
    /// What is wrong at present.
    pub controls: Arc<Controls>,
    number: usize,
    used: Mutex<Counter>,
    condition: AtomicU8,
}

/// A request, as far as calls need it.
pub struct Call<'a> {
    /// What is done.
    pub operation: Operation,
    /// To what, below `/v1/`.
    pub path: &'a str,
    /// The query, not decoded.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body of an update, else empty.
    pub body: &'a [u8],
    /// Where it comes from.
    pub client: Option<IpAddr>,
}

impl Call<'_> {
    /// The query's parameters.
    pub fn parameters(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.query.as_bytes())
    }
}

/// No request needs a longer body.
const LONGEST_BODY: usize = 1 << 20;

impl Node {
    /// An active node; nodes are counted from 1.
    #[must_use]
    pub fn new(
        number: usize,
        vault: Arc<Vault>,
        tickets: Arc<dyn login::TicketCheck>,
        log: Option<Arc<RequestLog>>,
        controls: Arc<Controls>,
    ) -> Self {
        Self {
            vault,
            tickets,
            log,
            controls,
            number,
            used: Mutex::default(),
            condition: AtomicU8::new(0),
        }
    }

    /// The state the node is in.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let place = usize::from(self.condition.load(Ordering::Relaxed));
        CONDITIONS.get(place).copied().unwrap_or(Condition::Active)
    }

    /// Puts the node into a state.
    pub fn set_condition(&self, condition: Condition) {
        let place = CONDITIONS.iter().position(|known| *known == condition);
        let place = place
            .and_then(|place| u8::try_from(place).ok())
            .unwrap_or(0);
        self.condition.store(place, Ordering::Relaxed);
    }

    /// The node as a web service.
    pub fn routes(self: Arc<Self>) -> Router {
        Router::new().fallback(serve).with_state(self)
    }

    async fn answer(&self, call: &Call<'_>) -> Answer {
        match (call.path, self.condition()) {
            ("sys/health", condition) => return sys::health(&self.vault, condition),
            ("sys/seal-status", condition) => return sys::seal_status(&self.vault, condition),
            (_, Condition::Sealed) => {
                return Answer::error(StatusCode::SERVICE_UNAVAILABLE, "Vault is sealed");
            }
            (_, Condition::Leaderless) => {
                let words = "local node not active but active cluster node not found";
                return Answer::error(StatusCode::INTERNAL_SERVER_ERROR, words);
            }
            (_, Condition::Active | Condition::Standby) => {}
        }
        let now = self.vault.clock.now();
        if let Err(answer) = (self.controls).admit(&self.used, call.client, call.path, now) {
            return answer;
        }
        if let Some(role) = self.vault.kerberos_mount(call.path) {
            return login::log_in(self, role, call).await;
        }
        if let Some((issuer, step)) = self.vault.oidc_mount(call.path) {
            return oidc::answer(&self.vault, issuer, step, call).await;
        }
        let found = token_of(call.headers).and_then(|text| {
            let (key, token) = self.vault.lookup(text, now)?;
            Some((text, key, token))
        });
        let Some((text, key, token)) = found else {
            return Answer::dead_token();
        };
        let target = Target::of(call.path);
        let caller = Arc::clone(&token);
        if !allows(
            &token.spec.policies,
            &token.spec.owner,
            &target,
            call.operation,
        ) {
            return Answer::forbidden().to(caller);
        }
        match (target, call.operation) {
            (Target::CreateToken, _) => {
                token_calls::create(&self.vault, key, &token, call.body, now)
            }
            (Target::LookupSelf, _) => token_calls::look_up(&self.vault, text, &token, now),
            (Target::RevokeSelf, _) => token_calls::revoke(&self.vault, &key, &token),
            (Target::Creds(name), Operation::Read) => {
                secret_calls::read(&self.vault, &name, call).await
            }
            (Target::Creds(name), Operation::Update) => {
                secret_calls::store(&self.vault, &name, call.body).await
            }
            (Target::Creds(name), Operation::Delete) => {
                self.vault.forget(name.whole);
                Answer::nothing()
            }
            (Target::Sts(name), Operation::Read) => {
                secret_calls::exchange(&self.vault, &name, call).await
            }
            (Target::Creds(_) | Target::Sts(_) | Target::Other, _) => Answer::unsupported(),
        }
        .to(caller)
    }
}

async fn serve(State(node): State<Arc<Node>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let path = parts.uri.path();
    let below = path.strip_prefix("/v1/").unwrap_or(path);
    let met = node.controls.interfere(At::Node(node.number), below).await;
    if let Some(response) = met {
        note(&node, &parts, response.status().as_u16(), None);
        return response;
    }
    let answer = match prepare(&parts.method, path, query) {
        Err(answer) => answer,
        Ok((operation, path)) => match read_body(operation, body).await {
            Err(answer) => answer,
            Ok(body) => {
                let call = Call {
                    operation,
                    path: &path,
                    query,
                    headers: &parts.headers,
                    body: &body,
                    client: parts.extensions.get().map(|Client(address)| *address),
                };
                node.answer(&call).await
            }
        },
    };
    let status = answer.status().as_u16();
    note(&node, &parts, status, answer.caller.as_deref());
    answer.into_response()
}

fn note(node: &Node, parts: &Parts, status: u16, token: Option<&Token>) {
    if let Some(log) = &node.log {
        log.note(&Entry {
            time: node.vault.clock.now(),
            server: "vault",
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            status,
            token,
        });
    }
}

/// What is done to what; an answer where there can be none other.
fn prepare<'a>(
    method: &Method,
    path: &'a str,
    query: &str,
) -> Result<(Operation, Cow<'a, str>), Answer> {
    let path = path.strip_prefix("/v1/").ok_or_else(Answer::none_stored)?;
    let path = decoded(path).ok_or_else(|| Answer::bad_request("invalid URL escape"))?;
    let lists =
        || form_urlencoded::parse(query.as_bytes()).any(|(n, v)| n == "list" && v == "true");
    let operation = match method.as_str() {
        "GET" if lists() => Operation::List,
        "GET" => Operation::Read,
        "LIST" => Operation::List,
        "POST" | "PUT" => Operation::Update,
        "DELETE" => Operation::Delete,
        _ => {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Err(Answer::error(status, "method not allowed"));
        }
    };
    Ok((operation, path))
}

async fn read_body(operation: Operation, body: Body) -> Result<axum::body::Bytes, Answer> {
    if operation != Operation::Update {
        return Ok(axum::body::Bytes::new());
    }
    to_bytes(body, LONGEST_BODY).await.map_err(|_| {
        Answer::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "http: request body too large",
        )
    })
}

/// The token that a request brings.
fn token_of(headers: &HeaderMap) -> Option<&[u8]> {
    match headers.get("x-vault-token") {
        Some(value) => Some(value.as_bytes()),
        None => headers
            .get(AUTHORIZATION)?
            .as_bytes()
            .strip_prefix(b"Bearer "),
    }
}

/// A path without its `%` escapes; none when they are wrong.
fn decoded(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut parts = path.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (escape, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(escape, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded() {
        assert_eq!(decoded("a/b").unwrap(), "a/b");
        assert_eq!(decoded("cms/a%2Fb%3acrab").unwrap(), "cms/a/b:crab");
        for wrong in ["%", "%2", "%zz", "%ff"] {
            assert!(decoded(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn methods_are_operations() {
        for (method, query, operation) in [
            ("GET", "", Operation::Read),
            ("GET", "list=true", Operation::List),
            ("LIST", "", Operation::List),
            ("PUT", "", Operation::Update),
            ("DELETE", "", Operation::Delete),
        ] {
            let method: Method = method.parse().unwrap();
            assert_eq!(prepare(&method, "/v1/x", query).ok().unwrap().0, operation);
        }
        let outside = prepare(&Method::GET, "/ui/", "").err().unwrap();
        assert_eq!(outside.status(), StatusCode::NOT_FOUND);
        let strange = prepare(&Method::PATCH, "/v1/x", "").err().unwrap();
        assert_eq!(strange.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
