//! HTTP as it is on the wire: header names, their order and case are seen as they were sent.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

pub use integration::conformance::recorded::{Answer, Request};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection that is kept.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    host: String,
}

impl Connection {
    pub async fn open(address: SocketAddr, host: &str, tls: Arc<rustls::ClientConfig>) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let stream = TlsConnector::from(tls).connect(name, stream).await.unwrap();
        Self {
            stream,
            host: host.to_owned(),
        }
    }

    pub async fn send(&mut self, request: &Request) -> Answer {
        let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
        let length = request.body.len().to_string();
        let own = [("Host", self.host.as_str()), ("Content-Length", &length)];
        let given = (request.headers.iter()).map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.into_iter().chain(given) {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        text.push_str("\r\n");
        text.push_str(&request.body);
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
        let mut received = Vec::new();
        let end = loop {
            assert_ne!(
                self.stream.read_buf(&mut received).await.unwrap(),
                0,
                "closed"
            );
            if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
        };
        let mut answer =
            Answer::parse_head(std::str::from_utf8(&received[..end]).unwrap()).unwrap();
        let length = answer.header("Content-Length").unwrap_or("0");
        let whole = end + 4 + length.parse::<usize>().unwrap();
        while received.len() < whole {
            assert_ne!(
                self.stream.read_buf(&mut received).await.unwrap(),
                0,
                "closed"
            );
        }
        assert_eq!(received.len(), whole, "more than was announced");
        answer.body = String::from_utf8(received.split_off(end + 4)).unwrap();
        answer
    }
}
