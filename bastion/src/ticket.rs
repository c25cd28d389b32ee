//! Kerberos tickets, one for each principal and keytab, shared by all of its deliveries. In memory.
//!
//! What holds: libkrb5 blocks for half a minute when KDCs are silent and cannot be interrupted, so
//! it runs on threads of its own, a few for each realm; whoever waits gives up in time, the thread
//! keeps its place until it really ends.

use std::collections::HashMap;
use std::path::PathBuf;
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
/// Threads that may wait for the KDCs of one realm.
const THREADS: usize = 4;

/// A ticket and when it is too old to begin anything with.
struct Kept {
    ticket: Arc<Ticket>,
    until: Timestamp,
}

type Slot = Arc<Mutex<Option<Kept>>>;

/// The tickets.
pub(crate) struct Tickets {
    clock: Arc<dyn Clock>,
    slots: Mutex<HashMap<(String, PathBuf), Slot>>,
    realms: Mutex<HashMap<Cause, Arc<Semaphore>>>,
}

impl Tickets {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            slots: Mutex::default(),
            realms: Mutex::default(),
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
        *self.slot(identity).await.lock().await = None;
    }

    async fn ticket(&self, identity: &Identity) -> Result<Arc<Ticket>, KerberosError> {
        let slot = self.slot(identity).await;
        // Held while a ticket is fetched: others of the same principal wait for the same one.
        let mut slot = slot.lock().await;
        let now = self.clock.now();
        if let Some(kept) = slot.as_ref()
            && now < kept.until
        {
            return Ok(Arc::clone(&kept.ticket));
        }
        *slot = None;
        let (principal, keytab) = (identity.principal.clone(), identity.keytab.clone());
        let fetch = move || Ticket::from_keytab(&principal, &keytab);
        let ticket = Arc::new(self.off_the_loop(identity, fetch).await?);
        // The last part of a ticket's life is not used: a login is to end before it does.
        let life = until(now, ticket.ends());
        *slot = Some(Kept {
            ticket: Arc::clone(&ticket),
            until: after(now, life / 4 * 3),
        });
        Ok(ticket)
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
