//! Which certificate authorities a client trusts: a bundle file or the system's, and a directory.
//!
//! Grid host certificates often come from authorities that only `/etc/grid-security/certificates`
//! holds; a bundle file or the system's roots are used besides. No authority at all is an error,
//! one bad file in the directory is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tracing::debug;

use crate::error::Error;

/// Where trusted certificate authorities are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// A PEM bundle; the system's roots when `None`. It must be readable.
    pub ca_file: Option<PathBuf>,
    /// A directory of PEM files, hashed (`1a2b3c4d.0`) or named `.pem` or `.crt`; used when it exists.
    pub ca_dir: Option<PathBuf>,
}

impl TlsSettings {
    pub(crate) fn client_config(&self) -> Result<ClientConfig, Error> {
        let roots = self.roots()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::configuration(format!("TLS cannot be set up: {e}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        if let Some(file) = &self.ca_file {
            add_bundle(&mut roots, file)?;
        } else {
            let system = rustls_native_certs::load_native_certs();
            for error in &system.errors {
                debug!(%error, "a certificate of the system's was skipped");
            }
            roots.add_parsable_certificates(system.certs);
        }
        if let Some(dir) = &self.ca_dir {
            add_directory(&mut roots, dir);
        }
        if roots.is_empty() {
            return Err(Error::configuration(format!(
                "no certificate authority found ({}); name a CA file or directory that has one",
                self.places()
            )));
        }
        Ok(roots)
    }

    /// The places looked at, for messages.
    pub(crate) fn places(&self) -> String {
        let file = self.ca_file.as_ref().map_or_else(
            || "the system's authorities".to_owned(),
            |file| format!("CA file {}", file.display()),
        );
        match &self.ca_dir {
            Some(dir) => format!("{file}, CA directory {}", dir.display()),
            None => file,
        }
    }
}

fn add_bundle(roots: &mut RootCertStore, file: &Path) -> Result<(), Error> {
    let refuse = |why: &str| {
        Error::configuration(format!(
            "CA file {} cannot be used: {why}; name a PEM file that this user may read",
            file.display()
        ))
    };
    let pem = std::fs::read(file).map_err(|e| refuse(&e.to_string()))?;
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| refuse(&e.to_string()))?;
        match roots.add(certificate) {
            Ok(()) => found = true,
            Err(error) => debug!(file = %file.display(), %error, "a certificate was skipped"),
        }
    }
    if found {
        Ok(())
    } else {
        Err(refuse("it holds no usable certificate"))
    }
}

fn add_directory(roots: &mut RootCertStore, dir: &Path) {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            debug!(dir = %dir.display(), %error, "CA directory not used");
            return;
        }
    };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if !holds_certificate(&path) {
            continue;
        }
        match std::fs::read(&path) {
            Ok(pem) => {
                let parsed = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
                let (added, skipped) = roots.add_parsable_certificates(parsed);
                if added == 0 || skipped > 0 {
                    debug!(file = %path.display(), added, skipped, "certificates skipped");
                }
            }
            Err(error) => debug!(file = %path.display(), %error, "certificate skipped"),
        }
    }
}

/// Hash links end in a number; the same certificates stand there as `.pem` or `.crt` too, and
/// adding one twice does no harm.
fn holds_certificate(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|extension| {
            matches!(extension, "pem" | "crt") || extension.bytes().all(|b| b.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_empty_ca_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none.pem");
        let settings = TlsSettings {
            ca_file: Some(missing.clone()),
            ca_dir: None,
        };
        let text = settings.client_config().unwrap_err().to_string();
        assert!(text.contains(&missing.display().to_string()), "{text}");

        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "nothing here").unwrap();
        let settings = TlsSettings {
            ca_file: Some(empty),
            ca_dir: None,
        };
        let text = settings.client_config().unwrap_err().to_string();
        assert!(text.contains("holds no usable certificate"), "{text}");
    }

    #[test]
    fn only_certificate_names_are_read_in_a_directory() {
        for (name, is) in [
            ("1a2b3c4d.0", true),
            ("x.pem", true),
            ("x.crt", true),
            ("1a2b3c4d.r0", false),
            ("x.signing_policy", false),
            ("README", false),
        ] {
            assert_eq!(holds_certificate(Path::new(name)), is, "{name}");
        }
    }
}
