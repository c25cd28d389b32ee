//! A daemon in a task: the server's side of the handshake from the same crates, that records what it
//! is sent and can be told to stop or lie at a step.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::{RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::scitokens::{DONE, METHOD, QUIT, RECEIVING};
use crate::classad::Ad;
use crate::crypto::{KeyPair, SessionKey};
use crate::packet::Fault;
use crate::tls::Tls;
use crate::wire::{Encoder, Message, Stream};

/// The name in its certificate.
pub(crate) const NAME: &str = "ap.test";
/// The token that it accepts.
pub(crate) const TOKEN: &str = "good token";

/// Difference from a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fashion {
    Good,
    /// An attribute of its answer is another; empty: it is missing.
    Answer(&'static str, &'static str),
    /// It chooses this method.
    Method(i64),
    Verdict(&'static str),
    /// It sends nothing any more from its message with this number on.
    Silent(usize),
    /// It closes the connection instead of its message with this number.
    Closed(usize),
    /// Its message with this number is this text.
    Lie(usize, &'static [u8]),
}

/// A daemon with a certificate.
pub(crate) struct Fake {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) roots: RootCertStore,
    pub(crate) fashion: Fashion,
}

/// One conversation.
pub(crate) struct Talk<T> {
    pub(crate) stream: Stream<T>,
    fashion: Fashion,
    sent: usize,
    /// Status and TLS bytes of each message of the client's in the method.
    pub(crate) turns: Vec<(i64, usize)>,
}

/// Early end of a conversation.
#[derive(Debug)]
pub(crate) struct Over;

impl From<Fault> for Over {
    fn from(_: Fault) -> Self {
        Self
    }
}

impl Fake {
    pub(crate) fn new(
        fashion: Fashion,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> Self {
        let issued = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
        let der = issued.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der.clone()], PrivateKeyDer::Pkcs8(key))
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(der).unwrap();
        Self {
            config: Arc::new(config),
            roots,
            fashion,
        }
    }

    /// Trust in its certificate, for a name.
    pub(crate) fn tls(&self, name: &str) -> Tls {
        Tls::new(self.roots.clone(), name).unwrap()
    }

    pub(crate) fn talk<T: AsyncRead + AsyncWrite + Unpin>(&self, io: T) -> Talk<T> {
        Talk {
            stream: Stream::new(io, Instant::now() + Duration::from_mins(10)),
            fashion: self.fashion,
            sent: 0,
            turns: Vec::new(),
        }
    }

    /// The whole of a full authentication; gives the session's key.
    pub(crate) async fn authenticate<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        talk: &mut Talk<T>,
        asked: &Ad,
    ) -> Result<SessionKey, Over> {
        let pair = KeyPair::generate().unwrap();
        let mut ad = Ad::new();
        for (name, value) in [
            ("Authentication", "YES"),
            ("Encryption", "YES"),
            ("AuthMethodsList", "SCITOKENS"),
            ("CryptoMethods", "AES"),
            ("SessionDuration", "60"),
            ("ECDHPublicKey", pair.public()),
            ("RemoteVersion", "$CondorVersion: fake $"),
        ] {
            match self.fashion {
                Fashion::Answer(other, "") if other == name => {}
                Fashion::Answer(other, value) if other == name => ad.set(name, value),
                _ => ad.set(name, value),
            }
        }
        talk.send_ad(&ad).await?;

        talk.integer().await?;
        talk.send_integer(match self.fashion {
            Fashion::Method(method) => method,
            _ => METHOD,
        })
        .await?;
        talk.send_integer(0).await?;
        talk.integer().await?;
        let token = self.tokens(talk).await?;
        if token != TOKEN.as_bytes() {
            talk.send_turn(QUIT, &[]).await?;
            return Err(Over);
        }
        talk.send_turn(DONE, &[]).await?;
        talk.send_integer(0).await?;

        let key = pair.agree(asked.string("ECDHPublicKey").unwrap()).unwrap();
        talk.stream.encrypt(&key)?;
        let mut verdict = Ad::new();
        verdict.set(
            "ReturnCode",
            match self.fashion {
                Fashion::Verdict(verdict) => verdict,
                _ => "AUTHORIZED",
            },
        );
        verdict.set("User", "cmsprod@ap.test");
        verdict.set("Sid", "the session");
        verdict.set("ValidCommands", "421,479,1112");
        talk.send_ad(&verdict).await?;
        Ok(key)
    }

    /// TLS in turns; gives the token.
    async fn tokens<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        talk: &mut Talk<T>,
    ) -> Result<Vec<u8>, Over> {
        let mut tls = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        let (mut ready, mut client_ready) = (false, false);
        while !(ready && client_ready) {
            let (status, bytes) = talk.turn().await?;
            client_ready = status == DONE;
            take(&mut tls, &bytes)?;
            if ready && client_ready {
                break;
            }
            let flight = outgoing(&mut tls);
            ready = !tls.is_handshaking();
            talk.send_turn(if ready { DONE } else { RECEIVING }, &flight)
                .await?;
        }
        tls.writer().write_all(&[7; 256]).unwrap();
        let challenge = outgoing(&mut tls);
        talk.send_turn(DONE, &challenge).await?;
        talk.turn().await?;
        let (_, record) = talk.turn().await?;
        take(&mut tls, &record)?;
        let mut length = [0; 4];
        tls.reader().read_exact(&mut length).map_err(|_| Over)?;
        let mut token = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        tls.reader().read_exact(&mut token).map_err(|_| Over)?;
        Ok(token)
    }
}

