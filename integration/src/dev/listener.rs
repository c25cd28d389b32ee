//! A TLS listener that serves a router until it is stopped.
//!
//! What always holds: one client cannot hold up another (handshakes run apart, with a time limit);
//! after [`Listener::stop`] the port is closed and no connection is left, so that clients see
//! what they see of a dead server; dropping it does the same at once.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::address::listen_async;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection is kept without a request, as the real server does.
const IDLE_LIMIT: Duration = Duration::from_mins(5);
/// How long requests that run may still take when the listener stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// Where a request came from; each request has it.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub IpAddr);

/// Marks an answer that is not to be sent: the connection is closed instead.
#[derive(Clone, Copy, Debug)]
pub struct Dropped;

/// A listener that runs.
pub struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Starts to listen.
    pub async fn start(
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        router: Router,
    ) -> io::Result<Self> {
        let socket = listen_async(address).await?;
        let address = socket.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(socket, TlsAcceptor::from(tls), router, stopped));
        Ok(Self {
            address,
            stop,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port, lets running requests end (for a second), closes all connections.
    pub async fn stop(mut self) {
        // Fails only when the task has ended already.
        let _ = self.stop.send(true);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    socket: TcpListener,
    tls: TlsAcceptor,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => {
                    let client = Client(peer.ip().to_canonical());
                    connections.spawn(serve(stream, client, tls.clone(), router.clone(), stopped.clone()));
                }
                // Out of descriptors, most likely: those in use come back.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(socket);
    let drain = async { while connections.join_next().await.is_some() {} };
    // What is left after the limit is aborted with the set.
    let _ = timeout(DRAIN_LIMIT, drain).await;
}

async fn serve(
    stream: TcpStream,
    client: Client,
    tls: TlsAcceptor,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let handshake = timeout(HANDSHAKE_LIMIT, tls.accept(stream));
    let stream = tokio::select! {
        _ = stopped.changed() => return,
        made = handshake => match made {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "no TLS with a client"),
            Err(_) => return tracing::debug!("a client did not finish its handshake"),
        },
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_LIMIT)
        .title_case_headers(true)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(answer_or_close(client, router)),
        );
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Passes requests on, with where they came from; an answer marked [`Dropped`] becomes an error,
/// on which hyper closes the connection without a word.
fn answer_or_close(client: Client, router: Router) -> impl Fn(Request<Incoming>) -> Answering {
    let router = TowerToHyperService::new(router);
    move |mut request| {
        request.extensions_mut().insert(client);
        let answered = router.call(request);
        Box::pin(async move {
            let Ok(response) = answered.await;
            if response.extensions().get::<Dropped>().is_some() {
                return Err(io::Error::other("closed as a fault asks"));
            }
            Ok(response)
        })
    }
}

type Answering = std::pin::Pin<Box<dyn Future<Output = io::Result<Response>> + Send>>;
