//! A Kerberos login off the event loop, with a deadline.
//!
//! libkrb5 blocks for half a minute when KDCs are silent, and cannot be interrupted. So it runs on
//! threads of its own, bounded for each realm and in total. A thread keeps its place until the library
//! returns; the caller gets its error in time.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{KerberosError, NegotiateToken, Ticket};
use crate::thread;

/// Threads that may wait for the KDCs of one realm.
const PER_REALM: usize = 4;
/// Threads that may wait for any KDC.
const IN_TOTAL: usize = 32;

static PLACES: LazyLock<Places> = LazyLock::new(|| Places::new(PER_REALM, IN_TOTAL));

/// Gets a ticket for `principal` (`name@REALM`) with its key from `keytab`, and from it the Negotiate
/// token of one login at `service@host`. Returns within `deadline`, whatever the KDC does.
///
/// ```no_run
/// # async fn example(client: &htvault::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use htvault::kerberos::login_token;
/// use std::time::Duration;
///
/// let keytab = "/etc/cmsprod.keytab".as_ref();
/// let host = client.settings().kerberos_host();
/// let deadline = Duration::from_secs(20);
/// let token = login_token("cmsprod@EXAMPLE.ORG", keytab, "host", host, deadline).await?;
/// let login = client.login("cms", "production", &token).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// A [`KerberosError`] that names principal and keytab and says what to do;
/// [`KerberosErrorKind::TimedOut`](super::KerberosErrorKind::TimedOut) after `deadline`.
pub async fn login_token(
    principal: &str,
    keytab: &Path,
    service: &str,
    host: &str,
    deadline: Duration,
) -> Result<NegotiateToken, KerberosError> {
    let (name, keytab) = (principal.to_owned(), keytab.to_owned());
    let (service, host) = (service.to_owned(), host.to_owned());
    let work = move || Ticket::from_keytab(&name, &keytab)?.negotiate(&service, &host);
    off_loop(principal, deadline, work).await
}

/// Runs calls of this module that block (as all of [`Ticket`] do) on a thread of their own: four at a time for
/// each realm, 32 in all. Returns within `deadline`, whatever the KDC of `principal` does; the thread counts
/// until the library returns.
///
/// ```no_run
/// # async fn example() -> Result<(), htvault::kerberos::KerberosError> {
/// use htvault::kerberos::{Ticket, off_loop};
/// use std::time::Duration;
///
/// let fetch = || Ticket::from_keytab("cmsprod@EXAMPLE.ORG", "/etc/cmsprod.keytab".as_ref());
/// let ticket = off_loop("cmsprod@EXAMPLE.ORG", Duration::from_secs(20), fetch).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Those of `work`; [`KerberosErrorKind::TimedOut`](super::KerberosErrorKind::TimedOut) after `deadline`.
pub async fn off_loop<T: Send + 'static>(
    principal: &str,
    deadline: Duration,
    work: impl FnOnce() -> Result<T, KerberosError> + Send + 'static,
) -> Result<T, KerberosError> {
    PLACES.run(principal, deadline, work).await
}

/// Places for threads.
struct Places {
    per_realm: usize,
    total: Arc<Semaphore>,
    realms: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// Right to a thread.
type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Places {
    fn new(per_realm: usize, total: usize) -> Self {
        Self {
            per_realm,
            total: Arc::new(Semaphore::new(total)),
            realms: Mutex::default(),
        }
    }

    /// Places of a realm; those of realms that nobody waits for are forgotten.
    fn of(&self, principal: &str) -> Arc<Semaphore> {
        let realm = principal.rsplit_once('@').map_or("", |(_, realm)| realm);
        let mut realms = self.realms.lock().unwrap_or_else(PoisonError::into_inner);
        // Each waiter and each permit holds a reference.
        realms.retain(|_, places| Arc::strong_count(places) > 1);
        let places = realms.entry(realm.to_owned());
        Arc::clone(places.or_insert_with(|| Arc::new(Semaphore::new(self.per_realm))))
    }

    /// Waits for a place. The semaphores are never closed.
    async fn place(&self, principal: &str) -> Option<Place> {
        let of_realm = self.of(principal).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.total).acquire_owned().await.ok()?;
        Some((of_realm, of_all))
    }

    async fn run<T: Send + 'static>(
        &self,
        principal: &str,
        deadline: Duration,
        work: impl FnOnce() -> Result<T, KerberosError> + Send + 'static,
    ) -> Result<T, KerberosError> {
        let all = async {
            let place = self.place(principal).await;
            let result = thread::run("kerberos", place, work).await;
            let busy = |words: &str| Err(KerberosError::busy(principal, words));
            match result {
                Ok(Some(result)) => result,
                Ok(None) => busy("the login was broken off"),
                Err(error) => busy(&format!("this host gives no thread ({error})")),
            }
        };
        let late = || KerberosError::timed_out(principal, deadline.as_secs());
        timeout(deadline, all).await.unwrap_or_else(|_| Err(late()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::kerberos::KerberosErrorKind;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn a_login_that_hangs_ends_in_time_keeps_its_place_and_delays_no_other_realm() {
        let places = Places::new(1, 2);
        let (release, blocked) = mpsc::channel::<()>();
        let begin = tokio::time::Instant::now();
        let hangs = move || {
            let _ = blocked.recv();
            Ok(())
        };
        let error = places.run("a@ONE", DEADLINE, hangs).await.unwrap_err();
        assert_eq!(error.kind(), KerberosErrorKind::TimedOut);
        assert!(error.to_string().contains("within 20 s"), "{error}");
        let error = places.run("b@ONE", DEADLINE, || Ok(())).await.unwrap_err();
        assert_eq!(
            error.kind(),
            KerberosErrorKind::TimedOut,
            "its place is taken"
        );
        assert_eq!(begin.elapsed(), DEADLINE * 2);

        tokio::time::resume();
        places.run("c@TWO", DEADLINE, || Ok(())).await.unwrap();
        drop(release);
        places.run("d@ONE", DEADLINE, || Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_keytab_is_named() {
        let keytab = Path::new("/nowhere/keytab");
        let error = login_token("a@ONE", keytab, "host", "vault.test", DEADLINE).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), KerberosErrorKind::KeytabMissing, "{error}");
    }

    #[tokio::test]
    async fn what_is_no_plain_file_is_no_keytab_and_takes_no_thread() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        for keytab in [&*fifo, folder.path()] {
            let deadline = Duration::from_secs(5);
            let error = login_token("a@FIFO", keytab, "host", "vault.test", deadline).await;
            let error = error.unwrap_err();
            assert_eq!(error.kind(), KerberosErrorKind::KeytabInvalid, "{error}");
        }
    }

    #[test]
    fn the_libraries_are_loaded_when_they_are_installed() {
        // Where they are not, the error says what to install.
        if let Err(error) = crate::kerberos::load() {
            assert_eq!(error.kind(), KerberosErrorKind::LibraryMissing);
            assert!(error.to_string().contains("libgssapi-krb5-2"), "{error}");
        }
    }
}
