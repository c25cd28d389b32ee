//! Failures of Kerberos, in words that an admin acts on.
//!
//! libkrb5's codes are sorted into kinds; its own words are kept and shown, ours say what to do.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use crate::text::one_line;

/// Kind of failure, by what a person must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KerberosErrorKind {
    /// There is no keytab at the path.
    KeytabMissing,
    /// The keytab may not be read by this user.
    KeytabUnreadable,
    /// The file is no keytab.
    KeytabInvalid,
    /// The keytab holds no key of the principal.
    NotInKeytab,
    /// The principal's name cannot be parsed.
    PrincipalMalformed,
    /// The KDC does not know the principal.
    PrincipalUnknown,
    /// The KDC has another key than the keytab (changed password or key version).
    KeyMismatch,
    /// The principal is locked or expired.
    PrincipalExpired,
    /// Keytab and KDC share no encryption type.
    EncryptionType,
    /// The clocks differ too much.
    ClockSkew,
    /// The KDC does not know the service's principal.
    ServiceUnknown,
    /// No KDC answers.
    KdcUnreachable,
    /// The KDC has a fault of its own, or answers with something that is no Kerberos.
    KdcFault,
    /// No KDC is known for the realm.
    RealmUnknown,
    /// The KDC took longer than allowed.
    TimedOut,
    /// MIT's Kerberos libraries are not installed on this host.
    LibraryMissing,
    /// This host or process has no thread to spare, because many logins wait for KDCs.
    Busy,
    /// A fault of this host that passes: no descriptor, no memory, a resolver or file system that does not answer.
    HostFault,
    /// Anything else.
    Other,
}

/// A failure of Kerberos: who, where, what, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct KerberosError {
    kind: KerberosErrorKind,
    subject: String,
    keytab: Option<PathBuf>,
    words: String,
}

/// Base of libkrb5's error table: a KDC's error number is counted from here.
const BASE: i32 = -1_765_328_384;

/// libkrb5's codes for messages that cannot be decoded.
const ASN1: std::ops::RangeInclusive<i32> = 1_859_794_432..=1_859_794_687;

/// `KRB5_PREAUTH_FAILED`: the client could not make what the KDC asks for; the words say why.
const PREAUTH_FAILED: i32 = BASE + 210;
/// The library's words for [`KerberosErrorKind::NotInKeytab`], within those of another code.
const NO_ENTRY: &str = "No key table entry found";

/// True for numbers of the system's errors that say nothing of a keytab or principal: `EINTR`, `EIO`, `EAGAIN` (libkrb5
/// makes it of a resolver that does not answer), `ENOMEM`, `ENFILE`, `EMFILE`, `ENOBUFS`, `ETIMEDOUT`, `ESTALE`.
fn is_of_host(errno: i32) -> bool {
    matches!(errno, 4 | 5 | 11 | 12 | 23 | 24 | 105 | 110 | 116)
}

fn kind_of(code: i32) -> KerberosErrorKind {
    use KerberosErrorKind as Kind;
    if code == super::NO_LIBRARY {
        return Kind::LibraryMissing;
    }
    if ASN1.contains(&code) {
        return Kind::KdcFault;
    }
    if is_of_host(code) {
        return Kind::HostFault;
    }
    match code.checked_sub(BASE) {
        // KDC_ERR_NAME_EXP, KDC_ERR_CLIENT_REVOKED, KDC_ERR_KEY_EXPIRED
        Some(1 | 18 | 23) => Kind::PrincipalExpired,
        // KDC_ERR_C_PRINCIPAL_UNKNOWN
        Some(6) => Kind::PrincipalUnknown,
        // KDC_ERR_S_PRINCIPAL_UNKNOWN
        Some(7) => Kind::ServiceUnknown,
        // KDC_ERR_ETYPE_NOSUPP, KRB5_PROG_ETYPE_NOSUPP
        Some(14 | 150) => Kind::EncryptionType,
        // KDC_ERR_PREAUTH_FAILED, KRB_AP_ERR_BAD_INTEGRITY, KRB_AP_ERR_BADKEYVER
        Some(24 | 31 | 44) => Kind::KeyMismatch,
        // KRB_AP_ERR_TKT_EXPIRED, KRB_AP_ERR_TKT_NYV, KRB_AP_ERR_SKEW, KRB5_KDCREP_SKEW
        Some(32 | 33 | 37 | 148) => Kind::ClockSkew,
        // KDC_ERR_SVC_UNAVAILABLE, KRB_AP_ERR_BADVERSION, KRB_AP_ERR_MSG_TYPE, KRB_ERR_GENERIC,
        // KRB5_KDCREP_MODIFIED, KRB5_GET_IN_TKT_LOOP
        Some(29 | 39 | 40 | 60 | 147 | 223) => Kind::KdcFault,
        // KRB5_PARSE_ILLCHAR, KRB5_PARSE_MALFORMED
        Some(133 | 134) => Kind::PrincipalMalformed,
        // KRB5_REALM_UNKNOWN, KRB5_REALM_CANT_RESOLVE
        Some(154 | 155) => Kind::RealmUnknown,
        // KRB5_KDC_UNREACH
        Some(156) => Kind::KdcUnreachable,
        // KRB5_KT_NOTFOUND
        Some(181) => Kind::NotInKeytab,
        // KRB5_KT_END, KRB5_KEYTAB_BADVNO
        Some(182 | 213) => Kind::KeytabInvalid,
        _ => Kind::Other,
    }
}

