//! A network between a server and its clients that can be cut and slowed: passes on bytes, not requests.
//!
//! What always holds: while it is cut, nothing passes and no connection ends, as with a cable that is pulled; what was
//! sent meanwhile passes afterwards.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::address::listen_async;
use crate::wait;

/// State of the network.
#[derive(Clone, Copy, Debug, Default)]
struct Network {
    is_cut: bool,
    delay: Duration,
}

/// A relay that runs. It ends when dropped.
#[derive(Debug)]
pub struct Relay {
    network: watch::Sender<Network>,
    listening: JoinHandle<()>,
}

impl Relay {
    /// Passes on what comes to the first address to the second one.
    pub async fn start(at: SocketAddr, to: SocketAddr) -> anyhow::Result<Self> {
        let listener = listen_async(at).await?;
        let (network, state) = watch::channel(Network::default());
        let listening = tokio::spawn(listen(listener, to, state));
        Ok(Self { network, listening })
    }

    /// Cuts it, or mends it.
    pub fn cut(&self, is_cut: bool) {
        self.network.send_modify(|network| network.is_cut = is_cut);
    }

    /// Delays each piece of data so long.
    pub fn delay(&self, delay: Duration) {
        self.network.send_modify(|network| network.delay = delay);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, to: SocketAddr, network: watch::Receiver<Network>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(connect(client, to, network.clone()));
    }
}

async fn connect(client: TcpStream, to: SocketAddr, mut network: watch::Receiver<Network>) {
    if passable(&mut network).await.is_none() {
        return;
    }
    // Where nobody listens the client loses its connection.
    let Ok(server) = TcpStream::connect(to).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        pass(from_client, to_server, network.clone()),
        pass(from_server, to_client, network)
    );
}

/// Waits until something may pass; gives the delay, and nothing when the relay has ended.
async fn passable(network: &mut watch::Receiver<Network>) -> Option<Duration> {
    let state = network.wait_for(|network| !network.is_cut).await.ok()?;
    Some(state.delay)
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
) -> Option<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut buffer).await.ok()?;
        let delay = passable(&mut network).await?;
        wait::pass(delay).await;
        // The end passes, too.
        let Some(data) = buffer.get(..count).filter(|data| !data.is_empty()) else {
            return to.shutdown().await.ok();
        };
        to.write_all(data).await.ok()?;
    }
}
