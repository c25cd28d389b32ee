//! Kerberos on a real MIT KDC: each fault in words that an admin acts on, and many principals at
//! once. Needs the sandbox.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use htvault::kerberos::{Acceptor, KerberosErrorKind, Ticket};
use integration::kdc::Kdc;
use integration::sandbox;

/// One KDC at a time: this process has one `krb5.conf`.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Realm {
    kdc: Kdc,
    folder: tempfile::TempDir,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

impl Realm {
    async fn start() -> Self {
        let one = ONE.lock().await;
        let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
        let kdc = Kdc::start(&folder.path().join("kdc")).await.unwrap();
        kdc.use_here().unwrap();
        Self {
            kdc,
            folder,
            _one: one,
        }
    }

    /// A principal with its keytab.
    async fn add(&self, name: &str) -> PathBuf {
        let keytab = self.folder.path().join(name.replace('/', "-"));
        let principal = format!("{name}@TEST");
        let added = self.kdc.add_principal_with_keytab(&principal, &keytab);
        added.await.unwrap();
        keytab
    }

    async fn admin(&self, query: &str) {
        self.kdc.admin(query).await.unwrap();
    }
}

/// The login fails in this way, and the words name the principal and what to do.
fn fails(name: &str, keytab: &Path, kind: KerberosErrorKind) {
    let error = Ticket::from_keytab(&format!("{name}@TEST"), keytab).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("{name}@TEST")), "{text}");
    assert!(text.ends_with(kind.advice()), "{text}");
    assert!(!error.is_outage(), "{text}: nobody would act");
}

#[tokio::test]
async fn each_fault_of_a_principal_is_told_apart() {
    use KerberosErrorKind as Kind;
    let realm = Realm::start().await;
    let robot = "cmsprod/bastion/ap.test";
    for name in ["expired", "stale", "locked", "newkey", "gone", robot] {
        realm.add(name).await;
    }
    let keytab = |name: &str| realm.folder.path().join(name.replace('/', "-"));
    for name in ["expired", "stale", "locked", "newkey", "gone", robot] {
        let ticket = Ticket::from_keytab(&format!("{name}@TEST"), &keytab(name)).unwrap();
        assert_eq!(
            ticket.principal(),
            format!("{name}@TEST"),
            "each is good at first"
        );
    }
    realm.admin("modprinc -expire yesterday expired").await;
    realm.admin("modprinc -pwexpire yesterday stale").await;
    realm.admin("modprinc -allow_tix locked").await;
    realm.admin("cpw -randkey newkey").await;
    realm.admin("delprinc -force gone").await;
    fails("expired", &keytab("expired"), Kind::PrincipalExpired);
    fails("stale", &keytab("stale"), Kind::PrincipalExpired);
    fails("locked", &keytab("locked"), Kind::PrincipalExpired);
    fails("newkey", &keytab("newkey"), Kind::KeyMismatch);
    fails("gone", &keytab("gone"), Kind::PrincipalUnknown);
    fails("gone", &keytab(robot), Kind::NotInKeytab);

    // The same for a robot, and a fresh keytab mends it.
    realm.admin(&format!("cpw -randkey {robot}")).await;
    fails(robot, &keytab(robot), Kind::KeyMismatch);
    std::fs::remove_file(keytab(robot)).unwrap();
    realm.add(robot).await;
    Ticket::from_keytab(&format!("{robot}@TEST"), &keytab(robot)).unwrap();
}

#[tokio::test]
async fn a_keytab_without_the_kdcs_encryption_type_is_told() {
    let realm = Realm::start().await;
    let keytab = realm.folder.path().join("types");
    realm.admin("addprinc -randkey types").await;
    let only = |kind: &str| format!("-e {kind}-cts-hmac-sha1-96:normal");
    let old = format!("ktadd {} -k {} types", only("aes128"), keytab.display());
    realm.admin(&old).await;
    Ticket::from_keytab("types@TEST", &keytab).unwrap();
    realm
        .admin(&format!("cpw -randkey {} types", only("aes256")))
        .await;
    fails("types", &keytab, KerberosErrorKind::EncryptionType);
}

