//! The HTTP server: one request for each connection, within limits of number, time and size, and
//! only under the names of this host.
//!
//! What holds: a client that is slow, silent or hostile has a slot for [`CONNECTION`] at most; no more
//! than [`ANSWERS`] answers, which may be large, are in memory; no connection is left when the server
//! is dropped.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use crate::connections::Connections;

/// Deadline for the header of a request.
const HEADER: Duration = Duration::from_secs(5);
/// Largest header of a request, in bytes.
const HEADER_SIZE: usize = 16 * 1024;
/// Deadline for a connection as a whole: request and answer.
const CONNECTION: Duration = Duration::from_secs(30);
/// Answers that are made or sent at a time; further requests wait.
const ANSWERS: usize = 8;
/// Names that stand for a loopback address.
const LOOPBACK_NAMES: [&str; 3] = ["localhost", "localhost.localdomain", "ip6-localhost"];
const WRONG_HOST: &str = "this service answers requests for loopback names and addresses only, \
     such as localhost and 127.0.0.1; a proxy in front of it has to send `Host: localhost`\n";

/// Serves a router, with so many connections at a time, until it is dropped.
pub(super) async fn serve(listener: TcpListener, router: Router, limit: usize) {
    let answers = Arc::new(Semaphore::new(ANSWERS));
    let mut connections = Connections::new("the server of metrics and health", limit);
    let mut tasks = JoinSet::new();
    loop {
        let (stream, slot) = connections.next(|cx| listener.poll_accept(cx)).await;
        while tasks.try_join_next().is_some() {}
        let admission = Admission {
            answers: Arc::clone(&answers),
            permit: Arc::default(),
        };
        let router = router.clone();
        let router = router.layer(from_fn_with_state(admission, admit));
        tasks.spawn(async move {
            let _slot = slot;
            match timeout(CONNECTION, answer(stream, router)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "an HTTP connection ended early"),
                Err(_) => debug!("an HTTP connection took too long"),
            }
        });
    }
}

async fn answer(stream: TcpStream, router: Router) -> hyper::Result<()> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_buf_size(HEADER_SIZE)
        // An idle connection would take a slot from others.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
}

/// Admission of the request of one connection.
#[derive(Clone)]
struct Admission {
    answers: Arc<Semaphore>,
    /// Permit for its answer, until the connection ends.
    permit: Arc<OnceLock<OwnedSemaphorePermit>>,
}

/// Refuses requests that a page of another site makes a browser on this host send: its name leads to
/// the loopback address, and its scripts would read the answer. Others wait for their permit.
async fn admit(State(admission): State<Admission>, request: Request, next: Next) -> Response {
    if !is_for_this_host(&request) {
        return (StatusCode::MISDIRECTED_REQUEST, WRONG_HOST).into_response();
    }
    // The semaphore is never closed, and this is the only request.
    if let Ok(permit) = admission.answers.acquire_owned().await {
        let _ = admission.permit.set(permit);
    }
    next.run(request).await
}

/// Compares each host that a request names. Browsers always name one; a request without any is of a
/// simple program.
fn is_for_this_host(request: &Request) -> bool {
    let headers = request.headers().get_all(header::HOST).iter();
    let mut named = headers.map(|value| value.to_str().ok()?.parse::<Authority>().ok());
    let target = request.uri().authority();
    named.all(|host| host.is_some_and(|host| is_loopback(&host))) && target.is_none_or(is_loopback)
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => LOOPBACK_NAMES
            .iter()
            .any(|name| host.eq_ignore_ascii_case(name)),
    }
}

#[cfg(test)]
mod tests;
