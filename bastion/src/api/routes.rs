//! Paths of the two servers, and the answers of those that only read.
//!
//! Always true: an answer shows the current state of the engine; while its loop hangs, the answer is an error, within
//! seconds.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use htvault::text::printable;
use jiff::Timestamp;

use super::access::require_member;
use super::bodies::{ApiError, BODY_SIZE, VERSION, Version};
use super::hosts::require_loopback;
use super::metrics;
use super::orders::{self, Orders};
use super::server::Connection;
use crate::engine::Reports;
use crate::engine::report::Report;
use crate::model::delivery::Selection;
use crate::schedd::Transport;
use crate::system::stages::Stages;
use crate::vault::Vault;

/// Most concurrent connections to the control socket; further ones wait.
pub(crate) const CLIENTS: usize = 32;
/// Most concurrent connections to `listen.address`.
pub(crate) const CONNECTIONS: usize = 64;
/// Time without a turn of the loop after which it counts as hanging; it turns every 30 s at least.
const HANGS: Duration = Duration::from_mins(2);
const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Sources of status and metrics.
#[derive(Clone, Debug)]
pub(crate) struct StatusView {
    /// Reports of the engine.
    pub(crate) reports: Reports,
    /// Counts of stages.
    pub(crate) stages: Arc<Stages>,
    /// Start time of the process.
    pub(crate) started: Timestamp,
}

/// Routes of `listen.address`.
pub(crate) fn loopback(view: StatusView) -> Router {
    complete(reading(view)).layer(from_fn(require_loopback))
}

/// Routes of the control socket. Orders take half of all connections at most.
pub(crate) fn control<V: Vault, T: Transport>(
    view: StatusView,
    orders: Orders<V, T>,
    connections: usize,
) -> Router {
    let version = Version {
        version: PROGRAM_VERSION.to_owned(),
    };
    let versioned = orders::routes(orders, connections.div_ceil(2))
        .route("/version", get(async || Json(version)))
        .layer(DefaultBodyLimit::max(BODY_SIZE));
    complete(reading(view).nest(VERSION, versioned)).layer(from_fn(require_member))
}

fn reading(view: StatusView) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status.json", get(status))
        .route_layer(from_fn(with_room))
        .with_state(view)
}

/// Adds refusals of other paths and methods, which all servers have.
fn complete(routes: Router) -> Router {
    let wrong_path = async |uri: Uri| {
        let path = printable(uri.path(), 100);
        let message = format!("token-bastion {PROGRAM_VERSION} has no {path} here");
        ApiError::new(StatusCode::NOT_FOUND, message)
    };
    let wrong_method = async |method: Method, uri: Uri| {
        let message = format!("{} is not for {method}", uri.path());
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
    };
    routes
        .fallback(wrong_path)
        .method_not_allowed_fallback(wrong_method)
}

/// Handles a request once there is a slot for its large answer.
async fn with_room(
    Extension(connection): Extension<Connection>,
    request: Request,
    next: Next,
) -> Response {
    connection.take_room().await;
    next.run(request).await
}

async fn metrics(State(view): State<StatusView>) -> Result<impl IntoResponse, ApiError> {
    let report = view.reports.now()?;
    let text = metrics::write(&report, &view.stages.snapshot(), view.started);
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}

async fn healthz(State(view): State<StatusView>) -> (StatusCode, String) {
    health(view.reports.still_for())
}

async fn readyz(State(view): State<StatusView>) -> Result<(StatusCode, String), ApiError> {
    Ok(readiness(&*view.reports.now()?))
}

async fn status(
    State(view): State<StatusView>,
    selection: Result<Query<Selection>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(selection) = selection?;
    let report = view.reports.now()?;
    if selection == Selection::default() {
        return Ok(Json(&*report).into_response());
    }
    let report = report.only(&selection).map_err(ApiError::wrong)?;
    Ok(Json(report).into_response())
}

/// Health of the process whose loop has not turned for `idle`.
fn health(idle: Duration) -> (StatusCode, String) {
    if idle < HANGS {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        let text = format!("the loop has not turned for {} s\n", idle.as_secs());
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

/// Readiness: every delivery is in order; the reasons where not.
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
    use crate::engine::report::tests::{at, failed, good};
    use crate::model::problem::{Cause, Kind};

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
}
