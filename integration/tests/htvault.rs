//! The client library on the real parts: MIT's KDC and the development Vault with its issuer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::path::Path;

use htvault::kerberos::{KerberosErrorKind, Ticket};
use htvault::{AccessTokenRequest, Action, Client, CredentialUrl, ErrorKind, Settings, VaultToken};
use integration::ca::Ca;
use integration::chain::{Chain, Lives, VAULT};
use integration::sandbox;

/// One chain at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Parts {
    chain: Chain,
    client: Client,
    _folder: tempfile::TempDir,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

async fn parts() -> Parts {
    let one = ONE.lock().await;
    let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
    let chain = Chain::start(folder.path(), Lives::HOUR).await.unwrap();
    let client = client(&chain.ca.file());
    Parts {
        chain,
        client,
        _folder: folder,
        _one: one,
    }
}

fn client(ca_file: &Path) -> Client {
    let mut settings = Settings::new(VAULT.parse().unwrap());
    settings.tls.ca_file = Some(ca_file.to_owned());
    Client::new(&settings).unwrap()
}

fn creds(account: &str, role: &str) -> CredentialUrl {
    CredentialUrl::creds(&VAULT.parse().unwrap(), "cms", account, role).unwrap()
}

async fn login(parts: &Parts, account: &str, role: &str) -> htvault::IssuedToken {
    parts.chain.kdc.use_here().unwrap();
    let keytab = parts.chain.keytabs().join(format!("{account}.keytab"));
    let ticket = Ticket::from_keytab(&format!("{account}@TEST"), &keytab).unwrap();
    let negotiate = ticket
        .negotiate("host", parts.client.settings().kerberos_host())
        .unwrap();
    parts.client.login("cms", role, &negotiate).await.unwrap()
}

fn minimum(seconds: u64) -> AccessTokenRequest {
    AccessTokenRequest {
        minimum_seconds: Some(seconds),
        ..AccessTokenRequest::default()
    }
}

#[tokio::test]
async fn a_keytab_gives_a_login_a_vault_token_and_an_access_token() {
    let parts = parts().await;
    let login = login(&parts, "crabtw", "crab").await;
    assert_eq!(login.user.as_deref(), Some("crabtw"));
    assert_eq!(login.lease_seconds, 28 * 86_400);
    assert!(!login.accessor.is_empty());

    let child = parts
        .client
        .create_token(&login.token, 604_800)
        .await
        .unwrap();
    assert_eq!(child.lease_seconds, 604_800);
    let info = parts.client.lookup_self(&child.token).await.unwrap();
    assert_eq!(info.accessor, child.accessor);
    assert!((604_700..=604_800).contains(&info.ttl_seconds), "{info:?}");

    let url = creds("crabtw", "crab");
    let answer = parts
        .client
        .access_token(&url, &child.token, &minimum(2400))
        .await
        .unwrap();
    let claims = answer.claims.clone().unwrap();
    assert_eq!(claims.subject.as_deref(), Some("crabtw"));
    assert_eq!(claims.issuer.as_deref(), Some(integration::chain::ISSUER));
    assert_eq!(claims.wlcg_version.as_deref(), Some("1.0"));
    assert!(claims.scopes.iter().any(|scope| scope == "storage.read:/"));
    assert_eq!(answer.expires(), claims.expires);

    // Vault gives its cached one as long as that is good enough.
    let again = parts
        .client
        .access_token(&url, &child.token, &minimum(2400))
        .await
        .unwrap();
    assert_eq!(again.claims.unwrap().id, claims.id);
}

#[tokio::test]
async fn a_reduced_token_has_the_scopes_and_the_audience_asked_for() {
    let parts = parts().await;
    let login = login(&parts, "crabtw", "crab").await;
    let url = CredentialUrl::sts(&VAULT.parse().unwrap(), "cms", "crabtw", "crab").unwrap();
    let request = AccessTokenRequest {
        minimum_seconds: Some(60),
        scopes: Some("storage.read:/".to_owned()),
        audience: Some("https://dav.example".to_owned()),
    };
    let answer = parts
        .client
        .access_token(&url, &login.token, &request)
        .await
        .unwrap();
    let claims = answer.claims.unwrap();
    assert_eq!(claims.scopes, ["storage.read:/"]);
    assert_eq!(claims.audience, ["https://dav.example"]);
}

#[tokio::test]
async fn a_child_dies_with_its_parent_and_a_dead_token_is_told_from_a_refused_one() {
    let parts = parts().await;
    let login = login(&parts, "crabtw", "crab").await;
    let child = parts.client.create_token(&login.token, 3600).await.unwrap();

    // A living token that the policy refuses: another's credential.
    let refused = parts
        .client
        .access_token(&creds("cmsprod", "crab"), &child.token, &minimum(60))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden);
    assert_eq!(refused.action(), Action::FixPolicy);

    parts.client.revoke_self(&login.token).await.unwrap();
    let dead = parts
        .client
        .access_token(&creds("crabtw", "crab"), &child.token, &minimum(60))
        .await
        .unwrap_err();
    assert_eq!(dead.kind(), ErrorKind::TokenRejected);
    assert_eq!(dead.action(), Action::CheckToken);
    let lookup = parts.client.lookup_self(&child.token).await.unwrap_err();
    assert_eq!(lookup.kind(), ErrorKind::TokenRejected);
    assert!(lookup.to_string().starts_with("crabtw: GET "), "{lookup}");
    assert_eq!(
        parts.client.judge(&dead, &child.token).await,
        Action::NewToken
    );
    assert_eq!(
        parts.client.judge(&refused, &child.token).await,
        Action::FixPolicy
    );
    assert!(!format!("{dead} {dead:?}").contains(child.token.expose()));
}

