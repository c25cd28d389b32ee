//! A TLS server on port 8200 that answers as a test tells it to, and remembers who asked.
//!
//! What always holds: the test's authority signed its certificate; what it answers can be changed
//! while it runs; its log has no secret, but can tell whether a token was seen.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::answer::{Answer, Request};
use super::names;
use crate::ca::Ca;
use crate::dev::random;
use crate::dev::tls;
use crate::dev::tokens::TokenKey;

/// The only port that a `.top` may name.
const PORT: u16 = 8200;
/// Largest head of a request that is read.
const HEAD_LIMIT: usize = 64 * 1024;

type Rule = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

struct Shared {
    rule: RwLock<Rule>,
    log: Mutex<Vec<Request>>,
    connections: AtomicUsize,
}

/// A server that runs.
pub struct Server {
    host: String,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one that has a name of its own, beginning with `name`.
    pub async fn start(
        ca: &Ca,
        name: &str,
        rule: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        Self::named(ca, &[&unique(name)], rule).await
    }

    /// Starts one that has these names, the first being its own. A wildcard (`*.hang.test`) stands in
    /// the certificate alone: its names are given by [`names::add`].
    pub async fn named(
        ca: &Ca,
        hosts: &[&str],
        rule: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let address = names::new_address();
        let plain = hosts.iter().filter(|host| !host.starts_with('*'));
        names::add(plain.map(|host| (*host, address)))?;
        let text = address.to_string();
        let all: Vec<&str> = hosts.iter().copied().chain([text.as_str()]).collect();
        let issued = ca.issue(&all)?;
        let tls = tls::server(&issued.certificate, &issued.key).map_err(|e| anyhow!(e))?;
        let host = hosts.first().context("a server has a name")?;
        Self::listen(host, address, Some(tls), Arc::new(rule)).await
    }

    /// Starts one that accepts connections and does not say a word, not even TLS's.
    pub async fn mute(name: &str) -> anyhow::Result<Self> {
        let address = names::new_address();
        let host = unique(name);
        names::add([(host.as_str(), address)])?;
        Self::listen(
            &host,
            address,
            None,
            Arc::new(|_: &Request| Answer::Silence),
        )
        .await
    }

    async fn listen(
        host: &str,
        address: Ipv4Addr,
        tls: Option<Arc<ServerConfig>>,
        rule: Rule,
    ) -> anyhow::Result<Self> {
        let mut server = Self {
            host: host.to_owned(),
            address: SocketAddr::from((address, PORT)),
            tls,
            shared: Arc::new(Shared {
                rule: RwLock::new(rule),
                log: Mutex::default(),
                connections: AtomicUsize::new(0),
            }),
            task: None,
        };
        server.up().await?;
        Ok(server)
    }

    /// Its name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of it; `path` begins after `/v1/`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://{}:{PORT}/v1/{path}", self.host)
    }

    /// The URL of a stored credential.
    #[must_use]
    pub fn creds(&self, credkey: &str) -> String {
        self.url(&format!("secret/oauth/creds/cms/{credkey}:default"))
    }

    /// Changes what it answers.
    pub fn answer(&self, rule: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *(self.shared.rule.write()).unwrap_or_else(PoisonError::into_inner) = Arc::new(rule);
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        let log = self.shared.log.lock();
        log.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of requests for access tokens so far.
    #[must_use]
    pub fn asked(&self) -> usize {
        let log = self.shared.log.lock();
        let log = log.unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|request| !request.is_lookup()).count()
    }

    /// The number of connections that were accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Whether a request carried this vault token.
    #[must_use]
    pub fn has_seen(&self, token: &str) -> bool {
        self.requests().iter().any(|request| request.bears(token))
    }

    /// Closes the port and all connections.
    pub async fn down(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Opens the port again.
    pub async fn up(&mut self) -> anyhow::Result<()> {
        self.down().await;
        let listener = TcpListener::bind(self.address)
            .await
            .with_context(|| format!("cannot listen on {}", self.address))?;
        let tls = self.tls.clone().map(TlsAcceptor::from);
        self.task = Some(tokio::spawn(accept(
            listener,
            tls,
            Arc::clone(&self.shared),
        )));
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// A host name that no other server has.
#[must_use]
pub fn unique(name: &str) -> String {
    format!("{name}-{}.test", random::letters(8).to_ascii_lowercase())
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    shared.connections.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(connection(stream, tls.clone(), Arc::clone(&shared)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let Some(tls) = tls else {
        return std::future::pending().await;
    };
    let Ok(mut stream) = tls.accept(stream).await else {
        return;
    };
    let mut read = Vec::new();
    loop {
        let Some(request) = head(&mut stream, &mut read).await else {
            return;
        };
        let log = shared.log.lock();
        (log.unwrap_or_else(PoisonError::into_inner)).push(request.clone());
        let rule = shared.rule.read();
        let rule = Arc::clone(&rule.unwrap_or_else(PoisonError::into_inner));
        let answered = match rule(&request) {
            Answer::Close => return,
            Answer::Silence => return std::future::pending().await,
            Answer::Announcements => {
                let many = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(500);
                while stream.write_all(many.as_bytes()).await.is_ok() {}
                return;
            }
            Answer::Drip(pause) => {
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
                let mut sent = stream.write_all(head.as_bytes()).await;
                while sent.is_ok() {
                    tokio::time::sleep(pause).await;
                    sent = stream.write_all(b" ").await;
                    let _ = stream.flush().await;
                }
                return;
            }
            Answer::Reply {
                status,
                headers,
                body,
            } => {
                let mut head = format!("HTTP/1.1 {status} Words\r\n");
                for (name, value) in headers {
                    // Writing to a string cannot fail.
                    let _ = write!(head, "{name}: {value}\r\n");
                }
                let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
                let whole = [head.as_bytes(), &body].concat();
                stream.write_all(&whole).await
            }
        };
        if answered.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// Reads the head of a request without a body.
async fn head(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    read: &mut Vec<u8>,
) -> Option<Request> {
    let end = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if read.len() > HEAD_LIMIT || stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    };
    let rest = read.split_off(end.checked_add(4)?);
    let bytes = std::mem::replace(read, rest);
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.split("\r\n");
    let target = lines.next()?.split(' ').nth(1)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let token = lines
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("x-vault-token"))
        .map(|(_, value)| TokenKey::of(value.as_bytes()));
    Some(Request {
        path: path.to_owned(),
        query: query.to_owned(),
        token,
    })
}
