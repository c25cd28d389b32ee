//! A place to listen that can be closed and opened again, as a machine that goes down and comes back.
//!
//! What always holds: it opens at the address that it had first.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use rustls::ServerConfig;
use tokio::sync::Mutex;

use super::listener::Listener;

/// A listener, or where one was.
pub struct Port {
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    routes: Router,
    listener: Mutex<Option<Listener>>,
}

impl Port {
    /// Starts to listen.
    pub async fn open(
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        routes: Router,
    ) -> io::Result<Self> {
        let listener = Listener::start(address, Arc::clone(&tls), routes.clone()).await?;
        Ok(Self {
            address: listener.address(),
            tls,
            routes,
            listener: Mutex::new(Some(listener)),
        })
    }

    /// Where it listens, or would.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it listens.
    pub async fn is_up(&self) -> bool {
        self.listener.lock().await.is_some()
    }

    /// Closes the port and all its connections.
    pub async fn down(&self) {
        let mut listener = self.listener.lock().await;
        if let Some(listener) = listener.take() {
            listener.stop().await;
        }
    }

    /// Opens the port again.
    pub async fn up(&self) -> io::Result<()> {
        let mut listener = self.listener.lock().await;
        if listener.is_none() {
            let (tls, routes) = (Arc::clone(&self.tls), self.routes.clone());
            *listener = Some(Listener::start(self.address, tls, routes).await?);
        }
        Ok(())
    }
}
