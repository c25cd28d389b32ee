//! What the recordings do not show: chains of calls, and what must never work.

use std::time::Duration;

use integration::address::{self, Protocol};
use integration::dev::Settings;
use integration::wait;
use serde_json::{Value, json};

use crate::wire::{Connection, Request};
use crate::world::{World, crab};

const LOOK_UP: &str = "/v1/auth/token/lookup-self";
const CREATE: &str = "/v1/auth/token/create";
const READ: &str = "/v1/secret/oauth/creds/cms/cmsprod:crab";

pub fn claims(jwt: &str) -> Value {
    use base64::Engine as _;
    let part = jwt.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn an_access_token_has_the_claims_of_the_wlcg_profile() {
    let world = World::new().await;
    world.server.seed_grant(&crab(), "cmsprod");
    let token = world.login("cmsprod");
    let answer = world.call("GET", READ, &token, "").await.json();
    let claims = claims(answer["data"]["access_token"].as_str().unwrap());
    assert_eq!(claims["wlcg.ver"], "1.0");
    assert_eq!(claims["iss"], "https://issuer.test:8443/cms");
    assert_eq!(claims["sub"], "cmsprod");
    assert_eq!(claims["aud"], "https://wlcg.cern.ch/jwt/v1/any");
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        3600
    );
    assert!(
        claims["scope"]
            .as_str()
            .unwrap()
            .contains("storage.create:/store/temp/user")
    );
}

#[tokio::test]
async fn an_exchange_narrows_scopes_and_names_audiences() {
    let world = World::new().await;
    world.server.seed_grant(&crab(), "cmsprod");
    let token = world.login("cmsprod");
    let sts = "/v1/secret/oauth/sts/cms/cmsprod:crab";
    let query = "?scopes=storage.read:/store,condor:/WRITE&audiences=a,b";
    let answer = world
        .call("GET", &format!("{sts}{query}"), &token, "")
        .await;
    let narrow = claims(answer.json()["data"]["access_token"].as_str().unwrap());
    assert_eq!(narrow["scope"], "storage.read:/store condor:/WRITE");
    assert_eq!(narrow["aud"], json!(["a", "b"]));
    let more = world
        .call("GET", &format!("{sts}?scopes=storage.modify:/"), &token, "")
        .await;
    assert_eq!(more.status, 400);
    let words = more.json()["errors"][0].to_string();
    assert!(
        words.contains("exchange failed: server rejected request: invalid_scope"),
        "{words}"
    );
}