fn take(tls: &mut ServerConnection, mut bytes: &[u8]) -> Result<(), Over> {
    while !bytes.is_empty() {
        tls.read_tls(&mut bytes).unwrap();
        tls.process_new_packets().map_err(|_| Over)?;
    }
    Ok(())
}

fn outgoing(tls: &mut ServerConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut bytes).unwrap();
    }
    bytes
}

impl<T: AsyncRead + AsyncWrite + Unpin> Talk<T> {
    /// The client's `DC_AUTHENTICATE`.
    pub(crate) async fn asked(&mut self) -> Result<Ad, Over> {
        let message = self.receive().await?;
        let mut decoder = message.decoder();
        assert_eq!(decoder.integer()?, super::DC_AUTHENTICATE);
        Ok(Ad::decode(&mut decoder)?)
    }

    pub(crate) async fn receive(&mut self) -> Result<Message, Over> {
        Ok(self.stream.receive().await?)
    }

    async fn integer(&mut self) -> Result<i64, Over> {
        Ok(self.receive().await?.decoder().integer()?)
    }

    async fn turn(&mut self) -> Result<(i64, Vec<u8>), Over> {
        let message = self.receive().await?;
        let mut decoder = message.decoder();
        let status = decoder.integer()?;
        let length = decoder.length()?;
        let bytes = decoder.raw(length)?.to_vec();
        assert!(decoder.is_at_end());
        self.turns.push((status, length));
        Ok((status, bytes))
    }

    /// Sends a message, unless its fashion is another.
    pub(crate) async fn send(&mut self, mut message: Encoder) -> Result<(), Over> {
        let number = self.sent;
        self.sent += 1;
        match self.fashion {
            Fashion::Silent(from) if number >= from => {
                // The client goes first.
                while self.stream.receive().await.is_ok() {}
                return Err(Over);
            }
            Fashion::Closed(from) if number >= from => return Err(Over),
            Fashion::Lie(at, bytes) if number == at => {
                message = self.stream.encoder();
                message.raw(bytes);
            }
            _ => {}
        }
        Ok(self.stream.send(&message).await?)
    }

    pub(crate) async fn send_ad(&mut self, ad: &Ad) -> Result<(), Over> {
        let mut message = self.stream.encoder();
        ad.encode(&mut message)?;
        self.send(message).await
    }

    async fn send_integer(&mut self, value: i64) -> Result<(), Over> {
        let mut message = self.stream.encoder();
        message.integer(value);
        self.send(message).await
    }

    async fn send_turn(&mut self, status: i64, bytes: &[u8]) -> Result<(), Over> {
        let mut message = self.stream.encoder();
        message.integer(status);
        message.length(bytes.len());
        message.raw(bytes);
        self.send(message).await
    }
}
