//! Standard output, for data, and standard error, for everything else.
//!
//! What holds: data that cannot be written are a failure of the command; a reader that went away
//! wants no more, and is none.

use std::fmt::Display;
use std::io::{self, Write as _};

use serde::Serialize;

use super::Failure;

/// Prints data.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_while_read(text).map(drop)
}

/// Prints data; returns whether there may be a reader for more.
pub(crate) fn print_while_read(text: &str) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::not_good(format!(
            "standard output cannot be written: {error}"
        ))),
    }
}

/// Prints data as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    // Only strings, numbers and lists of them: this always makes JSON.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    print(&format!("{text}\n"))
}

/// Prints what is not data.
pub(crate) fn complain<T: Display>(lines: impl IntoIterator<Item = T>) {
    let mut stderr = io::stderr().lock();
    for line in lines {
        let _ = writeln!(stderr, "token-bastion: {line}");
    }
}
