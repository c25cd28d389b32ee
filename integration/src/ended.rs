//! Commands that end by themselves, and what they said.
//!
//! What always holds: one that does not end in time is killed, and none has anything to read.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::Command;

/// Runs a command to its end.
pub async fn output(mut command: Command, deadline: Duration) -> anyhow::Result<Output> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(deadline, output).await;
    let output = output.with_context(|| format!("it does not end: {:?}", command.as_std()))?;
    output.with_context(|| format!("cannot run {:?}", command.as_std()))
}

/// How a command ended and all that it said, for people.
#[must_use]
pub fn text(output: &Output) -> String {
    format!(
        "exit {:?}\n--- stdout\n{}--- stderr\n{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
