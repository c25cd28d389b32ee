//! The site's configuration, as far as it decides on credentials.

use std::path::PathBuf;

use super::{CredentialId, Routing};

/// Rules that all decisions follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) limits: Limits,
    pub(crate) routing: Routing,
    /// `TRUSTED_VAULT_HOSTS`; `None` trusts all.
    pub(crate) trusted_hosts: Option<Vec<String>>,
    /// `CREDMON_HTVAULT_DELETE_DEAD`: a dead credential is deleted, `.top` and `.use`.
    pub(crate) delete_dead: bool,
    /// `CREDMON_HTVAULT_REQUEST_LIMIT`: requests to each host in any span of so many seconds.
    pub(crate) request_limit: Option<(u32, u64)>,
    /// This machine's name: schedds that serve the same account renew at different times.
    pub(crate) hostname: String,
}

impl Rules {
    /// `true` when a Vault may be asked.
    pub(crate) fn trusts(&self, host: &str) -> bool {
        let trusted = self.trusted_hosts.as_ref();
        let is_it = |trusted: &String| without_dot(trusted).eq_ignore_ascii_case(without_dot(host));
        trusted.is_none_or(|hosts| hosts.iter().any(is_it))
    }
}

/// A host's name without the dot of the root, with which it would be another host.
pub(crate) fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Bounds of renewal, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// `CREDMON_OAUTH_TOKEN_MINIMUM`: what a token must have left when it is fetched.
    pub(crate) minimum: i64,
    /// `CREDMON_OAUTH_TOKEN_REFRESH`: longest time between two requests.
    pub(crate) refresh: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            minimum: 2400,
            refresh: 1200,
        }
    }
}

/// Copy of an access token for an agent (`CREDMON_HTVAULT_COPIES`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenCopy {
    pub(crate) id: CredentialId,
    pub(crate) path: PathBuf,
    /// This process's own user when not configured.
    pub(crate) owner: Option<CopyOwner>,
    /// Permission bits.
    pub(crate) mode: u32,
}

/// Owner of a copy, by names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CopyOwner {
    pub(crate) user: String,
    /// That of the user when not configured.
    pub(crate) group: Option<String>,
}
