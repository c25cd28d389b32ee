//! Kerberos tickets, one for each principal and keytab, shared by all of its deliveries. In memory.
//!
//! libkrb5 blocks for half a minute when KDCs do not answer, and cannot be interrupted. So it runs on separate threads,
//! a few for each realm ([`off_loop`]).
//!
//! Always true: each call of libkrb5 or of a file system has a deadline of its own, so that a realm answers for no file
//! system; its thread occupies a slot until it ends. A replaced keytab is used at the next login. One failed attempt answers
//! all callers of a principal that came before or right after it, since a KDC counts wrong keys and locks the principal. The
//! library opens a keytab only after it was read here as a plain file, so that no thread of a realm waits for a file system.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use htvault::clock::Clock;
use htvault::kerberos::{KerberosError, NegotiateToken, Ticket, off_loop};
use jiff::Timestamp;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

use crate::model::delivery::Identity;
use crate::model::moment::{after, until};
use crate::model::problem::{Cause, Kind, Problem};
use crate::system::files::keytab::LIMIT as KEYTAB_LIMIT;
use crate::system::files::{self, FileStamp, KEYTABS, Notices, Pool, ReadError};
use crate::system::keyed::Keyed;

/// Deadline of one call of libkrb5, longer than its retries. Calls of file systems have their own.
const DEADLINE: Duration = Duration::from_secs(20);
/// Pause between a notice that a keytab may have changed and its check.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause between two checks of a keytab that failed, where the kernel gives no notice.
const RECHECK: Duration = Duration::from_mins(1);

/// Time after a failed attempt in which it answers other callers with the same keytab.
const SHARED: Duration = Duration::from_secs(2);

/// Cached ticket, its keytab, and the time in which it is used for new logins.
struct Cached {
    ticket: Arc<Ticket>,
    keytab: Option<FileStamp>,
    from: Timestamp,
    until: Timestamp,
}

#[derive(Default)]
struct State {
    cached: Option<Cached>,
    /// The last stamp of the keytab that was read, and the time before that.
    stamped: Option<(Instant, Option<FileStamp>)>,
    /// Keytab of the last attempt to get a ticket; `None` when there was none.
    tried: Option<FileStamp>,
    /// Failure of that attempt, and its time.
    failed: Option<(Instant, LoginError)>,
}

#[derive(Clone, Debug)]
pub(crate) enum LoginError {
    Kerberos(KerberosError),
    /// The keytab is not a plain file, or its file system does not answer; with advice.
    Keytab(String),
}

impl LoginError {
    /// Converts it to a problem of an account, or of a realm.
    pub(crate) fn into_problem(self, identity: &Identity) -> Problem {
        match self {
            Self::Kerberos(error) => Problem::from_kerberos(identity, &error),
            Self::Keytab(why) => Problem::new(
                Cause::Account(identity.account.clone()),
                Kind::Keytab,
                format!(
                    "no Kerberos login of {}: keytab {}: {why}",
                    identity.principal,
                    identity.keytab.display()
                ),
            ),
        }
    }
}

impl From<KerberosError> for LoginError {
    fn from(error: KerberosError) -> Self {
        Self::Kerberos(error)
    }
}

/// Cached tickets, and threads that wait for KDCs.
pub(crate) struct Tickets {
    clock: Arc<dyn Clock>,
    /// By principal and keytab. Locked while a ticket is fetched: callers of one principal wait for one.
    states: Keyed<(String, PathBuf), State>,
    files: &'static Pool,
    notices: Notices,
}

