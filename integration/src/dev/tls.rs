//! Certificates and keys from PEM files, for both listeners and for trusting the issuer.
//!
//! What always holds: an error names the file.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match read {
        Ok(certificates) if certificates.is_empty() => Err(format!(
            "{} holds no certificate in PEM form",
            file.display()
        )),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!(
            "cannot read certificate {}: {error}",
            file.display()
        )),
    }
}

/// How a listener shows itself: a certificate (with its chain) and the key of it.
pub fn server(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("cannot read key {}: {error}", key.display()))?;
    let unusable = |error: rustls::Error| {
        format!(
            "cannot use {} with {}: {error}",
            certificate.display(),
            key.display()
        )
    };
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    Ok(Arc::new(config))
}

/// Trust in the authorities of a file, and in no other.
pub fn client(ca_file: &Path) -> Result<ClientConfig, String> {
    let unusable = |error: rustls::Error| format!("cannot use {}: {error}", ca_file.display());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_file)? {
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(
        ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}
