//! Processes that end with this one, however it ends.
//!
//! Dropping a value ends the processes that it owns, but a process that is killed or aborts drops
//! nothing. A [`Guard`] is a shell that does nothing until this process has ended, which it sees by
//! the end of its standard input, and then kills. It is in a process group of its own, so that a
//! signal to ours does not reach it.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use nix::unistd::Pid;

/// Kills the process group `$1`.
const GROUP: &str = r#"read -r _ || kill -s KILL -- "-$1""#;
/// Kills each process whose root directory is `$1`, until there is none, then unmounts that.
const ROOT: &str = r#"
read -r _ && exit
left=1
while [ -n "$left" ]; do
    left=
    for process in /proc/[0-9]*; do
        if [ "$(readlink "$process/root")" = "$1" ]; then
            left=1
            kill -s KILL "${process#/proc/}"
        fi
    done
    sleep 0.05
done
umount --recursive --lazy "$1"
"#;

/// Kills processes when this process ends. Dropping it ends it and kills nothing.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Guard {
    /// Guards a process group.
    pub(crate) fn of_group(leader: Pid) -> anyhow::Result<Self> {
        Self::start(GROUP, leader.to_string().as_ref())
    }

    /// Guards everything that lives in a root file system, and its mounts.
    pub(crate) fn of_root(root: &Path) -> anyhow::Result<Self> {
        Self::start(ROOT, root)
    }

    fn start(script: &str, what: &Path) -> anyhow::Result<Self> {
        // The output is that of nobody: whoever reads ours must see its end when we have ended.
        let child = Command::new("/bin/sh")
            .args(["-c", script, "guard"])
            .arg(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start /bin/sh as a guard")?;
        Ok(Self(child))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut input) = self.0.stdin.take() {
            // Fails only when somebody has killed the guard.
            let _ = input.write_all(b"\n");
        }
        let _ = self.0.wait();
    }
}
