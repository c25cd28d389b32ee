//! Security of a connection: a full authentication by token, or the resumption of a session.
//!
//! What always holds: nothing weaker is accepted than was asked for, which is authentication by
//! SCITOKENS, encryption by AES, and a key that was agreed on in this very exchange (or kept from
//! one). A token is sent to a daemon only after its certificate was checked.

mod offer;
mod scitokens;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::classad::Ad;
use crate::crypto::{KeyPair, random};
use crate::error::{Error, ErrorKind, Step};
use crate::session::Session;
use crate::tls::Tls;
use crate::token::AccessToken;
use crate::wire::{Encoder, Stream};

/// Command that begins a negotiation.
const DC_AUTHENTICATE: i64 = 60010;

/// Purpose of a connection, and what opens it.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// Number of the command that follows.
    pub(crate) command: i64,
    /// Time for which the session may be resumed.
    pub(crate) lifetime: Duration,
    pub(crate) tls: &'a Tls,
    pub(crate) token: &'a AccessToken,
}

/// Authenticates; then the stream is encrypted and the daemon waits for the command.
pub(crate) async fn authenticate<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<T>,
    terms: Terms<'_>,
) -> Result<Session, Error> {
    // Before the daemon begins to count.
    let begun = Instant::now();
    let step = Step::Negotiate;
    let fault = |fault| Error::wire(step, fault);
    let pair = KeyPair::generate().map_err(fault)?;
    let offer = offer::full(terms.command, terms.lifetime, pair.public());
    send(stream, step, &offer).await?;
    let answer = receive(stream, step).await?;
    let agreed = offer::agreed(&answer, terms.lifetime)?;
    let key = pair.agree(&agreed.public_key).map_err(fault)?;
    // Boxed: a TLS connection is large, and most exchanges have none.
    Box::pin(scitokens::authenticate(stream, terms.tls, terms.token)).await?;
    stream.encrypt(&key).map_err(fault)?;

    let verdict = receive(stream, Step::Authorize).await?;
    let user = verdict.string("User").unwrap_or_default();
    authorized(&verdict, Step::Authorize).map_err(|error| match user {
        "" => error,
        user => error.for_user(user),
    })?;
    let end = begun.checked_add(agreed.lifetime).unwrap_or(begun);
    Ok(Session::new(
        &verdict,
        key,
        &answer,
        end.min(terms.token.end()),
    ))
}

/// Negotiates without authentication, for what anybody may read; then the daemon waits for the command.
/// The stream is encrypted where the daemon agrees on a key (with HTCondor 24 and later, it does).
pub(crate) async fn negotiate<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<T>,
    command: i64,
) -> Result<(), Error> {
    let step = Step::Negotiate;
    let fault = |fault| Error::wire(step, fault);
    let pair = KeyPair::generate().map_err(fault)?;
    send(stream, step, &offer::anonymous(command, pair.public())).await?;
    let answer = receive(stream, step).await?;
    if answer.string("Authentication") == Some("YES") {
        let words = "the daemon demands authentication";
        return Err(Error::new(ErrorKind::NoCommonMethod, step, words));
    }
    if let Some(theirs) = answer.string("ECDHPublicKey") {
        let key = pair.agree(theirs).map_err(fault)?;
        stream.encrypt(&key).map_err(fault)?;
    }
    let verdict = receive(stream, Step::Authorize).await?;
    authorized(&verdict, Step::Authorize)
}

/// Resumes a session; then the stream is encrypted and the daemon waits for the command.
pub(crate) async fn resume<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<T>,
    command: i64,
    session: &Session,
) -> Result<(), Error> {
    let step = Step::Resume;
    let fault = |fault| Error::wire(step, fault);
    let nonce = random::<33>().map_err(fault)?;
    let nonce = BASE64_STANDARD.encode(nonce);
    let offer = offer::resumption(command, session.id(), &nonce);
    send(stream, step, &offer).await?;
    let answer = receive(stream, step).await?;
    authorized(&answer, step)?;
    stream.encrypt(session.key()).map_err(fault)
}

async fn send<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<T>,
    step: Step,
    ad: &Ad,
) -> Result<(), Error> {
    let fault = |fault| Error::wire(step, fault);
    let mut message: Encoder = stream.encoder();
    message.integer(DC_AUTHENTICATE);
    ad.encode_negotiated(&mut message).map_err(fault)?;
    stream.send(&message).await.map_err(fault)
}

async fn receive<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<T>,
    step: Step,
) -> Result<Ad, Error> {
    let fault = |fault| Error::wire(step, fault);
    let message = stream.receive().await.map_err(fault)?;
    Ad::decode(&mut message.decoder()).map_err(fault)
}

/// The daemon's verdict.
fn authorized(ad: &Ad, step: Step) -> Result<(), Error> {
    match ad.string("ReturnCode") {
        Some("AUTHORIZED") => Ok(()),
        Some("DENIED") => Err(Error::new(
            ErrorKind::Denied,
            step,
            "the token is valid, but does not allow the command",
        )),
        Some("CMD_NOT_FOUND") => Err(Error::new(
            ErrorKind::UnknownCommand,
            step,
            "the daemon does not know the command",
        )),
        Some("SID_NOT_FOUND") => Err(Error::new(
            ErrorKind::UnknownSession,
            step,
            "the daemon does not know the session any more",
        )),
        other => Err(Error::bad_answer(
            step,
            &format!("the daemon's verdict is {}", other.unwrap_or("missing")),
        )),
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
