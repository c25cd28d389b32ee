//! Logins with real tickets of a real KDC. Needs the sandbox.
//!
//! Kerberos finds its configuration by the environment, which a program with threads cannot change
//! for itself: so each test starts the KDC and runs itself again, as a child, with `KRB5_CONFIG`
//! set. The children are the ignored tests here.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use htvault::kerberos::{Acceptor, Ticket};
use htvault::{AccessTokenRequest, Client, CredentialUrl, ErrorKind};
use integration::dev::Settings;
use integration::dev::login::TicketCheck;
use integration::dev::policy::Owner;
use integration::kdc::Kdc;
use integration::sandbox;
use tokio::process::Command;

use crate::wire::{Answer, Request};
use crate::world::{World, crab};

const FOLDER: &str = "HTVAULT_DEV_TEST_FOLDER";
const ROBOT: &str = "cmsprod/bastion/ap.test";

/// Starts a KDC with all principals, and runs one of the ignored tests as its client.
async fn run_inside(test: &str, change: fn(String) -> String) {
    let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
    let kdc = Kdc::start(&folder.path().join("kdc")).await.unwrap();
    for (principal, keytab) in [
        ("host/vault.test", "vault.keytab"),
        ("host/other.test", "other.keytab"),
        ("cmsprod", "cmsprod.keytab"),
        (ROBOT, "robot.keytab"),
    ] {
        let keytab = folder.path().join(keytab);
        let principal = format!("{principal}@TEST");
        (kdc.add_principal_with_keytab(&principal, &keytab).await).unwrap();
    }
    let configuration = folder.path().join("krb5.conf");
    let original = std::fs::read_to_string(kdc.krb5_conf()).unwrap();
    std::fs::write(&configuration, change(original)).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("KRB5_CONFIG", configuration)
        .env("KRB5RCACHEDIR", folder.path())
        .env(FOLDER, folder.path())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{words}");
    assert!(said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn a_genuine_ticket_logs_in_once_and_no_other_does() {
    run_inside("kerberos::inside_logins", |text| text).await;
}

#[tokio::test]
async fn a_ticket_that_has_become_old_is_refused() {
    let strict = |text: String| text.replace("[libdefaults]", "[libdefaults]\n    clockskew = 1");
    run_inside("kerberos::inside_an_old_ticket", strict).await;
}

/// Takes tickets and lets nobody in, so that a test has a ticket that was never used.
#[derive(Default)]
struct Thief(Mutex<Vec<u8>>);

impl TicketCheck for Thief {
    fn check(&self, token: &[u8]) -> Result<Owner, String> {
        *self.0.lock().unwrap() = token.to_vec();
        Err("stolen".into())
    }
}

struct Inside {
    folder: PathBuf,
    thief: Arc<Thief>,
    den: World,
}

impl Inside {
    async fn new() -> Self {
        let folder = PathBuf::from(std::env::var_os(FOLDER).expect("run by another test"));
        let thief = Arc::new(Thief::default());
        let den = World::start(Settings::default(), thief.clone(), [127, 83, 0, 1]).await;
        Self { folder, thief, den }
    }

    fn ticket(&self, principal: &str, keytab: &str) -> Ticket {
        Ticket::from_keytab(&format!("{principal}@TEST"), &self.folder.join(keytab)).unwrap()
    }

    /// A token of a client that was never used for a login.
    async fn unused(&self, ticket: &Ticket) -> Vec<u8> {
        let negotiate = ticket.negotiate("host", "vault.test").unwrap();
        let refused = client(&self.den).login("cms", "crab", &negotiate).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::LoginRefused);
        self.thief.0.lock().unwrap().clone()
    }

    async fn server(&self, keytab: &str) -> World {
        let acceptor = Acceptor::new(&self.folder.join(keytab)).unwrap();
        World::start(Settings::default(), Arc::new(acceptor), [127, 83, 0, 1]).await
    }
}

fn client(world: &World) -> Client {
    let port = world.address().port();
    let url = format!("https://vault.test:{port}").parse().unwrap();
    let mut settings = htvault::Settings::new(url);
    settings.tls.ca_file = Some(world.ca_file.clone());
    Client::new(&settings).unwrap()
}

async fn present(world: &World, mount: &str, token: &[u8]) -> Answer {
    let request = Request {
        method: "POST".into(),
        path: format!("/v1/auth/kerberos-{mount}/login"),
        headers: vec![(
            "Authorization".into(),
            format!("Negotiate {}", STANDARD.encode(token)),
        )],
        body: String::new(),
    };
    world.send(&request).await
}

/// A DER element.
fn element(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], length.as_slice(), &content].concat()
}

