//! What programs on this host see of the service by HTTP: metrics, health, and the report.
//!
//! What holds: only reading, only on loopback, and nothing that is a secret. What is told is what
//! the reconciler knows at that moment; a loop that is held up is said to be, within seconds.

pub mod metrics;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use tokio::net::TcpListener;

use crate::engine::{Reports, Stopping};
use crate::report::Report;
use crate::stages::Stages;

/// Connections at a time; further ones wait.
pub const CONNECTIONS: usize = 64;
/// The loop turns every 30 s at least; after this it is taken to hang.
const HANGS: Duration = Duration::from_mins(2);

/// What is told.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What the reconciler knows, and whether its loop turns.
    pub reports: Reports,
    /// How long stages took.
    pub stages: Arc<Stages>,
    /// When the process started.
    pub started: Timestamp,
}

/// Listens on an address of this host.
///
/// # Errors
/// It is no loopback address, or cannot be listened on.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    ensure!(
        address.ip().is_loopback(),
        "listen.address {address} can be reached from elsewhere; use 127.0.0.1 or [::1], and a proxy with TLS where others are to see it"
    );
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listen.address {address} cannot be used"))
}

/// Serves whoever asks, so many at a time, until it is dropped.
pub async fn serve(listener: TcpListener, seen: Seen, limit: usize) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status.json", get(status))
        .with_state(seen);
    server::serve(listener, router, limit).await;
}

async fn metrics(Shared(seen): Shared<Seen>) -> Result<Response, Stopping> {
    let report = seen.reports.now()?;
    let text = metrics::write(&report, &seen.stages.so_far(), seen.started);
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn healthz(Shared(seen): Shared<Seen>) -> Response {
    health(seen.reports.still_for()).into_response()
}

async fn readyz(Shared(seen): Shared<Seen>) -> Result<Response, Stopping> {
    Ok(readiness(&*seen.reports.now()?).into_response())
}

async fn status(Shared(seen): Shared<Seen>) -> Result<Response, Stopping> {
    Ok(Json(&*seen.reports.now()?).into_response())
}

impl IntoResponse for Stopping {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{self}\n")).into_response()
    }
}

/// Whether the process lives.
fn health(idle: Duration) -> (StatusCode, String) {
    if idle < HANGS {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        let text = format!("the loop has not turned for {} s\n", idle.as_secs());
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

/// Whether every delivery is in order; the reasons when not.
fn readiness(report: &Report) -> (StatusCode, String) {
    let all = report.deliveries.len();
    if report.is_good() {
        return (StatusCode::OK, format!("ok: {all} deliveries good\n"));
    }
    let lines = report.deliveries.iter();
    let bad = lines.filter(|line| !line.state.is_in_order()).count();
    let mut text = match bad {
        0 => format!("{all} deliveries good, and not all else\n"),
        _ => format!("{bad} of {all} deliveries are not good\n"),
    };
    for line in report.problem_lines() {
        text.push_str(&line);
        text.push('\n');
    }
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Cause, Kind};
    use crate::report::tests::{at, failed, good};

    #[test]
    fn ready_means_that_every_delivery_is_good_and_else_says_why_not() {
        let ready = readiness(&Report::of(vec![good("a"), good("b")], at(0)));
        assert_eq!(
            ready,
            (StatusCode::OK, "ok: 2 deliveries good\n".to_owned())
        );
        let bad = failed("b", Cause::Account("b".to_owned()), Kind::Keytab);
        let (code, text) = readiness(&Report::of(vec![good("a"), bad], at(0)));
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            text,
            "1 of 2 deliveries are not good\naccount b: it went wrong; put it right\n"
        );
    }

    #[test]
    fn a_loop_that_hangs_is_not_healthy() {
        assert_eq!(health(Duration::from_secs(31)).0, StatusCode::OK);
        let (code, text) = health(Duration::from_secs(130));
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text, "the loop has not turned for 130 s\n");
    }

    #[tokio::test]
    async fn others_than_this_host_are_not_served() {
        let error = bind("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("use 127.0.0.1"), "{error}");
        bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    }
}