#[tokio::test]
async fn errors_say_what_can_not_be_had() {
    let parts = parts().await;
    let login = login(&parts, "crabtw", "crab").await;
    let too_long = parts
        .client
        .access_token(&creds("crabtw", "crab"), &login.token, &minimum(7200))
        .await
        .unwrap_err();
    assert_eq!(too_long.kind(), ErrorKind::NotLongEnough);

    // cmsprod has no refresh token for the role crab.
    let cmsprod = self::login(&parts, "cmsprod", "crab").await;
    let none = parts
        .client
        .access_token(&creds("cmsprod", "crab"), &cmsprod.token, &minimum(60))
        .await
        .unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NoneStored);
    assert_eq!(none.action(), Action::Onboard);

    let garbage = parts
        .client
        .lookup_self(&VaultToken::from("garbage".to_owned()))
        .await
        .unwrap_err();
    assert_eq!(garbage.kind(), ErrorKind::TokenRejected);
}

#[tokio::test]
async fn an_untrusted_server_and_a_dead_one_are_named() {
    let mut parts = parts().await;
    let other = Ca::create(&parts.chain.folder().join("other-ca"), "Another CA").unwrap();
    let token = VaultToken::from("s.none".to_owned());
    let untrusted = client(&other.file()).lookup_self(&token).await.unwrap_err();
    assert_eq!(untrusted.kind(), ErrorKind::Untrusted, "{untrusted}");
    let text = untrusted.to_string();
    assert!(text.contains(VAULT), "{text}");
    assert!(text.contains(&other.file().display().to_string()), "{text}");

    parts.chain.vault.stop().await.unwrap();
    let down = parts.client.lookup_self(&token).await.unwrap_err();
    assert_eq!(down.kind(), ErrorKind::Unreachable, "{down}");
    assert!(down.to_string().contains(VAULT), "{down}");
    assert!(down.to_string().contains("refused"), "{down}");
}

#[tokio::test]
async fn a_negotiate_token_is_good_once_and_garbage_never() {
    let parts = parts().await;
    parts.chain.kdc.use_here().unwrap();
    let keytab = parts.chain.keytabs().join("crabtw.keytab");
    let ticket = Ticket::from_keytab("crabtw@TEST", &keytab).unwrap();
    let negotiate = ticket.negotiate("host", "vault.test").unwrap();
    parts.client.login("cms", "crab", &negotiate).await.unwrap();
    let replayed = parts
        .client
        .login("cms", "crab", &negotiate)
        .await
        .unwrap_err();
    assert_eq!(replayed.kind(), ErrorKind::LoginRefused);
    let garbage = htvault::kerberos::NegotiateToken::from_base64("crabtw@TEST", "YII=".to_owned());
    let refused = parts
        .client
        .login("cms", "crab", &garbage)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LoginRefused);
}

#[tokio::test]
async fn kerberos_says_which_of_keytab_principal_and_service_is_wrong() {
    let parts = parts().await;
    parts.chain.kdc.use_here().unwrap();
    let keytab = parts.chain.keytabs().join("crabtw.keytab");
    let garbage = parts.chain.folder().join("garbage.keytab");
    std::fs::write(&garbage, "not a keytab at all").unwrap();
    let missing = parts.chain.folder().join("missing.keytab");
    for (principal, keytab, kind) in [
        ("crabtw@TEST", &missing, KerberosErrorKind::KeytabMissing),
        ("crabtw@TEST", &garbage, KerberosErrorKind::KeytabInvalid),
        ("nobody@TEST", &keytab, KerberosErrorKind::NotInKeytab),
        (
            "crabtw@NOWHERE.TEST",
            &keytab,
            KerberosErrorKind::NotInKeytab,
        ),
    ] {
        let error = Ticket::from_keytab(principal, keytab).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.contains(principal), "{text}");
        assert!(text.contains(&keytab.display().to_string()), "{text}");
    }
    let ticket = Ticket::from_keytab("crabtw@TEST", &keytab).unwrap();
    let error = ticket.negotiate("host", "other.test").unwrap_err();
    assert_eq!(error.kind(), KerberosErrorKind::ServiceUnknown, "{error}");
    assert!(error.to_string().contains("host@other.test"), "{error}");

    // The KDC has another key than the keytab.
    let admin = &parts.chain.kdc;
    admin.admin("cpw -randkey crabtw").await.unwrap();
    let error = Ticket::from_keytab("crabtw@TEST", &keytab).unwrap_err();
    assert_eq!(error.kind(), KerberosErrorKind::KeyMismatch, "{error}");
    admin.admin("delprinc -force crabtw").await.unwrap();
    let error = Ticket::from_keytab("crabtw@TEST", &keytab).unwrap_err();
    assert_eq!(error.kind(), KerberosErrorKind::PrincipalUnknown, "{error}");
}
