//! Certificate authorities: read at a start, and followed while the daemon runs.
//!
//! Always true: those in force stay while the configured ones cannot be read. So nobody stops, and no more is trusted than
//! was configured; others are used only until the configured ones could be read once.

use std::path::Path;
use std::time::{Duration, Instant};

use htvault::{Authorities, TlsSettings};
use tokio::sync::oneshot::{Receiver, error::TryRecvError};

use super::apart::{in_time, on_thread};

/// Time for which a directory that is gone or empty counts as one that comes back: it was unmounted, or is just being
/// replaced.
const COMES_BACK: Duration = Duration::from_hours(1);

/// Certificate authorities that are used, in words.
type Used = &'static str;

/// One reading of the configured authorities.
struct Reading {
    tls: TlsSettings,
    /// The directory has files.
    has_directory: bool,
    /// All of them, or the reason why some or all cannot be read.
    authorities: Result<Authorities, String>,
    /// Others to be used while there are none.
    others: Option<(Authorities, Used)>,
}

impl Reading {
    /// Reads them; and others, when these cannot be read and others are needed.
    fn of(tls: TlsSettings, needs_others: bool) -> Self {
        // Before: one that is gone meanwhile is missed the next time.
        let has_directory = tls.ca_dir.as_deref().is_some_and(has_files);
        let (authorities, others) = match Authorities::read(&tls) {
            Err(error) => {
                let others = needs_others.then(|| of_file(&tls).or_else(of_system));
                (Err(error.message()), others.flatten())
            }
            Ok(read) => match read.unread().map(str::to_owned) {
                Some(why) => (Err(why), Some((read, "the others are used"))),
                None => (Ok(read), None),
            },
        };
        Self {
            tls,
            has_directory,
            authorities,
            others,
        }
    }
}

fn has_files(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

fn of_file(tls: &TlsSettings) -> Option<(Authorities, Used)> {
    let alone = TlsSettings {
        ca_file: Some(tls.ca_file.clone()?),
        ca_dir: None,
    };
    let read = Authorities::read(&alone).ok()?;
    Some((read, "those of the configured file alone are used"))
}

fn of_system() -> Option<(Authorities, Used)> {
    let read = Authorities::read(&TlsSettings::default()).ok()?;
    Some((read, "the system's certificate authorities are used"))
}

/// Certificate authorities in use.
pub(super) struct Trust {
    /// The configured ones.
    pub(super) tls: TlsSettings,
    pub(super) authorities: Option<Authorities>,
    /// Those in words, beside a problem.
    used: Used,
    /// The settings by which they were read, when their directory had files then.
    with_directory: Option<TlsSettings>,
    /// Time since which that directory is gone or empty.
    gone_since: Option<Instant>,
    /// Problem of the configured ones.
    pub(super) problem: Option<String>,
    /// One reading at a time: a file system that hangs costs one thread.
    reading: Option<Receiver<Option<Reading>>>,
}

impl Trust {
    /// None yet.
    pub(super) fn new(tls: TlsSettings) -> Self {
        Self {
            tls,
            authorities: None,
            used: "there are no others",
            with_directory: None,
            gone_since: None,
            problem: None,
            reading: None,
        }
    }

    /// Reads them at a start; the system's are used while the file system of the configured ones hangs.
    pub(super) async fn read(&mut self) {
        let tls = self.tls.clone();
        let read = in_time("trust", move || Reading::of(tls, true)).await;
        let reading = match read {
            Some(reading) => reading,
            None => Reading {
                tls: self.tls.clone(),
                has_directory: false,
                authorities: Err(
                    "the file system of the certificate authorities does not answer".to_owned(),
                ),
                others: in_time("trust", of_system).await.flatten(),
            },
        };
        self.take_in(reading);
    }

    /// Reads the files again when they changed, or could not be read before. Returns `true` when there are other
    /// authorities, or another problem, from now on.
    pub(super) fn follow(&mut self) -> bool {
        let is_other = match self.reading.as_mut().map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => return false,
            Some(Ok(Some(reading))) => self.take_in(reading),
            _ => false,
        };
        let (tls, known) = (self.tls.clone(), self.authorities.clone());
        let failed = self.problem.is_some();
        let read = move || {
            let is_same = !failed && known.as_ref().is_some_and(|known| known.are_those_of(&tls));
            (!is_same).then(|| Reading::of(tls, known.is_none()))
        };
        // One that cannot be started is started the next time.
        self.reading = Some(on_thread("trust", read));
        is_other
    }

    /// Takes in what was read; `true` when there are other authorities, or another problem.
    fn take_in(&mut self, reading: Reading) -> bool {
        let is_gone = !reading.has_directory && self.with_directory.as_ref() == Some(&reading.tls);
        let since = self.gone_since.unwrap_or_else(Instant::now);
        self.gone_since = is_gone.then_some(since);
        let why = match reading.authorities {
            Ok(_) if is_gone && since.elapsed() < COMES_BACK => {
                let directory = reading.tls.ca_dir.as_deref().unwrap_or("".as_ref());
                format!("CA directory {} is gone or empty", directory.display())
            }
            Ok(read) => {
                (self.authorities, self.used) = (Some(read), "those in force stay");
                self.with_directory = reading.has_directory.then_some(reading.tls);
                (self.gone_since, self.problem) = (None, None);
                return true;
            }
            Err(why) => why,
        };
        let before = self.problem.take();
        let others = reading.others.filter(|_| self.authorities.is_none());
        let is_first = others.is_some();
        if let Some((others, used)) = others {
            (self.authorities, self.used) = (Some(others), used);
        }
        self.problem = Some(format!("{why}; {}", self.used));
        is_first || self.problem != before
    }
}

#[cfg(test)]
mod tests;
