//! A KDC that gives one answer to everything, by UDP and TCP.
//!
//! What always holds: it knows no key; its answers are well-formed only where the test says so.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

/// Longest request that is read.
const LONGEST: usize = 64 * 1024;

/// A KDC that runs, until it is dropped.
pub struct LyingKdc {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl LyingKdc {
    /// Starts one at a loopback address, on a port that was free; `answer` is without the length that goes first by TCP.
    pub async fn start(address: &str, answer: Vec<u8>) -> anyhow::Result<Self> {
        let tcp = TcpListener::bind((address, 0)).await?;
        let address = tcp.local_addr()?;
        let udp = UdpSocket::bind(address).await;
        let udp = udp.with_context(|| format!("cannot bind {address} by UDP"))?;
        let length = u32::try_from(answer.len())?.to_be_bytes();
        let framed = [&length[..], &answer].concat();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut request = vec![0; LONGEST];
            while let Ok((_, from)) = udp.recv_from(&mut request).await {
                // A client that has gone is nothing to us.
                let _ = udp.send_to(&answer, from).await;
            }
        });
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let mut request = [0; 1024];
                if stream.read(&mut request).await.is_ok() {
                    let _ = stream.write_all(&framed).await;
                }
            }
        });
        Ok(Self {
            address,
            _tasks: tasks,
        })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// An error message (`KRB-ERROR`, RFC 4120) with this number and text.
#[must_use]
pub fn error_message(realm: &str, number: u8, text: &str) -> Vec<u8> {
    const INTEGER: u8 = 0x02;
    const STRING: u8 = 0x1b;
    const TIME: u8 = 0x18;
    const SEQUENCE: u8 = 0x30;
    const APPLICATION_30: u8 = 0x7e;
    let field = |index: u8, kind: u8, content: &[u8]| der(0xa0 | index, &der(kind, content));
    let names = [der(STRING, b"krbtgt"), der(STRING, realm.as_bytes())].concat();
    let server = [field(0, INTEGER, &[2]), field(1, SEQUENCE, &names)].concat();
    let fields = [
        field(0, INTEGER, &[5]),
        field(1, INTEGER, &[30]),
        field(4, TIME, b"20261129120000Z"),
        field(5, INTEGER, &[0]),
        field(6, INTEGER, &[number]),
        field(9, STRING, realm.as_bytes()),
        field(10, SEQUENCE, &server),
        field(11, STRING, text.as_bytes()),
    ];
    der(APPLICATION_30, &der(SEQUENCE, &fields.concat()))
}

/// A value in DER, with a length of two bytes, which is enough for all.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let mut out = match content.len() {
        short @ 0..=127 => vec![tag, u8::try_from(short).unwrap_or(0)],
        128..=255 => vec![tag, 0x81, length[1]],
        _ => vec![tag, 0x82, length[0], length[1]],
    };
    out.extend_from_slice(content);
    out
}
