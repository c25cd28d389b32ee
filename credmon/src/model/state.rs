//! States of a credential, and lines for the log.

use std::fmt;
use std::sync::Arc;

use htvault::ErrorKind;
use serde::{Deserialize, Serialize};

/// State of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Its access token is renewed as planned.
    Fresh,
    /// A first access token, or one for a replaced `.top`, is being fetched.
    Renewing,
    /// It cannot be renewed now; it is retried. An access token in place stays there.
    Degraded,
    /// Only a new `.top` helps. An access token in place stays there.
    Dead,
    /// It belongs to another credential monitor.
    Ignored,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fresh => "fresh",
            Self::Renewing => "renewing",
            Self::Degraded => "degraded",
            Self::Dead => "dead",
            Self::Ignored => "ignored",
        })
    }
}

/// Sort of a reason, to tell whether it is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Answer of a server, or that none came.
    Server(ErrorKind),
    /// Something on this host, in one word.
    Here(&'static str),
}

/// Why a credential is in its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) cause: Cause,
    pub(crate) text: Arc<str>,
    /// Advice for a person; empty when there is nothing to do.
    pub(crate) advice: &'static str,
}

impl Reason {
    /// Something on this host, in one word.
    pub(crate) fn here(cause: &'static str, text: &str, advice: &'static str) -> Self {
        Self {
            cause: Cause::Here(cause),
            text: text.into(),
            advice,
        }
    }
}

/// Advice for a credential that is of no use.
pub(crate) const STORE_AGAIN: &str =
    "store the credential again (the bastion does; a user does by condor_vault_storer)";

/// Advice for files that cannot be read just now.
pub(crate) const SEE_TO_FILES: &str =
    "see to the credential directory and to the limits of this host";

/// Beginning of the reason of a credential that waits for something it shares with others.
pub(crate) const WAITS: &str = "it waits for ";

/// Text after the name of what it waits for.
pub(crate) const WAITS_SINCE: &str = ", which has not worked since ";

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// For whoever looks for a fault in this program.
    Debug,
    /// A renewal as planned: logged only with `-v`.
    Renewal,
    Info,
    /// Something that is retried.
    Warning,
    /// Something that needs a person.
    Error,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) level: Level,
    pub(crate) text: String,
    /// Account that it concerns alone; `None` for what concerns all.
    pub(crate) account: Option<Arc<str>>,
}

impl Event {
    pub(crate) fn new(level: Level, text: impl Into<String>) -> Self {
        Self {
            level,
            text: text.into(),
            account: None,
        }
    }

    /// The same, of an account alone.
    pub(crate) fn of(self, account: &Arc<str>) -> Self {
        Self {
            account: Some(account.clone()),
            ..self
        }
    }
}
