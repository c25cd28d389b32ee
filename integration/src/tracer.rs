//! Runs a program and stops it before each system call that touches a folder: for tests of what
//! happens when the world changes, or the program is killed, just there.
//!
//! What always holds: the program runs under `ptrace` with all its threads from its first
//! instruction on; while it is stopped nothing of it runs that was to touch the folder next; it has
//! ended, in whatever way, when [`trace`] returns.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

/// Waits to be traced, then becomes the program.
const START: &str = "kill -STOP $$; exec \"$@\"";

/// What is done with the program at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    GoOn,
    /// It is killed.
    Kill,
}

/// A system call that is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Its place among those that touch the folder, from 1.
    pub number: usize,
    /// Its name, where it is one that matters here.
    pub call: &'static str,
}

/// Runs a program to its end. Before each system call whose first argument is a descriptor below
/// `folder` (or of it), `at` is asked what to do.
pub fn trace(
    program: &Command,
    folder: &Path,
    mut at: impl FnMut(Stop) -> Then,
) -> anyhow::Result<WaitStatus> {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", START, "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let child = command.spawn().context("cannot start it")?;
    let first = Pid::from_raw(i32::try_from(child.id())?);
    let seen = waitid(Id::Pid(first), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT)?;
    ensure!(
        matches!(seen, WaitStatus::Stopped(..)),
        "it does not wait: {seen:?}"
    );
    ptrace::seize(
        first,
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL,
    )
    .context("this system lets nobody trace (it needs CAP_SYS_PTRACE)")?;
    kill(first, Signal::SIGCONT)?;

    // Threads by whether they are within a system call.
    let mut within: BTreeMap<Pid, bool> = BTreeMap::new();
    let mut number = 0;
    loop {
        // Of this thread's children and tracees only: others belong to other parts of a test.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let status = waitpid(None, Some(flags)).context("it is lost")?;
        let (thread, signal) = match status {
            WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..) => {
                if thread == first {
                    return Ok(status);
                }
                continue;
            }
            WaitStatus::PtraceSyscall(thread) => {
                let inside = within.entry(thread).or_default();
                *inside = !*inside;
                if *inside && let Some(call) = touches(thread, folder) {
                    number += 1;
                    if at(Stop { number, call }) == Then::Kill {
                        kill(first, Signal::SIGKILL)?;
                        continue;
                    }
                }
                (thread, None)
            }
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            // A new thread, a stop of the whole group, or its end.
            WaitStatus::PtraceEvent(thread, ..) => (thread, None),
            _ => continue,
        };
        // It may have been killed meanwhile.
        let _ = ptrace::syscall(thread, signal);
    }
}

/// The system call that a thread has just begun, if its first argument is a descriptor of the folder
/// or below.
fn touches(thread: Pid, folder: &Path) -> Option<&'static str> {
    let begun = fs::read_to_string(format!("/proc/{thread}/syscall")).ok()?;
    let mut fields = begun.split_whitespace();
    let number: libc::c_long = fields.next()?.parse().ok()?;
    let first = fields.next()?.trim_start_matches("0x");
    let descriptor = u64::from_str_radix(first, 16).ok()?;
    let open = fs::read_link(format!("/proc/{thread}/fd/{descriptor}")).ok()?;
    open.starts_with(folder).then(|| name(number))
}

fn name(number: libc::c_long) -> &'static str {
    let names = [
        (libc::SYS_openat, "openat"),
        (libc::SYS_newfstatat, "newfstatat"),
        (libc::SYS_fstat, "fstat"),
        (libc::SYS_statx, "statx"),
        (libc::SYS_getdents64, "getdents64"),
        (libc::SYS_read, "read"),
        (libc::SYS_write, "write"),
        (libc::SYS_fchmod, "fchmod"),
        (libc::SYS_fchown, "fchown"),
        (libc::SYS_fsync, "fsync"),
        (libc::SYS_renameat, "renameat"),
        (libc::SYS_unlinkat, "unlinkat"),
        (libc::SYS_close, "close"),
    ];
    names
        .into_iter()
        .find(|(known, _)| *known == number)
        .map_or("another", |(_, name)| name)
}
