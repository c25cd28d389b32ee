//! Kerberos: a ticket from a keytab, and the Negotiate token of a login. All in memory.
//!
//! A [`Ticket`] owns a credential cache of its own (`MEMORY:` with a name used once), which is
//! destroyed with it; tickets of different accounts never meet.
//!
//! [`login_token`] does it all with a deadline, for asynchronous callers. The other calls block on
//! the KDC: MIT's library gives up only after some 30 seconds, and cannot be interrupted.
//!
//! MIT's libraries (`libkrb5.so.3`, `libgssapi_krb5.so.2`) are loaded when they are first needed.

mod error;
mod ffi;
mod login;

#[cfg(feature = "kerberos-acceptor")]
mod acceptor;

use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

#[cfg(feature = "kerberos-acceptor")]
pub use acceptor::{AcceptedPrincipal, Acceptor};
pub use error::{KerberosError, KerberosErrorKind};
pub use login::{login_token, off_loop};

use ffi::krb5::{Failure, MemoryCache};

/// Code of a library that is not installed.
const NO_LIBRARY: i32 = Failure::NO_LIBRARY;

/// Loads MIT's libraries now: before a sandbox that hides them, or to see at the start that they are
/// installed.
///
/// # Errors
/// They are not installed.
pub fn load() -> Result<(), KerberosError> {
    let loaded = ffi::Krb5::get()
        .map(drop)
        .and_then(|()| ffi::Gss::get().map(drop));
    loaded.map_err(|fault| KerberosError::library(fault.code, &fault.message))
}

/// A ticket-granting ticket of one principal, in memory, destroyed on drop.
#[derive(Debug)]
pub struct Ticket {
    principal: String,
    cache: MemoryCache,
    ends: Timestamp,
}

/// The value of an `Authorization: Negotiate` header (without that word): good for one login.
#[derive(Debug)]
pub struct NegotiateToken {
    pub(crate) principal: String,
    pub(crate) token: SecretString,
}

impl Ticket {
    /// Gets a ticket for `principal` (`name@REALM`) with its key from the keytab at `keytab`.
    ///
    /// The realm's KDC is found as `krb5.conf` says. Blocks.
    ///
    /// ```no_run
    /// use htvault::kerberos::Ticket;
    ///
    /// let ticket = Ticket::from_keytab("cmsprod@EXAMPLE.ORG", "/etc/cmsprod.keytab".as_ref())?;
    /// let negotiate = ticket.negotiate("host", "htvault.example.org")?;
    /// # Ok::<(), htvault::kerberos::KerberosError>(())
    /// ```
    ///
    /// # Errors
    /// A [`KerberosError`] that names principal and keytab and says what to do.
    pub fn from_keytab(principal: &str, keytab: &Path) -> Result<Self, KerberosError> {
        check_keytab(keytab).map_err(|e| KerberosError::keytab(principal, keytab, &e))?;
        let keytab_name = format!("FILE:{}", keytab.display());
        let get = || {
            let principal = ffi::krb5::c_string(principal)?;
            let keytab = ffi::krb5::c_string(&keytab_name)?;
            let cache = MemoryCache::unused()?;
            let ends = ffi::krb5::ticket_from_keytab(&principal, &keytab, cache.name())?;
            Ok((cache, ends))
        };
        let (cache, ends) = get()
            .map_err(|f: Failure| KerberosError::ticket(principal, keytab, f.code, &f.message))?;
        Ok(Self {
            principal: principal.to_owned(),
            cache,
            // A 32 bit count of seconds is always in jiff's range.
            ends: Timestamp::from_second(ends).unwrap_or(Timestamp::UNIX_EPOCH),
        })
    }

    /// The principal that the ticket is for.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// Expiry of the ticket.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.ends
    }

    /// A fresh Negotiate token for the service `service@host` (for HTVault `host@CLUSTER-NAME`).
    ///
    /// The host's name is taken as it is only where `krb5.conf` says `rdns = false` (and, for
    /// aliases, `dns_canonicalize_hostname = false`). Blocks, the first time for a service.
    ///
    /// # Errors
    /// A [`KerberosError`] that names principal and service and says what to do.
    pub fn negotiate(&self, service: &str, host: &str) -> Result<NegotiateToken, KerberosError> {
        let token = ffi::gss::initial_token(&self.principal, self.cache.name(), service, host)
            .map_err(|f| {
                KerberosError::service(&self.principal, service, host, f.code, &f.message)
            })?;
        Ok(NegotiateToken {
            principal: self.principal.clone(),
            token: SecretString::from(BASE64_STANDARD.encode(token)),
        })
    }
}

impl NegotiateToken {
    /// The token in base64, for an `Authorization: Negotiate` header that is made elsewhere. It
    /// opens one login, once.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.token.expose_secret()
    }

    /// Takes a token that somebody else made for `principal`, in base64.
    #[must_use]
    pub fn from_base64(principal: &str, token: String) -> Self {
        Self {
            principal: principal.to_owned(),
            token: SecretString::from(token),
        }
    }
}

/// Checks that a file can be read and is a keytab: the library says the first only in its own words
/// and late, the second as a failure of pre-authentication. A FIFO would keep the library for ever.
fn check_keytab(keytab: &Path) -> std::io::Result<()> {
    use std::io::{Error, ErrorKind, Read as _};
    let not_a_keytab = || Error::new(ErrorKind::InvalidData, "not a keytab");
    if !std::fs::metadata(keytab)?.is_file() {
        return Err(not_a_keytab());
    }
    let mut format = [0; 2];
    std::fs::File::open(keytab)?
        .read_exact(&mut format)
        .map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => not_a_keytab(),
            _ => e,
        })?;
    // A keytab begins with 5 and the version of its format, 1 or 2.
    match format {
        [5, 1 | 2] => Ok(()),
        _ => Err(not_a_keytab()),
    }
}
