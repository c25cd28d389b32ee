//! The command `conformance` against the real server, one node and a standby of three.

use std::collections::{BTreeMap, BTreeSet};

use integration::chain::{Lives, program};
use integration::conformance::cases::CASES;
use integration::ended;
use integration::openbao::admin::SiteAdmin;
use integration::openbao::site::THREE_NODES;
use serde_json::Value;
use tokio::process::Command;

use crate::{FAR, Parts, parts, parts_at};

const ADMIN: &str = "127.83.0.1:8299";

/// Cases of a standby.
fn of_a_standby(name: &str) -> bool {
    name.starts_with("standby-")
}

/// Cases without a leader, which `cluster` has: a standby answers reads by itself, but for a moment.
fn of_a_failover(name: &str) -> bool {
    name.starts_with("failover-")
}

/// Runs it at a node of the site; the verdict of each case, with why it was left out. On a node that
/// is alone it may do everything.
async fn conformance(parts: &mut Parts, host: &str) -> BTreeMap<String, Value> {
    let site = &mut parts.site;
    let robot = parts.folder.path().join("robot.keytab");
    let principal = "cmsprod/bastion/ap.test@TEST";
    let added = site.chain.kdc.add_principal_with_keytab(principal, &robot);
    added.await.unwrap();
    let mut command = Command::new(program("conformance").unwrap());
    command
        .env("KRB5_CONFIG", site.chain.kdc.krb5_conf())
        .args(["--url", &format!("https://{host}:8200")])
        .args([
            "--cluster",
            "vault.test",
            "--issuer",
            "cms",
            "--role",
            "crab",
        ])
        .args(["--principal", "cmsprod@TEST", "--keytab"])
        .arg(site.chain.keytabs().join("cmsprod.keytab"))
        .args(["--robot-principal", principal, "--robot-keytab"])
        .arg(&robot)
        .arg("--ca")
        .arg(site.chain.ca.file())
        .args([
            "--scopes",
            "storage.read:/",
            "--audience",
            "https://dav.example",
        ])
        .args(["--without-plugin", "--json"]);
    if site.bao.count() == 1 {
        let admin = format!("http://{ADMIN}");
        command.args(["--destructive", "--admin", &admin]);
    }
    let mut admin = SiteAdmin::listen(ADMIN).await.unwrap();
    let output = tokio::select! {
        output = ended::output(command, FAR) => output.unwrap(),
        () = admin.serve(site) => unreachable!("it serves until it is dropped"),
    };
    let text = ended::text(&output);
    let outcomes: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(outcomes["tokens"], outcomes["revoked"], "{text}");
    let cases = outcomes["cases"].as_array().unwrap();
    let named = cases.iter().map(|case| {
        let name = case["name"].as_str().unwrap();
        (name.to_owned(), case.clone())
    });
    named.collect()
}

/// The names of the cases that were answered as recorded; what was left out says why.
fn answered(cases: &BTreeMap<String, Value>) -> BTreeSet<&str> {
    for (name, case) in cases {
        match case["verdict"].as_str().unwrap() {
            "ok" => {}
            "skipped" => println!("left out: {name}: {}", case["why"]),
            other => panic!("{name} {other}: {}", case["why"]),
        }
    }
    let ok = cases.iter().filter(|(_, case)| case["verdict"] == "ok");
    ok.map(|(name, _)| name.as_str()).collect()
}

/// What needs the plugin.
fn of_the_plugin(name: &str) -> bool {
    CASES
        .iter()
        .any(|case| case.name == name && case.plugin.is_some())
}

#[tokio::test]
async fn the_real_server_answers_all_that_needs_no_plugin_as_recorded() {
    let mut parts = parts(Lives::HOUR).await;
    parts.site.onboard("cmsprod", "crab").await.unwrap();
    let cases = conformance(&mut parts, "vault.test").await;
    let expected: BTreeSet<&str> = (CASES.iter().map(|case| case.name))
        .filter(|name| !of_the_plugin(name) && !of_a_standby(name) && !of_a_failover(name))
        .collect();
    assert_eq!(answered(&cases), expected);
}

#[tokio::test]
async fn a_real_standby_answers_as_recorded() {
    let mut parts = parts_at(Lives::HOUR, &THREE_NODES, "vault.test").await;
    parts.site.onboard("cmsprod", "crab").await.unwrap();
    assert_eq!(parts.site.bao.leader().await.unwrap(), 0);
    let cases = conformance(&mut parts, "vault2.test").await;
    let answered = answered(&cases);
    let mut missing = CASES
        .iter()
        .filter(|case| of_a_standby(case.name) && !answered.contains(case.name));
    assert_eq!(missing.next(), None);
}
