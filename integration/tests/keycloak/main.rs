//! A token issuer that is not ours: the real Keycloak, as `integration/setup/keycloak` has it. Its
//! refresh tokens are used once, its subjects are UUIDs, its audiences lists.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod delivered;
mod ended;

use std::process::Stdio;

use integration::keycloak::Keycloak;
use integration::keycloak::realm::Realm;
use integration::wait::FAR;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

/// Keycloak's name at the Vault, and HTCondor's service.
const NAME: &str = "keycloak";
/// The account whose person has a login there.
const ACCOUNT: &str = "crabtw";

/// One test at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The role of Keycloak's tokens as `htvault-dev` is told of it.
fn role() -> String {
    format!("{NAME}:default={}", Realm::scopes().join(" "))
}

/// A configuration of the chain's bastion, with the account's second credential.
fn with_keycloak(yaml: &str) -> String {
    let own = format!("  {ACCOUNT}:\n    schedds: [here]\n    credentials:\n");
    assert!(yaml.contains(&own), "{yaml}");
    yaml.replace(&own, &format!("{own}      {NAME}: {{}}\n"))
}

/// Runs `onboard` of a bastion for the account; its person does at Keycloak what the bastion asks for.
/// Gives what is told last, when a refresh token is stored: how its trial went is part of that.
async fn onboard(mut bastion: Command, keycloak: &Keycloak) -> Value {
    bastion.args(["onboard", "--json", "--account", ACCOUNT, "--service", NAME]);
    bastion.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = bastion.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = Value::Null;
    let work = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            last = serde_json::from_str(&line).unwrap();
            if last["event"] == "log_in" {
                let link = last["url"].as_str().unwrap();
                keycloak.approve(link, ACCOUNT).await.unwrap();
            }
        }
        child.wait().await.unwrap();
    };
    tokio::time::timeout(FAR, work).await.unwrap();
    assert_eq!(
        last["stored"],
        true,
        "{last}\n{}",
        keycloak.daemon().tail(20)
    );
    last
}
