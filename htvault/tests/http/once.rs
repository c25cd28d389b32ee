//! Requests that a server acts on once: logins, new vault tokens, polls of a device flow.

use std::time::Duration;

use htvault::{Client, ErrorKind};

use crate::count;
use crate::server::{Reply, Server, Stage, vault_token};

const CREATED: &str = r#"{"auth":{"client_token":"s.token","lease_duration":60}}"#;
#[cfg(feature = "kerberos")]
const REPLAYED: &str = r#"{"data":null,"warnings":["Unauthorised."]}"#;

/// Two servers for one name, and a client that waits only a moment.
async fn pair(stage: &Stage, first: Reply, second: Reply) -> (Server, Server, Client) {
    let first = stage.server(vec![first]).await;
    let second = stage.beside(&first, 2, vec![second]).await;
    let mut settings = stage.settings(&[&first, &second]);
    settings.request_timeout = Duration::from_millis(500);
    let client = Client::new(&settings).unwrap();
    (first, second, client)
}

/// Answers after which a server may have acted on the request.
fn perhaps_read() -> [Reply; 6] {
    [
        Reply::json(500, r#"{"errors":["could not connect to LDAP"]}"#),
        Reply::new(502, "", "<html><title>502 Bad Gateway</title></html>"),
        Reply::new(200, "", "a page"),
        Reply::Endless,
        Reply::Cut,
        Reply::Hang,
    ]
}

/// Answers of a node that serves nobody.
fn not_read() -> [Reply; 3] {
    [
        Reply::new(307, crate::STANDBY, ""),
        Reply::json(503, r#"{"errors":["Vault is sealed"]}"#),
        Reply::json(
            500,
            r#"{"errors":["local node not active but active cluster node not found"]}"#,
        ),
    ]
}

#[cfg(feature = "kerberos")]
async fn log_in(client: &Client) -> Result<htvault::IssuedToken, htvault::Error> {
    let token = crate::server::SECRET.to_owned();
    let negotiate = htvault::kerberos::NegotiateToken::from_base64("a@TEST", token);
    let login = client.login("cms", "crab", &negotiate).await;
    login.inspect_err(crate::check)
}

#[cfg(feature = "kerberos")]
#[tokio::test]
async fn an_outage_of_ldap_is_not_reported_as_a_ticket_that_is_refused() {
    let stage = Stage::new();
    for reply in perhaps_read() {
        let replayed = Reply::json(401, REPLAYED);
        let (first, second, client) = pair(&stage, reply.clone(), replayed).await;
        let error = log_in(&client).await.unwrap_err();
        assert_ne!(error.kind(), ErrorKind::LoginRefused, "{reply:?}: {error}");
        assert_eq!((count(&first), count(&second)), (1, 0), "{reply:?}");
        // The next login, with a ticket of its own, begins at the other address.
        let error = log_in(&client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LoginRefused, "{reply:?}: {error}");
        assert_eq!((count(&first), count(&second)), (1, 1), "{reply:?}");
    }
    let down = Reply::json(500, r#"{"errors":["could not connect to LDAP"]}"#);
    let (_first, _second, client) = pair(&stage, down, Reply::json(401, REPLAYED)).await;
    let error = log_in(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ServerError, "{error}");
}

#[cfg(feature = "kerberos")]
#[tokio::test]
async fn a_login_goes_on_where_no_server_has_read_it() {
    let stage = Stage::new();
    for reply in not_read() {
        let (_first, second, client) = pair(&stage, reply, Reply::json(200, CREATED)).await;
        log_in(&client).await.unwrap();
        assert_eq!(count(&second), 1);
    }
    let (first, second, client) = pair(&stage, Reply::Cut, Reply::json(200, CREATED)).await;
    drop(first);
    // Its task ends when it runs next.
    while is_open(&second, 1).await {
        tokio::task::yield_now().await;
    }
    log_in(&client).await.unwrap();
    assert_eq!(count(&second), 1);
}

/// True while another address at the port of a server takes connections.
#[cfg(feature = "kerberos")]
async fn is_open(server: &Server, last: u8) -> bool {
    let address = ([127, 0, 0, last], server.address.port());
    tokio::net::TcpStream::connect(std::net::SocketAddr::from(address))
        .await
        .is_ok()
}

#[tokio::test]
async fn a_vault_token_is_created_once() {
    let stage = Stage::new();
    for reply in perhaps_read() {
        let (first, second, client) = pair(&stage, reply.clone(), Reply::json(200, CREATED)).await;
        let error = client.create_token(&vault_token(), 60).await.unwrap_err();
        crate::check(&error);
        assert_eq!((count(&first), count(&second)), (1, 0), "{reply:?}");
    }
    for reply in not_read() {
        let (_first, second, client) = pair(&stage, reply, Reply::json(200, CREATED)).await;
        client.create_token(&vault_token(), 60).await.unwrap();
        assert_eq!(count(&second), 1);
    }
}

#[tokio::test]
async fn an_approval_is_fetched_once() {
    let stage = Stage::new();
    let begun = r#"{"data":{"auth_url":"https://issuer.test/d","state":"st_0123456789"}}"#;
    for reply in perhaps_read() {
        let first = stage
            .server(vec![Reply::json(200, begun), reply.clone()])
            .await;
        let unknown = Reply::json(400, r#"{"errors":["state not found"]}"#);
        let second = stage.beside(&first, 2, vec![unknown]).await;
        let mut settings = stage.settings(&[&first, &second]);
        settings.request_timeout = Duration::from_millis(500);
        let client = Client::new(&settings).unwrap();
        let flow = client.start_device_flow("cms", "crab");
        let error = client.poll(&mut flow.await.unwrap()).await.unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Refused, "{reply:?}: {error}");
        assert_eq!((count(&first), count(&second)), (2, 0), "{reply:?}");
    }
}
