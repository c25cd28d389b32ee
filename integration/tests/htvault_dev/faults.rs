//! What clients meet when something is wrong, and that it is over when it is put right.

use std::io;

use integration::dev::faults::Fault;
use integration::dev::node::Condition;
use integration::dev::parts::IssuerState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::wire::{Connection, Request};
use crate::world::{World, crab};

const READ: &str = "/v1/secret/oauth/creds/cms/cmsprod:crab";
const LOOK_UP: &str = "/v1/auth/token/lookup-self";

impl World {
    fn fault(&self, text: &str) -> u64 {
        let fault: Fault = text.parse().unwrap();
        self.server.controls().add(fault)
    }

    /// All bytes that the server sends until it closes.
    async fn raw(&self, path: &str, token: &str) -> io::Result<Vec<u8>> {
        let stream = TcpStream::connect(self.address()).await?;
        let name = rustls_pki_types::ServerName::try_from("vault.test").unwrap();
        let tls = TlsConnector::from(self.tls.clone());
        let mut stream = tls.connect(name, stream).await?;
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: vault.test\r\nX-Vault-Token: {token}\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).await?;
        let mut received = Vec::new();
        match stream.read_to_end(&mut received).await {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(received),
        }
    }

    async fn status(&self, path: &str, token: &str) -> u16 {
        self.call("GET", path, token, "").await.status
    }
}

#[tokio::test]
async fn a_share_of_calls_fails_with_a_status() {
    let world = World::new().await;
    let token = world.login("cmsprod");
    world.fault("status=503,path=auth/token/,share=50,times=2");
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(world.status(LOOK_UP, &token).await);
    }
    assert_eq!(seen, [200, 503, 200, 503, 200, 200]);
    assert_eq!(world.status("/v1/sys/health", "").await, 200);
}