impl KerberosError {
    /// The words are a library's, or a KDC's: they are escaped and bounded.
    fn new(kind: KerberosErrorKind, subject: String, keytab: Option<&Path>, words: &str) -> Self {
        Self {
            kind,
            subject,
            keytab: keytab.map(Path::to_owned),
            words: one_line(words),
        }
    }

    pub(crate) fn keytab(principal: &str, keytab: &Path, source: &io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => KerberosErrorKind::KeytabMissing,
            io::ErrorKind::InvalidData => KerberosErrorKind::KeytabInvalid,
            _ if source.raw_os_error().is_some_and(is_of_host) => KerberosErrorKind::HostFault,
            _ => KerberosErrorKind::KeytabUnreadable,
        };
        Self::new(
            kind,
            principal.to_owned(),
            Some(keytab),
            &source.to_string(),
        )
    }

    pub(crate) fn ticket(principal: &str, keytab: &Path, code: i32, words: &str) -> Self {
        let kind = match kind_of(code) {
            // The keytab has keys of the principal, or the library had said so before it asked the
            // KDC; it has none of a type that the KDC takes.
            KerberosErrorKind::Other if code == PREAUTH_FAILED && words.contains(NO_ENTRY) => {
                KerberosErrorKind::EncryptionType
            }
            kind => kind,
        };
        Self::new(kind, principal.to_owned(), Some(keytab), words)
    }

    pub(crate) fn service(
        principal: &str,
        service: &str,
        host: &str,
        code: i32,
        words: &str,
    ) -> Self {
        let subject = format!("{principal} for the service {service}@{host}");
        Self::new(kind_of(code), subject, None, words)
    }

    pub(crate) fn busy(principal: &str, words: &str) -> Self {
        Self::new(KerberosErrorKind::Busy, principal.to_owned(), None, words)
    }

    pub(crate) fn library(code: i32, words: &str) -> Self {
        Self::new(kind_of(code), "any principal".to_owned(), None, words)
    }

    /// The error of a call that took longer than `seconds`, for a caller that set that limit.
    #[must_use]
    pub fn timed_out(principal: &str, seconds: u64) -> Self {
        let words = format!("no answer from the KDC within {seconds} s");
        Self::new(
            KerberosErrorKind::TimedOut,
            principal.to_owned(),
            None,
            &words,
        )
    }

    /// Kind of failure.
    #[must_use]
    pub fn kind(&self) -> KerberosErrorKind {
        self.kind
    }

    /// True when time alone may mend it (an outage), so that a retry makes sense.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(
            self.kind,
            KerberosErrorKind::KdcUnreachable
                | KerberosErrorKind::KdcFault
                | KerberosErrorKind::TimedOut
                | KerberosErrorKind::Busy
                | KerberosErrorKind::HostFault
        )
    }

    fn text(&self) -> String {
        let mut text = format!("Kerberos login of {} failed: {}", self.subject, self.words);
        if let Some(keytab) = &self.keytab {
            let path = keytab.display().to_string();
            if !self.words.contains(&path) {
                // Writing to a string cannot fail.
                let _ = write!(text, " (keytab {path})");
            }
        }
        text.push_str("; ");
        text.push_str(self.kind.advice());
        text
    }
}

