//! Look-up of host names, by the system or by a resolver of the caller's.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::thread;

/// Threads of this process that may wait for the system's resolver at a time.
const THREADS: usize = 16;
/// Deadline for such a thread to become free.
const THREAD_WAIT: Duration = Duration::from_secs(5);

/// Pending answer of a [`Resolve`].
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// A resolver of host names.
///
/// A [`Client`](crate::Client) sets its own deadline
/// ([`Settings::resolve_timeout`](crate::Settings)), and drops the future when it is over. A failure
/// that [is of this host](crate::is_of_this_host) is charged to it, any other to the name.
///
/// ```
/// use std::net::SocketAddr;
///
/// #[derive(Debug)]
/// struct Fixed(SocketAddr);
///
/// impl htvault::Resolve for Fixed {
///     fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> htvault::Resolving<'a> {
///         Box::pin(async { Ok(vec![self.0]) })
///     }
/// }
/// ```
pub trait Resolve: Send + Sync + fmt::Debug {
    /// Looks up the addresses of a host.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a>;
}

/// The operating system's resolver (`getaddrinfo`), on a bounded number of threads of its own.
///
/// `getaddrinfo` cannot be interrupted: a thread keeps its place until the call returns. All
/// instances share the same threads.
#[derive(Clone, Debug, Default)]
pub struct SystemResolver(());

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        static PLACES: OnceLock<Arc<Semaphore>> = OnceLock::new();
        let places = PLACES.get_or_init(|| Arc::new(Semaphore::new(THREADS)));
        let host = host.to_owned();
        Box::pin(on_a_thread(places, move || {
            (host.as_str(), port)
                .to_socket_addrs()
                .map(Iterator::collect)
        }))
    }
}

async fn on_a_thread<T: Send + 'static>(
    places: &Arc<Semaphore>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let busy = || {
        let text = "all threads for look-ups of names are waiting for the system's resolver";
        io::Error::new(io::ErrorKind::ResourceBusy, text)
    };
    let place = timeout(THREAD_WAIT, Arc::clone(places).acquire_owned()).await;
    let place = place.map_err(|_| busy())?.map_err(|_| busy())?;
    let found = thread::run("htvault-dns", place, work).await?;
    found.unwrap_or_else(|| Err(io::Error::other("the look-up was broken off")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_hangs_keeps_its_place_and_the_caller_does_not_wait_for_it() {
        let places = Arc::new(Semaphore::new(1));
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let first = on_a_thread(&places, move || {
            let _ = blocked.recv();
            Ok(())
        });
        assert!(timeout(THREAD_WAIT, first).await.is_err());
        let error = on_a_thread(&places, || Ok(())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        drop(release);
        let free = places.acquire().await.unwrap();
        drop(free);
        on_a_thread(&places, || Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn the_system_knows_numbers() {
        let found = SystemResolver::default().resolve("127.0.0.1", 8200).await;
        assert_eq!(found.unwrap(), [([127, 0, 0, 1], 8200).into()]);
    }
}
