//! The client against a TLS server that answers as Vault, as a front, or as an attacker would.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod certificates;
mod once;
mod requests;
mod server;
mod texts;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use htvault::{AccessTokenAnswer, AccessTokenRequest, Client, Error, ErrorKind, FailureScope};
use server::{Reply, SECRET, Server, Stage, url, vault_token};

const STANDBY: &str = "Location: https://127.0.0.3:1/v1/x?a=b\r\n";

async fn read(client: &Client) -> Result<AccessTokenAnswer, Error> {
    let request = AccessTokenRequest::default();
    client
        .access_token(&url(client), &vault_token(), &request)
        .await
}

/// The error of a read; whatever it is, it shows no secret and promises nothing.
async fn refused(client: &Client) -> Error {
    let error = read(client).await.unwrap_err();
    check(&error);
    error
}

fn check(error: &Error) {
    let mut all = format!("{error} {error:?} {}", error.message());
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        write!(all, " {cause} {cause:?}").unwrap();
        source = cause.source();
    }
    assert!(!all.contains(SECRET), "{all}");
    assert!(!error.to_string().contains("tried again"), "{error}");
    assert!(error.to_string().chars().count() < 1500, "{error}");
    assert!(!error.to_string().chars().any(char::is_control), "{error}");
    let text = format!("{}; {}", error.message(), error.advice());
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn the_next_address_is_tried_after_a_standbys_redirect_and_after_a_fronts_outage() {
    let page = "<html><title>502 Bad Gateway</title></html>";
    for bad in [
        Reply::new(307, STANDBY, ""),
        Reply::new(302, STANDBY, ""),
        Reply::new(502, "", page),
        Reply::new(503, "", ""),
        Reply::json(503, r#"{"errors":["Vault is sealed"]}"#),
        Reply::json(500, r#"{"errors":["broken"]}"#),
        Reply::new(200, "", page),
        Reply::Endless,
        Reply::Cut,
    ] {
        let stage = Stage::new();
        let first = stage.server(vec![bad.clone()]).await;
        let second = stage.beside(&first, 2, vec![Reply::token("good")]).await;
        let client = stage.client(&[&first, &second]);
        let answer = read(&client).await;
        assert_eq!(answer.unwrap().token.expose(), "good", "{bad:?}");
        // The preference moves: the next request does not begin with the bad one.
        read(&client).await.unwrap();
        assert_eq!(first.requests().len(), 1, "{bad:?}");
        assert_eq!(second.requests().len(), 2, "{bad:?}");
    }
}

#[tokio::test]
async fn idle_connections_are_bounded_for_all_addresses_of_a_client_together() {
    let stage = Stage::new();
    let odd = || vec![Reply::json(500, r#"{"errors":["broken"]}"#)];
    let mut servers = vec![stage.server(odd()).await];
    for last in 2..=8 {
        let server = stage.beside(&servers[0], last, odd()).await;
        servers.push(server);
    }
    let client = stage.client(&servers.iter().collect::<Vec<_>>());
    let reads = (0..12).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { read(&client).await.unwrap_err() })
    });
    for read in reads.collect::<Vec<_>>() {
        read.await.unwrap();
    }
    assert!(servers.iter().all(|server| count(server) == 12));
    let open = || servers.iter().map(Server::open).sum::<usize>();
    // The servers see a moment later that the others are closed.
    let closed = async {
        while open() > 16 {
            tokio::task::yield_now().await;
        }
    };
    let far = std::time::Duration::from_secs(30);
    let in_time = tokio::time::timeout(far, closed).await;
    assert!(in_time.is_ok(), "{} connections are open", open());
}

#[tokio::test]
async fn a_path_that_fails_everywhere_changes_no_preference() {
    let stage = Stage::new();
    let odd = || Reply::json(500, r#"{"errors":["broken"]}"#);
    let first = stage.server(vec![odd(), Reply::token("first")]).await;
    let replies = vec![odd(), Reply::token("second")];
    let second = stage.beside(&first, 2, replies).await;
    let client = stage.client(&[&first, &second]);
    let error = refused(&client).await;
    assert_eq!(error.scope(), FailureScope::Credential);
    assert_eq!(read(&client).await.unwrap().token.expose(), "first");
    assert_eq!((count(&first), count(&second)), (2, 1));
}

#[tokio::test]
async fn each_request_of_a_call_is_counted() {
    let stage = Stage::new();
    let first = stage.server(vec![Reply::new(502, "", "")]).await;
    let second = stage.beside(&first, 2, vec![Reply::token("good")]).await;
    let client = stage.client(&[&first, &second]);
    let (mine, others) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let other = client.counting(Arc::clone(&others));
    read(&client.counting(Arc::clone(&mine))).await.unwrap();
    assert_eq!(mine.load(Ordering::Relaxed), 2);
    // Connections and health are shared: the good one is asked first.
    read(&other).await.unwrap();
    read(&client).await.unwrap();
    let counts = [mine, others].map(|counter| counter.load(Ordering::Relaxed));
    assert_eq!((counts, count(&first), count(&second)), ([2, 1], 1, 3));
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    for status in [301, 302, 303, 307, 308] {
        let stage = Stage::new();
        let thief = stage.server(vec![Reply::token("stolen")]).await;
        let place = format!("Location: https://127.0.0.1:{}/x\r\n", thief.address.port());
        let server = stage.server(vec![Reply::new(status, &place, "")]).await;
        let own = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .redirect(reqwest::redirect::Policy::limited(5))
            .resolve(server::HOST, server.address);
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let settings = stage.settings(&[&server]);
        for client in [
            Client::new(&settings).unwrap(),
            Client::with_http(&settings, own).unwrap(),
        ] {
            let error = refused(&client).await;
            let (kind, scope) = match status {
                307 => (ErrorKind::Standby, FailureScope::Host),
                _ => (ErrorKind::NotVault, FailureScope::Credential),
            };
            assert_eq!((error.kind(), error.scope()), (kind, scope), "{error}");
            assert_eq!(error.status(), Some(status));
        }
        assert_eq!(server.requests().len(), 2);
        assert!(thief.requests().is_empty(), "{status}");
    }
}

#[tokio::test]
async fn a_page_in_the_place_of_an_empty_answer_is_no_success() {
    let page = "<html><title>Sign in</title></html>";
    for (reply, expected) in [
        (Reply::new(200, "", page), Some(ErrorKind::NotVault)),
        (
            Reply::json(200, "{\"warnings\":["),
            Some(ErrorKind::BadAnswer),
        ),
        (Reply::json(200, r#"{"warnings":["odd"]}"#), None),
        (Reply::new(204, "", ""), None),
    ] {
        let stage = Stage::new();
        let server = stage.server(vec![reply.clone()]).await;
        let client = stage.client(&[&server]);
        let (token, url) = (vault_token(), url(&client));
        let revoked = client.revoke_self(&token).await;
        let forgotten = client.forget_refresh_token(&url, &token).await;
        for outcome in [revoked, forgotten] {
            let kind = outcome.inspect_err(check).err().map(|e| e.kind());
            assert_eq!(kind, expected, "{reply:?}");
        }
    }
}

#[tokio::test]
async fn addresses_that_hang_hold_up_no_survey_of_the_others() {
    let stage = Stage::new();
    let health = r#"{"initialized":true,"sealed":false,"standby":false}"#;
    let first = stage.server(vec![Reply::json(200, health)]).await;
    let hang = vec![Reply::Hang];
    let hanging = [
        stage.beside(&first, 2, hang.clone()).await,
        stage.beside(&first, 3, hang.clone()).await,
        stage.beside(&first, 4, hang).await,
    ];
    let [a, b, c] = &hanging;
    let mut settings = stage.settings(&[a, b, &first, c]);
    settings.request_timeout = std::time::Duration::from_secs(2);
    let begun = std::time::Instant::now();
    let nodes = htvault::survey(&settings).await.unwrap();
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    let answered: Vec<bool> = nodes.iter().map(|node| node.answer.is_ok()).collect();
    assert_eq!(answered, [false, false, true, false]);
}

#[tokio::test]
async fn failures_speak_of_the_host_only_where_it_was_not_reached_or_says_so() {
    use FailureScope::{Credential, Host, Issuer, Quota};
    for (reply, kind, scope) in [
        (Reply::Cut, ErrorKind::Unreachable, Credential),
        (Reply::Endless, ErrorKind::BadAnswer, Credential),
        (Reply::Hang, ErrorKind::TimedOut, Credential),
        (
            Reply::json(400, r#"{"errors":["token expired"]}"#),
            ErrorKind::NotLongEnough,
            Issuer,
        ),
        (
            Reply::json(500, r#"{"errors":["x transient: y"]}"#),
            ErrorKind::IssuerDown,
            Issuer,
        ),
        (
            Reply::json(500, r#"{"errors":["x"]}"#),
            ErrorKind::ServerError,
            Credential,
        ),
        (
            Reply::json(429, r#"{"errors":["rate limit quota exceeded"]}"#),
            ErrorKind::RateLimited,
            Quota,
        ),
        (
            Reply::json(503, r#"{"errors":["Vault is sealed"]}"#),
            ErrorKind::Sealed,
            Host,
        ),
        (Reply::new(504, "", "late"), ErrorKind::NotVault, Host),
    ] {
        let stage = Stage::new();
        let server = stage.server(vec![reply.clone()]).await;
        let mut settings = stage.settings(&[&server]);
        if matches!(reply, Reply::Hang) {
            settings.request_timeout = std::time::Duration::from_millis(500);
        }
        let error = refused(&Client::new(&settings).unwrap()).await;
        assert_eq!((error.kind(), error.scope()), (kind, scope), "{reply:?}");
    }
}

#[tokio::test]
async fn what_was_never_reached_speaks_of_the_host() {
    let stage = Stage::new();
    let server = stage.server(vec![Reply::Cut]).await;
    let mut settings = stage.settings(&[&server]);
    drop(server);
    // Nobody listens.
    let gone = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    settings.resolver = Arc::new(server::Fixed(vec![address]));
    settings = at_port(settings, address.port());
    let error = refused(&Client::new(&settings).unwrap()).await;
    assert_eq!(
        (error.kind(), error.scope()),
        (ErrorKind::Unreachable, FailureScope::Host),
        "{error}"
    );

    // Somebody takes connections and never speaks TLS.
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let address = silent.local_addr().unwrap();
    settings.resolver = Arc::new(server::Fixed(vec![address]));
    settings = at_port(settings, address.port());
    settings.request_timeout = std::time::Duration::from_millis(900);
    let error = refused(&Client::new(&settings).unwrap()).await;
    // A time for the connection that is longer than that of the whole request changes nothing.
    assert_eq!(error.scope(), FailureScope::Host, "{error}");
    settings.connect_timeout = std::time::Duration::from_millis(300);
    let error = refused(&Client::new(&settings).unwrap()).await;
    assert_eq!(
        (error.kind(), error.scope()),
        (ErrorKind::TimedOut, FailureScope::Host),
        "{error}"
    );
    drop(silent);
}

/// The same settings for another port.
fn at_port(settings: htvault::Settings, port: u16) -> htvault::Settings {
    let server = format!("https://{}:{port}", server::HOST);
    let mut other = htvault::Settings::new(server.parse().unwrap());
    other.tls = settings.tls;
    other.resolver = settings.resolver;
    other.connect_timeout = settings.connect_timeout;
    other
}

/// Requests that came to a server, counted.
fn count(server: &Server) -> usize {
    server.requests().len()
}
