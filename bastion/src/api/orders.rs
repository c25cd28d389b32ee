//! Orders to the running service, by POST on the control socket.
//!
//! Always true: an order that was received reaches the engine, even if its client disconnects; only the client waits for
//! its end. Waiting clients take at most half of all connections.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::bodies::{
    ApiError, Body, ForgetOrder, OnboardedNotice, ReloadOrder, Reloaded, RevokeOrder,
};
use super::server::Connection;
use crate::engine::report::{Line, OrderedDeliveries, Report};
use crate::engine::revoke::{RevocationReport, Step};
use crate::engine::{Command, OnboardedAnswer, Order, Reports, Stopping, pause_of_watchers};
use crate::model::delivery::Selection;
use crate::policy::plan::State as DeliveryState;
use crate::schedd::Transport;
use crate::vault::Vault;

/// Receivers of orders.
#[derive(Debug)]
pub(crate) struct Orders<V, T> {
    /// Commands to the engine.
    pub(crate) commands: mpsc::Sender<Command<V, T>>,
    /// Reports of the engine.
    pub(crate) reports: Reports,
    /// Orders to read the configuration again; each with the sender of its answer.
    pub(crate) reloads: mpsc::Sender<(ReloadOrder, oneshot::Sender<Reloaded>)>,
}

/// The same, for handlers.
type Shared<V, T> = State<Arc<Orders<V, T>>>;

/// Paths of all orders, below the version. At most `most` clients wait at a time.
pub(super) fn routes<V: Vault, T: Transport>(orders: Orders<V, T>, most: usize) -> Router {
    let waiting = Arc::new(Semaphore::new(most));
    Router::new()
        .route("/push", post(push::<V, T>))
        .route("/retry", post(retry::<V, T>))
        .route("/reload", post(reload::<V, T>))
        .route("/revoke", post(revoke::<V, T>))
        .route("/forget", post(forget::<V, T>))
        .route("/onboarded", post(onboarded::<V, T>))
        .route_layer(from_fn_with_state(waiting, limit))
        .with_state(Arc::new(orders))
}

/// Admits few orders at a time; none of them has a deadline.
async fn limit(
    State(waiting): State<Arc<Semaphore>>,
    Extension(connection): Extension<Connection>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(_permit) = waiting.try_acquire() else {
        let message = "too many commands wait for the end of their orders; try again later";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    };
    connection.untimed(next.run(request)).await
}

async fn push<V: Vault, T: Transport>(
    State(orders): Shared<V, T>,
    Body(selection): Body<Selection>,
) -> Result<Json<Report>, ApiError> {
    let is_meant = |line: &Line| line.takes_push_of(&selection);
    orders.follow(&selection, Order::Push, is_meant).await
}

async fn retry<V: Vault, T: Transport>(
    State(orders): Shared<V, T>,
    Body(selection): Body<Selection>,
) -> Result<Json<Report>, ApiError> {
    let has_failed = |line: &Line| line.state == DeliveryState::Failed;
    orders.follow(&selection, Order::Retry, has_failed).await
}

async fn reload<V: Vault, T: Transport>(
    State(orders): Shared<V, T>,
    Body(order): Body<ReloadOrder>,
) -> Result<Json<Reloaded>, ApiError> {
    let order = |answer| (order, answer);
    Ok(Json(send(&orders.reloads, order).await?))
}

async fn revoke<V: Vault, T: Transport>(
    State(orders): Shared<V, T>,
    Body(order): Body<RevokeOrder>,
) -> Result<Json<Vec<RevocationReport>>, ApiError> {
    if order.account.is_none() && order.schedd.is_none() {
        let message = "name the account, the schedd or both that are to be revoked";
        return Err(ApiError::wrong(message));
    }
    let command = |answer| Command::Revoke(order.selection(), order.leave_schedd, answer);
    let reports = send(&orders.commands, command).await?;
    if reports.is_empty() {
        // No delivery has these names, not even a former one.
        orders.selected(&order.selection())?;
    }
    Ok(Json(reports))
}

async fn forget<V: Vault, T: Transport>(
    State(orders): Shared<V, T>,
    Body(ForgetOrder { account }): Body<ForgetOrder>,
) -> Result<Json<Vec<Step>>, ApiError> {
    let command = |answer| Command::Forget(account, answer);
    Ok(Json(send(&orders.commands, command).await?))
}

async fn onboarded<V: Vault, T: Transport>(
    State(orders): Shared<V, T>,
    Body(notice): Body<OnboardedNotice>,
) -> Result<Json<OnboardedAnswer>, ApiError> {
    let command = |answer| Command::Onboarded(notice.selection(), notice.expires, answer);
    Ok(Json(send(&orders.commands, command).await?))
}

/// Sends an order and waits for its answer.
async fn send<O: Send + 'static, A>(
    receiver: &mpsc::Sender<O>,
    order: impl FnOnce(oneshot::Sender<A>) -> O,
) -> Result<A, Stopping> {
    let (answer, answered) = oneshot::channel();
    let (receiver, order) = (receiver.clone(), order(answer));
    // On a task of its own, so that it is sent even if the client disconnects.
    tokio::spawn(async move { receiver.send(order).await });
    answered.await.map_err(|_| Stopping)
}

impl<V: Vault, T: Transport> Orders<V, T> {
    /// Returns the status of the selected deliveries. An unknown name is refused.
    fn selected(&self, selection: &Selection) -> Result<Report, ApiError> {
        let report = self.reports.now()?;
        report.only(selection).map_err(ApiError::wrong)
    }

    /// Sends an order and waits until each selected delivery that `is_meant` was attempted since.
    async fn follow(
        &self,
        selection: &Selection,
        order: fn(Selection) -> Order,
        is_meant: impl Fn(&Line) -> bool,
    ) -> Result<Json<Report>, ApiError> {
        let mut before = self.selected(selection)?.deliveries;
        before.retain(is_meant);
        let followed = OrderedDeliveries::new(&before);
        let command = |answer| Command::Order(order(selection.clone()), answer);
        send(&self.commands, command).await?;
        let mut reports = self.reports.clone();
        loop {
            let report = reports.now()?;
            let lines = followed.lines(&report);
            if followed.settled(&lines) == lines.len() {
                return Ok(Json(Report::of(lines, report.at)));
            }
            tokio::time::sleep(pause_of_watchers(report.deliveries.len())).await;
            reports.changed().await?;
        }
    }
}

#[cfg(test)]
mod tests;
