//! The HTTP server, the same for the control socket and for `listen.address`.
//!
//! Always true: a connection serves one request. No more connections are open than there are slots; further ones wait in
//! the kernel, where they take no descriptor of this process. A client that is slow, silent or hostile has its slot for
//! [`CONNECTION`] at most, not counting the time in which an order is executed. No more than [`ANSWERS`] large answers
//! are in memory. No connection is left when the server is dropped.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};

/// Deadline for the header of a request.
const HEADER: Duration = Duration::from_secs(5);
/// Largest header of a request, in bytes.
const HEADER_SIZE: usize = 16 * 1024;
/// Deadline for a connection as a whole: request and answer.
const CONNECTION: Duration = Duration::from_secs(30);
/// Most large answers in memory at a time; further requests wait.
const ANSWERS: usize = 8;
/// Pause after an accept that failed, most likely for lack of descriptors.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause until it is tried again to bind: whatever was in the way may have ended.
const BIND_AGAIN: Duration = Duration::from_secs(30);
/// Divisor for the share of all descriptors that the connections of one server may use: an eighth. With two servers
/// three quarters remain for logins, requests to Vault, schedds and files.
const SHARE: u64 = 8;

/// Number of connections that a server may have open: `most`, or fewer where descriptors are few.
#[must_use]
pub(crate) fn slots(most: usize, descriptors: u64) -> usize {
    let share = usize::try_from(descriptors / SHARE).unwrap_or(usize::MAX);
    share.clamp(1, most)
}

/// A source of connections.
pub(crate) trait Listen: Send {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Identity of the peer, which handlers get as an [`Extension`].
    type Peer: Clone + Send + Sync + 'static;

    /// Waits for the next connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
}

impl Listen for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }
}

/// Serves until the result is dropped, from the first `bind` that succeeds on. Returns after the first attempt; deliveries
/// need no server, so a failure is only logged.
pub(crate) async fn spawn<L: Listen + 'static, F>(
    name: &'static str,
    bind: impl Fn() -> F + Send + 'static,
    router: Router,
    slots: usize,
) -> AbortOnDropHandle<()>
where
    F: Future<Output = anyhow::Result<L>> + Send,
{
    let first = bind().await.inspect_err(|error| {
        let seconds = BIND_AGAIN.as_secs();
        error!("{name} is not served: {error:#}; it is tried again every {seconds} s");
    });
    AbortOnDropHandle::new(tokio::spawn(async move {
        let listener = match first {
            Ok(listener) => listener,
            Err(_) => loop {
                sleep(BIND_AGAIN).await;
                if let Ok(listener) = bind().await {
                    info!("{name} is served now");
                    break listener;
                }
            },
        };
        serve(name, listener, router, slots).await;
    }))
}

/// Serves a router, with at most `slots` connections at a time, until it is dropped. `name` is for the log.
pub(crate) async fn serve(name: &str, mut listener: impl Listen, router: Router, slots: usize) {
    let rooms = Arc::new(Semaphore::new(ANSWERS));
    let mut connections = JoinSet::new();
    let mut failing = false;
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= slots {
            connections.join_next().await;
        }
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if !failing {
                    warn!("{name} cannot accept connections: {error}");
                }
                failing = true;
                sleep(PAUSE).await;
                continue;
            }
        };
        if failing {
            info!("{name} accepts connections again");
        }
        failing = false;
        let router = router.clone().layer(Extension(peer));
        connections.spawn(serve_connection(stream, router, Arc::clone(&rooms)));
    }
}

/// Serves one connection; a large answer takes one of `rooms`.
pub(super) async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    router: Router,
    rooms: Arc<Semaphore>,
) {
    let (suspend, suspended) = watch::channel(false);
    let connection = Connection {
        suspend,
        rooms,
        room: Arc::default(),
    };
    let service = TowerToHyperService::new(router.layer(Extension(connection)));
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_buf_size(HEADER_SIZE)
        // An idle connection would take a slot from others.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = conversation => if let Err(error) = ended {
            debug!(%error, "an HTTP connection ended early");
        },
        () = overdue(suspended) => debug!("an HTTP connection took too long"),
    }
}

/// A connection, for the handler of its request.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    suspend: watch::Sender<bool>,
    rooms: Arc<Semaphore>,
    room: Arc<OnceLock<OwnedSemaphorePermit>>,
}

impl Connection {
    /// Waits for a slot for a large answer, which is released when the connection ends.
    pub(super) async fn take_room(&self) {
        // The semaphore is never closed.
        if let Ok(room) = Arc::clone(&self.rooms).acquire_owned().await {
            // A connection serves one request, which needs one slot.
            let _ = self.room.set(room);
        }
    }

    /// Does work that does not count for the deadline.
    pub(super) async fn untimed<T>(&self, work: impl Future<Output = T>) -> T {
        self.suspend.send_replace(true);
        let result = work.await;
        self.suspend.send_replace(false);
        result
    }
}

/// Ends when a connection has used up its time.
async fn overdue(mut suspended: watch::Receiver<bool>) {
    let mut until = async |state| suspended.wait_for(|is| *is == state).await.is_ok();
    while let Ok(true) = timeout(CONNECTION, until(true)).await {
        until(false).await;
    }
}

#[cfg(test)]
mod tests;
