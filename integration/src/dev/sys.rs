//! The calls on the server itself, which need no token.
//!
//! What always holds: the status of `sys/health` tells the node's state, as load balancers expect.

use axum::http::StatusCode;
use serde::Serialize;

use super::answers::Answer;
use super::node::Condition;
use super::vault::Vault;

/// What the real server of the recorded exchanges calls itself.
const VERSION: &str = "2.0.0-HEAD";

#[derive(Serialize)]
struct Health<'a> {
    initialized: bool,
    sealed: bool,
    standby: bool,
    replication_performance_mode: &'static str,
    replication_dr_mode: &'static str,
    server_time_utc: i64,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<&'a str>,
}

/// Answers `sys/health`.
#[must_use]
pub fn health(vault: &Vault, condition: Condition) -> Answer {
    let sealed = condition == Condition::Sealed;
    let (status, performance) = match condition {
        Condition::Active => (StatusCode::OK, "disabled"),
        Condition::Standby | Condition::Leaderless => (StatusCode::TOO_MANY_REQUESTS, "primary"),
        Condition::Sealed => (StatusCode::SERVICE_UNAVAILABLE, "unknown"),
    };
    let health = Health {
        initialized: true,
        sealed,
        standby: condition != Condition::Active,
        replication_performance_mode: performance,
        replication_dr_mode: if sealed { "unknown" } else { "disabled" },
        server_time_utc: vault.clock.now().as_second(),
        version: VERSION,
        cluster_name: (!sealed).then_some(vault.cluster.name.as_str()),
        cluster_id: (!sealed).then_some(vault.cluster.id.as_str()),
    };
    Answer::plain(status, &health)
}

#[derive(Serialize)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "the shape of the server's answer"
)]
struct SealStatus<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    initialized: bool,
    sealed: bool,
    t: u8,
    n: u8,
    progress: u8,
    nonce: &'static str,
    recovery_seal: bool,
    version: &'static str,
    commit_date: &'static str,
    migration: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<&'a str>,
    storage_type: &'static str,
}

/// Answers `sys/seal-status`.
#[must_use]
pub fn seal_status(vault: &Vault, condition: Condition) -> Answer {
    let sealed = condition == Condition::Sealed;
    let status = SealStatus {
        kind: "shamir",
        initialized: true,
        sealed,
        t: 1,
        n: 1,
        progress: 0,
        nonce: "",
        recovery_seal: false,
        version: VERSION,
        commit_date: "",
        migration: false,
        cluster_name: (!sealed).then_some(vault.cluster.name.as_str()),
        cluster_id: (!sealed).then_some(vault.cluster.id.as_str()),
        storage_type: "file",
    };
    Answer::plain(StatusCode::OK, &status)
}
