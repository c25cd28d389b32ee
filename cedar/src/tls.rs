//! TLS inside of messages: rustls between two buffers.
//!
//! The daemon's certificate must be from a trusted authority and for the name that the caller
//! configured; a name that the daemon or a collector claims is never used. TLS protects the token;
//! the session's key is agreed on beside it.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::ServerName;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Step};
use crate::token::AccessToken;

/// Longest token, in bytes: it is sent as one TLS record, which holds 16 KiB.
const LONGEST_TOKEN: usize = 16_000;
/// Random bytes that the daemon sends after the handshake.
const CHALLENGE: usize = 256;

/// Trusted authorities and the name that a daemon's certificate must have.
///
/// ```no_run
/// # fn example(authorities: rustls::RootCertStore) -> Result<(), htcondor_cedar::Error> {
/// let tls = htcondor_cedar::Tls::new(authorities, "ap.example.org")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// Trusts these authorities. `name` is the host name of the configuration, or an IP address.
    ///
    /// # Errors
    /// The name is no host name.
    pub fn new(authorities: RootCertStore, name: &str) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::bad_value("TLS cannot be set up").caused_by(e))?
            .with_root_certificates(authorities)
            .with_no_client_auth();
        Self::with_config(config, name)
    }

    /// Uses a configuration of rustls, for example one with another verifier. Its cache of TLS
    /// sessions is not used.
    ///
    /// # Errors
    /// The name is no host name.
    pub fn with_config(mut config: ClientConfig, name: &str) -> Result<Self, Error> {
        // A daemon makes a new TLS context for each connection, and forgets its tickets.
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| Error::bad_value(&format!("{name} is no host name")))?;
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    /// The name that a certificate must have.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.to_str().into_owned()
    }

    pub(crate) fn channel(&self) -> Result<Channel, Error> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map(Channel)
            .map_err(|error| fault(Step::Tls, error))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// One TLS connection.
pub(crate) struct Channel(ClientConnection);

impl Channel {
    /// Bytes to be sent now; may be none.
    pub(crate) fn outgoing(&mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut bytes).map_err(|e| broken(&e))?;
        }
        Ok(bytes)
    }

    /// Takes what was received.
    pub(crate) fn incoming(&mut self, mut bytes: &[u8], step: Step) -> Result<(), Error> {
        while !bytes.is_empty() {
            let taken = self.0.read_tls(&mut bytes).map_err(|e| broken(&e))?;
            self.0
                .process_new_packets()
                .map_err(|error| fault(step, error))?;
            if taken == 0 {
                break;
            }
        }
        Ok(())
    }

    /// True until this side has finished the handshake.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Reads and drops the daemon's random bytes.
    pub(crate) fn drop_challenge(&mut self) -> Result<(), Error> {
        let mut bytes = [0; CHALLENGE];
        self.0
            .reader()
            .read_exact(&mut bytes)
            .map_err(|e| broken(&e))
    }

    /// The record that carries the token, behind its length.
    pub(crate) fn token_record(&mut self, token: &AccessToken) -> Result<TokenRecord, Error> {
        let token = token.expose().as_bytes();
        let length = u32::try_from(token.len()).unwrap_or(u32::MAX);
        // A daemon waits for ever for an empty one.
        if token.is_empty() || token.len() > LONGEST_TOKEN {
            return Err(Error::bad_value(
                "the access token is empty or longer than 16,000 bytes",
            ));
        }
        let mut text = Zeroizing::new(Vec::with_capacity(token.len().saturating_add(4)));
        text.extend_from_slice(&length.to_be_bytes());
        text.extend_from_slice(token);
        self.0.writer().write_all(&text).map_err(|e| broken(&e))?;
        self.outgoing().map(TokenRecord)
    }
}

/// An encrypted record with the token in it.
pub(crate) struct TokenRecord(Vec<u8>);

impl TokenRecord {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn fault(step: Step, error: rustls::Error) -> Error {
    use CertificateError as C;
    let (kind, words) = match &error {
        // rustls says the present time, which would make each failure another one.
        rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            (ErrorKind::OutOfValidity, "the certificate has expired")
        }
        rustls::Error::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => {
            (ErrorKind::OutOfValidity, "the certificate is not valid yet")
        }
        rustls::Error::InvalidCertificate(
            C::NotValidForName | C::NotValidForNameContext { .. },
        ) => (ErrorKind::WrongName, ""),
        rustls::Error::InvalidCertificate(C::UnknownIssuer) => (
            ErrorKind::Untrusted,
            "the certificate is from an authority that is not trusted",
        ),
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::UnsupportedNameType => (ErrorKind::Untrusted, ""),
        rustls::Error::AlertReceived(_) | rustls::Error::PeerIncompatible(_) => {
            (ErrorKind::NoTls, "")
        }
        _ => (ErrorKind::BadAnswer, ""),
    };
    match words {
        "" => Error::new(kind, step, &error.to_string()),
        words => Error::new(kind, step, words),
    }
    .caused_by(error)
}

/// Reading from or writing to a buffer fails only when the other side does not keep to the turns.
fn broken(error: &io::Error) -> Error {
    Error::bad_answer(Step::Tls, &format!("TLS out of turn: {error}"))
}
