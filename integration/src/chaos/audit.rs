//! The vault tokens that live at the server, beside those that the bastion knows.

use std::fs;

use anyhow::{Context as _, bail};
use htvault::VaultToken;
use reqwest::Method;
use serde_json::{Value, json};

use super::stage::{LIVES, Stage};

/// Where the names of all tokens that live are listed.
pub const ACCESSORS: &str = "auth/token/accessors";
/// Seconds within which a token that nobody knows must end by itself: the life of one that was just made.
const SOON: u64 = LIVES.vault_token;

/// A token at the server that the bastion does not know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unknown {
    /// Its accessor.
    pub accessor: String,
    /// Seconds until it ends.
    pub left: u64,
}

impl Unknown {
    /// Whether it ends by itself soon.
    #[must_use]
    pub fn ends_soon(&self) -> bool {
        self.left <= SOON
    }
}

/// Those that live, were not there before the bastion, and are not in its state.
pub async fn unknown(stage: &Stage) -> anyhow::Result<Vec<Unknown>> {
    let api = &stage.site.bao.api;
    let living = api.list(ACCESSORS).await?;
    // Read afterwards: what is made is written before it is used, and what has ended is forgotten later.
    let known = fs::read_to_string(stage.state_file()).context("the bastion's state")?;
    let is_unknown =
        |name: &String| !stage.others.contains(name) && !known.contains(&format!("\"{name}\""));
    let mut unknown = Vec::new();
    for accessor in living.into_iter().filter(is_unknown) {
        let body = json!({"accessor": accessor});
        // One that ends at this moment is no fault.
        let Ok(token) = api.write("auth/token/lookup-accessor", body).await else {
            continue;
        };
        let left = token.pointer("/data/ttl").and_then(Value::as_u64);
        unknown.push(Unknown {
            accessor,
            left: left.unwrap_or(u64::MAX),
        });
    }
    Ok(unknown)
}

/// Whether a vault token lives at the server.
///
/// # Errors
/// The server does not say.
pub async fn lives(stage: &Stage, token: &VaultToken) -> anyhow::Result<bool> {
    let api = &stage.site.bao.api;
    let body = json!({"token": token.expose()});
    let reply = api.send(Method::POST, "auth/token/lookup", &body).await?;
    match reply.status {
        200 => Ok(true),
        // It says "bad token".
        403 | 404 => Ok(false),
        status => bail!("status {status} {}", reply.errors()),
    }
}
