//! Entry points for fuzzing: decoders of what daemons send, with what must hold for any input. No part of the API.
//!
//! Each function panics when its law is broken, and else does nothing.

use std::time::Duration;

use rustls::RootCertStore;
use tokio::time::Instant;

use crate::address::Address;
use crate::classad::Ad;
use crate::collector;
use crate::error::{Error, Step};
use crate::handshake::{self, Terms};
use crate::tls::Tls;
use crate::token::AccessToken;
use crate::wire::{Decoder, Encoder, Form, Stream};

/// Secret that nobody is shown who has no trusted certificate.
const TOKEN: &str = "secret";
/// Far longer than bytes take that are there already.
const WITHIN: Duration = Duration::from_mins(1);

/// A message: the first byte says in which form, then a list of ads as a collector sends it, or one ad.
/// An ad that is read, written and read again is the same.
pub fn ads(data: &[u8]) {
    let Some((first, body)) = data.split_first() else {
        return;
    };
    let form = if first % 2 == 0 {
        Form::Plain
    } else {
        Form::Encrypted
    };
    let ads = if first % 4 < 2 {
        collector::ads(&mut Decoder::new(form, body)).unwrap_or_default()
    } else {
        Ad::decode(&mut Decoder::new(form, body))
            .into_iter()
            .collect()
    };
    for ad in ads {
        let mut message = Encoder::new(form);
        // Not all that is read can be sent.
        if ad.encode(&mut message).is_ok() {
            let again = Ad::decode(&mut Decoder::new(form, message.body()));
            assert_eq!(again.ok(), Some(ad));
        }
    }
}

/// An address: bounded, printable, and without anything that would shift a message.
pub fn address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(address) = text.parse::<Address>() {
        assert!(!address.host().is_empty() && address.port() > 0);
        let id = address.shared_port_id().unwrap_or_default();
        assert!(!id.contains('\0') && address.others().len() <= 16);
        assert!(!address.to_string().contains(char::is_control), "{address}");
    }
}

/// A daemon's whole side of a conversation, packets and all: the first byte says whether a token is shown to it or it
/// is a collector that anybody may ask. It never gets the token, and each error can be printed.
pub fn daemon(data: &[u8]) {
    let Some((first, said)) = data.split_first() else {
        return;
    };
    let mut heard = Vec::new();
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    // Only a machine without descriptors has none.
    let Ok(clock) = clock else { return };
    let failure = clock.block_on(async {
        let mut stream = Stream::new(tokio::io::join(said, &mut heard), Instant::now() + WITHIN);
        match first % 2 {
            0 => authenticate(&mut stream).await,
            _ => ask(&mut stream).await,
        }
    });
    if let Err(error) = failure {
        let words = error.to_string();
        assert!(!words.contains(char::is_control), "{words:?}");
        assert!(words.len() <= 2000, "{words}");
    }
    let is_token = |part: &[u8]| part == TOKEN.as_bytes();
    assert!(!heard.windows(TOKEN.len()).any(is_token));
}

type Conversation<'a> = Stream<tokio::io::Join<&'a [u8], &'a mut Vec<u8>>>;

async fn authenticate(stream: &mut Conversation<'_>) -> Result<(), Error> {
    let token = AccessToken::new(TOKEN.to_owned(), WITHIN);
    let terms = Terms {
        command: 479,
        lifetime: WITHIN,
        tls: &Tls::new(RootCertStore::empty(), "ap.test")?,
        token: &token,
    };
    let opened = handshake::authenticate(stream, terms).await;
    assert!(opened.is_err(), "no certificate is trusted");
    opened.map(|_| ())
}

async fn ask(stream: &mut Conversation<'_>) -> Result<(), Error> {
    let fault = |fault| Error::wire(Step::Command, fault);
    handshake::negotiate(stream, 48).await?;
    let answer = stream.receive().await.map_err(fault)?;
    collector::ads(&mut answer.decoder()).map_err(fault)?;
    Ok(())
}
