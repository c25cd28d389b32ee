//! Certificate authorities: read at a start, and followed while the daemon runs.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use htvault::{Authorities, TlsSettings};

use super::apart::in_time;

/// Time for which a directory that is gone or empty counts as one that comes back.
const COMES_BACK: Duration = Duration::from_hours(1);

/// Certificate authorities as they were read.
#[derive(Debug, Default)]
pub(super) struct ReadAuthorities {
    /// `None` when they cannot be read.
    pub(super) authorities: Option<Authorities>,
    /// The settings, when their directory has files.
    with_directory: Option<TlsSettings>,
    pub(super) problem: Option<String>,
    /// The directory that some of those in force are from is gone or empty.
    is_gone: bool,
}

impl ReadAuthorities {
    /// Reads them.
    fn of(tls: &TlsSettings) -> Result<Self, htvault::Error> {
        // Before: one that is gone meanwhile is missed the next time.
        let with_directory = tls.ca_dir.as_deref().is_some_and(has_files);
        let authorities = Authorities::read(tls)?;
        Ok(Self {
            with_directory: with_directory.then(|| tls.clone()),
            problem: authorities.unread().map(str::to_owned),
            authorities: Some(authorities),
            is_gone: false,
        })
    }

    /// Others than the configured ones, since these cannot be read.
    fn stand_in(authorities: Option<Authorities>, why: &str, whose: &str) -> Self {
        Self {
            authorities,
            problem: Some(format!("{why}; {whose} are used")),
            ..Self::default()
        }
    }

    /// None: those in force stay.
    fn none(why: &str) -> Self {
        Self {
            problem: Some(format!("{why}; those in force stay")),
            ..Self::default()
        }
    }
}

fn has_files(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

/// Reads certificate authorities at a start; when the configured ones cannot be read, those of the configured file alone,
/// or else the system's, and what is wrong.
pub(super) fn read_authorities(tls: &TlsSettings) -> ReadAuthorities {
    ReadAuthorities::of(tls).unwrap_or_else(|error| {
        let of_file = tls.ca_file.is_some().then(|| TlsSettings {
            ca_dir: None,
            ..tls.clone()
        });
        match of_file.and_then(|tls| Authorities::read(&tls).ok()) {
            Some(of_file) => {
                let whose = "those of the configured file alone";
                ReadAuthorities::stand_in(Some(of_file), &error.message(), whose)
            }
            None => ReadAuthorities::stand_in(of_system(), &error.message(), OF_SYSTEM),
        }
    })
}

/// Whose authorities are used, in words.
const OF_SYSTEM: &str = "the system's certificate authorities";

/// Does the same at a start, with a deadline: the system's are used while the file system of the configured ones hangs.
pub(super) async fn read_at_start(tls: &TlsSettings) -> ReadAuthorities {
    let tls = tls.clone();
    if let Some(read) = in_time("trust", move || read_authorities(&tls)).await {
        return read;
    }
    let usual = in_time("trust", of_system).await.flatten();
    let why = "the file system of the certificate authorities does not answer";
    ReadAuthorities::stand_in(usual, why, OF_SYSTEM)
}

fn of_system() -> Option<Authorities> {
    Authorities::read(&TlsSettings::default()).ok()
}

/// Result of a check of the files with certificate authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// Nothing is to be done.
    Same,
    /// Other authorities are in force from now on.
    Replaced,
    /// The problem is another; the authorities in force stay.
    Problem,
}

/// Certificate authorities in use.
pub(super) struct Trust {
    pub(super) tls: TlsSettings,
    pub(super) authorities: Option<Authorities>,
    /// The settings by which they were read, when their directory had files then.
    with_directory: Option<TlsSettings>,
    /// Time since which that directory is gone or empty.
    gone_since: Option<Instant>,
    /// Problem of the configured ones.
    pub(super) problem: Option<String>,
    /// `true` while the system's are used, since the configured ones could never be read.
    stands_in: bool,
    /// One reading at a time: a file system that hangs costs one thread.
    reading: Option<JoinHandle<Option<ReadAuthorities>>>,
}

impl Trust {
    pub(super) fn new(tls: TlsSettings, read: ReadAuthorities) -> Self {
        Self {
            tls,
            authorities: read.authorities,
            with_directory: read.with_directory,
            gone_since: None,
            stands_in: read.problem.is_some(),
            problem: read.problem,
            reading: None,
        }
    }

    /// Reads the files again when they changed, or could not be read before. Authorities in force
    /// stay when others cannot be read: so nobody stops, and no more is trusted than was configured.
    pub(super) fn follow(&mut self) -> Followed {
        let mut followed = Followed::Same;
        if self.reading.as_ref().is_some_and(|r| !r.is_finished()) {
            return followed;
        }
        // It does not block, for it has ended.
        if let Some(Ok(Some(read))) = self.reading.take().map(JoinHandle::join) {
            followed = self.take_in(read);
        }
        let (tls, known) = (self.tls.clone(), self.authorities.clone());
        let is_gone_for_good = |since: Instant| since.elapsed() >= COMES_BACK;
        let in_force = if self.gone_since.is_some_and(is_gone_for_good) {
            None
        } else {
            self.with_directory.clone()
        };
        let (failed, stands_in) = (self.problem.is_some(), self.stands_in);
        let read = move || {
            let is_known = known.as_ref().is_some_and(|known| known.are_those_of(&tls));
            match (&known, failed || !is_known) {
                (_, false) => None,
                (Some(_), true) if !stands_in => Some(read_others(&tls, in_force.as_ref())),
                (_, true) => Some(read_authorities(&tls)),
            }
        };
        let thread = std::thread::Builder::new().name("trust".to_owned());
        // One that cannot be started is started the next time.
        self.reading = thread.spawn(read).ok();
        followed
    }

    /// Takes in what was read.
    fn take_in(&mut self, read: ReadAuthorities) -> Followed {
        let is_other_problem = read.problem != self.problem;
        let since = self.gone_since.unwrap_or_else(Instant::now);
        self.gone_since = read.is_gone.then_some(since);
        let failed = read.problem.is_some();
        self.problem = read.problem;
        if read.authorities.is_some() && (!failed || self.authorities.is_none()) {
            (self.authorities, self.with_directory) = (read.authorities, read.with_directory);
            self.stands_in = failed;
            return Followed::Replaced;
        }
        if is_other_problem {
            return Followed::Problem;
        }
        Followed::Same
    }
}

/// Reads certificate authorities while others are in force, some of them from a directory, perhaps. One that is gone was
/// unmounted, or is just being replaced.
/// `in_force`: the settings by which those were read.
fn read_others(tls: &TlsSettings, in_force: Option<&TlsSettings>) -> ReadAuthorities {
    match ReadAuthorities::of(tls) {
        Err(error) => ReadAuthorities::none(&error.message()),
        Ok(read) => {
            if let Some(problem) = &read.problem {
                return ReadAuthorities::none(problem);
            }
            match &tls.ca_dir {
                Some(gone) if read.with_directory.is_none() && in_force == Some(tls) => {
                    let why = format!("CA directory {} is gone or empty", gone.display());
                    ReadAuthorities {
                        is_gone: true,
                        ..ReadAuthorities::none(&why)
                    }
                }
                _ => read,
            }
        }
    }
}

#[cfg(test)]
mod tests;
