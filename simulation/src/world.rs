//! The state of everything outside, shared by all that act in it.
//!
//! Always true: the true time is tokio's; each host has a clock of its own, which may be wrong.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use htvault::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::Site;
use crate::schedd::Schedd;
use crate::vault::Server;

/// First second of the simulated year: 2027-01-01.
const FIRST: i64 = 1_798_761_600;

/// Who asks Vault: the bastion, or the credmon of a schedd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Client {
    Bastion,
    Schedd(usize),
}

/// The clock of a host. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct HostClock {
    begin: Instant,
    /// Seconds by which it is wrong.
    wrong_by: Arc<AtomicI64>,
}

impl HostClock {
    fn new(begin: Instant) -> Self {
        Self {
            begin,
            wrong_by: Arc::default(),
        }
    }

    pub(crate) fn set(&self, wrong_by: i64) {
        self.wrong_by.store(wrong_by, Ordering::Relaxed);
    }
}

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        let wrong_by = SignedDuration::from_secs(self.wrong_by.load(Ordering::Relaxed));
        wall(self.begin.elapsed()) + wrong_by
    }
}

/// The true wall-clock time at a time after the start.
fn wall(elapsed: Duration) -> Timestamp {
    Timestamp::from_second(FIRST).unwrap_or_default() + elapsed
}

/// Everything outside. Cheap to clone.
#[derive(Clone)]
pub(crate) struct World(Arc<Shared>);

struct Shared {
    begin: Instant,
    site: Site,
    server: Mutex<Server>,
    bastion_clock: HostClock,
    schedds: Vec<Schedd>,
}

impl World {
    /// All is well, and nothing is stored anywhere.
    pub(crate) fn new(site: Site) -> Self {
        let begin = Instant::now();
        let schedds = (0..site.schedds).map(|schedd| Schedd::new(schedd, HostClock::new(begin)));
        Self(Arc::new(Shared {
            begin,
            site,
            server: Mutex::new(Server::new()),
            bastion_clock: HostClock::new(begin),
            schedds: schedds.collect(),
        }))
    }

    pub(crate) fn site(&self) -> Site {
        self.0.site
    }

    /// Seconds since the start.
    pub(crate) fn second(&self) -> u64 {
        self.0.begin.elapsed().as_secs()
    }

    /// The time that lies so many seconds after the start.
    pub(crate) fn instant(&self, second: u64) -> Instant {
        self.0.begin + Duration::from_secs(second)
    }

    /// The true time.
    pub(crate) fn now(&self) -> Timestamp {
        wall(self.0.begin.elapsed())
    }

    pub(crate) fn server(&self) -> MutexGuard<'_, Server> {
        self.0.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn schedds(&self) -> &[Schedd] {
        &self.0.schedds
    }

    pub(crate) fn bastion_clock(&self) -> &HostClock {
        &self.0.bastion_clock
    }
}
