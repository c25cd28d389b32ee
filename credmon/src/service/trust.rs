//! Certificate authorities: read at a start, and followed while the daemon runs.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use htvault::{Authorities, TlsSettings};

use super::apart::in_time;

/// Certificate authorities as they were read.
#[derive(Debug, Default)]
pub(super) struct ReadAuthorities {
    /// `None` when they cannot be read.
    pub(super) authorities: Option<Authorities>,
    /// The configured directory, when it has files.
    directory: Option<PathBuf>,
    pub(super) problem: Option<String>,
}

impl ReadAuthorities {
    /// Reads them.
    fn of(tls: &TlsSettings) -> Result<Self, htvault::Error> {
        // Before: one that is gone meanwhile is missed the next time.
        let directory = tls.ca_dir.clone().filter(|directory| has_files(directory));
        Ok(Self {
            authorities: Some(Authorities::read(tls)?),
            directory,
            problem: None,
        })
    }

    /// The system's, since the configured ones cannot be read.
    fn stand_in(authorities: Option<Authorities>, why: &str) -> Self {
        Self {
            authorities,
            directory: None,
            problem: Some(format!(
                "{why}; the system's certificate authorities are used"
            )),
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

/// Reads certificate authorities at a start; the system's alone when the configured ones cannot be
/// read, and what is wrong then.
pub(super) fn read_authorities(tls: &TlsSettings) -> ReadAuthorities {
    ReadAuthorities::of(tls)
        .unwrap_or_else(|error| ReadAuthorities::stand_in(of_system(), &error.message()))
}

/// Does the same at a start, with a deadline: the system's are used while the file system of the configured ones hangs.
pub(super) async fn read_at_start(tls: &TlsSettings) -> ReadAuthorities {
    let tls = tls.clone();
    if let Some(read) = in_time("trust", move || read_authorities(&tls)).await {
        return read;
    }
    let usual = in_time("trust", of_system).await.flatten();
    let why = "the file system of the certificate authorities does not answer";
    ReadAuthorities::stand_in(usual, why)
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
    /// The directory that had files when they were read.
    directory: Option<PathBuf>,
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
            directory: read.directory,
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
        let directory = self.directory.clone();
        let (failed, stands_in) = (self.problem.is_some(), self.stands_in);
        let read = move || {
            let is_known = known.as_ref().is_some_and(|known| known.are_those_of(&tls));
            match (&known, failed || !is_known) {
                (_, false) => None,
                (Some(_), true) if !stands_in => Some(read_others(&tls, directory.as_deref())),
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
        let failed = read.problem.is_some();
        self.problem = read.problem;
        if read.authorities.is_some() && (!failed || self.authorities.is_none()) {
            (self.authorities, self.directory) = (read.authorities, read.directory);
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
fn read_others(tls: &TlsSettings, in_force: Option<&Path>) -> ReadAuthorities {
    match ReadAuthorities::of(tls) {
        Err(error) => ReadAuthorities::none(&error.message()),
        Ok(read) => match in_force.filter(|_| read.directory.is_none()) {
            Some(directory) if tls.ca_dir.as_deref() == Some(directory) => ReadAuthorities::none(
                &format!("CA directory {} is gone or empty", directory.display()),
            ),
            _ => read,
        },
    }
}

#[cfg(test)]
mod tests;
