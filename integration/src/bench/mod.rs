//! Benchmarks: how much our programs need, beside what they replace where there is such a thing.
//!
//! What is common to all stands here: figures with their bounds and how they are printed, the
//! machine, processor time and memory of a process with all it has started, the server's own log.
//! What always holds: figures that are compared come from one run, on the same parts; nothing is
//! said of the development server's own needs.

pub mod bastion;
pub mod command;
pub mod credmon;
pub mod figures;
pub mod machine;
mod parts;
pub mod processor;
pub mod progress;
pub mod push;
pub mod report;
pub mod requests;

use reqwest::Method;
use serde_json::json;

use crate::conformance::admin::Admin;

/// How much longer a Vault takes to answer that is not on the same machine.
const VAULT_IS_LATER: &str = "10ms";

/// Has Vault take longer for each answer below this path, as one does that is at another site.
async fn vault_far_away(admin: &Admin, path: &str) -> anyhow::Result<()> {
    let fault = json!({"effect": "latency", "value": VAULT_IS_LATER, "path": path});
    admin.call(Method::POST, "/faults", &fault).await.map(drop)
}
