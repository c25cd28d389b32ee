//! Verification of server certificates: by rustls, and of one that is trusted itself.
//!
//! rustls takes no authority's certificate (`CA:TRUE`) as a server's own. A self-signed one is made
//! so by the usual `openssl req -x509`, and clients that use OpenSSL accept it where it is trusted.
//! Here too: when the very certificate is among the trusted ones, and its name, its validity and its
//! purpose are right.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::ExtendedKeyUsage;

/// SHA-256 digest of a certificate.
pub(super) type Digest = [u8; 32];

/// Digest of a certificate, to find it again.
pub(super) fn digest(certificate: &CertificateDer<'_>) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let mut bytes = Digest::default();
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// Verifier of server certificates.
#[derive(Debug)]
pub(super) struct Verifier {
    chains: Arc<WebPkiServerVerifier>,
    /// Digests of the trusted certificates, in order.
    trusted: Vec<Digest>,
}

impl Verifier {
    pub(super) fn new(chains: Arc<WebPkiServerVerifier>, mut trusted: Vec<Digest>) -> Arc<Self> {
        trusted.sort_unstable();
        trusted.dedup();
        Arc::new(Self { chains, trusted })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = self.chains.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match chain {
            Err(_) if self.trusted.binary_search(&digest(end_entity)).is_ok() => {
                verify_itself(end_entity, server_name, now)
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Verifies name, validity and purpose of a certificate that is trusted itself.
fn verify_itself(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, server_name)?;
    let parsed =
        x509_cert::Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = parsed.tbs_certificate().validity();
    let at = |time: &x509_cert::time::Time| UnixTime::since_unix_epoch(time.to_unix_duration());
    let (not_before, not_after) = (at(&validity.not_before), at(&validity.not_after));
    if now < not_before {
        let time = now;
        return Err(CertificateError::NotValidYetContext { time, not_before }.into());
    }
    if now > not_after {
        let time = now;
        return Err(CertificateError::ExpiredContext { time, not_after }.into());
    }
    let purposes = parsed
        .tbs_certificate()
        .get_extension::<ExtendedKeyUsage>()
        .map_err(|_| CertificateError::BadEncoding)?;
    // serverAuth and anyExtendedKeyUsage; without the extension it is good for all.
    let serves = |usage: &ExtendedKeyUsage| {
        let names = usage.0.iter().map(ToString::to_string);
        let mut names = names;
        names.any(|name| name == "1.3.6.1.5.5.7.3.1" || name == "2.5.29.37.0")
    };
    if purposes.is_some_and(|(_critical, usage)| !serves(&usage)) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    Ok(ServerCertVerified::assertion())
}
