//! Standard output, for data, and standard error, for everything else.
//!
//! Always true: data that cannot be written is an error of the command; a reader that went away is not.

use std::fmt::Display;
use std::io::{self, Write as _};

use clap::Args;
use console::Term;
use serde::Serialize;

use super::CommandError;
use super::table::{width, wrapped};

/// Output format.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Output {
    /// Prints data as JSON, or as text for a terminal of a width, which is `None` in a pipe.
    pub(crate) fn print(
        self,
        value: &impl Serialize,
        text: impl FnOnce(Option<u16>) -> String,
    ) -> Result<(), CommandError> {
        if self.json {
            print_json(value)
        } else {
            print(&text(width(&Term::stdout())))
        }
    }
}

/// Prints data.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    print_while_read(text).map(drop)
}

/// Prints data; returns false when the reader went away.
pub(crate) fn print_while_read(text: &str) -> Result<bool, CommandError> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CommandError::not_good(format!(
            "standard output cannot be written: {error}"
        ))),
    }
}

/// Prints data as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), CommandError> {
    // The values always have a JSON form.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    print(&format!("{text}\n"))
}

/// Prints messages, on standard error; on a terminal they are wrapped.
pub(crate) fn complain<T: Display>(lines: impl IntoIterator<Item = T>) {
    let width = width(&Term::stderr());
    let mut stderr = io::stderr().lock();
    for line in lines {
        let line = wrapped(&format!("token-bastion: {line}"), width);
        let _ = stderr.write_all(line.as_bytes());
    }
}
