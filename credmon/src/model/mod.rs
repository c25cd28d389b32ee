//! Plain data that all layers share: names, files, tokens, outcomes, states. No I/O, no threads of
//! its own, nothing of other layers.

#[cfg(test)]
pub(crate) mod fixtures;
mod heartbeat;
mod id;
mod lock;
mod outcome;
mod routing;
mod rules;
mod state;
mod status;
mod texts;
mod time;
mod token;
mod top;

pub(crate) use heartbeat::Heartbeat;
pub(crate) use id::{CredentialId, is_account};
pub(crate) use lock::lock;
pub(crate) use outcome::{Failure, Outcome, RenewalTask, TaskKind, VaultLife};
pub(crate) use routing::{NameStyle, Routing};
pub(crate) use rules::{CopyOwner, Limits, Rules, TokenCopy, without_dot};
pub(crate) use state::{
    Cause, Event, Level, Reason, SEE_TO_FILES, STORE_AGAIN, State, WAITS, WAITS_SINCE,
};
pub(crate) use status::{
    AccessTokenStatus, CredentialStatus, Credentials, DaemonStatus, JudgedCredential, LastError,
    Query, Renewals, Report, STATUS_VERSION, Snapshot, VaultStatus, VaultTokenStatus,
};
pub(crate) use texts::{forget_unused_texts, shared_text};
pub(crate) use time::{CLOCK_TOLERANCE, Now};
pub(crate) use token::{Lifetime, TokenInfo};
pub(crate) use top::{FileId, InUse, Observed, ObservedTop, Route, Target, TopProblem, TopStamp};

/// Longest text of a server, user or file in a message or report, in characters.
pub(crate) const TEXT_LIMIT: usize = 500;
