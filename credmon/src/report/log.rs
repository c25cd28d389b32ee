//! The log: lines as HTCondor writes them, `MM/DD/YY HH:MM:SS message` in local time, in a file or on
//! the terminal.
//!
//! A thread of its own writes them: a file system that hangs or is full, or a terminal that nobody
//! reads, delays nothing. Lines that find no room are counted. The file is opened anew when another
//! is in its place (it was rotated).

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use htvault::clock::Clock;
use jiff::tz::TimeZone;
use tokio::sync::oneshot;
use tracing::field::{Field, Visit};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::model::{Event, Heartbeat, Level, lock};

/// Target of the lines that `-v` adds.
const RENEWALS: &str = "renewals";

/// Lines that wait for the disk at most.
const QUEUE: usize = 4096;

/// Time for which a line waits for others.
const GATHER: Duration = Duration::from_millis(5);

/// Detail of the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Detail {
    /// A line for each renewal.
    pub(crate) renewals: bool,
    pub(crate) debug: bool,
}

/// The log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Log {
    lines: SyncSender<Line>,
    state: Arc<Mutex<LogState>>,
    heartbeat: Heartbeat,
    clock: Arc<dyn Clock>,
    zone: TimeZone,
}

/// Work for the log's thread.
enum Line {
    Text(String),
    /// Everything before is written: answer.
    Flush(SyncSender<()>),
}

#[derive(Debug, Default)]
struct LogState {
    error: Option<String>,
    dropped: u64,
}

/// Destinations of the lines.
struct Output {
    path: Option<PathBuf>,
    file: Option<File>,
    terminal: bool,
}

impl Log {
    /// Starts the thread that writes to the log file, or to the terminal alone for `None`. First it opens the file, and
    /// answers with the outcome, which takes as long as the file system hangs.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        file: Option<&Path>,
        terminal: bool,
        clock: Arc<dyn Clock>,
    ) -> io::Result<(Self, oneshot::Receiver<io::Result<()>>)> {
        let mut output = Output {
            path: file.map(Path::to_owned),
            file: None,
            terminal: terminal || file.is_none(),
        };
        let (lines, received) = sync_channel(QUEUE);
        let (answer, opened) = oneshot::channel();
        let log = Self {
            lines,
            state: Arc::default(),
            heartbeat: Heartbeat::default(),
            clock,
            zone: TimeZone::system(),
        };
        let (state, heartbeat) = (log.state.clone(), log.heartbeat.clone());
        let write = move || {
            let opened = output.open(&heartbeat);
            // Who asked may have given up.
            let _ = answer.send(opened);
            output.run(&received, &state, &heartbeat);
        };
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(write)?;
        Ok((log, opened))
    }

    /// Makes it the log of the whole program.
    pub(crate) fn install(&self, detail: Detail) {
        let subscriber =
            tracing_subscriber::registry().with(self.clone().with_filter(filter(detail)));
        // A second call, which only a test could make, changes nothing.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }

    pub(crate) fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Problem of the log, if it has one.
    pub(crate) fn problem(&self) -> Option<String> {
        lock(&self.state).error.clone()
    }

    /// Lines that were not written.
    pub(crate) fn dropped(&self) -> u64 {
        lock(&self.state).dropped
    }

    /// Waits until everything is written, for so long at most.
    pub(crate) fn flush(&self, deadline: Duration) {
        let (answer, done) = sync_channel(1);
        if self.lines.try_send(Line::Flush(answer)).is_ok() {
            // A disk that hangs keeps the last lines.
            let _ = done.recv_timeout(deadline);
        }
    }

    fn write(&self, line: String) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Line::Text(line)) {
            lock(&self.state).dropped += 1;
        }
    }
}

/// Opens a plain file for appending, or `/dev/null`.
fn open(path: &Path) -> io::Result<File> {
    // Non-blocking, so that a pipe does not block.
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .custom_flags(flags)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    let is_null = kind.is_char_device() && file.metadata()?.rdev() == NULL;
    if kind.is_file() || is_null {
        return Ok(file);
    }
    Err(io::Error::other(
        "it is no plain file; name a file, or - for the terminal",
    ))
}

