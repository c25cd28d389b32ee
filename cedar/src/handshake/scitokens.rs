//! HTCondor's authentication method SCITOKENS: TLS in strict turns, then the token.
//!
//! Each message is a status, a length and bytes of TLS. **The status beside the token is 4.** With any
//! other a daemon waits for one more message, and 25.14.1 crashes when that comes late. The types here
//! have no way to write another status beside a token, and a test holds the frames to it.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::{Error, ErrorKind, Step};
use crate::packet::Fault;
use crate::tls::{Channel, Tls, TokenRecord};
use crate::token::AccessToken;
use crate::wire::{Message, Stream};

/// The method's bit in the integers that choose one.
pub(crate) const METHOD: i64 = 4096;
/// Statuses of a side: it waits for the other, it gives up, it is ready.
pub(crate) const RECEIVING: i64 = 2;
pub(crate) const QUIT: i64 = 3;
pub(crate) const DONE: i64 = 4;

/// Most turns of a handshake; a real one has three or four.
const MOST_TURNS: usize = 10;

/// A message of ours.
enum Turn<'a> {
    /// The handshake goes on.
    Handshake(&'a [u8]),
    /// The last of our handshake, or an empty acknowledgement.
    Ready(&'a [u8]),
    /// The token.
    Token(&'a TokenRecord),
}

impl Turn<'_> {
    fn parts(&self) -> (i64, &[u8]) {
        match self {
            Self::Handshake(bytes) => (RECEIVING, bytes),
            Self::Ready(bytes) => (DONE, bytes),
            Self::Token(record) => (DONE, record.bytes()),
        }
    }
}

/// Checks the daemon's certificate and shows it the token.
pub(super) async fn authenticate<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<T>,
    tls: &Tls,
    token: &AccessToken,
) -> Result<(), Error> {
    choose(stream).await?;
    let mut channel = tls.channel()?;
    handshake(stream, &mut channel).await?;

    // Random bytes that are not used with ECDH, but have to be taken.
    let (status, bytes) = receive(stream, Step::Tls).await?;
    if status != DONE {
        return Err(out_of_turn(status));
    }
    channel.incoming(&bytes, Step::Tls)?;
    channel.drop_challenge()?;
    send(stream, Step::Tls, &Turn::Ready(&[])).await?;

    let record = channel.token_record(token)?;
    send(stream, Step::Token, &Turn::Token(&record)).await?;
    match receive(stream, Step::Token).await? {
        (DONE, _) => {}
        (QUIT, _) => {
            let words = "the daemon does not accept the token";
            return Err(Error::new(ErrorKind::TokenRefused, Step::Token, words));
        }
        (status, _) => return Err(out_of_turn(status)),
    }
    // In the place of a wrapped key; the agreed one is used.
    let wrapped = integer(stream, Step::Token).await?;
    if wrapped != 0 {
        let words = "the daemon sends a key of its own";
        return Err(Error::bad_answer(Step::Token, words));
    }
    Ok(())
}

/// Agrees on the method.
async fn choose<T: AsyncRead + AsyncWrite + Unpin>(stream: &mut Stream<T>) -> Result<(), Error> {
    let step = Step::Negotiate;
    let refuse = |kind, words| Err(Error::new(kind, step, words));
    send_integer(stream, METHOD).await?;
    match integer(stream, step).await? {
        METHOD => {}
        0 => {
            let words = "the daemon cannot authenticate by SCITOKENS";
            return refuse(ErrorKind::NoCommonMethod, words);
        }
        _ => {
            let words = "the daemon chooses another method than SCITOKENS";
            return refuse(ErrorKind::TooWeak, words);
        }
    }
    match integer(stream, step).await? {
        0 => send_integer(stream, 0).await,
        // It has the method, and -1 when what that needs cannot be loaded.
        _ => refuse(
            ErrorKind::NoTls,
            "the daemon cannot begin TLS for SCITOKENS",
        ),
    }
}

async fn handshake<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<T>,
    channel: &mut Channel,
) -> Result<(), Error> {
    let mut other_is_ready = false;
    for _ in 0..MOST_TURNS {
        let bytes = channel.outgoing()?;
        let ready = !channel.is_handshaking();
        let turn = if ready {
            Turn::Ready(&bytes)
        } else {
            Turn::Handshake(&bytes)
        };
        send(stream, Step::Tls, &turn).await?;
        // With TLS 1.2 the daemon is ready first.
        if ready && other_is_ready {
            return Ok(());
        }
        let (status, bytes) = receive(stream, Step::Tls).await?;
        channel.incoming(&bytes, Step::Tls)?;
        other_is_ready = match status {
            DONE => true,
            RECEIVING => false,
            other => return Err(out_of_turn(other)),
        };
        if ready && other_is_ready {
            return Ok(());
        }
    }
    Err(Error::bad_answer(Step::Tls, "a handshake without an end"))
}

fn out_of_turn(status: i64) -> Error {
    match status {
        QUIT | -1 => Error::new(ErrorKind::NoTls, Step::Tls, "the daemon gives up"),
        other => Error::bad_answer(Step::Tls, &format!("status {other} out of turn")),
    }
}

async fn send<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<T>,
    step: Step,
    turn: &Turn<'_>,
) -> Result<(), Error> {
    let (status, bytes) = turn.parts();
    let mut message = stream.encoder();
    message.integer(status);
    message.length(bytes.len());
    message.raw(bytes);
    let sent = stream.send(&message).await;
    sent.map_err(|fault| Error::wire(step, fault))
}

async fn receive<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<T>,
    step: Step,
) -> Result<(i64, Vec<u8>), Error> {
    let read = |message: Message| -> Result<_, Fault> {
        let mut decoder = message.decoder();
        let status = decoder.integer()?;
        let length = decoder.length()?;
        Ok((status, decoder.raw(length)?.to_vec()))
    };
    let message = stream.receive().await;
    message
        .and_then(read)
        .map_err(|fault| Error::wire(step, fault))
}

async fn send_integer<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<T>,
    value: i64,
) -> Result<(), Error> {
    let mut message = stream.encoder();
    message.integer(value);
    let sent = stream.send(&message).await;
    sent.map_err(|fault| Error::wire(Step::Negotiate, fault))
}

async fn integer<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<T>,
    step: Step,
) -> Result<i64, Error> {
    let message = stream.receive().await;
    message
        .and_then(|message| message.decoder().integer())
        .map_err(|fault| Error::wire(step, fault))
}
