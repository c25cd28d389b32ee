//! The command `conformance` against `htvault-dev`, with a real KDC. Needs the sandbox.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod dev_server;

use std::collections::BTreeMap;
use std::time::Duration;

use dev_server::{DevServer, ROBOT, SECOND_URL, TWO_NODES, URL};
use integration::conformance::recorded::RECORDINGS;
use integration::process::Daemon;
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::process::Command;

const ADMIN: &str = "http://127.83.0.1:8299";

/// A server at which cmsprod has onboarded for the role crab.
async fn server() -> DevServer {
    DevServer::start(&[
        "--grant",
        "cms:cmsprod:crab",
        "--issuer-timeout",
        "1s",
        "--admin-listen",
        ADMIN.trim_start_matches("http://"),
    ])
    .await
}

/// The command with all that it must be given.
fn command(server: &DevServer, url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    command
        .env("KRB5_CONFIG", server.kdc.krb5_conf())
        .args(["--url", url, "--issuer", "cms", "--role", "crab"])
        .args(["--principal", "cmsprod@TEST", "--keytab"])
        .arg(server.path("cmsprod.keytab"))
        .arg("--ca")
        .arg(&server.ca_file);
    command
}

/// Runs it; its exit code and what it printed.
async fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().await.unwrap();
    let [said, words] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code().unwrap(), said, words)
}

async fn conformance(server: &DevServer, more: &[&str]) -> (i32, String, String) {
    run(command(server, URL).args(more)).await
}

/// The cases by verdict, from `--json`.
fn by_verdict(said: &str) -> BTreeMap<String, Vec<String>> {
    let outcomes: Value = serde_json::from_str(said).unwrap();
    assert_eq!(outcomes["tokens"], outcomes["revoked"], "{said}");
    let mut verdicts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for case in outcomes["cases"].as_array().unwrap() {
        let text = |name: &str| case[name].as_str().unwrap().to_owned();
        let row = verdicts.entry(text("verdict")).or_default();
        row.push(text("name"));
    }
    verdicts
}

#[tokio::test]
async fn every_recorded_exchange_is_answered_alike_by_htvault_dev() {
    let server = server().await;
    let robot = format!("{ROBOT}@TEST");
    let robot_keytab = server.path("robot.keytab");
    let (code, said, words) = conformance(
        &server,
        &[
            "--destructive",
            "--admin",
            ADMIN,
            "--scopes",
            "storage.read:/",
            "--audience",
            "https://dav.example",
            "--robot-principal",
            &robot,
            "--robot-keytab",
            robot_keytab.to_str().unwrap(),
            "--json",
        ],
    )
    .await;
    assert_eq!(code, 0, "{said}{words}");
    let verdicts = by_verdict(&said);
    assert_eq!(verdicts["ok"].len(), RECORDINGS.len(), "{said}");
}

#[tokio::test]
async fn without_destructive_nothing_is_left_changed() {
    let server = server().await;
    let (code, said, words) = conformance(&server, &["--json"]).await;
    assert_eq!(code, 0, "{said}{words}");
    let first = by_verdict(&said);
    assert_eq!(first["ok"].len(), 32, "{said}");
    assert!(!first.contains_key("differs"));
    for name in [
        "creds-delete",
        "sealed-login",
        "sts-read-scopes",
        "oidc-poll-done",
    ] {
        assert!(
            first["skipped"].iter().any(|skipped| skipped == name),
            "{name}"
        );
    }
    // The same again: the refresh token is still stored.
    let (code, said, _) = conformance(&server, &["--json"]).await;
    assert_eq!((code, by_verdict(&said)), (0, first));
    let deleted = (server.requests().into_iter())
        .filter(|request| request["method"] == "DELETE")
        .count();
    assert_eq!(deleted, 0);
}

#[tokio::test]
async fn a_standby_of_a_cluster_is_looked_at_by_its_own_name() {
    let grant = ["--grant", "cms:cmsprod:crab"];
    let server = DevServer::start(&[&TWO_NODES[..], &grant[..]].concat()).await;
    // Kerberos goes by the name of the cluster.
    let more = ["--cluster", "vault.test", "--json"];
    let (code, said, words) = run(command(&server, SECOND_URL).args(more)).await;
    assert_eq!(code, 0, "{said}{words}");
    let verdicts = by_verdict(&said);
    let standby = |names: &[String]| names.iter().filter(|n| n.starts_with("standby-")).count();
    assert_eq!(standby(&verdicts["ok"]), 5, "{said}");
    assert!(verdicts["skipped"].iter().any(|name| name == "health"));
}

#[tokio::test]
async fn what_differs_is_said_and_no_secret_is() {
    let server = server().await;
    let strange = ["--scopes", "nobody.may:/"];
    let (code, said, words) = conformance(&server, &strange).await;
    assert_eq!(code, 1, "{said}{words}");
    let row = (said
        .lines()
        .find(|line| line.starts_with("sts-read-scopes")))
    .unwrap();
    assert!(row.contains("differs"), "{row}");
    assert!(row.contains("recorded 200"), "{row}");
    let summary = said.lines().last().unwrap();
    assert!(
        summary.contains("32 ok, 1 differs, 31 skipped"),
        "{summary}"
    );
    for secret in ["s.", "b.", "eyJ"] {
        let shown = said.split_whitespace().any(|word| word.starts_with(secret));
        assert!(!shown, "{said}");
    }
}

#[tokio::test]
async fn wrong_usage_and_an_unreachable_server_are_told_apart() {
    let server = server().await;
    let (code, _, words) = conformance(&server, &["--nonsense"]).await;
    assert_eq!(code, 2, "{words}");
    let (code, _, words) = conformance(&server, &["--robot-principal", "a/b/c@TEST"]).await;
    assert_eq!(code, 2, "{words}");
    let (code, _, words) = run(&mut command(&server, "https://vault.test:8199")).await;
    assert_eq!(code, 1, "{words}");
    assert!(
        words.contains("https://vault.test:8199 does not answer"),
        "{words}"
    );
}

#[tokio::test]
async fn interrupted_it_revokes_the_tokens_it_has_made() {
    let server = server().await;
    let command = command(&server, URL);
    let log = server.path("conformance.log");
    let mut running = Daemon::spawn("conformance", command, &log).unwrap();
    // The next case waits for a token to expire.
    let soon = Duration::from_mins(1);
    let seen = running.wait_for_line("garbage-token", soon).await;
    seen.unwrap();
    running.signal(Signal::SIGINT).unwrap();
    let status = running.wait(soon).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", running.tail(5));
    let words = running.wait_for_line("interrupted", soon).await.unwrap();
    let revoked = (server.requests().into_iter())
        .filter(|request| request["path"] == "/v1/auth/token/revoke-self")
        .count();
    assert!(revoked > 3, "{words}");
    let all = format!("{revoked} of {revoked} tokens");
    assert!(words.contains(&all), "{words}");
}
