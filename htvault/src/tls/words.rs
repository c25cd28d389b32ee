//! Plain words for failures of TLS: what is wrong, and what to do where only this program's TLS
//! library is the reason.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Object identifiers in DER, as they stand in the algorithms of a certificate.
const P521: &[u8] = b"\x2b\x81\x04\x00\x23";
const RSA_PSS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";

/// Plain words for a failure of TLS.
pub(crate) fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(fault) => certificate(fault),
        Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "the server found no TLS cipher or signature that both sides know; its key may be of a \
             type that this program's TLS library cannot verify, such as ECDSA P-521: have a P-256, \
             P-384 or RSA certificate issued"
                .to_owned()
        }
        Error::AlertReceived(AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            "the server speaks neither TLS 1.2 nor TLS 1.3".to_owned()
        }
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the server knows no such name: the address must be a name that it serves".to_owned()
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::BadCertificate,
        ) => "the server asks for a certificate of the client, which is not supported".to_owned(),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server speaks no TLS at this port".to_owned()
        }
        other => format!("TLS failed: {other}"),
    }
}

fn certificate(fault: &CertificateError) -> String {
    match fault {
        CertificateError::UnknownIssuer => {
            "the server's certificate comes from an authority that is not trusted here \
             (UnknownIssuer)"
                .to_owned()
        }
        CertificateError::Expired => "the server's certificate has expired".to_owned(),
        CertificateError::NotValidYet => "the server's certificate is not valid yet".to_owned(),
        CertificateError::Revoked => "the server's certificate is revoked".to_owned(),
        CertificateError::NotValidForName => {
            "the server's certificate is for another name".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not for servers (extended key usage)".to_owned()
        }
        CertificateError::BadSignature => {
            "a signature in the server's certificates is wrong: perhaps an authority of the same name \
             is trusted here, with another key (BadSignature)"
                .to_owned()
        }
        CertificateError::BadEncoding => {
            "the server's certificate cannot be read (BadEncoding)".to_owned()
        }
        CertificateError::UnhandledCriticalExtension => {
            "the server's certificate has a critical extension that this program's TLS library does \
             not know: have one without it issued"
                .to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id,
            ..
        } => algorithm(&[signature_algorithm_id]),
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id,
            public_key_algorithm_id,
        } => algorithm(&[signature_algorithm_id, public_key_algorithm_id]),
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "the server's certificate is that of an authority (CA:TRUE) and is not itself among the \
             trusted ones: add it to the CA file, or have a server certificate issued"
                .to_owned()
        }
        CertificateError::Other(other) => {
            format!("the server's certificate cannot be verified ({:?})", other.0)
        }
        // Those with a context have sentences of their own.
        other => format!("the server's certificate is not accepted: {other}"),
    }
}

/// Words for an algorithm that the library cannot verify.
fn algorithm(identifiers: &[&[u8]]) -> String {
    let has = |name: &[u8]| {
        let mut identifiers = identifiers.iter();
        identifiers.any(|id| id.windows(name.len()).any(|part| part == name))
    };
    let (form, instead) = if has(P521) {
        (
            "ECDSA P-521",
            "have P-256, P-384 or RSA certificates issued",
        )
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
    format!(
        "a signature in the server's certificates is {form}, which this program's TLS library \
         cannot verify: {instead}"
    )
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
            let text = explain(&fault.into());
            assert!(text.contains(word) && text.contains("have "), "{text}");
        }
        let alert = explain(&Error::AlertReceived(AlertDescription::HandshakeFailure));
        assert!(alert.contains("P-521"), "{alert}");
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
            let text = explain(&fault.into());
            assert!(text.starts_with("the server's certificate "), "{text}");
        }
    }
}
