//! Which certificate authorities a client trusts: a bundle file or the system's, and a directory.
//!
//! Grid host certificates often come from authorities that only `/etc/grid-security/certificates`
//! holds; a bundle file or the system's roots are used besides. No authority at all is an error,
//! one bad file in the directory is not.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tracing::debug;
use x509_cert::der::Decode as _;

use crate::clock::{Clock as _, SystemClock};
use crate::error::Error;

/// Where distributions keep the system's bundle.
const SYSTEM_BUNDLES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Where trusted certificate authorities are.
///
/// The files are looked at again every few seconds while requests are made, and read again when
/// they have changed.
///
/// ```
/// let tls = htvault::TlsSettings {
///     ca_file: None,
///     ca_dir: Some("/etc/grid-security/certificates".into()),
/// };
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// A PEM bundle; the system's roots when `None`. It must be readable.
    pub ca_file: Option<PathBuf>,
    /// A directory of PEM files, hashed (`1a2b3c4d.0`) or named `.pem` or `.crt`; used when it exists.
    pub ca_dir: Option<PathBuf>,
}

/// What the files with authorities look like from outside: changes when one of them does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<(PathBuf, Option<SystemTime>, u64, u64)>);

/// The certificate authorities that were found where [`TlsSettings`] says, ready for use. Cheap to
/// clone: clones share them.
#[derive(Clone, Debug)]
pub struct Authorities {
    found: Fingerprint,
    config: ClientConfig,
}

impl Authorities {
    /// Reads them. That takes some milliseconds where the system has many.
    ///
    /// # Errors
    /// They cannot be read, or there are none.
    pub fn read(settings: &TlsSettings) -> Result<Self, Error> {
        // In this order, so that a change in between is seen as one.
        let found = settings.fingerprint();
        let config = settings.client_config()?;
        Ok(Self { found, config })
    }

    /// Whether the files look as they did when these were read.
    #[must_use]
    pub fn are_those_of(&self, settings: &TlsSettings) -> bool {
        self.found == settings.fingerprint()
    }

    pub(crate) fn config(&self) -> ClientConfig {
        self.config.clone()
    }
}

impl TlsSettings {
    /// The state of the file and the directory, without reading them. The system's own bundle is
    /// looked at in its usual places only.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let bundles = match &self.ca_file {
            Some(file) => vec![file.clone()],
            None => SYSTEM_BUNDLES.iter().map(PathBuf::from).collect(),
        };
        let in_dir = self.ca_dir.iter().flat_map(|dir| certificate_files(dir));
        let seen = bundles.into_iter().chain(in_dir).filter_map(|path| {
            let meta = std::fs::metadata(&path).ok()?;
            Some((path, meta.modified().ok(), meta.len(), meta.ino()))
        });
        Fingerprint(seen.collect())
    }

    pub(crate) fn client_config(&self) -> Result<ClientConfig, Error> {
        let roots = self.roots()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::configuration(&format!("TLS cannot be set up: {e}")).caused_by(e))?
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
            add_directory(&mut roots, dir, SystemClock.now());
        }
        if roots.is_empty() {
            return Err(Error::configuration(&format!(
                "no certificate authority found ({})",
                self.places()
            ))
            .advise("name a CA file or directory that has one"));
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

/// Plain words for a failure of TLS.
pub(crate) fn explain(error: &rustls::Error) -> String {
    error.to_string()
}

fn add_bundle(roots: &mut RootCertStore, file: &Path) -> Result<(), Error> {
    let refuse = |why: &str| {
        Error::configuration(&format!("CA file {} cannot be used: {why}", file.display()))
            .advise("name a PEM file that this user may read")
    };
    let pem = std::fs::read(file).map_err(|e| refuse(&e.to_string()).caused_by(e))?;
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| refuse(&format!("it is no PEM file ({e})")))?;
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

fn add_directory(roots: &mut RootCertStore, dir: &Path, now: Timestamp) {
    for path in certificate_files(dir) {
        match std::fs::read(&path) {
            Ok(pem) => {
                let parsed = CertificateDer::pem_slice_iter(&pem)
                    .filter_map(Result::ok)
                    .filter(|certificate| {
                        let expired = is_expired(certificate, now);
                        if expired {
                            debug!(file = %path.display(), "expired certificate skipped");
                        }
                        !expired
                    });
                let (added, skipped) = roots.add_parsable_certificates(parsed);
                if added == 0 || skipped > 0 {
                    debug!(file = %path.display(), added, skipped, "certificates skipped");
                }
            }
            Err(error) => debug!(file = %path.display(), %error, "certificate skipped"),
        }
    }
}

/// The files with certificates in a directory, in the order of their names.
fn certificate_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = match std::fs::read_dir(dir) {
        Ok(entries) => entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| holds_certificate(path))
            .collect(),
        Err(error) => {
            debug!(dir = %dir.display(), %error, "CA directory not used");
            Vec::new()
        }
    };
    files.sort();
    files
}

