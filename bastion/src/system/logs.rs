//! The log: lines on standard error, one for each event; coloured on a terminal, without the time in
//! systemd's journal, which has its own.
//!
//! Always true: a line that cannot be written is counted and stops nothing. A thread of its own writes the service's
//! lines, so that a disk that hangs or a pipe that nobody reads delays nothing else; lines that do not fit into its
//! queue are counted, too.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::system::locked::locked;

/// Capacity of the writer thread's queue, in lines.
const QUEUE: usize = 1024;
/// Deadline for the last lines at the end of the process.
const LAST_LINES: Duration = Duration::from_secs(1);

static STATE: Mutex<LogState> = Mutex::new(LogState {
    dropped_lines: 0,
    error: None,
});

/// State of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogState {
    /// Number of lines since the start that were not written.
    pub dropped_lines: u64,
    /// Error of the last line; none when it was written.
    pub error: Option<String>,
}

impl LogState {
    /// Message for people, when lines were lost.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        let error = match &self.error {
            Some(error) => format!("still failing: {error}"),
            None => "it works again".to_owned(),
        };
        (self.dropped_lines > 0).then(|| {
            let lost = self.dropped_lines;
            format!("{lost} lines of the service's log could not be written ({error})")
        })
    }
}

/// Returns the present state of this process's log.
#[must_use]
pub fn state() -> LogState {
    locked(&STATE).clone()
}

fn note(result: io::Result<()>) {
    let mut state = locked(&STATE);
    state.dropped_lines += u64::from(result.is_err());
    state.error = result.err().map(|error| error.to_string());
}

/// Log of a process: commands write directly, in step with their output; the service has a writer thread.
#[derive(Clone, Debug)]
pub enum Log {
    /// Lines are written at once.
    Direct,
    /// Lines are written by the writer thread.
    Queued(SyncSender<LogLine>),
}

/// Work for the writer thread.
#[derive(Debug)]
pub enum LogLine {
    /// A line to be written.
    Text(Vec<u8>),
    /// A request for an answer once everything before is written.
    Flush(SyncSender<()>),
}

impl Log {
    /// Starts logging. `verbose` 1 adds details, 2 adds those of the libraries; with 0 only warnings and errors
    /// are logged, unless `logs_progress`. A `service` gets a writer thread.
    pub fn init(verbose: u8, logs_progress: bool, service: bool) -> Self {
        let log = service.then(Self::with_thread);
        let log = log.and_then(Result::ok).unwrap_or(Self::Direct);
        let filter = match verbose {
            0 if !logs_progress => "warn",
            0 => "warn,bastion=info,htvault=info",
            1 => "warn,bastion=debug,htvault=debug",
            _ => "debug",
        };
        let terminal = io::stderr().is_terminal();
        let builder = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(log.clone())
            .with_ansi(terminal)
            .with_target(verbose > 0);
        // A second start, in a test, is of no effect.
        let _ = if std::env::var_os("JOURNAL_STREAM").is_some() && !terminal {
            builder.without_time().try_init()
        } else {
            builder.try_init()
        };
        log
    }

    fn with_thread() -> io::Result<Self> {
        let (lines, received) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&received, io::stderr()))?;
        Ok(Self::Queued(lines))
    }

    /// Waits until everything is written, one second at most.
    pub fn flush(&self) {
        let Self::Queued(lines) = self else {
            return;
        };
        let (answer, done) = sync_channel(1);
        if lines.try_send(LogLine::Flush(answer)).is_ok() {
            // On a disk that hangs the last lines are lost.
            let _ = done.recv_timeout(LAST_LINES);
        }
    }
}

/// Loop of the writer thread.
fn write_all(lines: &Receiver<LogLine>, mut output: impl Write) {
    for line in lines {
        match line {
            LogLine::Text(text) => note(output.write_all(&text)),
            // The caller may have given up.
            LogLine::Flush(answer) => _ = answer.try_send(()),
        }
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> Self::Writer {
        self
    }
}

/// Accepts one line per call, as the subscriber makes it. Never fails.
impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Log::Direct => note(io::stderr().write_all(line)),
            Log::Queued(lines) => {
                if lines.try_send(LogLine::Text(line.to_owned())).is_err() {
                    note(Err(io::Error::other("the queue of its writer is full")));
                }
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks until released, then fails.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.0.recv().unwrap();
            Err(io::Error::from_raw_os_error(28))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_no_room_or_cannot_be_written_are_counted_and_delay_nothing() {
        let (lines, received) = sync_channel(QUEUE);
        let (go_on, stuck) = sync_channel(2 * QUEUE);
        let writer = thread::spawn(move || write_all(&received, Stuck(stuck)));
        let log = Log::Queued(lines);
        for _ in 0..QUEUE + 10 {
            (&log).write_all(b"a line\n").unwrap();
        }
        let full = state();
        // One may be with the writer.
        assert!((9..=10).contains(&full.dropped_lines), "{full:?}");
        let message = full.message().unwrap();
        assert!(
            message.contains("the queue of its writer is full"),
            "{message}"
        );

        (0..2 * QUEUE).for_each(|_| go_on.send(()).unwrap());
        drop(log);
        writer.join().unwrap();
        assert_eq!(state().dropped_lines, u64::try_from(QUEUE + 10).unwrap());
        let message = state().message().unwrap();
        assert!(message.contains("No space left on device"), "{message}");

        note(Ok(()));
        let message = state().message().unwrap();
        assert!(message.ends_with("(it works again)"), "{message}");
    }
}