/// Device number of `/dev/null`.
const NULL: u64 = nix::sys::stat::makedev(1, 3);

/// Outcome of a line.
struct Written {
    is_lost: bool,
    /// The path cannot be opened anew, while the line went to the old file, or the line is lost.
    error: Option<io::Error>,
}

impl Output {
    fn open(&mut self, heartbeat: &Heartbeat) -> io::Result<()> {
        if let Some(path) = &self.path {
            let _working = heartbeat.start(path);
            self.file = Some(open(path)?);
        }
        Ok(())
    }

    fn run(mut self, lines: &Receiver<Line>, state: &Mutex<LogState>, heartbeat: &Heartbeat) {
        while let Ok(first) = lines.recv() {
            // What happens to many credentials makes many lines: this thread is not woken for each.
            std::thread::sleep(GATHER);
            let _working = heartbeat.start(self.path.as_deref().unwrap_or("the terminal".as_ref()));
            for line in std::iter::once(first).chain(lines.try_iter()) {
                heartbeat.beat();
                self.take(line, state);
            }
        }
    }

    fn take(&mut self, line: Line, state: &Mutex<LogState>) {
        match line {
            Line::Text(line) => {
                let Written { is_lost, error } = self.write(&line);
                let mut state = lock(state);
                state.dropped += u64::from(is_lost);
                let path = self.path.as_deref().unwrap_or("".as_ref()).display();
                state.error = error.map(|e| format!("log {path} cannot be written: {e}"));
            }
            // Who asked may have given up.
            Line::Flush(answer) => _ = answer.try_send(()),
        }
    }

    fn write(&mut self, line: &str) -> Written {
        if self.terminal {
            // Nobody may be reading there.
            let _ = io::stderr().write_all(line.as_bytes());
        }
        let followed = self.follow();
        let Some(file) = &mut self.file else {
            return Written {
                is_lost: followed.is_err(),
                error: followed.err(),
            };
        };
        let written = file.write_all(line.as_bytes());
        Written {
            is_lost: written.is_err(),
            error: written.and(followed).err(),
        }
    }

    /// Opens the path anew if another file, or none, is there.
    fn follow(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let id = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        let present = std::fs::metadata(path).ok().map(id);
        let open_now = self
            .file
            .as_ref()
            .and_then(|file| file.metadata().ok())
            .map(id);
        if open_now.is_none() || present != open_now {
            self.file = Some(open(path)?);
        }
        Ok(())
    }
}

/// Our own lines; of libraries, errors.
fn filter(detail: Detail) -> Targets {
    let level = if detail.debug {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    let renewals = if detail.renewals || detail.debug {
        LevelFilter::INFO
    } else {
        LevelFilter::OFF
    };
    Targets::new()
        .with_default(LevelFilter::ERROR)
        .with_targets([("credmon", level), ("htvault", level)])
        .with_target("condor_credmon_htvault", level)
        .with_target(RENEWALS, renewals)
}

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let now = self.clock.now().to_zoned(self.zone.clone());
        self.write(line(&now, *event.metadata().level(), &text));
    }
}

/// One line, whatever the text holds: a control character would forge another.
fn line(now: &jiff::Zoned, level: tracing::Level, text: &Text) -> String {
    let level = match level {
        tracing::Level::ERROR => "ERROR: ",
        tracing::Level::WARN => "WARNING: ",
        _ => "",
    };
    let text = htvault::text::printable(&format!("{}{}", text.message, text.fields), LINE_LIMIT);
    format!("{} {level}{text}\n", now.strftime("%m/%d/%y %H:%M:%S"))
}

/// Longest line, in characters.
const LINE_LIMIT: usize = 4 * crate::model::TEXT_LIMIT;

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        // Writing to a string does not fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

/// Logs an event of the scheduler.
pub(crate) fn event(event: &Event) {
    let text = &event.text;
    match event.level {
        Level::Debug => tracing::debug!("{text}"),
        Level::Renewal => tracing::info!(target: RENEWALS, "{text}"),
        Level::Info => tracing::info!("{text}"),
        Level::Warning => tracing::warn!("{text}"),
        Level::Error => tracing::error!("{text}"),
    }
}

#[cfg(test)]
mod tests;