/// Whether an authority's own validity is over. rustls takes authorities as they are, and never asks.
/// One that cannot be parsed is left to rustls to refuse.
fn is_expired(certificate: &CertificateDer<'_>, now: Timestamp) -> bool {
    x509_cert::Certificate::from_der(certificate).is_ok_and(|parsed| {
        let until = parsed
            .tbs_certificate()
            .validity()
            .not_after
            .to_unix_duration();
        i64::try_from(until.as_secs()).is_ok_and(|until| until < now.as_second())
    })
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
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn with_file(file: PathBuf) -> TlsSettings {
        TlsSettings {
            ca_file: Some(file),
            ca_dir: None,
        }
    }

    /// A self-signed authority that is valid until the end of a year.
    fn authority(last_year: i32) -> String {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(last_year, 12, 31);
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .pem()
    }

    #[test]
    fn a_missing_or_empty_ca_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none.pem");
        let text = with_file(missing.clone())
            .client_config()
            .unwrap_err()
            .to_string();
        assert!(text.contains(&missing.display().to_string()), "{text}");

        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "nothing here").unwrap();
        let text = with_file(empty).client_config().unwrap_err().to_string();
        assert!(text.contains("holds no usable certificate"), "{text}");
    }

    #[test]
    fn a_directory_is_read_but_for_what_is_unreadable_expired_or_no_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("bundle.pem");
        std::fs::write(&bundle, authority(2090)).unwrap();
        let ca_dir = dir.path().join("certificates");
        std::fs::create_dir(&ca_dir).unwrap();
        for (name, content) in [
            ("1a2b3c4d.0", authority(2091)),
            ("named.pem", authority(2092)),
            ("old.pem", authority(2001)),
            (
                "broken.0",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            ),
            ("1a2b3c4d.r0", "a revocation list".to_owned()),
            ("notes.txt", authority(2093)),
        ] {
            std::fs::write(ca_dir.join(name), content).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", ca_dir.join("dangling.0")).unwrap();
        let settings = TlsSettings {
            ca_file: Some(bundle),
            ca_dir: Some(ca_dir),
        };
        assert_eq!(settings.roots().unwrap().len(), 3);
    }

    #[test]
    fn a_change_of_any_file_changes_the_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("bundle.pem");
        std::fs::write(&bundle, authority(2090)).unwrap();
        let settings = TlsSettings {
            ca_file: Some(bundle.clone()),
            ca_dir: Some(dir.path().to_owned()),
        };
        let before = settings.fingerprint();
        assert_eq!(settings.fingerprint(), before);
        std::fs::write(dir.path().join("new.0"), authority(2091)).unwrap();
        let added = settings.fingerprint();
        assert_ne!(added, before);
        std::fs::write(&bundle, "another length").unwrap();
        assert_ne!(settings.fingerprint(), added);
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
