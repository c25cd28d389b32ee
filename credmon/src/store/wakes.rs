//! Requests to the scanner, and those that wait: the same one many times is one.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use crate::model::{CredentialId, Observed, lock};

/// Request to the scanner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    ScanAll,
    /// One account's folder.
    Scan(Arc<str>),
    /// The same; another folder may have come in its place, and with a folder goes its watch.
    Folder(Arc<str>),
    /// Another credential directory.
    Use(Option<PathBuf>),
    /// A pass is complete: touch `CREDMON_COMPLETE`.
    Complete,
    Stop,
}

/// Sends requests to the scanner.
#[derive(Debug)]
pub(crate) struct Waker {
    requests: Sender<Wake>,
    bell: Arc<EventFd>,
}

/// Requests that the scanner has not taken yet.
#[derive(Debug)]
pub(crate) struct Wakes {
    requests: Receiver<Wake>,
    bell: Arc<EventFd>,
}

/// Makes both ends.
///
/// # Errors
/// No file descriptor is free.
pub(crate) fn wakes() -> nix::Result<(Waker, Wakes)> {
    let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let bell = Arc::new(bell);
    let (sender, requests) = channel();
    let waker = Waker {
        requests: sender,
        bell: bell.clone(),
    };
    Ok((waker, Wakes { requests, bell }))
}

impl Waker {
    pub(crate) fn send(&self, wake: Wake) {
        // The scanner ends only when it is stopped, and a bell that cannot ring louder rings already.
        let _ = self.requests.send(wake);
        let _ = self.bell.write(1);
    }
}

impl Wakes {
    /// Waits for a request, or for what can be read there; at most so long. `false` when there was nothing.
    pub(super) fn wait(&self, other: Option<BorrowedFd<'_>>, at_most: Duration) -> bool {
        let bell = [self.bell.as_fd()].into_iter().chain(other);
        let mut all: Vec<_> = bell.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // It cannot fail; if it did, the scanner would take the requests that there are, after a pause.
        ppoll(&mut all, Some(TimeSpec::from_duration(at_most)), None) != Ok(0)
    }

    /// Takes the requests that are there.
    pub(crate) fn take(&self) -> impl Iterator<Item = Wake> {
        // Before they are taken: one that comes meanwhile rings again. Nobody may have rung.
        let _ = self.bell.read();
        self.requests.try_iter()
    }
}

/// Credentials for which this daemon has installed a token. The scanner is not woken for them: it takes
/// them in before it scans. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Installed(Arc<Mutex<Latest>>);

/// The latest of each credential.
type Latest = BTreeMap<CredentialId, Observed>;

impl Installed {
    pub(crate) fn add(&self, observed: Observed) {
        lock(&self.0).insert(observed.top.id.clone(), observed);
    }

    pub(super) fn take(&self) -> Vec<Observed> {
        std::mem::take(&mut *lock(&self.0)).into_values().collect()
    }
}

/// Requests to the scanner that wait.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) all: bool,
    /// Time before which there is no full scan but that of each minute, since full scans take long.
    pub(super) all_rests: Option<Instant>,
    /// Accounts whose folders changed; `true`: another folder may be there.
    pub(super) accounts: BTreeMap<Arc<str>, bool>,
    /// Accounts that are not scanned again before that time, since their scans take long.
    pub(super) resting: BTreeMap<Arc<str>, Instant>,
    /// The latest [`Wake::Use`].
    pub(super) directory: Option<Wake>,
    pub(super) complete: bool,
    pub(super) stop: bool,
}

impl Pending {
    pub(super) fn add(&mut self, wake: Wake) {
        match wake {
            Wake::ScanAll => self.all = true,
            Wake::Scan(user) => _ = self.accounts.entry(user).or_default(),
            Wake::Folder(user) => _ = self.accounts.insert(user, true),
            Wake::Use(_) => self.directory = Some(wake),
            Wake::Complete => self.complete = true,
            Wake::Stop => self.stop = true,
        }
    }

    /// Accounts that may be scanned now.
    pub(super) fn take_accounts(&mut self, now: Instant) -> BTreeMap<Arc<str>, bool> {
        self.resting.retain(|_, until| *until > now);
        let accounts = std::mem::take(&mut self.accounts);
        let (resting, ready) = accounts
            .into_iter()
            .partition(|(user, _)| self.resting.contains_key(user));
        self.accounts = resting;
        ready
    }

    /// Time of the next full scan. `next_full`: that of each minute.
    pub(super) fn next_all(&self, next_full: Instant) -> Instant {
        if !self.all {
            return next_full;
        }
        let asked = self.all_rests.unwrap_or_else(Instant::now);
        asked.min(next_full)
    }

    /// Time at which there is something to do.
    pub(super) fn next(&self, next_full: Instant) -> Instant {
        let now = Instant::now();
        if self.complete || self.stop || self.directory.is_some() {
            return now;
        }
        let ready = |user| self.resting.get(user).copied().unwrap_or(now);
        let accounts = self.accounts.keys().map(ready);
        accounts.fold(self.next_all(next_full), Instant::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FileId, InUse, ObservedTop, TopProblem, TopStamp};

    #[test]
    fn of_each_credential_the_latest_token_is_remembered() {
        let installed = Installed::default();
        for n in 0..1000 {
            for service in ["cms", "dune"] {
                let top = ObservedTop {
                    id: CredentialId::new(&"u".into(), service).unwrap(),
                    stamp: TopStamp {
                        own: FileId::default(),
                        parent: None,
                    },
                    route: Err(TopProblem::Unusable("".into())),
                };
                let file = FileId {
                    inode: n,
                    ..FileId::default()
                };
                installed.add(Observed {
                    top: Arc::new(top),
                    in_use: Some(InUse::Other(Box::new(file))),
                });
            }
        }
        let taken = installed.take();
        let files = taken
            .iter()
            .map(|o| o.in_use.as_ref().unwrap().file().inode);
        assert_eq!(files.collect::<Vec<_>>(), [999, 999]);
        assert!(installed.take().is_empty());
    }
}
