//! Child processes that run for as long as a test or the demonstration needs them.
//!
//! Owns: the process, its group, its output. What always holds: dropping a [`Daemon`] ends the
//! process and its whole group (SIGTERM, then SIGKILL), and a guard kills them should this
//! process end without dropping it; every line that it printed is in its log file, the latest ones
//! are in memory too; it has no terminal to read from.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::guard::Guard;

/// How many lines are kept in memory.
const KEPT_LINES: usize = 20_000;
/// How long a process has to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How long the output of an ended process is read on, where something holds it open.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A running child process with its output.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    log: PathBuf,
    pid: Pid,
    child: Child,
    _guard: Guard,
    output: Arc<Output>,
    /// What reads its output.
    readers: JoinSet<()>,
    /// What asks it to end.
    end: Signal,
    /// The status, once it is known; the process is then gone and must not be signalled.
    ended: Option<ExitStatus>,
}

/// What a daemon printed so far.
#[derive(Debug)]
struct Output {
    kept: Mutex<Kept>,
    /// The number of lines ever printed: tells those who wait that there is something new.
    count: watch::Sender<usize>,
    /// How many of its two streams may still give lines.
    open: AtomicUsize,
}

#[derive(Debug)]
struct Kept {
    file: File,
    lines: VecDeque<String>,
    /// How many lines fell out at the front.
    dropped: usize,
}

/// A place in a daemon's output: see [`Daemon::mark`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark(usize);

impl Daemon {
    /// Starts `command` in a process group of its own; its output is appended to `log`.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open {} for the output of {name}", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}: {:?}", command.as_std()))?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw)
            .with_context(|| format!("{name} ended at once"))?;
        let guard = Guard::of_group(pid)?;
        let output = Arc::new(Output {
            kept: Mutex::new(Kept {
                file,
                lines: VecDeque::new(),
                dropped: 0,
            }),
            count: watch::Sender::new(0),
            open: AtomicUsize::new(2),
        });
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(read_lines(stdout, Arc::clone(&output)));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(read_lines(stderr, Arc::clone(&output)));
        }
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            pid,
            child,
            _guard: guard,
            output,
            readers,
            end: Signal::SIGTERM,
            ended: None,
        })
    }

    /// Another signal than SIGTERM is what asks it to end.
    #[must_use]
    pub fn ended_by(mut self, signal: Signal) -> Self {
        self.end = signal;
        self
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file with all its output.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Where its output stands now, for the `_after` functions.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(*self.output.count.borrow())
    }

    /// The lines it has printed since `mark` (of those still kept), and the next mark.
    #[must_use]
    pub fn lines_after(&self, mark: Mark) -> (Vec<String>, Mark) {
        let kept = self.output.kept();
        let skip = mark.0.saturating_sub(kept.dropped);
        let lines: Vec<String> = kept.lines.iter().skip(skip).cloned().collect();
        (lines, Mark(kept.dropped + kept.lines.len()))
    }

    /// Its last `count` lines, one below the other: for the message of a test that fails.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let kept = self.output.kept();
        let skip = kept.lines.len().saturating_sub(count);
        let lines: Vec<&str> = kept.lines.iter().skip(skip).map(String::as_str).collect();
        lines.join("\n")
    }

    /// Waits until it has printed a line that holds `text`, at any time since its start.
    pub async fn wait_for_line(&self, text: &str, deadline: Duration) -> anyhow::Result<String> {
        self.wait_for_line_after(Mark(0), text, deadline).await
    }

    /// Waits until it prints a line that holds `text`, after `mark`. Fails at once when it has ended
    /// without.
    pub async fn wait_for_line_after(
        &self,
        mark: Mark,
        text: &str,
        deadline: Duration,
    ) -> anyhow::Result<String> {
        let mut news = self.output.count.subscribe();
        let wait = async {
            let mut from = mark;
            loop {
                news.mark_unchanged();
                // Asked before the lines are, since the last ones come before the end.
                let ended = self.output.open.load(Ordering::Acquire) == 0;
                let (lines, next) = self.lines_after(from);
                if let Some(line) = lines.into_iter().find(|line| line.contains(text)) {
                    return Ok(line);
                }
                if ended {
                    bail!(
                        "{} ended without printing \"{text}\"; it printed last:\n{}",
                        self.name,
                        self.tail(15)
                    );
                }
                from = next;
                // The sender lives in `self.output`: this cannot fail.
                let _ = news.changed().await;
            }
        };
        tokio::time::timeout(deadline, wait)
            .await
            .with_context(|| {
                format!(
                    "waited {} s for {} to print \"{text}\"; it printed last:\n{}",
                    deadline.as_secs(),
                    self.name,
                    self.tail(15)
                )
            })?
    }

    /// Sends it a signal; nothing happens when it has ended already.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        if self.try_ended()?.is_none() {
            kill(self.pid, signal)
                .with_context(|| format!("cannot send {signal} to {}", self.name))?;
        }
        Ok(())
    }

    /// Its status when it has ended, and nothing while it runs.
    pub fn try_ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .with_context(|| format!("cannot look after {}", self.name))?;
        }
        Ok(self.ended)
    }

    /// Reads what an ended process has printed last. A child of its own may hold the pipe open: what
    /// that prints is not waited for.
    pub async fn read_to_the_end(&mut self) {
        let all = async { while self.readers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        match tokio::time::timeout(deadline, self.child.wait()).await {
            Ok(status) => {
                let status =
                    status.with_context(|| format!("cannot wait for {} to end", self.name))?;
                self.ended = Some(status);
                self.read_to_the_end().await;
                Ok(status)
            }
            Err(_) => bail!(
                "{} did not end within {} s; it printed last:\n{}",
                self.name,
                deadline.as_secs(),
                self.tail(15)
            ),
        }
    }

    /// Ends it: SIGTERM (or what [`Daemon::ended_by`] said), then SIGKILL for it and its group. Gives its status.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(self.end)?;
        let gentle = self.wait(GRACE).await;
        // Whatever it had started goes too.
        let _ = killpg(self.pid, Signal::SIGKILL);
        match gentle {
            Ok(status) => Ok(status),
            Err(_) => self.wait(GRACE).await,
        }
    }

    /// The memory that it uses, alone.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        Memory::of(self.pid)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended.is_none() && matches!(self.child.try_wait(), Ok(None)) {
            let _ = killpg(self.pid, self.end);
            let start = Instant::now();
            while start.elapsed() < GRACE && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = killpg(self.pid, Signal::SIGKILL);
        let _ = self.child.try_wait();
    }
}