#[tokio::test]
async fn the_cache_is_used_until_too_little_is_left() {
    let world = World::new().await;
    world.server.seed_grant(&crab(), "cmsprod");
    let token = world.login("cmsprod");
    let query = "?minimum_seconds=2400";
    let read = async || {
        let answer = world
            .call("GET", &format!("{READ}{query}"), &token, "")
            .await;
        answer.json()["data"]["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = read().await;
    world.wait(Duration::from_mins(20));
    assert_eq!(read().await, first);
    world.wait(Duration::from_secs(1));
    assert_ne!(read().await, first);
}

#[tokio::test]
async fn readers_at_once_share_one_refresh() {
    let world = World::new().await;
    world.server.seed_grant(&crab(), "cmsprod");
    let token = world.login("cmsprod");
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut connection = world.connect().await;
        let request = Request {
            method: "GET".into(),
            path: READ.into(),
            headers: vec![("X-Vault-Token".into(), token.clone())],
            body: String::new(),
        };
        readers.spawn(async move {
            let answer = connection.send(&request).await.json();
            answer["data"]["access_token"].as_str().unwrap().to_owned()
        });
    }
    let mut tokens = readers.join_all().await;
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
}

#[tokio::test]
async fn an_outage_of_the_issuer_is_over_when_it_is_back() {
    let world = World::new().await;
    world.server.seed_grant(&crab(), "cmsprod");
    let token = world.login("cmsprod");
    assert_eq!(world.call("GET", READ, &token, "").await.status, 200);
    world.server.stop_issuer().await;
    world.wait(Duration::from_mins(1));
    let more = format!("{READ}?minimum_seconds=3599");
    assert_eq!(world.call("GET", &more, &token, "").await.status, 400);
    let cached = world.call("GET", READ, &token, "").await.json();
    let warning = cached["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("1 attempt(s) to refresh this token failed"),
        "{warning}"
    );
    world.server.start_issuer().await.unwrap();
    let again = world.call("GET", &more, &token, "").await;
    assert_eq!(
        (again.status, again.json()["warnings"].clone()),
        (200, Value::Null)
    );
}

#[tokio::test]
async fn nobody_reads_what_is_not_theirs() {
    let world = World::new().await;
    for credkey in ["cmsprod", "cmsprod2", "cmsprod/bastion/ap.test"] {
        world.server.seed_grant(&crab(), credkey);
    }
    let path = |credkey: &str| format!("/v1/secret/oauth/creds/cms/{credkey}:crab");
    let person = world.login("cmsprod");
    let robot = world.login("cmsprod/bastion/ap.test");
    for (token, credkey, status) in [
        (&person, "cmsprod", 200),
        (&person, "cmsprod2", 403),
        (&person, "cmsprod/bastion/ap.test", 200),
        (&robot, "cmsprod", 403),
        (&robot, "cmsprod/bastion/ap.test", 200),
        (&robot, "cmsprod%2Fbastion%2Fap.test", 200),
        (&robot, "cmsprod/bastion/ap.test/../../../cmsprod2", 404),
    ] {
        let answer = world.call("GET", &path(credkey), token, "").await;
        assert_eq!(answer.status, status, "{credkey}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_child_has_no_more_than_its_parent_and_dies_with_it() {
    let world = World::new().await;
    let login = world.login("cmsprod");
    let child = world.child(&login, r#"{"ttl":"7d"}"#).await;
    let shown = world.call("GET", LOOK_UP, &child, "").await.json();
    assert_eq!(shown["data"]["creation_ttl"], 604_800);
    let more = world
        .call("POST", CREATE, &child, r#"{"policies":["root"]}"#)
        .await;
    assert_eq!(more.status, 400);
    let grandchild = world.child(&child, r#"{"policies":["tokenops"]}"#).await;
    assert_eq!(world.call("GET", READ, &grandchild, "").await.status, 403);
    let batch = world.child(&child, r#"{"type":"batch"}"#).await;
    assert_eq!(world.call("GET", LOOK_UP, &batch, "").await.status, 200);
    assert_eq!(world.call("POST", CREATE, &batch, "").await.status, 400);
    let revoke = "/v1/auth/token/revoke-self";
    assert_eq!(world.call("POST", revoke, &batch, "").await.status, 400);
    assert_eq!(world.call("POST", revoke, &child, "").await.status, 204);
    for (token, status) in [
        (&login, 200),
        (&child, 403),
        (&grandchild, 403),
        (&batch, 403),
    ] {
        assert_eq!(world.call("GET", LOOK_UP, token, "").await.status, status);
    }
}

#[tokio::test]
async fn a_token_made_at_one_node_is_known_at_the_others() {
    let world = World::new().await;
    let token = world.login("cmsprod");
    let standby = world.server.addresses()[1];
    let mut standby = Connection::open(standby, "vault.test", world.tls.clone()).await;
    let mut ask = async |method: &str, path: &str| {
        let request = Request {
            method: method.into(),
            path: path.into(),
            headers: vec![("X-Vault-Token".into(), token.clone())],
            body: String::new(),
        };
        standby.send(&request).await.status
    };
    assert_eq!(ask("GET", "/v1/sys/health").await, 429);
    assert_eq!(ask("GET", LOOK_UP).await, 200);
    assert_eq!(ask("POST", "/v1/auth/token/revoke-self").await, 204);
    assert_eq!(world.call("GET", LOOK_UP, &token, "").await.status, 403);
}

#[tokio::test]
async fn the_maximum_life_is_an_option() {
    let settings = Settings {
        login_life: Duration::from_mins(10),
        max_life: Duration::from_mins(5),
        access_token_life: Duration::from_mins(1),
        ..Settings::default()
    };
    let world = World::with(settings).await;
    let login = world.login("cmsprod");
    let answer = world
        .call("POST", CREATE, &login, r#"{"ttl":"1h"}"#)
        .await
        .json();
    assert_eq!(answer["auth"]["lease_duration"], 300);
    assert_eq!(
        answer["warnings"][0],
        "TTL of \"1h\" exceeded the effective max_ttl of \"5m\"; TTL value is capped accordingly"
    );
    world.wait(Duration::from_mins(5));
    assert_eq!(world.call("GET", LOOK_UP, &login, "").await.status, 403);
}

#[tokio::test]
async fn a_refresh_token_is_stored_only_when_the_issuer_takes_it() {
    let world = World::new().await;
    let token = world.oidc_login("cmsprod");
    let store = async |world: &World, body: Value| {
        let answer = world.call("POST", READ, &token, &body.to_string()).await;
        (answer.status, answer.body)
    };
    let wrong = json!({"server": "cms", "refresh_token": "guessed"});
    let (status, words) = store(&world, wrong.clone()).await;
    assert_eq!(status, 400);
    assert!(
        words.contains("refresh failed: server rejected request: invalid_grant"),
        "{words}"
    );
    assert_eq!(store(&world, json!({"server": "cms"})).await.0, 400);
    assert_eq!(
        store(&world, json!({"server": "no", "refresh_token": "x"}))
            .await
            .0,
        400
    );
    assert_eq!(world.call("GET", READ, &token, "").await.status, 404);
    world.server.stop_issuer().await;
    let (status, words) = store(&world, wrong).await;
    assert_eq!(status, 500);
    assert!(words.contains("transient: Post"), "{words}");
}

#[tokio::test]
async fn the_issuer_serves_discovery_and_keys_and_no_stranger() {
    let world = World::new().await;
    let address = world.server.issuer_address();
    let mut issuer = Connection::open(address, "issuer.test", world.tls.clone()).await;
    let mut ask = async |method: &str, path: &str, body: &str| {
        let request = Request {
            method: method.into(),
            path: path.into(),
            headers: vec![],
            body: body.into(),
        };
        issuer.send(&request).await
    };
    let discovery = ask("GET", "/cms/.well-known/openid-configuration", "")
        .await
        .json();
    assert_eq!(discovery["issuer"], "https://issuer.test:8443/cms");
    let jwks = ask("GET", "/cms/jwk", "").await.json();
    assert_eq!(jwks["keys"][0]["alg"], "ES256");
    let form = "grant_type=refresh_token&refresh_token=x&client_id=htvault-dev&client_secret=x";
    let stranger = ask("POST", "/cms/token", form).await;
    assert_eq!(
        (stranger.status, stranger.json()["error"].clone()),
        (401, "invalid_client".into())
    );
    assert_eq!(ask("GET", "/nope/jwk", "").await.status, 404);
}

#[tokio::test]
async fn a_connection_serves_many_calls_and_strange_ones() {
    let world = World::new().await;
    let token = world.login("cmsprod");
    let mut connection = world.connect().await;
    for (method, path, status) in [
        ("GET", LOOK_UP, 200),
        ("PATCH", LOOK_UP, 405),
        ("GET", "/ui/", 404),
        ("GET", "/v1/secret/oauth/creds/%zz", 400),
        (
            "GET",
            "/v1/secret/oauth/creds/cms/cmsprod:crab?minimum_seconds=soon",
            400,
        ),
        ("GET", LOOK_UP, 200),
    ] {
        let request = Request {
            method: method.into(),
            path: path.into(),
            headers: vec![("Authorization".into(), format!("Bearer {token}"))],
            body: String::new(),
        };
        assert_eq!(
            connection.send(&request).await.status,
            status,
            "{method} {path}"
        );
    }
    let large = "x".repeat((1 << 20) + 1);
    assert_eq!(world.call("POST", CREATE, &token, &large).await.status, 413);
}

#[tokio::test]
async fn a_server_that_is_dropped_leaves_no_port_open() {
    let world = World::new().await;
    let mut addresses = world.server.addresses();
    addresses.push(world.server.issuer_address());
    addresses.push(world.server.admin_address().unwrap());
    for address in &addresses {
        address::listen(*address).unwrap_err();
    }
    drop(world);
    for address in addresses {
        wait::until("a closed port", Duration::from_mins(1), async || {
            address::require_free("the next server", Protocol::Tcp, address)
        })
        .await
        .unwrap();
    }
}
