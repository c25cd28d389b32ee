//! A small TLS server: HTTP/1.1 by hand, with any answer, good or bad.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use htvault::{Client, CredentialUrl, Resolve, Resolving, Settings, VaultToken};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The vault token of all requests, which no error may show.
pub const SECRET: &str = "s.verysecret0123456789";
pub const HOST: &str = "vault.test";

/// Answer to one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The bytes of a whole answer.
    Bytes(Vec<u8>),
    /// An endless body.
    Endless,
    /// An endless number of interim answers (1xx), and no final one.
    Interim,
    /// A refusal that repeats the request's body.
    Repeat,
    /// The connection is closed after the request.
    Cut,
    /// No answer.
    Hang,
}

impl Reply {
    pub fn new(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::Bytes(
            format!("HTTP/1.1 {status} Word\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
                .into_bytes(),
        )
    }

    pub fn json(status: u16, body: &str) -> Self {
        Self::new(status, "Content-Type: application/json\r\n", body)
    }

    pub fn token(text: &str) -> Self {
        Self::json(200, &format!(r#"{{"data":{{"access_token":"{text}"}}}}"#))
    }
}

/// A server: the answers that it gives one after the other (the last one for ever), and the
/// requests that came.
pub struct Server {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    /// Held by each connection that is open, by who accepts them, and here.
    open: Arc<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// The requests that came, each with its headers, in lower case.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Number of connections that are open.
    pub fn open(&self) -> usize {
        Arc::strong_count(&self.open) - 2
    }

    async fn start(address: SocketAddr, acceptor: TlsAcceptor, replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (seen, replies) = (
            Arc::clone(&requests),
            Arc::new(Mutex::new(VecDeque::from(replies))),
        );
        let open = Arc::new(());
        let connection = Arc::clone(&open);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                let (replies, open) = (Arc::clone(&replies), Arc::clone(&connection));
                tokio::spawn(async move {
                    serve(stream, &acceptor, &seen, &replies).await;
                    drop(open);
                });
            }
        });
        Self {
            address,
            requests,
            open,
            task,
        }
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    seen: &Mutex<Vec<String>>,
    replies: &Mutex<VecDeque<Reply>>,
) {
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
        }
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let length = text
            .split_once("content-length: ")
            .and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8_lossy(&body);
        seen.lock().unwrap().push(text + &body);
        let reply = {
            let mut replies = replies.lock().unwrap();
            match replies.len() {
                1 => replies[0].clone(),
                _ => replies.pop_front().unwrap(),
            }
        };
        match reply {
            Reply::Bytes(bytes) => stream.write_all(&bytes).await.unwrap(),
            Reply::Repeat => {
                let errors = format!(r#"{{"errors":["refused: {}"]}}"#, body.replace('"', "'"));
                if let Reply::Bytes(bytes) = Reply::json(400, &errors) {
                    stream.write_all(&bytes).await.unwrap();
                }
            }
            Reply::Cut => return,
            Reply::Hang => std::future::pending().await,
            Reply::Interim => {
                let many = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(200);
                while stream.write_all(&many).await.is_ok() {}
                return;
            }
            Reply::Endless => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"data\":\"";
                let mut sent = stream.write_all(head).await;
                while sent.is_ok() {
                    sent = stream.write_all(&[b'x'; 4096]).await;
                }
                return;
            }
        }
    }
}

/// An authority, its file, and what a test makes of it.
pub struct Stage {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Stage {
    pub fn new() -> Self {
        Self::named("An authority")
    }

    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Writes a file that is trusted instead of the authority.
    pub fn write_ca_file(&self, pem: &str) {
        std::fs::write(self.ca_file(), pem).unwrap();
    }

    fn acceptor(&self) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = [HOST, "127.0.0.1", "127.0.0.2", "127.0.0.3"]
            .map(str::to_owned)
            .to_vec();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        acceptor(certificate.der().clone(), &key)
    }

    /// One server at 127.0.0.1.
    pub async fn server(&self, replies: Vec<Reply>) -> Server {
        Server::start(([127, 0, 0, 1], 0).into(), self.acceptor(), replies).await
    }

    /// One server with a certificate of its own.
    pub async fn server_with(
        &self,
        certificate: &rcgen::Certificate,
        key: &KeyPair,
        replies: Vec<Reply>,
    ) -> Server {
        let acceptor = acceptor(certificate.der().clone(), key);
        Server::start(([127, 0, 0, 1], 0).into(), acceptor, replies).await
    }

    /// A second server, at the same port of another address.
    pub async fn beside(&self, first: &Server, last: u8, replies: Vec<Reply>) -> Server {
        let address = ([127, 0, 0, last], first.address.port()).into();
        Server::start(address, self.acceptor(), replies).await
    }

    /// Settings for `vault.test`, which stands for these servers in this order.
    pub fn settings(&self, servers: &[&Server]) -> Settings {
        let port = servers[0].address.port();
        let mut settings = Settings::new(format!("https://{HOST}:{port}").parse().unwrap());
        settings.tls.ca_file = Some(self.ca_file());
        settings.resolver = Arc::new(Fixed(servers.iter().map(|s| s.address).collect()));
        settings
    }

    pub fn client(&self, servers: &[&Server]) -> Client {
        Client::new(&self.settings(servers)).unwrap()
    }
}

fn acceptor(certificate: rustls::pki_types::CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A resolver that knows one name.
#[derive(Debug)]
pub struct Fixed(pub Vec<SocketAddr>);

impl Resolve for Fixed {
    fn resolve<'a>(&'a self, host: &'a str, _port: u16) -> Resolving<'a> {
        Box::pin(async move {
            if host == HOST {
                Ok(self.0.clone())
            } else {
                Err(std::io::Error::other("no such name"))
            }
        })
    }
}

pub fn vault_token() -> VaultToken {
    VaultToken::from(SECRET.to_owned())
}

pub fn url(client: &Client) -> CredentialUrl {
    client
        .settings()
        .creds_url("cms", "cmsprod", "crab")
        .unwrap()
}