impl Tickets {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            files: &KEYTABS,
            states: Keyed::default(),
            notices: Notices::new("keytabs"),
        }
    }

    /// Makes a Kerberos token for one login at `service@host`.
    pub(crate) async fn negotiate(
        &self,
        identity: &Identity,
        service: &str,
        host: &str,
    ) -> Result<NegotiateToken, LoginError> {
        let ticket = self.ticket(identity).await?;
        let (service, host) = (service.to_owned(), host.to_owned());
        let negotiate = move || ticket.negotiate(&service, &host);
        Ok(off_loop(&identity.principal, DEADLINE, negotiate).await?)
    }

    pub(crate) async fn forget(&self, identity: &Identity) {
        self.state(identity).await.cached = None;
    }

    async fn ticket(&self, identity: &Identity) -> Result<Arc<Ticket>, LoginError> {
        let called = Instant::now();
        let mut state = self.state(identity).await;
        let now = self.clock.now();
        let keytab = match state.stamped {
            // It was read while this call waited for others. On a slow file system each would take its time.
            Some((since, stamp)) if called <= since => stamp,
            _ => {
                let since = Instant::now();
                let stamp = self.stamp(&identity.keytab).await;
                let stamp = stamp.inspect_err(|_| state.tried = None)?;
                state.stamped = Some((since, stamp));
                stamp
            }
        };
        // A new keytab is used at once: with the old ticket its faults would be found only hours later. A clock that
        // was set back extends no ticket.
        if let Some(cached) = &state.cached
            && (cached.from..cached.until).contains(&now)
            && cached.keytab == keytab
        {
            return Ok(Arc::clone(&cached.ticket));
        }
        if let Some((at, error)) = &state.failed
            && called <= *at + SHARED
            && state.tried == keytab
        {
            return Err(error.clone());
        }
        (state.cached, state.tried, state.failed) = (None, keytab, None);
        let ticket = match self.fetch(identity).await {
            Ok(ticket) => Arc::new(ticket),
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                return Err(error);
            }
        };
        // The last quarter of a ticket's lifetime is not used: a login must end before the ticket expires.
        let life = until(now, ticket.ends());
        state.cached = Some(Cached {
            ticket: Arc::clone(&ticket),
            keytab,
            from: now,
            until: after(now, life / 4 * 3),
        });
        Ok(ticket)
    }

    async fn fetch(&self, identity: &Identity) -> Result<Ticket, LoginError> {
        self.check_keytab(&identity.keytab).await?;
        let (principal, path) = (identity.principal.clone(), identity.keytab.clone());
        let fetch = move || Ticket::from_keytab(&principal, &path);
        Ok(off_loop(&identity.principal, DEADLINE, fetch).await?)
    }

    /// Stamp of a keytab; `None` when there is none.
    async fn stamp(&self, keytab: &Path) -> Result<Option<FileStamp>, LoginError> {
        let path = keytab.to_owned();
        let stamp = self.files.run(keytab, move || FileStamp::of(&path)).await;
        stamp.map_err(|failure| LoginError::Keytab(failure.to_string()))
    }

    /// Checks that a keytab is a plain file on a file system that answers. The library finds other faults, with better
    /// messages.
    async fn check_keytab(&self, keytab: &Path) -> Result<(), LoginError> {
        let path = keytab.to_owned();
        let read = move || files::read(&path, KEYTAB_LIMIT).map(drop);
        match self.files.run(keytab, read).await {
            Ok(Ok(()) | Err(ReadError::System(_))) => Ok(()),
            Ok(Err(error)) => Err(LoginError::Keytab(format!("{error}; {}", error.advice()))),
            Err(failure) => Err(LoginError::Keytab(failure.to_string())),
        }
    }

    /// Waits until a keytab has changed since the last attempt to get a ticket with it.
    pub(crate) async fn new_keytab(&self, identity: &Identity) {
        let tried = self.state(identity).await.tried;
        let mut wakes = self.notices.subscribe();
        if let Some(directory) = identity.keytab.parent() {
            let (directory, notices) = (directory.to_owned(), self.notices.clone());
            let watch = move || notices.watch(&directory);
            // Without a watch the keytab is still checked from time to time.
            let _ = self.files.run(&identity.keytab, watch).await;
        }
        loop {
            tokio::time::sleep(PAUSE).await;
            wakes.mark_unchanged();
            if let Ok(now) = self.stamp(&identity.keytab).await
                && now.is_some()
                && now != tried
            {
                return;
            }
            let _ = timeout(RECHECK, wakes.changed()).await;
        }
    }

    async fn state(&self, identity: &Identity) -> OwnedMutexGuard<State> {
        let key = (identity.principal.clone(), identity.keytab.clone());
        self.states.lock(key).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use htvault::clock::SystemClock;

    use super::*;

    fn identity(account: &str, keytab: &Path) -> Identity {
        Identity {
            account: account.to_owned(),
            principal: format!("{account}@TEST"),
            keytab: keytab.to_owned(),
        }
    }

    async fn login(tickets: &Tickets, identity: &Identity) -> Problem {
        let error = tickets.negotiate(identity, "host", "vault.test").await;
        error.unwrap_err().into_problem(identity)
    }

    #[tokio::test]
    async fn a_keytab_that_is_no_file_fails_its_own_account_before_the_library_blocks_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let tickets = Tickets::new(Arc::new(SystemClock));
        let problem = login(&tickets, &identity("a", &fifo)).await;
        assert_eq!(problem.kind, Kind::Keytab);
        assert_eq!(
            problem.to_string(),
            format!(
                "account a: no Kerberos login of a@TEST: keytab {}: it is a FIFO, and only plain files \
                 are read; put a plain file there or correct the path",
                fifo.display()
            )
        );
    }

    #[tokio::test]
    async fn a_keytab_that_this_host_cannot_read_for_now_is_waited_for() {
        let tickets = Tickets::new(Arc::new(SystemClock));
        // No page is mapped at its begin: EIO.
        let problem = login(&tickets, &identity("a", Path::new("/proc/self/mem"))).await;
        assert_eq!(problem.kind, Kind::KdcDown, "{problem}");
        assert_eq!(problem.cause, Cause::Account("a".to_owned()));
        assert!(problem.message.contains("this host"), "{problem}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_keytab_on_a_file_system_that_hangs_fails_its_own_account_alone() {
        let pool: &'static Pool = Box::leak(Box::new(Pool::new(4, 1)));
        let mut tickets = Tickets::new(Arc::new(SystemClock));
        tickets.files = pool;
        let silent = identity("a", Path::new("/nowhere/silent"));
        let (release, blocked) = mpsc::channel::<()>();
        // The system call of somebody else hangs.
        let path = silent.keytab.clone();
        tokio::spawn(async move { pool.run(&path, move || blocked.recv().is_err()).await });
        tokio::task::yield_now().await;
        let hangs = async {
            let problem = login(&tickets, &silent).await;
            assert_eq!(problem.cause, Cause::Account("a".to_owned()));
            assert_eq!(problem.kind, Kind::Keytab);
            let words = "the file system of /nowhere/silent does not answer within 10 s";
            assert!(problem.message.contains(words), "{problem}");
        };
        let others = async {
            // The realm is the same, and the slot of another principal.
            let missing = identity("b", Path::new("/nowhere/missing"));
            let problem = login(&tickets, &missing).await;
            assert!(problem.message.contains("No such file"), "{problem}");
            tokio::time::advance(files::DEADLINE).await;
        };
        tokio::join!(hangs, others);
        drop(release);
    }

    #[tokio::test(start_paused = true)]
    async fn a_keytab_on_a_slow_file_system_is_not_taken_for_a_kdc_that_does_not_answer() {
        let pool: &'static Pool = Box::leak(Box::new(Pool::new(1, 1)));
        let mut tickets = Tickets::new(Arc::new(SystemClock));
        tickets.files = pool;
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let identity = identity("a", &fifo);
        // Each call of the system has to wait for others.
        let slow = async |path: &str| {
            for _ in 0..10 {
                let (started, running) = mpsc::channel();
                let (release, blocked) = mpsc::channel::<()>();
                let other = pool.run(Path::new(path), move || {
                    started.send(()).unwrap();
                    blocked.recv().is_err()
                });
                let pass = async {
                    while running.try_recv().is_err() {
                        tokio::task::yield_now().await;
                    }
                    tokio::time::advance(Duration::from_secs(9)).await;
                    drop(release);
                };
                let _ = tokio::join!(other, pass);
            }
        };
        let logins = futures_util::future::join_all((0..16).map(|_| login(&tickets, &identity)));
        let (problems, ..) = tokio::join!(logins, slow("/b"), slow("/c"), slow("/d"));
        for problem in problems {
            assert!(problem.message.contains("it is a FIFO"), "{problem}");
        }
    }

    #[tokio::test]
    async fn a_new_keytab_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keytab");
        let tickets = Tickets::new(Arc::new(SystemClock));
        let identity = identity("a", &path);
        let replace = async {
            tokio::task::yield_now().await;
            std::fs::write(&path, "new").unwrap();
        };
        let both = async { tokio::join!(tickets.new_keytab(&identity), replace) };
        timeout(RECHECK / 2, both).await.unwrap();
    }
}
