//! The device flow from beginning to end, and the approval page.

use std::time::Duration;

use serde_json::{Value, json};

use crate::wire::{Answer, Connection, Request};
use crate::world::{OidcFlow, World};

const READ: &str = "/v1/secret/oauth/creds/cms/cmsprod:crab";

impl World {
    async fn poll(&self, flow: &OidcFlow, nonce: &str) -> (u16, Value) {
        let body = json!({"state": flow.state, "client_nonce": nonce});
        let path = "/v1/auth/oidc-cms/oidc/poll";
        let answer = self.call("POST", path, "", &body.to_string()).await;
        (answer.status, answer.json())
    }

    async fn poll_error(&self, flow: &OidcFlow) -> String {
        let (status, answer) = self.poll(flow, "n").await;
        assert!(status >= 400, "{answer}");
        answer["errors"][0].as_str().unwrap().to_owned()
    }

    /// What a browser gets from the issuer.
    async fn browse(&self, method: &str, path: &str, body: &str) -> Answer {
        let address = self.server.issuer_address();
        let mut issuer = Connection::open(address, "issuer.test", self.tls.clone()).await;
        let form = "application/x-www-form-urlencoded";
        let request = Request {
            method: method.into(),
            path: path.into(),
            headers: vec![("Content-Type".into(), form.into())],
            body: body.into(),
        };
        issuer.send(&request).await
    }
}

#[tokio::test]
async fn somebody_onboards_and_the_stored_token_is_read_with_kerberos() {
    let world = World::new().await;
    let flow = world.begin_oidc("n").await;
    assert_eq!(world.poll_error(&flow).await, "authorization_pending");
    assert_eq!(world.poll_error(&flow).await, "slow_down");
    world.wait(Duration::from_secs(3));
    assert_eq!(world.poll_error(&flow).await, "authorization_pending");
    let form = format!(
        "user_code={}&credkey=cmsprod&action=approve",
        flow.user_code
    );
    assert_eq!(world.browse("POST", "/device", &form).await.status, 200);
    let (status, answer) = world.poll(&flow, "n").await;
    assert_eq!(status, 200, "{answer}");
    let auth = &answer["auth"];
    let token = auth["client_token"].as_str().unwrap();
    let body = json!({"server": "cms", "refresh_token": auth["metadata"]["oauth2_refresh_token"]});
    let body = body.to_string();
    let robot = "/v1/secret/oauth/creds/cms/cmsprod/bastion/ap.test:crab";
    for (path, status) in [
        (READ, 204),
        (robot, 204),
        ("/v1/secret/oauth/creds/cms/cmsprod:default", 403),
        ("/v1/secret/oauth/creds/cms/crabtw:crab", 403),
    ] {
        let stored = world.call("POST", path, token, &body).await;
        assert_eq!(stored.status, status, "{path} {}", stored.body);
    }
    let login = world.login("cmsprod");
    assert_eq!(world.call("GET", READ, &login, "").await.status, 200);
    let again = world.poll_error(&flow).await;
    assert!(again.contains("Expired or missing OAuth state"), "{again}");
}

#[tokio::test]
async fn a_lookup_never_shows_the_refresh_token() {
    let world = World::new().await;
    let flow = world.begin_oidc("n").await;
    world.approve(&flow, "cmsprod");
    let (_, answer) = world.poll(&flow, "n").await;
    let token = answer["auth"]["client_token"].as_str().unwrap();
    let shown = world
        .call("GET", "/v1/auth/token/lookup-self", token, "")
        .await
        .json();
    let data = &shown["data"];
    assert_eq!(data["meta"], json!({"credkey": "cmsprod", "role": "crab"}));
    assert_eq!(data["display_name"], "oidc-cms-cmsprod");
    assert_eq!(data["path"], "auth/oidc-cms/oidc/poll");
}

