//! The accepting side of a Kerberos login, for a server.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use super::{KerberosError, ffi};

/// Checks clients' Negotiate tokens with the keys of a keytab.
///
/// The library's replay cache is on: a token is accepted once.
#[derive(Debug)]
pub struct Acceptor {
    keytab: PathBuf,
    keytab_name: CString,
}

/// Maker of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedPrincipal {
    /// The principal without its realm: `cmsprod` or `cmsprod/bastion/ap.example.org`.
    pub name: String,
    /// The realm.
    pub realm: String,
}

impl Acceptor {
    /// Uses the keys of every service in the keytab at `keytab`, which is read at each login, so
    /// that a replaced one is picked up.
    ///
    /// # Errors
    /// The keytab cannot be read.
    pub fn new(keytab: &Path) -> Result<Self, KerberosError> {
        super::check_keytab(keytab)
            .map_err(|source| KerberosError::keytab("any service", keytab, &source))?;
        let keytab_name = ffi::krb5::c_string(&format!("FILE:{}", keytab.display()))
            .map_err(|f| KerberosError::ticket("any service", keytab, f.code, &f.message))?;
        Ok(Self {
            keytab: keytab.to_owned(),
            keytab_name,
        })
    }

    /// Checks a token (SPNEGO or bare Kerberos) and returns its maker. Blocks (file access only).
    ///
    /// # Errors
    /// The token is not genuine, not for a service of this keytab, too old, or was used before.
    pub fn accept(&self, token: &[u8]) -> Result<AcceptedPrincipal, KerberosError> {
        let name = ffi::gss::accept(&self.keytab_name, token)
            .map_err(|f| KerberosError::ticket("the client", &self.keytab, f.code, &f.message))?;
        let (name, realm) = name.rsplit_once('@').unwrap_or((&name, ""));
        Ok(AcceptedPrincipal {
            name: name.to_owned(),
            realm: realm.to_owned(),
        })
    }
}
