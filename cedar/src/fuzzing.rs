//! Entry points for fuzzing: decoders of what daemons send, with what must hold for any input. No part of the API.
//!
//! Each function panics when its law is broken, and else does nothing.

use crate::address::Address;
use crate::classad::Ad;
use crate::collector;
use crate::wire::{Decoder, Encoder, Form};

/// A message: the first byte says in which form, then a list of ads as a collector sends it, or one ad.
/// What is read, written and read again is the same.
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
