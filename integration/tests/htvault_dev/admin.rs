//! The admin endpoint as an operator uses it.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{World, crab};

const READ: &str = "/v1/secret/oauth/creds/cms/cmsprod:crab";
const LOOK_UP: &str = "/v1/auth/token/lookup-self";

impl World {
    async fn admin_raw(&self, head: &str, body: &str) -> (u16, Value) {
        let address = self.server.admin_address().unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = body.len();
        let text = format!("{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut received = String::new();
        stream.read_to_string(&mut received).await.unwrap();
        let (head, body) = received.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    async fn admin(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:8199\r\nContent-Type: application/json"
        );
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.admin_raw(&head, &body).await
    }
}

#[tokio::test]
async fn faults_are_set_shown_and_cleared() {
    let world = World::new().await;
    let token = world.login("cmsprod");
    let (_, before) = world.admin("GET", "/faults", Value::Null).await;
    assert_eq!(before["faults"], json!([]));
    let fault = json!({"effect": "status", "value": 502, "path": "/v1/auth/", "times": 2});
    let (status, made) = world.admin("POST", "/faults", fault).await;
    assert_eq!((status, &made["id"]), (201, &json!(1)));
    assert_eq!(world.call("GET", LOOK_UP, &token, "").await.status, 502);
    let (_, now) = world.admin("GET", "/faults", Value::Null).await;
    let shown = json!({"effect": "status", "value": 502, "node": "vault", "path": "auth/",
        "times": 2, "share": 100, "id": 1, "met": 1});
    assert_eq!(now["faults"], json!([shown]));
    let (status, after) = world.admin("DELETE", "/faults/1", Value::Null).await;
    assert_eq!((status, &after), (200, &before));
    assert_eq!(world.admin("DELETE", "/faults/1", Value::Null).await.0, 404);
    assert_eq!(world.call("GET", LOOK_UP, &token, "").await.status, 200);
}

#[tokio::test]
async fn everything_can_be_set_and_is_reset_at_once() {
    let world = World::new().await;
    let (_, before) = world.admin("GET", "/faults", Value::Null).await;
    for (path, body, pointer, shown) in [
        (
            "/nodes/1",
            json!({"condition": "sealed"}),
            "/nodes/0/condition",
            json!("sealed"),
        ),
        (
            "/nodes/all",
            json!({"up": false}),
            "/nodes/1/up",
            json!(false),
        ),
        (
            "/issuer",
            json!({"state": "hung"}),
            "/issuer/state",
            json!("hung"),
        ),
        (
            "/issuer",
            json!({"state": "down"}),
            "/issuer/state",
            json!("down"),
        ),
        ("/ldap", json!({"up": false}), "/ldap/up", json!(false)),
        (
            "/clock",
            json!({"vault": "1h"}),
            "/clock/vault",
            json!("1h"),
        ),
        (
            "/clock",
            json!({"issuer": "-90s"}),
            "/clock/issuer",
            json!("-1m30s"),
        ),
        (
            "/quota",
            json!({"quota": "9/1m/5m"}),
            "/quota/quota",
            json!("9/1m/5m"),
        ),
        (
            "/quota",
            json!({"quota": null, "retry_after": true}),
            "/quota/retry_after",
            json!(true),
        ),
    ] {
        let (status, state) = world.admin("PUT", path, body.clone()).await;
        assert_eq!(status, 200, "{path} {body}: {state}");
        assert_eq!(state.pointer(pointer), Some(&shown), "{path} {body}");
    }
    let (status, after) = world.admin("DELETE", "/faults", Value::Null).await;
    assert_eq!((status, after), (200, before));
}

#[tokio::test]
async fn tokens_are_killed_by_accessor_and_by_credkey() {
    let world = World::new().await;
    world.server.seed_grant(&crab(), "cmsprod");
    let token = world.login("cmsprod");
    let (_, tokens) = world.admin("GET", "/tokens", Value::Null).await;
    assert_eq!(tokens[0]["owner"], "cmsprod");
    assert!(!tokens.to_string().contains(&token));
    let (status, killed) = world
        .admin(
            "POST",
            "/kill",
            json!({"credkey": "cmsprod", "role": "cms:crab"}),
        )
        .await;
    assert_eq!((status, killed), (200, json!({"killed": 1})));
    let refused = world.call("GET", READ, &token, "").await;
    assert!(refused.body.contains("invalid_grant"), "{}", refused.body);
    let accessor = json!({"accessor": tokens[0]["accessor"]});
    assert_eq!(world.admin("POST", "/kill", accessor.clone()).await.0, 200);
    assert_eq!(world.call("GET", LOOK_UP, &token, "").await.status, 403);
    assert_eq!(world.admin("POST", "/kill", accessor).await.0, 404);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let (_, before) = world.admin("GET", "/faults", Value::Null).await;
    for (method, path, body, status, words) in [
        (
            "POST",
            "/faults",
            json!({"effect": "slow"}),
            400,
            "is no effect",
        ),
        ("POST", "/faults", json!({"effekt": "drop"}), 400, "effekt"),
        (
            "PUT",
            "/nodes/3",
            json!({"up": false}),
            404,
            "1 to 2 or all",
        ),
        (
            "PUT",
            "/nodes/1",
            json!({"condition": "tired"}),
            400,
            "is no condition",
        ),
        (
            "PUT",
            "/issuer",
            json!({"state": "gone"}),
            400,
            "is no state",
        ),
        (
            "PUT",
            "/clock",
            json!({"vault": "soon"}),
            400,
            "invalid duration",
        ),
        (
            "PUT",
            "/quota",
            json!({"quota": "many"}),
            400,
            "LIMIT/PERIOD",
        ),
        ("PUT", "/quota", json!({}), 400, "quota"),
        ("POST", "/kill", json!({}), 400, "name a credkey"),
        (
            "POST",
            "/kill",
            json!({"credkey": "a", "role": "x"}),
            400,
            "ISSUER:ROLE",
        ),
        ("GET", "/", Value::Null, 404, "paths are"),
    ] {
        let (given, answer) = world.admin(method, path, body.clone()).await;
        assert_eq!(given, status, "{path} {body}: {answer}");
        let said = answer["error"].as_str().unwrap();
        assert!(said.contains(words), "{path} {body}: {said}");
    }
    assert_eq!(world.admin("GET", "/faults", Value::Null).await.1, before);
}

#[tokio::test]
async fn a_web_page_cannot_use_it() {
    let world = World::new().await;
    let rebound = "GET /faults HTTP/1.1\r\nHost: evil.example:8199";
    assert_eq!(world.admin_raw(rebound, "").await.0, 403);
    let simple = "POST /faults HTTP/1.1\r\nHost: localhost:8199\r\nContent-Type: text/plain";
    let (status, _) = world.admin_raw(simple, r#"{"effect":"drop"}"#).await;
    assert_eq!(status, 415);
}