#[tokio::test]
async fn clocks_that_differ_too_much_are_told() {
    let mut realm = Realm::start().await;
    let keytab = realm.add("cmsprod").await;
    Ticket::from_keytab("cmsprod@TEST", &keytab).unwrap();
    // A KDC that lets no difference pass, not even none at all: the answer to a client whose clock
    // is wrong, without a wrong clock.
    let file = realm.kdc.krb5_conf();
    let text = std::fs::read_to_string(&file).unwrap();
    let strict = text.replacen("[libdefaults]", "[libdefaults]\n    clockskew = -1", 1);
    assert_ne!(strict, text);
    std::fs::write(&file, strict).unwrap();
    realm.kdc.stop().await.unwrap();
    realm.kdc.resume().await.unwrap();
    fails("cmsprod", &keytab, KerberosErrorKind::ClockSkew);
}

#[tokio::test]
async fn a_kdc_that_is_gone_is_an_outage_and_comes_back() {
    let mut realm = Realm::start().await;
    let keytab = realm.add("cmsprod").await;
    realm.kdc.stop().await.unwrap();
    let error = Ticket::from_keytab("cmsprod@TEST", &keytab).unwrap_err();
    assert_eq!(error.kind(), KerberosErrorKind::KdcUnreachable, "{error}");
    assert!(error.is_outage());
    realm.kdc.resume().await.unwrap();
    Ticket::from_keytab("cmsprod@TEST", &keytab).unwrap();
}

#[tokio::test]
async fn many_principals_at_once_never_mix() {
    let realm = Realm::start().await;
    let service = realm.add("host/vault.test").await;
    let mut keytabs = Vec::new();
    for n in 0..12 {
        let name = if n % 2 == 0 {
            format!("account{n}")
        } else {
            format!("account{n}/bastion/ap.test")
        };
        keytabs.push((name.clone(), realm.add(&name).await));
    }
    let logins = keytabs
        .into_iter()
        .flat_map(|one| std::iter::repeat_n(one, 5));
    let logins = logins.map(|(name, keytab)| {
        tokio::task::spawn_blocking(move || {
            let ticket = Ticket::from_keytab(&format!("{name}@TEST"), &keytab).unwrap();
            (name, ticket.negotiate("host", "vault.test").unwrap())
        })
    });
    let acceptor = Acceptor::new(&service).unwrap();
    for login in logins.collect::<Vec<_>>() {
        let (name, token) = login.await.unwrap();
        let token =
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, token.expose());
        assert_eq!(acceptor.accept(&token.unwrap()).unwrap().name, name);
    }
}

/// The library's own account of what it does is asked for by the environment: the test starts itself with that.
#[tokio::test]
async fn a_ticket_leaves_nothing_in_memory_whatever_krb5_conf_says_at_its_end() {
    const KEYTAB: &str = "KEYTAB_OF_THE_TRACED";
    if let Ok(keytab) = std::env::var(KEYTAB) {
        let ticket = Ticket::from_keytab("cmsprod@TEST", keytab.as_ref()).unwrap();
        std::fs::write(std::env::var("KRB5_CONFIG").unwrap(), "[broken").unwrap();
        Ticket::from_keytab("cmsprod@TEST", keytab.as_ref()).unwrap_err();
        drop(ticket);
        return;
    }
    let realm = Realm::start().await;
    let trace = realm.folder.path().join("trace");
    let this = "a_ticket_leaves_nothing_in_memory_whatever_krb5_conf_says_at_its_end";
    let traced = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this])
        .env(KEYTAB, realm.add("cmsprod").await)
        .env("KRB5_TRACE", &trace)
        .output()
        .unwrap();
    assert!(traced.status.success(), "{traced:?}");
    let trace = std::fs::read_to_string(trace).unwrap();
    assert!(
        trace.contains("Destroying ccache MEMORY:htvault-0"),
        "{trace}"
    );
}