/// The same token in SPNEGO: a `NegTokenInit` that offers Kerberos alone.
fn spnego(token: &[u8]) -> Vec<u8> {
    const SPNEGO: &[u8] = b"\x06\x06\x2b\x06\x01\x05\x05\x02";
    const KERBEROS: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";
    let mechanisms = element(0xa0, &[&element(0x30, &[KERBEROS])]);
    let first = element(0xa2, &[&element(0x04, &[token])]);
    let init = element(0xa0, &[&element(0x30, &[&mechanisms, &first])]);
    element(0x60, &[SPNEGO, &init])
}

#[tokio::test]
#[ignore = "run with a KDC by a_genuine_ticket_logs_in_once_and_no_other_does"]
async fn inside_logins() {
    let inside = Inside::new().await;
    let world = inside.server("vault.keytab").await;
    let person = inside.ticket("cmsprod", "cmsprod.keytab");
    let robot = inside.ticket(ROBOT, "robot.keytab");

    let token = inside.unused(&person).await;
    assert_eq!(present(&world, "cms_nope", &token).await.status, 403);
    let mut forged = token.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(present(&world, "cms_crab", &forged).await.status, 401);
    let login = present(&world, "cms_crab", &token).await;
    assert_eq!(login.status, 200, "{login:?}");
    let auth = &login.json()["auth"];
    assert_eq!(auth["metadata"]["user"], "cmsprod");
    assert_eq!(auth["metadata"]["domain"], "TEST");
    let replayed = present(&world, "cms_crab", &token).await;
    assert_eq!(replayed.status, 401, "a replay is refused");

    let token = inside.unused(&person).await;
    let wrapped = present(&world, "cms_crab", &spnego(&token)).await;
    assert_eq!(wrapped.status, 200, "{wrapped:?}");
    let token = inside.unused(&robot).await;
    let login = present(&world, "cms_default", &token).await;
    assert_eq!(login.json()["auth"]["metadata"]["user"], ROBOT);

    let wrong = inside.server("other.keytab").await;
    let token = inside.unused(&person).await;
    let refused = present(&wrong, "cms_crab", &token).await;
    assert_eq!(refused.status, 401, "a ticket for another key is refused");

    // The same by our own client, down to an access token.
    world.server.seed_grant(&crab(), "cmsprod");
    let client = client(&world);
    let negotiate = person.negotiate("host", "vault.test").unwrap();
    let login = client.login("cms", "crab", &negotiate).await.unwrap();
    let child = client.create_token(&login.token, 604_800).await.unwrap();
    let url = CredentialUrl::creds(client.server(), "cms", "cmsprod", "crab").unwrap();
    let request = AccessTokenRequest {
        minimum_seconds: Some(2400),
        ..AccessTokenRequest::default()
    };
    let access = client.access_token(&url, &child.token, &request).await;
    assert_eq!(
        access.unwrap().claims.unwrap().subject.as_deref(),
        Some("cmsprod")
    );
}

#[tokio::test]
#[ignore = "run with a KDC by a_ticket_that_has_become_old_is_refused"]
async fn inside_an_old_ticket() {
    let inside = Inside::new().await;
    let world = inside.server("vault.keytab").await;
    let person = inside.ticket("cmsprod", "cmsprod.keytab");
    let token = inside.unused(&person).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(present(&world, "cms_crab", &token).await.status, 401);
}
