//! Certificates of servers: trusted, foreign, expired, of another name, and trusted themselves.

use htvault::{Authorities, Client, ErrorKind, FailureScope, TlsSettings};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};

use crate::server::{HOST, Reply, Stage};
use crate::{read, refused};

/// A self-signed certificate as `openssl req -x509` makes it, changed.
fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap(), key)
}

#[tokio::test]
async fn an_authoritys_certificate_serves_where_it_is_trusted_itself() {
    let stage = Stage::new();
    let (certificate, key) = self_signed(|_| {});
    let replies = vec![Reply::token("good")];
    let server = stage.server_with(&certificate, &key, replies).await;
    let error = refused(&stage.client(&[&server])).await;
    assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
    assert_eq!(error.scope(), FailureScope::Host);

    stage.write_ca_file(&certificate.pem());
    read(&stage.client(&[&server])).await.unwrap();

    // Another one of the same name is not the one that is trusted.
    let (other, key) = self_signed(|_| {});
    let server = stage.server_with(&other, &key, vec![Reply::Cut]).await;
    let error = refused(&stage.client(&[&server])).await;
    assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
}

#[tokio::test]
async fn what_is_not_trusted_names_the_authorities_that_were_given() {
    let (stage, other) = (Stage::new(), Stage::named("Another"));
    let server = stage.server(vec![Reply::Cut]).await;
    let mut settings = stage.settings(&[&server]);
    settings.tls.ca_file = Some(other.ca_file());
    let authorities = Authorities::read(&settings.tls).unwrap();
    settings.tls = TlsSettings::default();
    let error = refused(&Client::with_authorities(&settings, authorities)).await;
    let place = other.ca_file().display().to_string();
    assert!(error.words().contains(&place), "{error}");
}

#[tokio::test]
async fn name_validity_and_purpose_of_a_certificate_that_is_trusted_itself_count() {
    type Change = fn(&mut CertificateParams);
    let changes: [(Change, &str); 4] = [
        (
            |params| {
                let names = vec!["other.test".to_owned()];
                params.subject_alt_names = CertificateParams::new(names).unwrap().subject_alt_names;
            },
            "not valid for name",
        ),
        (
            |params| params.not_after = date_time_ymd(2020, 1, 1),
            "expired",
        ),
        (
            |params| params.not_before = date_time_ymd(2090, 1, 1),
            "not valid yet",
        ),
        (
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            "not for servers",
        ),
    ];
    for (change, word) in changes {
        let stage = Stage::new();
        let (certificate, key) = self_signed(change);
        // One that has expired is no authority: alone in a file it would be refused with that.
        let others = std::fs::read_to_string(stage.ca_file()).unwrap();
        stage.write_ca_file(&(others + &certificate.pem()));
        let server = stage
            .server_with(&certificate, &key, vec![Reply::Cut])
            .await;
        let error = refused(&stage.client(&[&server])).await;
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
        assert!(error.message().contains(word), "{word}: {error}");
        assert!(!error.message().contains("Other("), "{error}");
    }
}

#[tokio::test]
async fn a_foreign_authority_and_a_port_without_tls_are_named_in_plain_words() {
    let stage = Stage::new();
    let server = Stage::named("Another authority")
        .server(vec![Reply::Cut])
        .await;
    let error = refused(&stage.client(&[&server])).await;
    assert!(error.message().contains("not trusted here"), "{error}");
    let file = stage.ca_file().display().to_string();
    assert!(error.message().contains(&file), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn a_server_that_closes_during_the_handshake_is_named_in_plain_words() {
    let stage = Stage::new();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let closes = tokio::spawn(async move {
        use tokio::io::AsyncReadExt as _;
        while let Ok((mut stream, _)) = listener.accept().await {
            // All that was sent is read, so that the end is no reset.
            let _ = stream.read(&mut [0; 16_000]).await;
        }
    });
    let server = stage.server(vec![Reply::Cut]).await;
    let mut settings = stage.settings(&[&server]);
    settings.resolver = std::sync::Arc::new(crate::server::Fixed(vec![address]));
    let settings = crate::at_port(settings, address.port());
    let error = refused(&Client::new(&settings).unwrap()).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert_eq!(error.scope(), FailureScope::Host);
    assert!(
        error.message().contains("while TLS was being set up"),
        "{error}"
    );
    closes.abort();
}
