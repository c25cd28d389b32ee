//! Tickets for logins, in the two forms that a server must take.
//!
//! What always holds: each ticket is fresh, none is used twice, none is printed.

use std::path::PathBuf;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use htvault::kerberos::Ticket;
use secrecy::{ExposeSecret as _, SecretString};

/// How a ticket is wrapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mechanism {
    /// The token of the Kerberos mechanism itself.
    #[default]
    Kerberos,
    /// The same inside a SPNEGO negotiation, as browsers and curl send it.
    Spnego,
}

/// Whose tickets, and for which service.
#[derive(Clone, Debug)]
pub struct Tickets {
    /// `NAME@REALM`
    pub principal: String,
    /// The file with its key.
    pub keytab: PathBuf,
    /// The name of the server in its Kerberos principal `host/NAME`.
    pub cluster: String,
}

impl Tickets {
    /// A fresh ticket, in base64.
    pub async fn fresh(&self, mechanism: Mechanism) -> anyhow::Result<SecretString> {
        let Self {
            principal,
            keytab,
            cluster,
        } = self.clone();
        let make = move || Ticket::from_keytab(&principal, &keytab)?.negotiate("host", &cluster);
        let negotiate = tokio::task::spawn_blocking(make)
            .await
            .context("Kerberos stopped")??;
        let plain = SecretString::from(negotiate.expose().to_owned());
        Ok(match mechanism {
            Mechanism::Kerberos => plain,
            Mechanism::Spnego => {
                let token = STANDARD
                    .decode(plain.expose_secret())
                    .context("a ticket is written in base64")?;
                STANDARD.encode(in_spnego(&token)).into()
            }
        })
    }
}

/// A first SPNEGO message (RFC 4178, `NegTokenInit`) that offers Kerberos alone, with its token.
fn in_spnego(token: &[u8]) -> Vec<u8> {
    const SPNEGO: &[u8] = b"\x06\x06\x2b\x06\x01\x05\x05\x02";
    const KERBEROS: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";
    let mechanisms = tagged(0xa0, &tagged(0x30, KERBEROS));
    let offered = tagged(0xa2, &tagged(0x04, token));
    let init = tagged(0xa0, &tagged(0x30, &[mechanisms, offered].concat()));
    tagged(0x60, &[SPNEGO, &init].concat())
}

/// A value in DER: tag, length, content.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut value = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => value.push(short),
        _ => {
            let bytes = content.len().to_be_bytes();
            let length: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            value.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
            value.extend(length);
        }
    }
    value.extend_from_slice(content);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_der_wants() {
        assert_eq!(tagged(4, b"ab"), b"\x04\x02ab");
        assert_eq!(tagged(4, &[7; 127])[..2], [4, 127]);
        assert_eq!(tagged(4, &[7; 200])[..3], [4, 0x81, 200]);
        assert_eq!(tagged(4, &[7; 258])[..4], [4, 0x82, 1, 2]);
    }

    #[test]
    fn a_spnego_message_offers_kerberos() {
        let message = in_spnego(b"ticket");
        assert!(message.starts_with(b"\x60"));
        assert!(message.ends_with(b"\xa2\x08\x04\x06ticket"));
    }
}
