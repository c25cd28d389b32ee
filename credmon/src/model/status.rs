//! The status that others see: the rows of the status file and of `status --json`, and the answer
//! to "may I submit jobs that use this token now?".
//!
//! Names of fields stay as they are; new ones may come ([`STATUS_VERSION`] counts other changes). No
//! field holds a secret: of tokens there are times, `jti`, issuer and scopes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::State;

/// Version of the fields.
pub(crate) const STATUS_VERSION: u32 = 1;

/// Age in seconds from which on a status says that its writer is gone: it is written every two minutes
/// at least.
const STALE: i64 = 180;

/// Everything that is reported, as of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) daemon: DaemonStatus,
    pub(crate) credentials: Arc<dyn Credentials>,
    /// Unix time of the start.
    pub(crate) started: Timestamp,
    /// End of the last full scan.
    pub(crate) scanned: Option<Timestamp>,
    /// Folders whose changes are noticed at once.
    pub(crate) watched_folders: usize,
    pub(crate) renewals: Renewals,
    /// Lines that the log did not take.
    pub(crate) lines_dropped: u64,
}

/// Credentials as of one moment.
pub(crate) trait Credentials: Debug + Send + Sync {
    /// The status of each, in the order of their names.
    fn statuses(&self) -> Box<dyn Iterator<Item = CredentialStatus> + '_>;
}

impl Credentials for Vec<CredentialStatus> {
    fn statuses(&self) -> Box<dyn Iterator<Item = CredentialStatus> + '_> {
        Box::new(self.iter().cloned())
    }
}

/// Renewals since the start, by result.
pub(crate) type Renewals = BTreeMap<&'static str, u64>;

/// Status of the daemon itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DaemonStatus {
    pub(crate) version: u32,
    pub(crate) program: String,
    pub(crate) process: u32,
    pub(crate) running: bool,
    pub(crate) written: Timestamp,
    /// The credential directory.
    pub(crate) directory: Option<String>,
    /// Problems that keep this daemon from its work, or from reporting it.
    pub(crate) problem: Option<String>,
    pub(crate) troubled_vaults: Vec<VaultStatus>,
    /// Number of further ones.
    #[serde(default)]
    pub(crate) more_troubled_vaults: usize,
    /// Number of credentials that follow.
    pub(crate) count: usize,
}

/// A Vault, or an issuer at one, that is down or limits requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VaultStatus {
    pub(crate) host: String,
    /// Time of the next probe.
    pub(crate) rests_until: Option<Timestamp>,
    pub(crate) why: String,
}

/// Status of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CredentialStatus {
    pub(crate) user: Arc<str>,
    pub(crate) service: Arc<str>,
    pub(crate) state: State,
    pub(crate) since: Timestamp,
    /// Reason of the state; empty when there is nothing to say.
    pub(crate) why: Arc<str>,
    pub(crate) advice: Cow<'static, str>,
    /// Host of its Vault.
    pub(crate) vault: Option<Arc<str>>,
    pub(crate) access_token: Option<AccessTokenStatus>,
    pub(crate) vault_token: Option<VaultTokenStatus>,
    /// Time when the access token was fetched, or confirmed to be the newest.
    pub(crate) last_success: Option<Timestamp>,
    pub(crate) next_renewal: Option<Timestamp>,
    /// The last failure, even if all has been well since.
    pub(crate) last_error: Option<Box<LastError>>,
}

/// Access token without the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccessTokenStatus {
    pub(crate) issued: Option<Timestamp>,
    /// `None` for a token that does not say.
    pub(crate) expires: Option<Timestamp>,
    /// `jti`.
    pub(crate) id: Option<Box<str>>,
    /// `iss`.
    pub(crate) issuer: Option<Arc<str>>,
    /// `scope`, separated by blanks; a list in JSON.
    #[serde(serialize_with = "split_scopes", deserialize_with = "join_scopes")]
    pub(crate) scopes: Arc<str>,
}

