//! JSON bodies of requests and answers, and errors. `token-bastion schema --control` prints their schema.
//!
//! Always true: a request with an unknown field is refused, so that an older service never executes only a part of a
//! newer command's order. Fields may be added; any other change of a body needs a new [`VERSION`].

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use htvault::text::printable;
use jiff::Timestamp;
use nix::unistd::Uid;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::info;

use super::access::Peer;
use crate::engine::Stopping;
use crate::model::delivery::Selection;

/// First part of the paths of orders.
pub const VERSION: &str = "/v1";
/// Largest body of a request, in bytes.
pub(super) const BODY_SIZE: usize = 64 * 1024;
/// Deadline for the body of a request.
const BODY: Duration = Duration::from_secs(10);

/// Answer to `/v1/version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Version of the running program.
    pub version: String,
}

/// Order to revoke deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeOrder {
    /// Account at the schedd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// HTCondor's service name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Host of the credd, or name of the directory's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedd: Option<String>,
    /// Send no requests to the schedds.
    #[serde(default)]
    pub leave_schedd: bool,
}

/// Order to forget the refresh tokens of an account at Vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgetOrder {
    /// The account.
    pub account: String,
}

/// Notice that somebody has logged in for a credential, which is tried at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnboardedNotice {
    /// The account.
    pub account: String,
    /// HTCondor's service name.
    pub service: String,
    /// Expiry of the refresh token, if the issuer named one.
    pub expires: Option<Timestamp>,
}

/// Order to read the configuration again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadOrder {
    /// Only list the changes.
    #[serde(default)]
    pub dry_run: bool,
}

/// Result of reading the configuration again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// The new configuration is in force.
    pub used: bool,
    /// Reasons why it is not in force.
    pub faults: Vec<String>,
    /// Differences to the one before, one line for each.
    pub changes: Vec<String>,
}

/// Answer to a request that is refused, with a status of 400 and above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// Cause and remedy.
    pub error: String,
}

/// A refusal of a request; 400 when the request itself is wrong, so that a repetition is of no use.
#[derive(Clone, Debug)]
pub(super) struct ApiError(StatusCode, String);

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self(status, message.into())
    }

    pub(super) fn wrong(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl From<Stopping> for ApiError {
    fn from(stopping: Stopping) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, stopping.to_string())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::wrong(printable(&rejection.body_text(), 500))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self(status, error) = self;
        (status, Json(ErrorBody { error })).into_response()
    }
}

/// The JSON body of an order, of any content type; an empty body means `{}`. It is logged.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let uid = request.extensions().get().map(|peer: &Peer| peer.uid);
        let order = request.uri().path().trim_start_matches('/').to_owned();
        let late = |_| {
            let message = format!("no body within {} s", BODY.as_secs());
            ApiError::new(StatusCode::REQUEST_TIMEOUT, message)
        };
        let body = timeout(BODY, Bytes::from_request(request, state));
        let body = body.await.map_err(late)?;
        let body = body.map_err(|error| ApiError::new(error.status(), error.body_text()))?;
        let json = if body.is_empty() { b"{}" } else { &*body };
        let wrong = |error: serde_json::Error| {
            let error = printable(&error.to_string(), 500);
            ApiError::wrong(format!(
                "the body is not as expected: {error}; `token-bastion schema --control` prints what is"
            ))
        };
        let value = serde_json::from_slice(json).map_err(wrong)?;
        let shown = printable(&String::from_utf8_lossy(json), 500);
        info!(
            uid = uid.map(Uid::as_raw),
            "order received: {order} {shown}"
        );
        Ok(Self(value))
    }
}

impl RevokeOrder {
    /// Returns the selection of deliveries.
    pub(crate) fn selection(&self) -> Selection {
        Selection {
            account: self.account.clone(),
            service: self.service.clone(),
            schedd: self.schedd.clone(),
        }
    }
}

impl OnboardedNotice {
    /// Returns the selection of deliveries.
    pub(crate) fn selection(&self) -> Selection {
        Selection {
            account: Some(self.account.clone()),
            service: Some(self.service.clone()),
            schedd: None,
        }
    }
}
