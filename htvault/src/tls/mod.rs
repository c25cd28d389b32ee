//! Certificate authorities that a client trusts: a bundle file or the system's, and a directory.
//!
//! Grid host certificates often come from authorities that only `/etc/grid-security/certificates`
//! holds; a bundle file or the system's roots are used besides. No authority at all is an error, and
//! so is a directory that cannot be listed, or a file in it for a reason that may pass; one bad file in it is not.

mod verifier;
mod words;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tracing::debug;
use x509_cert::der::Decode as _;

use crate::clock::{Clock as _, SystemClock};
use crate::error::{Error, ErrorKind};

use verifier::{Digest, Verifier};
pub(crate) use words::explain;

/// Usual places of the system's bundle.
const SYSTEM_BUNDLES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Advice for a file or directory that this host does not give for now.
const SEE_TO_DISK: &str = "see to the disk of that file, and to the limit of open files";

/// Places of trusted certificate authorities.
///
/// A client made with [`Client::new`](crate::Client::new) checks the files every few seconds while
/// requests are made, and reads them again when they have changed.
///
/// ```
/// let tls = htvault::TlsSettings {
///     ca_file: None,
///     ca_dir: Some("/etc/grid-security/certificates".into()),
/// };
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TlsSettings {
    /// A PEM bundle; the system's roots when `None`. It must be readable.
    pub ca_file: Option<PathBuf>,
    /// A directory of PEM files, hashed (`1a2b3c4d.0`) or named `.pem` or `.crt`; used when it exists.
    pub ca_dir: Option<PathBuf>,
}

/// Outer marks of the files with authorities: they change when one of the files does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<(PathBuf, Option<SystemTime>, u64, u64)>);

/// The certificate authorities that were found where [`TlsSettings`] says, ready for use. Cheap to
/// clone: clones share them.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// Places where they were found.
    settings: TlsSettings,
    found: Fingerprint,
    config: ClientConfig,
    in_force: Span,
    unread: Option<String>,
}

/// Time in which of the authorities that were found the same ones have expired: after the end of the last that has, until
/// the end of the first that has not.
#[derive(Clone, Copy, Debug)]
struct Span {
    after: Timestamp,
    until: Timestamp,
}

impl Span {
    fn holds(self, now: Timestamp) -> bool {
        self.after < now && now <= self.until
    }
}

impl Authorities {
    /// Reads them. That takes some milliseconds where the system has many.
    ///
    /// # Errors
    /// They cannot be read, or there are none.
    pub fn read(settings: &TlsSettings) -> Result<Self, Error> {
        Self::read_at(settings, SystemClock.now())
    }

    fn read_at(settings: &TlsSettings, now: Timestamp) -> Result<Self, Error> {
        // In this order, so that a change in between is seen as one.
        let found = settings.fingerprint();
        let trusted = settings.trusted(now)?;
        Ok(Self {
            settings: settings.clone(),
            found,
            in_force: trusted.in_force,
            unread: trusted.unread.clone(),
            config: trusted.client_config()?,
        })
    }

    /// Reads them again when that may find others: see [`are_those_of`](Self::are_those_of).
    ///
    /// # Errors
    /// They cannot be read, or a file of the directory cannot for now: these here may be more.
    pub fn read_again(&self, settings: &TlsSettings) -> Result<Option<Self>, Error> {
        if self.are_those_of(settings) {
            return Ok(None);
        }
        let read = Self::read(settings)?;
        match &read.unread {
            Some(why) => Err(Error::new(ErrorKind::LocalResource, "", why).advise(SEE_TO_DISK)),
            None => Ok(Some(read)),
        }
    }

    /// Reason why a file of the directory could not be read that may be readable later, on a disk that fails for one:
    /// its authorities are missing. `None` when these are all.
    #[must_use]
    pub fn unread(&self) -> Option<&str> {
        self.unread.as_deref()
    }

    /// Places where they were found, for messages.
    pub(crate) fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// True when the files look as they did when these were read, all could be read, and no other authorities have expired
    /// than then: a clock may be set right later.
    #[must_use]
    pub fn are_those_of(&self, settings: &TlsSettings) -> bool {
        self.are_those_at(settings, SystemClock.now())
    }

    fn are_those_at(&self, settings: &TlsSettings, now: Timestamp) -> bool {
        let is_whole = self.unread.is_none();
        is_whole && self.in_force.holds(now) && self.found == settings.fingerprint()
    }

    /// A configuration of rustls that trusts them, for another client than this crate's.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        self.config.clone()
    }
}

/// Certificates that are trusted: as authorities, and (by their digests) each as a server's own.
struct Trusted {
    now: Timestamp,
    roots: RootCertStore,
    digests: Vec<Digest>,
    in_force: Span,
    /// Number of those that were left out because their validity is over.
    expired: usize,
    /// Reason why a file could not be read that may be readable later.
    unread: Option<String>,
}

impl Trusted {
    /// Adds one. It is no authority once it has expired: rustls takes authorities as they are, and never asks. The
    /// verifier asks of a server's own, and then says so.
    fn add(&mut self, certificate: CertificateDer<'_>) -> Result<(), rustls::Error> {
        let digest = verifier::digest(&certificate);
        // One that cannot be parsed is left to rustls to refuse.
        let end = end_of(&certificate).unwrap_or(Timestamp::MAX);
        if end < self.now {
            self.digests.push(digest);
            self.expired += 1;
            self.in_force.after = self.in_force.after.max(end);
            return Err(CertificateError::Expired.into());
        }
        self.roots.add(certificate)?;
        self.digests.push(digest);
        self.in_force.until = self.in_force.until.min(end);
        Ok(())
    }

