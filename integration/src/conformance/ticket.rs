//! Tickets for logins, in the two forms that a server must take.
//!
//! `htvault` gives the text of a Negotiate token to a Vault server and to nobody else, so a
//! [`Catcher`] plays one for a moment, on a loopback address. What always holds: each ticket is
//! fresh, none is used twice, none is printed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use htvault::kerberos::{NegotiateToken, Ticket};
use htvault::{Client, Settings, TlsSettings};
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;

use crate::ca::Ca;
use crate::dev::listener::Listener;
use crate::dev::tls;

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
        let plain = Catcher::start().await?.catch(&negotiate).await?;
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

/// A server that lets nobody in and remembers what it was shown.
struct Catcher {
    client: Client,
    listener: Listener,
    shown: Arc<Mutex<Option<SecretString>>>,
    /// The client reads the authority's certificate when it connects.
    _folder: TempDir,
}

impl Catcher {
    async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let ca = Ca::create(folder.path(), "For a moment")?;
        let issued = ca.issue(&["127.0.0.1"])?;
        let tls = tls::server(&issued.certificate, &issued.key).map_err(|words| anyhow!(words))?;
        let shown = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&shown);
        let routes = Router::new().fallback(async move |headers: HeaderMap| {
            let text = (headers.get("authorization"))
                .and_then(|value| value.to_str().ok()?.strip_prefix("Negotiate "));
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = text.map(SecretString::from);
            StatusCode::UNAUTHORIZED
        });
        let listener = Listener::start(([127, 0, 0, 1], 0).into(), tls, routes).await?;
        let url = format!("https://{}", listener.address());
        let mut settings = Settings::new(url.parse()?);
        settings.tls = TlsSettings {
            ca_file: Some(ca.file()),
            ca_dir: None,
        };
        Ok(Self {
            client: Client::new(&settings)?,
            listener,
            shown,
            _folder: folder,
        })
    }

    async fn catch(self, negotiate: &NegotiateToken) -> anyhow::Result<SecretString> {
        let refused = self.client.login("none", "none", negotiate).await.err();
        self.listener.stop().await;
        let shown = self
            .shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        shown.with_context(|| format!("no ticket came: {refused:?}"))
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

    #[tokio::test]
    async fn the_text_of_a_ticket_is_caught() {
        let negotiate = NegotiateToken::from_base64("a@TEST", "YII=".to_owned());
        let caught = Catcher::start().await.unwrap().catch(&negotiate).await;
        assert_eq!(caught.unwrap().expose_secret(), "YII=");
    }
}
