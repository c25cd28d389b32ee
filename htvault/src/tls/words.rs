//! Plain words for failures of TLS, with advice where the usual one does not fit.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Object identifiers in DER, as they stand in the algorithms of a certificate.
const P521: &[u8] = b"\x2b\x81\x04\x00\x23";
const RSA_PSS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";

const OTHER_KEYS: &str = "have P-256, P-384 or RSA certificates issued";
const ADDRESS: &str = "check the address and the port";

/// Words for a failure, and advice where the usual one does not fit.
pub(crate) type Explained = (String, Option<&'static str>);

/// Plain words for a failure of TLS.
pub(crate) fn explain(error: &Error) -> Explained {
    let (words, advice) = match error {
        Error::InvalidCertificate(fault) => return certificate(fault),
        Error::AlertReceived(AlertDescription::HandshakeFailure) => (
            "the server found no TLS cipher or signature that both sides know; its key may be of a \
             type that this program's TLS library cannot verify, such as ECDSA P-521",
            OTHER_KEYS,
        ),
        Error::AlertReceived(AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => (
            "the server speaks neither TLS 1.2 nor TLS 1.3",
            "have TLS 1.2 or 1.3 switched on there",
        ),
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            ("the server knows no host of this name", ADDRESS)
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::BadCertificate,
        ) => (
            "the server asks for a certificate of the client, which is not supported",
            "have that switched off for this address",
        ),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            ("the server speaks no TLS at this port", ADDRESS)
        }
        other => return (format!("TLS failed: {other}"), None),
    };
    (words.to_owned(), Some(advice))
}

fn certificate(fault: &CertificateError) -> Explained {
    let words = match fault {
        CertificateError::UnknownIssuer => {
            "the server's certificate comes from an authority that is not trusted here \
             (UnknownIssuer)"
        }
        CertificateError::Expired => "the server's certificate has expired",
        CertificateError::NotValidYet => "the server's certificate is not valid yet",
        CertificateError::Revoked => "the server's certificate is revoked",
        CertificateError::NotValidForName => "the server's certificate is for another name",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not for servers (extended key usage)"
        }
        CertificateError::BadSignature => {
            "a signature in the server's certificates is wrong: perhaps an authority of the same \
             name is trusted here, with another key (BadSignature)"
        }
        CertificateError::BadEncoding => "the server's certificate cannot be read (BadEncoding)",
        CertificateError::UnhandledCriticalExtension => {
            "the server's certificate has a critical extension that this program's TLS library does \
             not know"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id,
            ..
        } => return algorithm(&[signature_algorithm_id]),
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id,
            public_key_algorithm_id,
        } => return algorithm(&[signature_algorithm_id, public_key_algorithm_id]),
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            let words = "the server's certificate is that of an authority (CA:TRUE) and is not \
                         itself among the trusted ones";
            let advice = "add it to the CA file, or have a server certificate issued";
            return (words.to_owned(), Some(advice));
        }
        CertificateError::Other(other) => {
            let fault = &other.0;
            return (
                format!("the server's certificate cannot be verified ({fault})"),
                None,
            );
        }
        // Those with a context have sentences of their own.
        other => {
            return (
                format!("the server's certificate is not accepted: {other}"),
                None,
            );
        }
    };
    (words.to_owned(), None)
}

/// Words for an algorithm that the library cannot verify.
fn algorithm(identifiers: &[&[u8]]) -> Explained {
    let has = |name: &[u8]| {
        let mut identifiers = identifiers.iter();
        identifiers.any(|id| id.windows(name.len()).any(|part| part == name))
    };
    let (form, advice) = if has(P521) {
        ("ECDSA P-521", OTHER_KEYS)
    } else if has(RSA_PSS) {
        (
            "RSA-PSS with unusual parameters",
            "have them signed by RSA with PKCS #1, or by PSS with a salt as long as the digest",
        )
    } else {
        (
            "of an unusual kind",
            "have P-256, P-384 or RSA certificates with SHA-256 to SHA-512 issued",
        )
    };
    let words = format!(
        "a signature in the server's certificates is {form}, which this program's TLS library \
         cannot verify"
    );
    (words, Some(advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_cannot_do_is_said_with_what_to_do() {
        for (id, word) in [
            (P521, "ECDSA P-521"),
            (RSA_PSS, "RSA-PSS"),
            (&b"\x2a"[..], "unusual"),
        ] {
            let fault = CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: vec![48, 3],
                public_key_algorithm_id: [b"\x06\x05", id].concat(),
            };
            let (text, advice) = explain(&fault.into());
            assert!(text.contains(word), "{text}");
            assert!(advice.unwrap().starts_with("have "), "{text}");
        }
        let alert = Error::AlertReceived(AlertDescription::HandshakeFailure);
        assert!(explain(&alert).0.contains("P-521"));
    }

    #[test]
    fn no_words_are_the_librarys_debug_output() {
        for fault in [
            CertificateError::UnknownIssuer,
            CertificateError::Expired,
            CertificateError::NotValidYet,
            CertificateError::NotValidForName,
            CertificateError::InvalidPurpose,
        ] {
            let (text, _) = explain(&fault.into());
            assert!(text.starts_with("the server's certificate "), "{text}");
        }
    }
}