    fn client_config(self) -> Result<ClientConfig, Error> {
        let refuse = |fault: &dyn std::fmt::Display| {
            Error::configuration(&format!("TLS cannot be set up: {fault}"))
        };
        let Self { roots, digests, .. } = self;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chains =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|e| refuse(&e).caused_by(e))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| refuse(&e).caused_by(e))?
            .dangerous()
            .with_custom_certificate_verifier(Verifier::new(chains, digests))
            .with_no_client_auth();
        Ok(config)
    }

    /// Words for an error about none that can be used.
    fn how_many_expired(&self) -> String {
        match self.expired {
            0 => String::new(),
            number => format!("; expired by this host's clock: {number}"),
        }
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
        let in_dir = self.ca_dir.iter().flat_map(|dir| {
            // One that cannot be listed differs from one that is empty.
            certificate_files(dir).unwrap_or_else(|_| vec![dir.clone()])
        });
        let seen = bundles.into_iter().chain(in_dir).filter_map(|path| {
            let meta = std::fs::metadata(&path).ok()?;
            Some((path, meta.modified().ok(), meta.len(), meta.ino()))
        });
        Fingerprint(seen.collect())
    }

    fn trusted(&self, now: Timestamp) -> Result<Trusted, Error> {
        let mut trusted = Trusted {
            now,
            roots: RootCertStore::empty(),
            digests: Vec::new(),
            in_force: Span {
                after: Timestamp::MIN,
                until: Timestamp::MAX,
            },
            expired: 0,
            unread: None,
        };
        if let Some(file) = &self.ca_file {
            add_bundle(&mut trusted, file)?;
        } else {
            let system = rustls_native_certs::load_native_certs();
            for error in &system.errors {
                debug!(%error, "a certificate of the system's was skipped");
            }
            for certificate in system.certs {
                // One that has expired or cannot be parsed is of no use, and no fault of ours.
                let _ = trusted.add(certificate);
            }
        }
        if let Some(dir) = &self.ca_dir {
            add_directory(&mut trusted, dir)?;
        }
        if trusted.roots.is_empty() {
            return Err(Error::configuration(&format!(
                "no certificate authority found ({}{})",
                self.places(),
                trusted.how_many_expired()
            ))
            .advise("name a CA file or directory that has one"));
        }
        Ok(trusted)
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

fn add_bundle(trusted: &mut Trusted, file: &Path) -> Result<(), Error> {
    const ADVICE: &str = "name a PEM file that this user may read";
    let fault = |why: &str| format!("CA file {} cannot be used: {why}", file.display());
    let refuse = |why: &str| Error::configuration(&fault(why)).advise(ADVICE);
    let pem = read_plain(file).map_err(|e| unreadable(&fault(&e.to_string()), ADVICE, e))?;
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| refuse(&format!("it is no PEM file ({e})")))?;
        match trusted.add(certificate) {
            Ok(()) => found = true,
            Err(error) => debug!(file = %file.display(), %error, "a certificate was skipped"),
        }
    }
    if found {
        Ok(())
    } else {
        let expired = trusted.how_many_expired();
        let error = refuse(&format!("it holds no usable certificate{expired}"));
        Err(match trusted.expired {
            0 => error,
            _ => error.advise("replace it by one with certificates that are valid"),
        })
    }
}

/// Reads a plain file: a FIFO would block, and a device may never end.
fn read_plain(path: &Path) -> std::io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.is_file() {
        std::fs::read(path)
    } else {
        Err(std::io::Error::other("it is no plain file"))
    }
}

fn add_directory(trusted: &mut Trusted, dir: &Path) -> Result<(), Error> {
    let files = certificate_files(dir).map_err(|error| {
        let fault = format!("CA directory {} cannot be read: {error}", dir.display());
        unreadable(&fault, "name a directory that this user may read", error)
    })?;
    for path in files {
        let file = path.display();
        let pem = match read_plain(&path) {
            Ok(pem) => pem,
            Err(error) => {
                debug!(%file, %error, "certificate skipped");
                if may_pass(&error) {
                    let fault = format!("CA directory: {file} cannot be read: {error}");
                    trusted.unread.get_or_insert(fault);
                }
                continue;
            }
        };
        for certificate in CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok) {
            if let Err(error) = trusted.add(certificate) {
                debug!(%file, %error, "certificate skipped");
            }
        }
    }
    Ok(())
}

/// True for an error of the system that says nothing of the file itself: a disk that fails, or no descriptor that is
/// free.
fn may_pass(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    /// Linux's number of a link that leads to itself, for which there is no stable kind.
    const LOOP: i32 = 40;
    let is_of_file = matches!(error.kind(), NotFound | PermissionDenied | NotADirectory);
    // What is no plain file has no number.
    error.raw_os_error().is_some_and(|number| number != LOOP) && !is_of_file
}

/// Error about a file or directory that cannot be read. `advice`: where that is its own fault.
fn unreadable(fault: &str, advice: &'static str, error: std::io::Error) -> Error {
    let (kind, advice) = if may_pass(&error) {
        (ErrorKind::LocalResource, SEE_TO_DISK)
    } else {
        (ErrorKind::Configuration, advice)
    };
    Error::new(kind, "", fault).advise(advice).caused_by(error)
}

/// The files with certificates in a directory, in the order of their names; none where it does not exist. One that
/// cannot be listed is no empty one: what was trusted before stays so.
fn certificate_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry?.path());
    }
    files.retain(|path| holds_certificate(path));
    files.sort();
    Ok(files)
}

/// End of a certificate's validity.
pub(crate) fn end_of(certificate: &[u8]) -> Option<Timestamp> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate().validity().not_after;
    let seconds = i64::try_from(end.to_unix_duration().as_secs()).ok()?;
    Timestamp::from_second(seconds).ok()
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
mod tests;
