//! The commands, one file for each.
//!
//! Always true: a command returns `Done`, or a `CommandError` with its message lines; only `exit_code` turns them into an
//! exit code.

pub mod arguments;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod doctor;
mod examples;
mod executor;
pub(crate) mod offboard;
pub(crate) mod onboard;
pub(crate) mod once;
mod output;
mod overview;
pub(crate) mod plan;
mod progress;
pub(crate) mod push;
pub(crate) mod reload;
pub(crate) mod revoke;
pub(crate) mod status;
mod table;

use std::fmt::Display;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use self::output::{complain, print, print_json, print_while_read};
use crate::api::client::ClientError;
use crate::system::lock::LockError;

/// Something is not good.
const NOT_GOOD: u8 = 1;
/// Wrong usage or configuration.
const WRONG: u8 = 2;

/// Result of a command that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// All is good.
    Good,
    /// Something is not good, and was printed.
    NotGood,
}

/// Error of a command: exit code, and message lines for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandError {
    code: u8,
    lines: Vec<String>,
}

impl Done {
    /// Returns [`Self::Good`] when `good`.
    pub(crate) fn when(good: bool) -> Self {
        if good { Self::Good } else { Self::NotGood }
    }
}

impl CommandError {
    /// Wrong usage or configuration.
    pub(crate) fn wrong<T: Display>(lines: impl IntoIterator<Item = T>) -> Self {
        Self {
            code: WRONG,
            lines: lines.into_iter().map(|line| line.to_string()).collect(),
        }
    }

    /// Something that is needed is missing.
    pub(crate) fn not_good(line: impl Display) -> Self {
        Self {
            code: NOT_GOOD,
            lines: vec![line.to_string()],
        }
    }

    /// Returns true for wrong usage or configuration.
    fn is_wrong(&self) -> bool {
        self.code == WRONG
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast_ref::<LockError>() {
            // The other process may end.
            Some(taken) => Self::not_good(taken),
            None => Self::wrong([chain(&error)]),
        }
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Wrong(message) => Self::wrong([message]),
            ClientError::Absent(message) | ClientError::Other(message) => Self::not_good(message),
        }
    }
}

/// Does work to its end; Ctrl-C cancels `stop`, which ends it soon.
fn until_ctrl_c<T>(
    stop: &CancellationToken,
    work: impl Future<Output = T>,
) -> impl Future<Output = T> {
    // Boxed before it is a part of another future, which would hold it twice.
    let mut work = Box::pin(work);
    async move {
        tokio::select! {
            result = &mut work => result,
            _ = tokio::signal::ctrl_c() => {
                stop.cancel();
                work.await
            }
        }
    }
}

/// Prints an error; returns the exit code.
pub(crate) fn exit_code(result: Result<Done, CommandError>) -> ExitCode {
    match result {
        Ok(Done::Good) => ExitCode::SUCCESS,
        Ok(Done::NotGood) => NOT_GOOD.into(),
        Err(failure) => {
            complain(failure.lines);
            failure.code.into()
        }
    }
}

/// Formats the causes of an error in one line, without those whose text is there already.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            let between = if text.is_empty() { "" } else { ": " };
            text = [&text, between, &cause].concat();
        }
    }
    text
}
