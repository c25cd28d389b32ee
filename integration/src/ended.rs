//! Commands that end by themselves, and what they said.
//!
//! What always holds: one that does not end in time is killed with all that it has started, and so
//! is one whose test ends before it, however that ends; none has anything to read.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;

use crate::guard::Guard;

/// Runs a command to its end.
pub async fn output(mut command: Command, deadline: Duration) -> anyhow::Result<Output> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let child = command.spawn();
    let cannot = || format!("cannot run {:?}", command.as_std());
    let child = child.with_context(cannot)?;
    let group = Group::of(child.id())?;
    let output = tokio::time::timeout(deadline, child.wait_with_output()).await;
    drop(group);
    let output = output.with_context(|| format!("it does not end: {:?}", command.as_std()))?;
    output.with_context(cannot)
}

/// The process group of a command. Dropping it kills it.
struct Group {
    leader: Pid,
    _guard: Guard,
}

impl Group {
    fn of(leader: Option<u32>) -> anyhow::Result<Self> {
        let leader = leader.and_then(|id| i32::try_from(id).ok());
        let leader = Pid::from_raw(leader.context("a command that runs has a number")?);
        Ok(Self {
            leader,
            _guard: Guard::of_group(leader)?,
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Fails when nothing of it is left, which is usual.
        let _ = killpg(self.leader, Signal::SIGKILL);
    }
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
