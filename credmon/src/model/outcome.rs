//! A renewal to do, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use htvault::{ErrorKind, FailureScope};
use jiff::Timestamp;

use super::{CredentialId, FileId, Route, TokenInfo, TopStamp};

/// A request for one credential, decided by the scheduler.
#[derive(Clone, Debug)]
pub(crate) struct RenewalTask {
    pub(crate) id: CredentialId,
    pub(crate) route: Route,
    /// The `.top` that the decision was made from.
    pub(crate) stamp: TopStamp,
    /// The `.use` that was there then.
    pub(crate) use_file: Option<FileId>,
    /// It finds out for all whether what a circuit breaker is open for works again.
    pub(crate) is_probe: bool,
    pub(crate) kind: TaskKind,
}

impl RenewalTask {
    /// Requests that a task sends to one address at most: for the token, for a shorter one, and `lookup-self` or one that
    /// shows whether the issuer works.
    pub(crate) const MOST_REQUESTS: usize = 3;

    /// The token in place that only a better one replaces.
    pub(crate) fn current(&self) -> Option<&TokenInfo> {
        match &self.kind {
            TaskKind::Renew { current, .. } => current.as_deref(),
            TaskKind::LookUp => None,
        }
    }
}

/// Sort of a task.
#[derive(Clone, Debug)]
pub(crate) enum TaskKind {
    /// An access token that lives `minimum_seconds` more.
    Renew {
        minimum_seconds: i64,
        /// The token in place when it came from this `.top`: only a better one replaces it.
        current: Option<Arc<TokenInfo>>,
    },
    /// The expiry of the vault token, for the status.
    LookUp,
}

/// Result of a task.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// A new token is in place. `shorter`: why it lives less than was asked for.
    Renewed {
        token: Arc<TokenInfo>,
        shorter: Option<Failure>,
    },
    /// Vault has no better token than the one in place.
    Unchanged,
    /// The vault token's expiry.
    LookedUp(VaultLife),
    /// `.top` or `.use` is another than the decision was made from, or gone: the next scan tells.
    Changed,
    /// `lookup-self` says that the vault token is dead.
    TokenDead(String),
    /// Anything else; [`Failure::scope`] says what it speaks of.
    Failed(Failure),
}

/// Expiry of a vault token; `None` for one without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VaultLife(pub(crate) Option<Timestamp>);

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Part of the system that it is charged to: credential, issuer, quota, host, or this host.
    pub(crate) scope: FailureScope,
    /// Sort of the server's error; `None` for an error of this host.
    pub(crate) kind: Option<ErrorKind>,
    /// The whole story on one line, bounded and escaped.
    pub(crate) text: String,
    /// The server's own words, which name no credential.
    pub(crate) words: String,
    /// Advice for a person.
    pub(crate) advice: &'static str,
    /// The server's `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// An error of that kind, which is charged as it is usual for the kind.
    pub(crate) fn of(kind: ErrorKind, text: String, words: String) -> Self {
        Self {
            scope: kind.scope(),
            kind: Some(kind),
            text,
            words,
            advice: kind.advice(),
            retry_after: None,
        }
    }

    /// An error of this host: never a verdict on a credential.
    pub(crate) fn local(text: String, advice: &'static str) -> Self {
        Self {
            scope: FailureScope::Local,
            kind: None,
            words: text.clone(),
            text,
            advice,
            retry_after: None,
        }
    }
}

impl From<htvault::Error> for Failure {
    fn from(error: htvault::Error) -> Self {
        let printable = |text: &str| htvault::text::printable(text, super::TEXT_LIMIT);
        let (text, words) = (printable(&error.message()), printable(error.words()));
        Self {
            scope: error.scope(),
            advice: error.advice(),
            retry_after: error.retry_after(),
            ..Self::of(error.kind(), text, words)
        }
    }
}
