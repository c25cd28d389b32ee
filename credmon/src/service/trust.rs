//! Certificate authorities: read at a start, and followed while the daemon runs.

use std::thread::JoinHandle;

use htvault::{Authorities, TlsSettings};

use super::apart::in_time;

/// Certificate authorities, if any can be read, and what is wrong with the configured ones.
type ReadAuthorities = (Option<Authorities>, Option<String>);

/// Reads certificate authorities at a start; the system's alone when the configured ones cannot be
/// read, and what is wrong then.
pub(super) fn read_authorities(tls: &TlsSettings) -> ReadAuthorities {
    match Authorities::read(tls) {
        Ok(authorities) => (Some(authorities), None),
        Err(error) => (of_system(), Some(stand_in(&error.message()))),
    }
}

/// Does the same at a start, with a deadline: the system's are used while the file system of the configured ones hangs.
pub(super) async fn read_at_start(tls: &TlsSettings) -> ReadAuthorities {
    let tls = tls.clone();
    if let Some(read) = in_time("trust", move || read_authorities(&tls)).await {
        return read;
    }
    let usual = in_time("trust", of_system).await.flatten();
    let why = "the file system of the certificate authorities does not answer";
    (usual, Some(stand_in(why)))
}

fn of_system() -> Option<Authorities> {
    Authorities::read(&TlsSettings::default()).ok()
}

fn stand_in(why: &str) -> String {
    format!("{why}; the system's certificate authorities are used")
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
    /// Problem of the configured ones.
    pub(super) problem: Option<String>,
    /// `true` while the system's are used, since the configured ones could never be read.
    stands_in: bool,
    /// One reading at a time: a file system that hangs costs one thread.
    reading: Option<JoinHandle<Option<ReadAuthorities>>>,
}

impl Trust {
    pub(super) fn new(
        tls: TlsSettings,
        authorities: Option<Authorities>,
        problem: Option<String>,
    ) -> Self {
        Self {
            tls,
            authorities,
            stands_in: problem.is_some(),
            problem,
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
        let (failed, stands_in) = (self.problem.is_some(), self.stands_in);
        let read = move || {
            let is_known = known.as_ref().is_some_and(|known| known.are_those_of(&tls));
            match (&known, failed || !is_known) {
                (_, false) => None,
                (Some(_), true) if !stands_in => Some(read_others(&tls)),
                (_, true) => Some(read_authorities(&tls)),
            }
        };
        let thread = std::thread::Builder::new().name("trust".to_owned());
        // One that cannot be started is started the next time.
        self.reading = thread.spawn(read).ok();
        followed
    }

    /// Takes in what was read.
    fn take_in(&mut self, (authorities, problem): ReadAuthorities) -> Followed {
        let is_other_problem = problem != self.problem;
        let failed = problem.is_some();
        self.problem = problem;
        if authorities.is_some() && (!failed || self.authorities.is_none()) {
            (self.authorities, self.stands_in) = (authorities, failed);
            return Followed::Replaced;
        }
        if is_other_problem {
            return Followed::Problem;
        }
        Followed::Same
    }
}

/// Reads certificate authorities while others are in force; what is wrong when they cannot be read.
fn read_others(tls: &TlsSettings) -> ReadAuthorities {
    match Authorities::read(tls) {
        Ok(authorities) => (Some(authorities), None),
        Err(error) => (
            None,
            Some(format!("{}; those in force stay", error.message())),
        ),
    }
}

#[cfg(test)]
mod tests;
