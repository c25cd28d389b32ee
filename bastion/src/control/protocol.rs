//! What is said on the control socket.
//!
//! One JSON object a line. The service says [`Hello`] first; the client sends one [`Request`]; the
//! service answers with any number of [`Event::Progress`] and one [`Event::Done`] or
//! [`Event::Refused`], and closes. Unknown fields are ignored, so fields may be added; anything
//! else that changes raises [`PROTOCOL`].

use std::fmt::{self, Display};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::delivery::Selection;
use crate::report::{Line, Report};
use crate::revoke::{Cut, Step};

/// The version of this protocol.
pub const PROTOCOL: u32 = 1;
/// A request is no longer than this, in bytes.
pub const LONGEST_REQUEST: u64 = 64 * 1024;

/// What the service says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the protocol that it speaks.
    pub protocol: u32,
    /// The version of the program.
    pub version: String,
}

impl Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { selection } => write!(f, "status{selection}"),
            Self::Revoke {
                selection,
                leave_schedds,
            } => {
                let leave = if *leave_schedds {
                    " --leave-schedd"
                } else {
                    ""
                };
                write!(f, "revoke{selection}{leave}")
            }
            Self::Forget { account } => {
                let account = htvault::text::printable(account, 255);
                write!(f, "forget refresh tokens --account {account}")
            }
            Self::Onboarded {
                account, service, ..
            } => {
                let shown = |name: &str| htvault::text::printable(name, 255);
                let (account, service) = (shown(account), shown(service));
                write!(f, "onboarded --account {account} --service {service}")
            }
            Self::Push { selection } => write!(f, "push{selection}"),
            Self::Retry { selection } => write!(f, "retry{selection}"),
            Self::Reload { dry_run } => f.write_str(if *dry_run {
                "reload --dry-run"
            } else {
                "reload"
            }),
        }
    }
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Request {
    /// Where these deliveries stand.
    Status {
        /// Which ones.
        #[serde(flatten)]
        selection: Selection,
    },
    /// Cut these deliveries off.
    Revoke {
        /// Which ones.
        #[serde(flatten)]
        selection: Selection,
        /// Ask nothing of the schedds.
        leave_schedds: bool,
    },
    /// Make Vault forget the refresh tokens of an account.
    Forget {
        /// The account.
        account: String,
    },
    /// Somebody has logged in for a credential.
    Onboarded {
        /// The account.
        account: String,
        /// HTCondor's service name.
        service: String,
        /// When the refresh token ends, if the issuer said so.
        expires: Option<Timestamp>,
    },
    /// New vault tokens for these deliveries, now. Ends when each is good or failed.
    Push {
        /// Which ones.
        #[serde(flatten)]
        selection: Selection,
    },
    /// Try these deliveries now if they wait after a failure. Ends when each was tried.
    Retry {
        /// Which ones.
        #[serde(flatten)]
        selection: Selection,
    },
    /// Read the configuration again.
    Reload {
        /// Only say what would change.
        dry_run: bool,
    },
}

/// What the service says to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// It goes on.
    Progress(Progress),
    /// The last word: what came of it.
    Done(Answer),
    /// The last word: it is not done.
    Refused(Refusal),
}

/// How far an order is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "what", content = "data", rename_all = "snake_case")]
pub enum Progress {
    /// How deliveries stand.
    Deliveries {
        /// So many of those that are meant were tried.
        settled: usize,
        /// At first all that are meant, then those that changed.
        lines: Vec<Line>,
    },
}

/// What came of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "what", content = "data", rename_all = "snake_case")]
pub enum Answer {
    /// Where the deliveries stand that were meant.
    Report(Report),
    /// What was done for each delivery.
    Cut(Vec<Cut>),
    /// What was done at Vault.
    Steps(Vec<Step>),
    /// It is tried at once; what could not be kept of it.
    Noted(Option<String>),
    /// What a new configuration is like.
    Reloaded(Reloaded),
}

/// What came of reading the configuration again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// It is in force now.
    pub used: bool,
    /// Why it is not.
    pub faults: Vec<String>,
    /// What is different, one line for each thing.
    pub changes: Vec<String>,
}

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The request itself is wrong: no use to try it again.
    pub usage: bool,
    /// What is wrong and what to do.
    pub message: String,
}

impl Refusal {
    /// The request is wrong.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            usage: true,
            message: message.into(),
        }
    }

    /// It cannot be carried out now.
    #[must_use]
    pub fn now(message: impl Display) -> Self {
        Self {
            usage: false,
            message: message.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_shown_as_they_are_typed_and_nobodys_text_forges_a_line() {
        let selection = Selection {
            account: Some("a\nb\u{1b}[31m".to_owned()),
            service: None,
            schedd: Some("ap1".to_owned()),
        };
        let revoke = Request::Revoke {
            selection,
            leave_schedds: true,
        };
        assert_eq!(
            revoke.to_string(),
            r"revoke --account a\nb\u{1b}[31m --schedd ap1 --leave-schedd"
        );
        let all = Request::Push {
            selection: Selection::default(),
        };
        assert_eq!(all.to_string(), "push");
    }
}
