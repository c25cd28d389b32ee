//! What our monitor says of itself: `condor_credmon_htvault status --json`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::process::Command;

use crate::chain::program;

/// Its answer, as far as it is needed here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    /// When the monitor said it.
    pub(crate) written: Timestamp,
    credentials: Vec<Credential>,
}

#[derive(Clone, Debug, Deserialize)]
struct Credential {
    user: String,
    state: String,
    next_renewal: Option<Timestamp>,
    access_token: Option<AccessToken>,
}

#[derive(Clone, Debug, Deserialize)]
struct AccessToken {
    expires: Option<Timestamp>,
}

impl Status {
    /// Asks; `file` is the monitor's status file.
    pub(crate) async fn ask(file: &Path) -> anyhow::Result<Self> {
        let output = Command::new(program("condor_credmon_htvault")?)
            .args(["status", "--json", "--file"])
            .arg(file)
            .kill_on_drop(true)
            .output()
            .await
            .context("the status cannot be asked for")?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("the status is not understood: {complaint}")
        })
    }

    /// Credentials that have no living access token, or are not fresh.
    pub(crate) fn not_good(&self) -> usize {
        let is_good = |credential: &&Credential| {
            let token = credential.access_token.as_ref();
            let expires = token.and_then(|token| token.expires);
            credential.state == "fresh" && expires.is_some_and(|expires| expires > self.written)
        };
        self.credentials.len() - self.credentials.iter().filter(is_good).count()
    }

    /// When each account's renewal is due, of those that lie ahead.
    pub(crate) fn ahead(&self) -> BTreeMap<&str, Timestamp> {
        (self.credentials.iter())
            .filter_map(|credential| Some((credential.user.as_str(), credential.next_renewal?)))
            .filter(|(_, due)| *due > self.written)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_and_what_is_not_good() {
        let json = serde_json::json!({"written": "2026-11-22T10:00:00Z", "credentials": [
            {"user": "a", "state": "fresh", "next_renewal": "2026-11-22T10:10:00Z",
             "access_token": {"expires": "2026-11-22T11:00:00Z"}},
            {"user": "b", "state": "fresh", "next_renewal": "2026-11-22T09:59:00Z",
             "access_token": {"expires": "2026-11-22T10:00:00Z"}},
            {"user": "c", "state": "dead", "next_renewal": null, "access_token": null},
        ]});
        let status: Status = serde_json::from_value(json).unwrap();
        assert_eq!(status.not_good(), 2);
        assert_eq!(status.ahead().into_keys().collect::<Vec<_>>(), ["a"]);
    }
}
