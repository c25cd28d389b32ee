//! Orders by HTTP to an engine on fakes, on paused time.

use std::io;
use std::time::Duration;

use jiff::tz::TimeZone;
use nix::unistd::{Gid, Uid};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinSet;

use super::*;
use crate::api::access::Peer;
use crate::api::routes::{self, CLIENTS, StatusView};
use crate::api::schema::schema;
use crate::api::server::{Listen, serve};
use crate::engine::Engine;
use crate::fakes::{FakeSchedds, Outside};
use crate::fixtures::{config, credd, delivery};

const MEMBER: Peer = peer(1000, 7);
const STRANGER: Peer = peer(4_000_000_000, 1000);
const SECOND: Duration = Duration::from_secs(1);

const fn peer(uid: u32, gid: u32) -> Peer {
    Peer {
        uid: Uid::from_raw(uid),
        gid: Gid::from_raw(gid),
        own: Uid::from_raw(100),
        group: Gid::from_raw(7),
    }
}

/// Connections as a test makes them.
struct Connections(mpsc::UnboundedReceiver<(DuplexStream, Peer)>);

impl Listen for Connections {
    type Stream = DuplexStream;
    type Peer = Peer;

    async fn accept(&mut self) -> io::Result<(DuplexStream, Peer)> {
        let next = self.0.recv().await;
        next.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

struct Running {
    outside: Outside,
    reports: Reports,
    commands: mpsc::Sender<Command<Outside, FakeSchedds>>,
    reloads: mpsc::Receiver<(ReloadOrder, oneshot::Sender<Reloaded>)>,
    connections: mpsc::UnboundedSender<(DuplexStream, Peer)>,
    _tasks: JoinSet<()>,
}

impl Running {
    fn start() -> Self {
        let outside = Outside::new();
        let wanted = |(account, service)| delivery(account, service, "ap1", credd("ap1"));
        let wanted = [
            ("cmsprod", "cms"),
            ("crabtw", "cms_crab"),
            ("crabtw", "cms"),
        ]
        .map(wanted);
        let config = config(wanted.to_vec());
        let mut engine = Engine::new(&config, outside.parts(), TimeZone::UTC);
        let (commands, receive) = mpsc::channel(1);
        let (reloads, receive_reloads) = mpsc::channel(1);
        let reports = engine.reports();
        let orders = Orders {
            commands: commands.clone(),
            reports: reports.clone(),
            reloads,
        };
        let view = StatusView {
            reports: reports.clone(),
            stages: Arc::default(),
            started: outside.lock().now(),
        };
        let router = routes::control(view, orders, CLIENTS);
        let (connections, accepted) = mpsc::unbounded_channel();
        let listener = Connections(accepted);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { engine.run(receive).await });
        tasks.spawn(serve("the test", listener, router, CLIENTS));
        Self {
            outside,
            reports,
            commands,
            reloads: receive_reloads,
            connections,
            _tasks: tasks,
        }
    }

    /// Sends a request on a connection of its own.
    async fn send(&self, peer: Peer, request: &str, body: &str) -> DuplexStream {
        let (mut stream, theirs) = duplex(1024 * 1024);
        self.connections.send((theirs, peer)).unwrap();
        let length = body.len();
        let text = format!("{request} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Returns the status and the body of an answer.
    async fn ask(&self, peer: Peer, request: &str, body: &str) -> (u16, Value) {
        let (status, body) = answer(self.send(peer, request, body).await).await;
        require_schema(request, status, &body);
        (status, body)
    }

    async fn member(&self, request: &str, body: Value) -> (u16, Value) {
        self.ask(MEMBER, request, &body.to_string()).await
    }
}

async fn answer(stream: DuplexStream) -> (u16, Value) {
    let (status, body) = head_and_body(stream).await;
    (status, serde_json::from_str(&body).unwrap())
}

async fn head_and_body(mut stream: DuplexStream) -> (u16, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Compares an answer with its published schema, where its path has one.
fn require_schema(request: &str, status: u16, body: &Value) {
    let document = schema();
    let (method, target) = request.split_once(' ').unwrap();
    let path = target.split('?').next().unwrap();
    let responses = &document["paths"][path][method.to_lowercase()]["responses"];
    let response = responses.get(status.to_string());
    let response = response.or_else(|| responses.get("default"));
    let Some(schema) = response.and_then(|r| r.pointer("/content/application~1json/schema")) else {
        return;
    };
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    if let Err(error) = jsonschema::validate(&schema, body) {
        panic!("{request}: {error}: {body}");
    }
}

/// Accessors at Vault of all deliveries of an answer.
fn accessors(report: &Value) -> Vec<Value> {
    let lines = report["deliveries"].as_array().unwrap().iter();
    lines.map(|line| line["accessor"].clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_push_is_answered_when_each_delivery_that_is_meant_is_good_again() {
    let running = Running::start();
    let (status, all) = running.member("POST /v1/push", json!({})).await;
    assert_eq!((status, accessors(&all).len()), (200, 3));
    let (status, pushed) = running
        .member("POST /v1/push", json!({"service": "cms"}))
        .await;
    assert_eq!((status, accessors(&pushed).len()), (200, 2));
    assert!(!accessors(&all).contains(&accessors(&pushed)[0]));
    let (status, now) = running
        .ask(MEMBER, "GET /status.json?service=cms", "")
        .await;
    assert_eq!((status, accessors(&now)), (200, accessors(&pushed)));
    let (status, nothing) = running.ask(MEMBER, "POST /v1/retry", "").await;
    assert_eq!((status, accessors(&nothing).len()), (200, 0));
}

#[tokio::test(start_paused = true)]
async fn other_orders_are_answered_with_what_was_done() {
    let mut running = Running::start();
    running.member("POST /v1/push", json!({})).await;
    let meant = json!({"account": "crabtw", "service": "cms", "schedd": "ap1"});
    let (status, revoked) = running.member("POST /v1/revoke", meant).await;
    assert_eq!((status, &revoked[0]["account"]), (200, &json!("crabtw")));
    let (status, steps) = running
        .member("POST /v1/forget", json!({"account": "crabtw"}))
        .await;
    assert_eq!((status, &steps[0]["what"]), (200, &json!("refresh_token")));
    let notice = json!({"account": "crabtw", "service": "cms", "expires": null});
    let noted = running.member("POST /v1/onboarded", notice).await;
    assert_eq!(noted, (200, json!({"fault": null})));

    let reload = running
        .send(MEMBER, "POST /v1/reload", "{\"dry_run\": true}")
        .await;
    let (order, result) = running.reloads.recv().await.unwrap();
    assert!(order.dry_run);
    result.send(Reloaded::default()).unwrap();
    let nothing = json!({"used": false, "faults": [], "changes": []});
    assert_eq!(answer(reload).await, (200, nothing));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_wrong_is_refused_with_the_reason() {
    let running = Running::start();
    let long = format!("{{\"account\": \"{}\"}}", "x".repeat(64 * 1024));
    for (request, body, status, reason) in [
        ("POST /v1/push", "nonsense", 400, "is not as expected"),
        (
            "POST /v1/push",
            "{\"acount\": \"a\"}",
            400,
            "unknown field `acount`",
        ),
        ("POST /v1/push", &long, 413, "length limit exceeded"),
        (
            "POST /v1/push",
            "{\"account\": \"crabt\"}",
            400,
            "did you mean \"crabtw\"?",
        ),
        (
            "POST /v1/revoke",
            "{\"account\": \"crabt\"}",
            400,
            "did you mean \"crabtw\"?",
        ),
        (
            "POST /v1/revoke",
            "",
            400,
            "name the account, the schedd or both",
        ),
        ("POST /v1/forget", "", 400, "missing field `account`"),
        (
            "GET /status.json?account=crabt",
            "",
            400,
            "did you mean \"crabtw\"?",
        ),
        (
            "GET /status.json?acount=crabtw",
            "",
            400,
            "unknown field `acount`",
        ),
        ("POST /v1/fly", "", 404, "has no /v1/fly here"),
        ("GET /v2/version", "", 404, "has no /v2/version here"),
        ("GET /v1/push", "", 405, "/v1/push is not for GET"),
        ("POST /status.json", "", 405, "/status.json is not for POST"),
    ] {
        let (found, body) = running.ask(MEMBER, request, body).await;
        let error = body["error"].as_str().unwrap();
        assert!(error.contains(reason), "{request}: {error}");
        assert_eq!(found, status, "{request}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn users_that_may_not_use_the_socket_are_refused_whatever_they_ask() {
    let running = Running::start();
    for request in [
        "GET /status.json",
        "GET /healthz",
        "GET /v1/version",
        "POST /v1/push",
        "POST /v1/fly",
    ] {
        let (status, body) = running.ask(STRANGER, request, "").await;
        let error = body["error"].as_str().unwrap();
        assert_eq!(status, 403, "{error}");
        assert!(error.starts_with("user 4000000000 may not use"), "{error}");
    }
    let own = peer(100, 100);
    for peer in [MEMBER, own, peer(0, 0)] {
        let (status, version) = running.ask(peer, "GET /v1/version", "").await;
        assert_eq!(status, 200);
        assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_on_the_network_has_no_orders() {
    let running = Running::start();
    let view = StatusView {
        reports: running.reports.clone(),
        stages: Arc::default(),
        started: running.outside.lock().now(),
    };
    let (connections, accepted) = mpsc::unbounded_channel();
    let listener = Connections(accepted);
    let running = Running {
        connections,
        ..running
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(serve("the test", listener, routes::loopback(view), 1));
    for order in ["push", "retry", "reload", "revoke", "forget", "onboarded"] {
        let request = format!("POST /v1/{order}");
        let (status, _) = running.ask(MEMBER, &request, "").await;
        assert_eq!(status, 404, "{order}");
    }
    assert_eq!(running.ask(STRANGER, "GET /status.json", "").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn every_path_of_the_schema_is_served() {
    let running = Running::start();
    let document = schema();
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let request = format!("{} {path}", method.to_uppercase());
            let stream = running.send(MEMBER, &request, "1").await;
            let status = head_and_body(stream).await.0;
            assert!(![404, 405].contains(&status), "{request}: {status}");
        }
    }
    assert_eq!(paths.len(), 11);
}

#[tokio::test(start_paused = true)]
async fn the_schema_holds_for_deliveries_that_fail_too() {
    let running = Running::start();
    running.outside.lock().no_grant = true;
    let (_, report) = running.ask(MEMBER, "POST /v1/push", "").await;
    assert_eq!(report["problems"].as_array().unwrap().len(), 3);
    running.outside.lock().vault_down = true;
    let revoke = running
        .member("POST /v1/revoke", json!({"schedd": "ap1"}))
        .await;
    assert_eq!((revoke.0, revoke.1.as_array().unwrap().len()), (200, 3));
}

#[tokio::test(start_paused = true)]
async fn an_order_goes_on_when_its_client_goes_away() {
    let running = Running::start();
    let (_, before) = running.member("POST /v1/push", json!({})).await;
    // So the order has to wait before it is given.
    let other = running.commands.reserve().await.unwrap();
    let client = running.send(MEMBER, "POST /v1/push", "").await;
    tokio::time::sleep(SECOND).await;
    drop(client);
    tokio::time::sleep(SECOND).await;
    drop(other);
    tokio::time::sleep(60 * SECOND).await;
    let (_, after) = running.ask(MEMBER, "GET /status.json", "").await;
    assert_ne!(accessors(&before)[0], accessors(&after)[0]);
}

#[tokio::test(start_paused = true)]
async fn orders_that_are_waited_for_and_clients_that_send_nothing_keep_nobody_out() {
    let running = Running::start();
    running.member("POST /v1/push", json!({})).await;
    running.outside.lock().vault_takes = 600 * SECOND;
    let mut waiting = Vec::new();
    for _ in 0..CLIENTS / 2 {
        waiting.push(running.send(MEMBER, "POST /v1/push", "").await);
    }
    tokio::time::sleep(SECOND).await;
    let (status, body) = running.ask(MEMBER, "POST /v1/push", "").await;
    assert_eq!(status, 503, "{body}");
    let mut silent = Vec::new();
    for _ in 0..3 * CLIENTS {
        let (stream, theirs) = duplex(64);
        running.connections.send((theirs, STRANGER)).unwrap();
        silent.push(stream);
    }
    assert_eq!(running.ask(MEMBER, "GET /status.json", "").await.0, 200);
    let mut nothing = Vec::new();
    silent[0].read_to_end(&mut nothing).await.unwrap();
    assert_eq!(nothing, b"");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let running = Running::start();
    let (mut stream, theirs) = duplex(1024);
    running.connections.send((theirs, MEMBER)).unwrap();
    let half = b"POST /v1/push HTTP/1.1\r\nContent-Length: 9\r\n\r\n{";
    stream.write_all(half).await.unwrap();
    let (status, body) = answer(stream).await;
    assert_eq!(status, 408, "{body}");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_an_order_is_answered_when_the_service_stops() {
    let running = Running::start();
    running.member("POST /v1/push", json!({})).await;
    running.outside.lock().vault_takes = 600 * SECOND;
    let waiting = running.send(MEMBER, "POST /v1/push", "").await;
    tokio::time::sleep(SECOND).await;
    running.commands.send(Command::Stop).await.ok().unwrap();
    let (status, body) = answer(waiting).await;
    assert_eq!(status, 503);
    assert!(
        body["error"].as_str().unwrap().contains("is stopping"),
        "{body}"
    );
}
