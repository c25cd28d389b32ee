//! How a credential is doing, and what is worth telling about it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::old::second::Second;

/// The states of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its access token is renewed as planned.
    Fresh,
    /// A first access token, or one for a replaced `.top`, is being got.
    Renewing,
    /// It cannot be renewed now; it is tried again. An access token in place stays there.
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

/// A state with its reason. Thousands are kept, and few have a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The state.
    pub state: State,
    /// Since when.
    pub since: Second,
    reason: Option<Box<Reason>>,
}

/// Why a credential is in a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason {
    /// What sort: one word, for telling whether it is still the same.
    pub cause: String,
    /// In words; empty when there is nothing to say.
    pub why: String,
    /// What a person should do; empty when there is nothing to do.
    pub advice: &'static str,
}

/// What to do about a credential that is of no use.
pub const STORE_AGAIN: &str =
    "store the credential again (the bastion does, or the user by condor_vault_storer)";

impl Condition {
    /// A state that needs no reason.
    #[must_use]
    pub fn plain(state: State, since: Timestamp) -> Self {
        Self {
            state,
            since: since.into(),
            reason: None,
        }
    }

    fn cause(&self) -> &str {
        self.reason.as_ref().map_or("", |reason| &reason.cause)
    }

    /// Why; empty when there is nothing to say.
    #[must_use]
    pub fn why(&self) -> &str {
        self.reason.as_ref().map_or("", |reason| &reason.why)
    }

    /// What a person should do; empty when there is nothing to do.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        self.reason.as_ref().map_or("", |reason| reason.advice)
    }

    /// Takes on a state; whether that is a change of state or of cause.
    pub fn become_(&mut self, state: State, reason: Reason, now: Timestamp) -> bool {
        if self.state != state {
            self.since = now.into();
        }
        let changed = self.state != state || self.cause() != reason.cause;
        self.state = state;
        self.reason = (reason != Reason::default()).then(|| Box::new(reason));
        changed
    }
}

/// What is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A change for the better, or for information.
    Info(String),
    /// Something that is tried again.
    Warning(String),
    /// Something that needs a person.
    Error(String),
    /// A renewal, of interest only to who asks for them.
    Renewal(String),
    /// For whoever looks for a fault in this program.
    Debug(String),
}

impl Note {
    /// Whether it tells more than that all goes as planned.
    #[must_use]
    pub fn is_news(&self) -> bool {
        !matches!(self, Self::Renewal(_) | Self::Debug(_))
    }

    /// The words.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Info(text)
            | Self::Warning(text)
            | Self::Error(text)
            | Self::Renewal(text)
            | Self::Debug(text) => text,
        }
    }
}