#[tokio::test]
async fn a_dropped_connection_ends_without_a_word() {
    let world = World::new().await;
    let token = world.login("cmsprod");
    world.fault("drop,times=1");
    assert_eq!(world.raw(LOOK_UP, &token).await.unwrap(), b"");
    let answered = world.raw(LOOK_UP, &token).await.unwrap();
    assert!(answered.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_hanging_call_is_let_go_when_its_fault_is_cleared() {
    let world = World::new().await;
    let token = world.login("cmsprod");
    let other = world.fault("latency=1ms,node=2");
    let id = world.fault("hang,times=1");
    let (received, ()) = tokio::join!(world.raw(LOOK_UP, &token), async {
        let controls = world.server.controls();
        integration::wait::until("the call", std::time::Duration::from_mins(1), async || {
            let met = controls.faults().iter().any(|rule| rule.met > 0);
            met.then_some(())
        })
        .await
        .unwrap();
        assert!(controls.clear(other));
        assert!(controls.clear(id));
    });
    assert_eq!(received.unwrap(), b"");
    assert_eq!(world.status(LOOK_UP, &token).await, 200);
}

#[tokio::test]
async fn answers_can_be_garbage_or_far_too_large() {
    let world = World::new().await;
    let token = world.login("cmsprod");
    world.fault("garbage,times=1");
    let garbage = world.raw(LOOK_UP, &token).await.unwrap();
    assert!(garbage.starts_with(b"HTTP/1.1 200"));
    assert!(garbage.ends_with(b"{\"data\":"));
    world.fault("oversized=3M,times=1");
    let large = world.raw(LOOK_UP, &token).await.unwrap();
    assert!(large.len() > 3 << 20, "{}", large.len());
}

#[tokio::test]
async fn latency_is_added_and_the_call_still_answered() {
    let world = World::new().await;
    let token = world.login("cmsprod");
    world.fault("latency=1ms,path=auth/,times=1");
    assert_eq!(world.status(LOOK_UP, &token).await, 200);
    assert_eq!(world.server.controls().faults()[0].met, 1);
}

#[tokio::test]
async fn a_node_goes_down_and_comes_back_at_its_address() {
    let world = World::new().await;
    let token = world.login("cmsprod");
    let parts = world.server.parts();
    let mut kept = world.connect().await;
    parts.set_node_up(1, false).await.unwrap();
    let refused = TcpStream::connect(world.address()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let standby = world.server.addresses()[1];
    let mut other = Connection::open(standby, "vault.test", world.tls.clone()).await;
    let request = Request {
        method: "GET".into(),
        path: LOOK_UP.into(),
        headers: vec![("X-Vault-Token".into(), token.clone())],
        body: String::new(),
    };
    assert_eq!(other.send(&request).await.status, 200);
    parts.set_node_up(1, true).await.unwrap();
    assert_eq!(world.status(LOOK_UP, &token).await, 200);
    assert!(parts.set_node_up(3, false).await.is_err());
    let closed = tokio::spawn(async move { kept.send(&request).await.status }).await;
    assert!(closed.is_err(), "the connections of before are gone");
}

#[tokio::test]
async fn the_issuer_hangs_and_comes_back() {
    let settings = integration::dev::Settings {
        // Enough for the answer afterwards, on a busy machine too.
        issuer_timeout: std::time::Duration::from_secs(3),
        ..Default::default()
    };
    let world = World::with(settings).await;
    world.server.seed_grant(&crab(), "cmsprod");
    let token = world.login("cmsprod");
    let parts = world.server.parts();
    parts.set_issuer(IssuerState::Hung).await.unwrap();
    assert_eq!(parts.issuer_state().await, IssuerState::Hung);
    assert_eq!(world.status(READ, &token).await, 400);
    parts.set_issuer(IssuerState::Up).await.unwrap();
    assert_eq!(world.status(READ, &token).await, 200);
    world.fault("status=502,node=issuer,path=cms/token,times=1");
    let sts = "/v1/secret/oauth/sts/cms/cmsprod:crab";
    assert_eq!(world.status(sts, &token).await, 500);
    assert_eq!(world.status(sts, &token).await, 200);
}

#[tokio::test]
async fn a_wrong_clock_makes_tokens_that_are_not_valid_now() {
    let world = World::new().await;
    world.server.seed_grant(&crab(), "cmsprod");
    let token = world.login("cmsprod");
    let controls = world.server.controls();
    controls
        .issuer_clock
        .set_shift(jiff::SignedDuration::from_hours(2));
    let answer = world.call("GET", READ, &token, "").await.json();
    let claims = crate::behaviour::claims(answer["data"]["access_token"].as_str().unwrap());
    let now = htvault::clock::Clock::now(&*world.clock).as_second();
    assert_eq!(claims["nbf"], now + 7200);
    controls
        .vault_clock
        .set_shift(jiff::SignedDuration::from_hours(673));
    assert_eq!(world.status(LOOK_UP, &token).await, 403);
    world.server.parts().reset().await.unwrap();
    assert_eq!(world.status(LOOK_UP, &token).await, 200);
}

#[tokio::test]
async fn a_quota_counts_each_client_at_each_node_logins_too() {
    let world = World::new().await;
    let token = world.login("cmsprod");
    let controls = world.server.controls();
    controls.set_quota(Some("2/1m/5m".parse().unwrap()));
    assert_eq!(world.status(LOOK_UP, &token).await, 200);
    assert_eq!(world.status("/v1/sys/health", "").await, 200, "is exempt");
    assert_eq!(world.status(LOOK_UP, &token).await, 200);
    let login = "/v1/auth/kerberos-cms_crab/login";
    let refused = world.call("POST", login, "", "").await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("Retry-After"), None);
    world.wait(std::time::Duration::from_mins(4));
    controls.set_retry_after(true);
    let refused = world.call("GET", LOOK_UP, &token, "").await;
    assert_eq!(
        (refused.status, refused.header("Retry-After")),
        (429, Some("61"))
    );
    world.wait(std::time::Duration::from_mins(1));
    assert_eq!(world.status(LOOK_UP, &token).await, 200);
}

#[tokio::test]
async fn ldap_that_is_down_stops_logins_only_and_believes_no_bad_ticket() {
    let world = World::new().await;
    let token = world.login("cmsprod");
    world.server.controls().set_ldap_down(true);
    assert_eq!(world.status(LOOK_UP, &token).await, 200);
    let request = Request {
        method: "POST".into(),
        path: "/v1/auth/kerberos-cms_crab/login".into(),
        headers: vec![("Authorization".into(), "Negotiate YmFk".into())],
        body: String::new(),
    };
    assert_eq!(world.send(&request).await.status, 401);
}

#[tokio::test]
async fn a_reset_puts_everything_right() {
    let world = World::new().await;
    let token = world.login("cmsprod");
    let parts = world.server.parts();
    world.fault("drop");
    parts.controls.set_ldap_down(true);
    parts.controls.set_quota(Some("1/1m".parse().unwrap()));
    parts.set_condition(1, Condition::Sealed).unwrap();
    parts.set_node_up(2, false).await.unwrap();
    parts.set_issuer(IssuerState::Down).await.unwrap();
    parts.reset().await.unwrap();
    assert!(!parts.controls.ldap_is_down());
    assert_eq!(parts.controls.quota(), None);
    assert_eq!(parts.issuer_state().await, IssuerState::Up);
    assert!(parts.ports[1].is_up().await);
    for _ in 0..3 {
        assert_eq!(world.status(LOOK_UP, &token).await, 200);
    }
}
