//! Entry points for fuzzing: bytes at the address of status and metrics, and orders at the control socket.

#![allow(
    clippy::missing_panics_doc,
    reason = "a panic is how a broken law is told"
)]

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequest as _, Request};
use axum::http::uri::Authority;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use super::bodies::{BODY_SIZE, Body, ForgetOrder, OnboardedNotice, ReloadOrder, RevokeOrder};
use super::hosts::require_loopback;
use super::server::serve_connection;
use crate::model::delivery::Selection;

/// What nobody may read by the name of another host.
const REPORT: &str = "the report of all deliveries";

/// A connection's bytes. One request is answered at most, and by a name of another host nothing is read.
pub fn http_request(data: &[u8]) {
    let router = Router::new()
        .route("/status.json", get(async || REPORT))
        .route(
            "/v1/revoke",
            post(async |Body(order): Body<RevokeOrder>| Json(order)),
        )
        .layer(DefaultBodyLimit::max(BODY_SIZE))
        .layer(from_fn(require_loopback));
    let talk = async {
        let (mut client, server) = duplex(1 << 20);
        // A client that says more than there is room for is cut off.
        let data = data.get(..data.len().min(1 << 19)).unwrap_or_default();
        client.write_all(data).await.ok()?;
        client.shutdown().await.ok()?;
        serve_connection(server, router, Arc::new(Semaphore::new(1))).await;
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.ok()?;
        Some(answer)
    };
    let answer = on_runtime(talk).unwrap_or_default();
    let answer = String::from_utf8_lossy(&answer);
    // "100 Continue" only asks for the body.
    let answers = answer.matches("HTTP/1.1 ").count();
    let invitations = answer.matches("HTTP/1.1 100 ").count();
    assert!(answers - invitations <= 1, "{answer}");
    if answer.contains(REPORT) {
        let head = String::from_utf8_lossy(data);
        let hosts = head
            .lines()
            .take_while(|line| !line.is_empty())
            .filter_map(host);
        for host in hosts {
            let is_here = ["localhost", "localhost.localdomain", "ip6-localhost"]
                .iter()
                .any(|name| host.eq_ignore_ascii_case(name))
                || host.starts_with("127.")
                || host.contains(':');
            assert!(is_here, "read as {host}");
        }
    }
}

/// The host that a line of a request names.
fn host(line: &str) -> Option<String> {
    let (name, value) = line.split_once(':')?;
    let authority: Authority = value.trim().parse().ok()?;
    name.eq_ignore_ascii_case("host")
        .then(|| authority.host().to_owned())
}

/// The body of an order: whatever is accepted is written and read again as the same.
pub fn order(data: &[u8]) {
    one::<RevokeOrder>(data);
    one::<ForgetOrder>(data);
    one::<OnboardedNotice>(data);
    one::<ReloadOrder>(data);
    one::<Selection>(data);
}

fn one<T: DeserializeOwned + Serialize>(data: &[u8]) {
    let request = Request::builder()
        .uri("/v1/order")
        .body(data.to_vec().into());
    let Ok(request) = request else { return };
    if let Ok(Body(order)) = on_runtime(Body::<T>::from_request(request, &())) {
        let written = serde_json::to_value(&order).ok();
        let again = written
            .clone()
            .and_then(|text| serde_json::from_value::<T>(text).ok());
        assert_eq!(
            again.and_then(|order| serde_json::to_value(order).ok()),
            written
        );
    }
}

fn on_runtime<F: Future>(work: F) -> F::Output {
    thread_local! {
        #[allow(clippy::expect_used, reason = "fuzzing: nothing can be done without one")]
        static RUNTIME: Runtime =
            Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}