impl Output {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, line: String) {
        let mut kept = self.kept();
        // A full disk must not take the test's own view of the output away.
        let _ = writeln!(kept.file, "{line}");
        kept.lines.push_back(line);
        if kept.lines.len() > KEPT_LINES {
            kept.lines.pop_front();
            kept.dropped += 1;
        }
        let count = kept.dropped + kept.lines.len();
        drop(kept);
        self.count.send_replace(count);
    }

    /// One of its streams has ended.
    fn close(&self) {
        self.open.fetch_sub(1, Ordering::Release);
        self.count.send_modify(|_| ());
    }
}

async fn read_lines(stream: impl AsyncRead + Unpin, output: Arc<Output>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
        output.add(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
    output.close();
}

/// Memory in bytes, as the kernel counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Pages in memory, shared ones counted in full (`VmRSS`).
    pub resident: u64,
    /// The same with every shared page divided by the number of its users (`Pss`).
    pub proportional: u64,
}

impl Memory {
    /// What one process uses.
    pub fn of(pid: Pid) -> anyhow::Result<Self> {
        Ok(Self {
            resident: kernel_figure(&format!("/proc/{pid}/status"), "VmRSS:")?,
            proportional: kernel_figure(&format!("/proc/{pid}/smaps_rollup"), "Pss:")?,
        })
    }

    /// The most that one process ever had in memory, in bytes (`VmHWM`).
    pub fn peak_of(pid: Pid) -> anyhow::Result<u64> {
        kernel_figure(&format!("/proc/{pid}/status"), "VmHWM:")
    }

    /// What a process and all its descendants use together.
    pub fn of_tree(pid: Pid) -> anyhow::Result<Self> {
        let mut sum = Self::of(pid)?;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
            .with_context(|| format!("cannot list the children of process {pid}"))?;
        for child in children.split_whitespace() {
            let child = child
                .parse()
                .context("the kernel lists processes by number")?;
            let memory = Self::of_tree(Pid::from_raw(child))?;
            sum.resident += memory.resident;
            sum.proportional += memory.proportional;
        }
        Ok(sum)
    }
}

/// Reads a line such as `VmRSS:     1234 kB`.
fn kernel_figure(file: &str, name: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let kilobytes: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("{file} has no line {name}"))?
        .parse()
        .with_context(|| format!("{file}: {name} is not a number"))?;
    Ok(kilobytes * 1024)
}