#[tokio::test]
async fn a_flow_ends_by_a_wrong_nonce_a_no_and_with_time() {
    let world = World::new().await;
    let flow = world.begin_oidc("n").await;
    let (status, answer) = world.poll(&flow, "guessed").await;
    assert_eq!(
        (status, &answer["errors"][0]),
        (400, &"invalid client_nonce".into())
    );
    let gone = "Vault login failed. Expired or missing OAuth state.";
    assert_eq!(world.poll_error(&flow).await, gone);

    let flow = world.begin_oidc("n").await;
    let form = format!("user_code={}&action=deny", flow.user_code);
    assert_eq!(world.browse("POST", "/device", &form).await.status, 200);
    let denied = world.poll_error(&flow).await;
    assert_eq!(denied, "authorization failed: access_denied");
    assert_eq!(world.poll_error(&flow).await, gone);

    let flow = world.begin_oidc("n").await;
    world.wait(Duration::from_mins(10));
    assert_eq!(world.poll_error(&flow).await, gone);
}

#[tokio::test]
async fn a_flow_has_the_life_it_is_told() {
    let settings = integration::dev::Settings {
        device_life: Duration::from_mins(1),
        ..Default::default()
    };
    let world = World::with(settings).await;
    let flow = world.begin_oidc("n").await;
    world.wait(Duration::from_mins(1));
    let form = format!(
        "user_code={}&credkey=cmsprod&action=approve",
        flow.user_code
    );
    assert_eq!(world.browse("POST", "/device", &form).await.status, 404);
    let expired = world.poll_error(&flow).await;
    assert_eq!(expired, "authorization failed: expired_token");
}

#[tokio::test]
async fn what_cannot_begin_is_refused() {
    let world = World::new().await;
    let path = "/v1/auth/oidc-cms/oidc/auth_url";
    for (body, words) in [
        (r#"{"client_nonce":"n"}"#, "missing role"),
        (r#"{"role":"crab"}"#, "missing client_nonce"),
        (
            r#"{"role":"no","client_nonce":"n"}"#,
            "role \"no\" could not be found",
        ),
        ("nonsense", "failed to parse JSON input"),
    ] {
        let answer = world.call("POST", path, "", body).await;
        assert_eq!(answer.status, 400, "{body}");
        let said = answer.json()["errors"][0].as_str().unwrap().to_owned();
        assert!(said.starts_with(words), "{said}");
    }
    let strange = "/v1/auth/oidc-atlas/oidc/auth_url";
    assert_eq!(world.call("POST", strange, "", "").await.status, 403);
    let flow = world.begin_oidc("n").await;
    world.server.stop_issuer().await;
    let body = r#"{"role":"crab","client_nonce":"n"}"#;
    let answer = world.call("POST", path, "", body).await;
    assert_eq!(answer.status, 500, "{}", answer.body);
    assert!(
        answer.body.contains("error authorizing device: Post"),
        "{}",
        answer.body
    );
    let polled = world.poll_error(&flow).await;
    assert!(
        polled.contains("error polling for device authorization: Post"),
        "{polled}"
    );
}

#[tokio::test]
async fn the_page_asks_says_what_is_wrong_and_is_safe() {
    let world = World::new().await;
    let flow = world.begin_oidc("n").await;
    let code = &flow.user_code;
    let page = world
        .browse("GET", &format!("/device?user_code={code}"), "")
        .await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("Content-Type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("Content-Security-Policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    for part in [code.as_str(), "storage.create:/store/temp/user", "<label"] {
        assert!(page.body.contains(part), "{part}");
    }
    for (form, status, words) in [
        (
            format!("user_code={code}&action=approve"),
            400,
            "Say who you are",
        ),
        (
            format!("user_code={code}&credkey=x"),
            400,
            "approve or deny",
        ),
        (
            format!("user_code={code}&credkey=%3Cb%3E&action=approve"),
            400,
            "Say who",
        ),
        (
            "user_code=%3Cb%3E&action=deny".into(),
            404,
            "There is no such code",
        ),
        (
            format!("user_code={code}&action=deny"),
            200,
            "gets no tokens",
        ),
        (
            format!("user_code={code}&action=deny"),
            409,
            "answered already",
        ),
    ] {
        let page = world.browse("POST", "/device", &form).await;
        assert_eq!(page.status, status, "{form}");
        assert!(page.body.contains(words), "{form}: {}", page.body);
        assert!(!page.body.contains("<b>\""), "{form}");
    }
    let unknown = world
        .browse("GET", "/device?user_code=%22%3E%3Cscript%3E", "")
        .await;
    assert!(unknown.body.contains("There is no such code"));
    assert!(!unknown.body.contains("<script"));
}
