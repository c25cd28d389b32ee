//! The log: lines as HTCondor writes them, `MM/DD/YY HH:MM:SS message` in local time, in a file or on
//! the terminal.
//!
//! The file is opened anew when another is in its place (it was rotated). A line that cannot be
//! written is dropped: the log never holds up or ends a renewal.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use htvault::clock::Clock;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::old::state::Note;

/// Target of the lines that `-v` adds.
const RENEWALS: &str = "renewals";

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// A line for each renewal.
    pub renewals: bool,
    /// Everything.
    pub debug: bool,
}

/// Where lines go.
#[derive(Clone, Debug)]
pub struct Log {
    file: Option<Arc<Mutex<LogFile>>>,
    terminal: bool,
    clock: Arc<dyn LogClock>,
    zone: TimeZone,
}

/// A clock that can be shown in debug output.
trait LogClock: Clock + fmt::Debug {}
impl<T: Clock + fmt::Debug> LogClock for T {}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Opens the path anew if another file, or none, is there.
    fn follow(&mut self) {
        let same =
            |a: std::fs::Metadata, b: std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        let in_place =
            std::fs::metadata(&self.path).and_then(|at| Ok(same(at, self.file.metadata()?)));
        if !in_place.unwrap_or(false)
            && let Ok(anew) = Self::open(&self.path)
        {
            *self = anew;
        }
    }
}

impl Log {
    /// Opens the log.
    ///
    /// # Errors
    /// The file cannot be opened for writing.
    pub fn open(
        file: Option<&Path>,
        terminal: bool,
        clock: impl Clock + fmt::Debug + 'static,
    ) -> io::Result<Self> {
        let file = file.map(LogFile::open).transpose()?;
        Ok(Self {
            terminal: terminal || file.is_none(),
            file: file.map(|file| Arc::new(Mutex::new(file))),
            clock: Arc::new(clock),
            zone: TimeZone::system(),
        })
    }

    /// The file, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        let file = self.file.as_ref()?;
        let file = file.lock().unwrap_or_else(PoisonError::into_inner);
        Some(file.path.clone())
    }

    /// Makes it the log of the whole program.
    pub fn install(&self, detail: Detail) {
        let subscriber =
            tracing_subscriber::registry().with(self.clone().with_filter(filter(detail)));
        // A second call, which only a test could make, changes nothing.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }

    /// Looks whether the file was rotated.
    pub fn follow(&self) {
        if let Some(file) = &self.file {
            file.lock().unwrap_or_else(PoisonError::into_inner).follow();
        }
    }

    fn write(&self, line: &str) {
        if let Some(file) = &self.file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = file.file.write_all(line.as_bytes());
        }
        if self.terminal {
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}

/// Our own lines; of libraries, warnings at most.
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

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let now = self.clock.now().to_zoned(self.zone.clone());
        self.write(&line(&now, event.metadata(), &words));
    }
}

/// One line, whatever the words hold: a control character would forge another.
fn line(now: &jiff::Zoned, metadata: &Metadata<'_>, words: &Words) -> String {
    let level = match *metadata.level() {
        Level::ERROR => "ERROR: ",
        Level::WARN => "WARNING: ",
        _ => "",
    };
    let text = format!("{}{}", words.message, words.fields);
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!("{} {level}{text}\n", now.strftime("%m/%d/%y %H:%M:%S"))
}

#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
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

/// Logs a note.
pub fn note(note: &Note) {
    match note {
        Note::Info(text) => tracing::info!("{text}"),
        Note::Warning(text) => tracing::warn!("{text}"),
        Note::Error(text) => tracing::error!("{text}"),
        Note::Renewal(text) => tracing::info!(target: "renewals", "{text}"),
        Note::Debug(text) => tracing::debug!("{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[derive(Debug)]
    struct Still;
    impl Clock for Still {
        fn now(&self) -> Timestamp {
            "2026-11-22T04:18:29Z".parse().unwrap()
        }
    }

    fn logged(detail: Detail, act: impl FnOnce(&Log, &Path)) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Log::open(Some(&path), false, Still).unwrap();
        log.zone = TimeZone::UTC;
        let subscriber =
            tracing_subscriber::registry().with(log.clone().with_filter(filter(detail)));
        tracing::subscriber::with_default(subscriber, || act(&log, &path));
        std::fs::read_to_string(path).unwrap()
    }

    fn all_notes() {
        for kind in [
            Note::Info,
            Note::Warning,
            Note::Error,
            Note::Renewal,
            Note::Debug,
        ] {
            note(&kind("words".to_owned()));
        }
    }

    #[test]
    fn lines_are_as_htcondor_writes_them() {
        let text = logged(Detail::default(), |_, _| {
            all_notes();
            tracing::info!(n = 1, "a\nb\x1b[m");
        });
        assert_eq!(
            text,
            "11/22/26 04:18:29 words\n\
             11/22/26 04:18:29 WARNING: words\n\
             11/22/26 04:18:29 ERROR: words\n\
             11/22/26 04:18:29 a b [m n=1\n"
        );
    }

    #[test]
    fn verbose_adds_renewals_and_debug_adds_all() {
        let count = |renewals, debug| {
            logged(Detail { renewals, debug }, |_, _| all_notes())
                .lines()
                .count()
        };
        assert_eq!(count(false, false), 3);
        assert_eq!(count(true, false), 4);
        assert_eq!(count(false, true), 5);
    }

    #[test]
    fn a_rotated_file_is_opened_anew() {
        let text = logged(Detail::default(), |log, path| {
            tracing::info!("old");
            std::fs::rename(path, path.with_extension("old")).unwrap();
            log.follow();
            tracing::info!("new");
        });
        assert_eq!(text, "11/22/26 04:18:29 new\n");
    }
}