impl KerberosErrorKind {
    /// Advice for a person.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::KeytabMissing => "put the keytab there or correct the path",
            Self::KeytabUnreadable => {
                "make the keytab readable by the user that the service runs as"
            }
            Self::KeytabInvalid => "the file is not a keytab: make it anew with kadmin or ktutil",
            Self::NotInKeytab => {
                "see its principals with `klist -k`, and correct the principal or the keytab"
            }
            Self::PrincipalMalformed => "write the principal as NAME@REALM",
            Self::PrincipalUnknown => "correct the principal, or have it made at the KDC",
            Self::KeyMismatch => "the KDC has a newer key: fetch the keytab again",
            Self::PrincipalExpired => "have the principal unlocked or extended at the KDC",
            Self::EncryptionType => {
                "make the keytab anew with an encryption type that the KDC allows"
            }
            Self::ClockSkew => "set the clocks of this host and the KDC by NTP",
            Self::ServiceUnknown => {
                "check that the vault address is the name in Vault's keytab, and that krb5.conf has `rdns = false`"
            }
            Self::RealmUnknown => "correct the realm, or add its KDC to krb5.conf",
            Self::KdcUnreachable | Self::TimedOut => "check the KDC and the network",
            Self::KdcFault => "see the KDC's log, and check that it is a KDC that answers there",
            Self::LibraryMissing => {
                "install the Kerberos libraries (Debian: libgssapi-krb5-2, EL: krb5-libs)"
            }
            Self::Busy => "check the KDCs that do not answer, and the limits of this process",
            Self::HostFault => {
                "check this host's resolver, the limits of this process and the file system of the keytab"
            }
            Self::Other => "see the Kerberos library's words",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_keytab_names_the_path_and_what_to_do() {
        let error = KerberosError::keytab(
            "cmsprod@TEST",
            Path::new("/etc/kt/cmsprod.keytab"),
            &io::Error::from(io::ErrorKind::NotFound),
        );
        assert_eq!(error.kind(), KerberosErrorKind::KeytabMissing);
        assert_eq!(
            error.to_string(),
            "Kerberos login of cmsprod@TEST failed: entity not found \
             (keytab /etc/kt/cmsprod.keytab); put the keytab there or correct the path"
        );
    }

    #[test]
    fn measured_codes_are_sorted() {
        use KerberosErrorKind as Kind;
        // The codes measured with MIT 1.20.1.
        for (code, kind) in [
            (-1_765_328_171, Kind::KeytabInvalid),
            (-1_765_328_203, Kind::NotInKeytab),
            (-1_765_328_378, Kind::PrincipalUnknown),
            (-1_765_328_377, Kind::ServiceUnknown),
            (-1_765_328_360, Kind::KeyMismatch),
            (-1_765_328_353, Kind::KeyMismatch),
            (-1_765_328_366, Kind::PrincipalExpired),
            (-1_765_328_383, Kind::PrincipalExpired),
            (-1_765_328_230, Kind::RealmUnknown),
            (-1_765_328_228, Kind::KdcUnreachable),
            (-1_765_328_347, Kind::ClockSkew),
            (-1_765_328_236, Kind::ClockSkew),
            (-1_765_328_324, Kind::KdcFault),
            (-1_765_328_344, Kind::KdcFault),
            (-1_765_328_161, Kind::KdcFault),
            (1_859_794_437, Kind::KdcFault),
            (11, Kind::HostFault),
            (24, Kind::HostFault),
            // A file that is missing or may not be read does not come back by itself.
            (2, Kind::Other),
            (13, Kind::Other),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }

    #[test]
    fn a_fault_of_this_host_is_no_verdict_on_the_keytab() {
        let error = |source| KerberosError::keytab("a@TEST", Path::new("/etc/keytab"), &source);
        for errno in [5, 23, 24, 116] {
            let error = error(io::Error::from_raw_os_error(errno));
            assert_eq!(error.kind(), KerberosErrorKind::HostFault, "{error}");
            assert!(error.is_outage(), "{error}");
        }
        let denied = error(io::Error::from_raw_os_error(13));
        assert_eq!(denied.kind(), KerberosErrorKind::KeytabUnreadable);
        assert!(!denied.is_outage());
    }
}
