//! The admin endpoint of `htvault-dev` for a real site: what `integration/conformance --admin` calls
//! to bring the server into the states that no client can bring about.
//!
//! What always holds: a state that this site cannot be brought into is answered with 501; what was
//! brought about is taken back by `DELETE /faults`.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::site::Site;
use crate::address::listen_async;

/// The quota that is set: one request, then a block for longer than a test lasts.
const QUOTA: &str = "sys/quotas/rate-limit/all";

/// A call, and where its answer goes.
type Call = (Method, String, Value, oneshot::Sender<Answer>);
type Answer = (StatusCode, String);

/// An endpoint that listens. Dropping it stops it.
#[derive(Debug)]
pub struct SiteAdmin {
    calls: mpsc::Receiver<Call>,
    listening: JoinHandle<()>,
}

impl SiteAdmin {
    /// Starts to listen on a loopback address.
    pub async fn listen(address: &str) -> anyhow::Result<Self> {
        let address: SocketAddr = address.parse().context("the address of the endpoint")?;
        let socket = listen_async(address).await?;
        let (sender, calls) = mpsc::channel(1);
        let routes = Router::new().fallback(pass_on).with_state(sender);
        let listening = tokio::spawn(async move {
            let _ = axum::serve(socket, routes).await;
        });
        Ok(Self { calls, listening })
    }

    /// Does what is called for at a site, until it is dropped.
    pub async fn serve(&mut self, site: &mut Site) {
        while let Some((method, path, body, reply)) = self.calls.recv().await {
            let answer = match done(site, &method, &path, &body).await {
                Ok(true) => (StatusCode::OK, "{}".to_owned()),
                Ok(false) => (StatusCode::NOT_IMPLEMENTED, "not at this site".to_owned()),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
            };
            // Whoever has gone away wants no answer.
            let _ = reply.send(answer);
        }
    }
}

impl Drop for SiteAdmin {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn pass_on(
    State(calls): State<mpsc::Sender<Call>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Answer {
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let (reply, answer) = oneshot::channel();
    let call = (method, uri.path().to_owned(), body, reply);
    let gone = || (StatusCode::SERVICE_UNAVAILABLE, "nobody serves".to_owned());
    if calls.send(call).await.is_err() {
        return gone();
    }
    answer.await.unwrap_or_else(|_| gone())
}

/// Does it; `false` when it cannot be done at this site.
async fn done(site: &mut Site, method: &Method, path: &str, body: &Value) -> anyhow::Result<bool> {
    let condition = body.get("condition").and_then(Value::as_str);
    match (method.as_str(), path, condition) {
        // Of several nodes another one would take over.
        ("PUT", "/nodes/all", Some("sealed")) if site.bao.count() == 1 => site.bao.seal(0).await?,
        ("PUT", "/ldap", _) => site.ldap.close().await,
        ("PUT", "/quota", _) => {
            let quota = json!({"rate": 1, "interval": "60s", "block_interval": "60s"});
            site.bao.api.write(QUOTA, quota).await?;
        }
        ("DELETE", "/faults", _) => take_back(site).await?,
        _ => return Ok(false),
    }
    Ok(true)
}

async fn take_back(site: &mut Site) -> anyhow::Result<()> {
    site.bao.take_back().await?;
    site.ldap.open().await?;
    let leader = site.bao.leader().await?;
    let leader = site.bao.api_of(leader)?;
    leader
        .call(Method::DELETE, QUOTA, &Value::Null)
        .await
        .map(drop)
}