fn split_scopes<S: Serializer>(scopes: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(scopes.split(' ').filter(|scope| !scope.is_empty()))
}

fn join_scopes<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
    Ok(Vec::<String>::deserialize(from)?.join(" ").into())
}

/// Vault token without the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VaultTokenStatus {
    /// `None` for one without end.
    pub(crate) expires: Option<Timestamp>,
}

/// The last failure of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastError {
    pub(crate) at: Timestamp,
    pub(crate) text: Arc<str>,
}

/// Answer of the `status` command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    pub(crate) daemon: DaemonStatus,
    /// `true` when everything that was asked for can be used.
    pub(crate) good: bool,
    /// Why not, as far as it concerns the daemon or the query.
    pub(crate) complaints: Vec<String>,
    pub(crate) credentials: Vec<JudgedCredential>,
}

/// A credential with the answer for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct JudgedCredential {
    #[serde(flatten)]
    pub(crate) credential: CredentialStatus,
    /// Seconds left; `None` when there is no token or it does not say.
    pub(crate) access_token_left: Option<i64>,
    /// Seconds left.
    pub(crate) vault_token_left: Option<i64>,
    /// `true` when jobs may be submitted that use it.
    pub(crate) usable: bool,
}

/// Query of the `status` command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) user: Option<String>,
    pub(crate) service: Option<String>,
    /// Seconds that an access token must have left.
    pub(crate) min_life: i64,
}

impl Query {
    /// `true` when a credential is asked for.
    pub(crate) fn matches(&self, credential: &CredentialStatus) -> bool {
        let is = |asked: &Option<String>, name: &str| asked.as_ref().is_none_or(|a| a == name);
        is(&self.user, &credential.user) && is(&self.service, &credential.service)
    }

    /// Usable is a token that lives long enough and that somebody will renew. One that does not
    /// say when it expires counts for "now" only.
    fn judge(&self, credential: CredentialStatus, now: Timestamp) -> JudgedCredential {
        let left = |end: Timestamp| end.as_second().saturating_sub(now.as_second()).max(0);
        let access_token = credential.access_token.as_ref();
        let access_token_left = access_token.and_then(|token| token.expires).map(left);
        let vault_token = credential.vault_token.as_ref();
        let lives = match access_token_left {
            Some(left) => left > 0 && left >= self.min_life,
            None => access_token.is_some() && self.min_life == 0,
        };
        JudgedCredential {
            access_token_left,
            vault_token_left: vault_token.and_then(|token| token.expires).map(left),
            usable: lives && !matches!(credential.state, State::Dead | State::Ignored),
            credential,
        }
    }

    /// The answer.
    pub(crate) fn answer(
        &self,
        daemon: DaemonStatus,
        credentials: Vec<CredentialStatus>,
        now: Timestamp,
    ) -> Report {
        let mut complaints = Vec::new();
        let age = now.as_second().saturating_sub(daemon.written.as_second());
        if !daemon.running {
            complaints.push(format!(
                "the credential monitor is not running; it stopped at {:.0}",
                daemon.written
            ));
        } else if age > STALE {
            complaints.push(format!(
                "the credential monitor does not seem to run: its status is {age} s old"
            ));
        }
        complaints.extend(daemon.problem.clone());
        let matching = credentials.into_iter().filter(|c| self.matches(c));
        let judged: Vec<JudgedCredential> = matching.map(|c| self.judge(c, now)).collect();
        // Credentials of other monitors count only when they are named.
        let named = self.user.is_some() || self.service.is_some();
        if judged.is_empty() && named {
            complaints.push("there is no such credential here".to_owned());
        }
        let is_fine =
            |j: &JudgedCredential| j.usable || (j.credential.state == State::Ignored && !named);
        Report {
            good: complaints.is_empty() && judged.iter().all(is_fine),
            daemon,
            complaints,
            credentials: judged,
        }
    }
}

#[cfg(test)]
mod tests;
