//! The root file system of a pool, as an overlay, and running commands in it.
//!
//! What always holds: dropping a [`Root`] kills every process that lives in it and unmounts it, and
//! a guard does so should this process end without dropping it; a command in it sees none of our
//! environment.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::Release;
use crate::guard::Guard;
use crate::{sandbox, wait};

/// No command in a pool takes longer, unless something hangs.
const COMMAND: Duration = wait::FAR;

/// A mounted root.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    _guard: Guard,
}

/// What a command printed, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The command, for messages.
    pub command: String,
    /// Its exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Answer {
    /// What it printed, if its exit code is 0; otherwise an error with all there is.
    pub fn success(self) -> anyhow::Result<String> {
        ensure!(
            self.code == Some(0),
            "{} ended with {}:\n{}{}",
            self.command,
            self.code
                .map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}")),
            self.stdout,
            self.stderr
        );
        Ok(self.stdout)
    }
}

impl Root {
    /// Lays an overlay in `folder` over the kept root.
    pub(crate) fn mount(folder: &Path, release: Release) -> anyhow::Result<Self> {
        let lower = sandbox::pool_root(release)?;
        let [upper, work, path] = ["upper", "work", "root"].map(|name| folder.join(name));
        for new in [&upper, &work, &path] {
            fs::create_dir_all(new).with_context(|| format!("cannot make {}", new.display()))?;
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        let guard = Guard::of_root(&path)?;
        mount(&["-t", "overlay", "overlay", "-o", &layers], &path)?;
        // From here on, dropping it unmounts what there is.
        let root = Self {
            path,
            _guard: guard,
        };
        mount(&["-t", "proc", "proc"], &root.path("/proc"))?;
        mount(&["--rbind", "/dev"], &root.path("/dev"))?;
        mount(&["-t", "tmpfs", "tmpfs"], &root.path("/dev/shm"))?;
        Ok(root)
    }

    /// Where `inside` is for us.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.path.join(inside.trim_start_matches('/'))
    }

    /// Writes a file of the root, with the folders above it.
    pub(crate) fn write(&self, inside: &str, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let path = self.path(inside);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    }

    /// A command as `user`, in that user's home.
    pub(crate) fn command(&self, user: &str, program: impl AsRef<OsStr>) -> Command {
        let home = match user {
            "root" => "/root".to_owned(),
            "nobody" => "/tmp".to_owned(),
            "condor" => "/var/lib/condor".to_owned(),
            person => format!("/home/{person}"),
        };
        let mut command = Command::new("/usr/sbin/chroot");
        command
            .arg(format!("--userspec={user}"))
            .arg(&self.path)
            .args(["/usr/bin/env", "--chdir", &home])
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", &home)
            .env("USER", user)
            .kill_on_drop(true);
        command
    }

    /// Runs a command as `user` to its end.
    pub(crate) async fn run(
        &self,
        user: &str,
        command: &[&str],
        input: &str,
    ) -> anyhow::Result<Answer> {
        let (program, arguments) = command.split_first().context("a command has a name")?;
        let name = format!("{} (as {user} in the pool)", command.join(" "));
        let run = async {
            let mut child = self
                .command(user, program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take()
                && let Err(error) = stdin.write_all(input.as_bytes()).await
                && error.kind() != std::io::ErrorKind::BrokenPipe
            {
                return Err(error);
            }
            child.wait_with_output().await
        };
        let Ok(output) = tokio::time::timeout(COMMAND, run).await else {
            bail!("{name} did not end within {} s", COMMAND.as_secs());
        };
        let output = output.with_context(|| format!("cannot run {name}"))?;
        Ok(Answer {
            command: name,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// What lives in this root.
    fn processes(&self) -> impl Iterator<Item = (Pid, PathBuf)> {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let lives_here = |process: &fs::DirEntry| {
            fs::read_link(process.path().join("root")).is_ok_and(|root| root == self.path)
        };
        all.filter(lives_here).filter_map(|process| {
            let number = process.file_name().to_str()?.parse().ok()?;
            Some((Pid::from_raw(number), process.path()))
        })
    }

    /// The process of a program that lives in this root, by the program's name.
    pub(super) fn process(&self, program: &str) -> anyhow::Result<Pid> {
        let runs = |place: &Path| {
            fs::read_link(place.join("exe")).is_ok_and(|path| path.ends_with(program))
        };
        let mut found = self.processes().filter(|(_, place)| runs(place));
        let (pid, _) = found
            .next()
            .with_context(|| format!("{program} does not run"))?;
        Ok(pid)
    }

    /// Kills what lives in this root: daemons that outlived their master, and jobs.
    fn kill_all(&self) {
        for (pid, _) in self.processes() {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// Shows a folder of ours in it, at the same place.
    pub(super) fn show(&self, folder: &Path) -> anyhow::Result<()> {
        let at = self.path(&folder.to_string_lossy());
        fs::create_dir_all(&at).with_context(|| format!("cannot make {}", at.display()))?;
        let folder = folder.to_string_lossy();
        mount(&["--bind", &folder], &at)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.kill_all();
        // Lazily: a process killed a moment ago may still be on its way out.
        let _ = std::process::Command::new("umount")
            .args(["--recursive", "--lazy"])
            .arg(&self.path)
            .stderr(Stdio::null())
            .status();
    }
}

fn mount(arguments: &[&str], target: &Path) -> anyhow::Result<()> {
    let output = std::process::Command::new("mount")
        .args(arguments)
        .arg(target)
        .output()
        .context("cannot run mount")?;
    ensure!(
        output.status.success(),
        "cannot mount {}: {}",
        target.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
