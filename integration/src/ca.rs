//! A certificate authority for tests: servers' certificates that every client here verifies.
//!
//! Owns a folder with `ca.pem` and, for each server, `NAME.crt` and `NAME.key` (mode 0600). What
//! always holds: the certificates satisfy the strict verifiers too (Python 3.13 and later, for
//! example, refuse an authority without the key usage extension); keys are ECDSA P-256.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// A certificate authority and the folder it writes to.
pub struct Ca {
    folder: PathBuf,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A server's certificate and key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate alone (the authority signs it directly).
    pub certificate: PathBuf,
    /// Its private key, mode 0600.
    pub key: PathBuf,
}

impl Ca {
    /// A new authority called `name`; makes `folder` and writes `ca.pem` into it.
    pub fn create(folder: &Path, name: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .context("cannot make the authority's key")?;
        let mut params = parameters(name)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = params
            .self_signed(&key)
            .context("cannot sign the authority's certificate")?;
        let ca = Self {
            folder: folder.to_owned(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        };
        write(&ca.file(), &ca.pem, 0o644)?;
        Ok(ca)
    }

    /// The file with the authority's certificate: what clients are told to trust.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The authority's certificate.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Trust in it, and in no other.
    pub fn roots(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes())?)?;
        Ok(roots)
    }

    /// A server's certificate for all of `names` (host names or IP addresses), in files called
    /// after the first of them.
    pub fn issue(&self, names: &[&str]) -> anyhow::Result<Issued> {
        self.issue_until(names, 2049)
    }

    /// The same, valid until the end of a year, which may be over.
    pub fn issue_until(&self, names: &[&str], last_year: i32) -> anyhow::Result<Issued> {
        let first = names.first().context("a certificate needs a name")?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .with_context(|| format!("cannot make a key for {first}"))?;
        let mut params = parameters(first)?;
        params.not_before = date_time_ymd(last_year.min(2025), 1, 1);
        params.not_after = date_time_ymd(last_year, 12, 31);
        params.subject_alt_names = CertificateParams::new(
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>(),
        )
        .with_context(|| format!("one of {names:?} cannot stand in a certificate"))?
        .subject_alt_names;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            // HTCondor's daemons show the same certificate when they are the client.
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("cannot sign the certificate of {first}"))?;
        let issued = Issued {
            certificate: self.folder.join(format!("{first}.crt")),
            key: self.folder.join(format!("{first}.key")),
        };
        write(&issued.certificate, &certificate.pem(), 0o644)?;
        write(&issued.key, &key.serialize_pem(), 0o600)?;
        Ok(issued)
    }
}

/// What every certificate here has in common: a name, and a life that no test outlives.
fn parameters(name: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).context("an empty certificate")?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    Ok(params)
}

fn write(file: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    // A file of an earlier run may have another mode, which opening would keep.
    if let Err(error) = fs::remove_file(file)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("cannot replace {}", file.display()));
    }
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(file)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", file.display()))
}
