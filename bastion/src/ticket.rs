//! Kerberos tickets, one for each principal and keytab, shared by all of its deliveries. In memory.
//!
//! What holds: libkrb5 blocks for half a minute when KDCs are silent and cannot be interrupted, so
//! it runs on threads of its own, a few for each realm; whoever waits gives up in time, the thread
//! keeps its place until it really ends. A keytab that was replaced is used at the next login.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use htvault::clock::Clock;
use htvault::kerberos::{KerberosError, NegotiateToken, Ticket};
use jiff::Timestamp;
use tokio::sync::{Mutex, Semaphore};

use crate::delivery::Identity;
use crate::moment::{after, until};
use crate::problem::Cause;

/// How long a caller waits for a KDC.
const LIMIT: Duration = Duration::from_secs(20);
/// From one look at a keytab that failed to the next.
const LOOK: Duration = Duration::from_secs(2);
/// Threads that may wait for the KDCs of one realm.
const THREADS: usize = 4;

/// A ticket, from which file it came, and between which moments it is begun with.
struct Kept {
    ticket: Arc<Ticket>,
    keytab: Option<FileMark>,
    from: Timestamp,
    until: Timestamp,
}

/// What is known of a principal and its keytab.
#[derive(Default)]
struct Known {
    kept: Option<Kept>,
    /// The file of the last try to get a ticket, `None` when there was none to be seen.
    tried: Option<FileMark>,
}

/// Which file, and which state of it: another one after a keytab was replaced or written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileMark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl FileMark {
    /// `None` when there is no file to be seen; the library says why in better words.
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

type Slot = Arc<Mutex<Known>>;

/// The tickets.
pub(crate) struct Tickets {
    clock: Arc<dyn Clock>,
    slots: Mutex<HashMap<(String, PathBuf), Slot>>,
    realms: Arc<Mutex<HashMap<Cause, Arc<Semaphore>>>>,
}

impl Tickets {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            slots: Mutex::default(),
            realms: Arc::default(),
        }
    }

    /// No tickets yet, and the same bounds on threads: some may still wait for KDCs.
    pub(crate) fn anew(&self) -> Self {
        Self {
            clock: Arc::clone(&self.clock),
            slots: Mutex::default(),
            realms: Arc::clone(&self.realms),
        }
    }

    /// A fresh token for one login at `service@host`.
    pub(crate) async fn negotiate(
        &self,
        identity: &Identity,
        service: &str,
        host: &str,
    ) -> Result<NegotiateToken, KerberosError> {
        let work = self.negotiate_unbounded(identity, service, host);
        tokio::time::timeout(LIMIT, work).await.unwrap_or_else(|_| {
            Err(KerberosError::timed_out(
                &identity.principal,
                LIMIT.as_secs(),
            ))
        })
    }

    async fn negotiate_unbounded(
        &self,
        identity: &Identity,
        service: &str,
        host: &str,
    ) -> Result<NegotiateToken, KerberosError> {
        let ticket = self.ticket(identity).await?;
        let (service, host) = (service.to_owned(), host.to_owned());
        self.off_the_loop(identity, move || ticket.negotiate(&service, &host))
            .await
    }

    /// Forgets a ticket that was refused.
    pub(crate) async fn forget(&self, identity: &Identity) {
        self.slot(identity).await.lock().await.kept = None;
    }

    async fn ticket(&self, identity: &Identity) -> Result<Arc<Ticket>, KerberosError> {
        let slot = self.slot(identity).await;
        // Held while a ticket is fetched: others of the same principal wait for the same one.
        let mut slot = slot.lock().await;
        let now = self.clock.now();
        let keytab = FileMark::of(&identity.keytab);
        // Whoever replaced a keytab means the new key: with the old ticket its faults would show only
        // hours later. A clock that was set back makes no ticket live longer.
        if let Some(kept) = &slot.kept
            && (kept.from..kept.until).contains(&now)
            && kept.keytab == keytab
        {
            return Ok(Arc::clone(&kept.ticket));
        }
        slot.kept = None;
        slot.tried = keytab;
        let (principal, path) = (identity.principal.clone(), identity.keytab.clone());
        let fetch = move || Ticket::from_keytab(&principal, &path);
        let ticket = Arc::new(self.off_the_loop(identity, fetch).await?);
        // The last part of a ticket's life is not used: a login is to end before it does.
        let life = until(now, ticket.ends());
        slot.kept = Some(Kept {
            ticket: Arc::clone(&ticket),
            keytab,
            from: now,
            until: after(now, life / 4 * 3),
        });
        Ok(ticket)
    }

    /// Waits until a keytab is another one than at the last try to get a ticket with it.
    pub(crate) async fn new_keytab(&self, identity: &Identity) {
        let tried = self.slot(identity).await.lock().await.tried;
        loop {
            tokio::time::sleep(LOOK).await;
            let path = identity.keytab.clone();
            // A network file system may hang; that holds up nothing but this.
            let look = tokio::task::spawn_blocking(move || FileMark::of(&path));
            if let Ok(now) = look.await
                && now.is_some()
                && now != tried
            {
                return;
            }
        }
    }

    async fn slot(&self, identity: &Identity) -> Slot {
        let key = (identity.principal.clone(), identity.keytab.clone());
        Arc::clone(self.slots.lock().await.entry(key).or_default())
    }

    async fn off_the_loop<T: Send + 'static>(
        &self,
        identity: &Identity,
        work: impl FnOnce() -> Result<T, KerberosError> + Send + 'static,
    ) -> Result<T, KerberosError> {
        let realm = {
            let mut realms = self.realms.lock().await;
            let realm = realms.entry(Cause::realm(identity));
            Arc::clone(realm.or_insert_with(|| Arc::new(Semaphore::new(THREADS))))
        };
        let failed = || KerberosError::timed_out(&identity.principal, LIMIT.as_secs());
        // The semaphore is never closed.
        let place = realm.acquire_owned().await.map_err(|_| failed())?;
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(place);
            result
        });
        // Cancelled only when the program ends.
        task.await.unwrap_or_else(|_| Err(failed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keytab_that_is_replaced_or_written_anew_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keytab");
        assert_eq!(FileMark::of(&path), None);
        std::fs::write(&path, "old").unwrap();
        let old = FileMark::of(&path).unwrap();
        assert_eq!(FileMark::of(&path), Some(old), "nothing happened");
        let new = folder.path().join("new");
        std::fs::write(&new, "new").unwrap();
        std::fs::rename(&new, &path).unwrap();
        let replaced = FileMark::of(&path).unwrap();
        assert_ne!(replaced, old);
        std::fs::write(&path, "longer").unwrap();
        assert_ne!(FileMark::of(&path), Some(replaced));
    }
}
