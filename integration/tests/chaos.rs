//! Faults by seed on the real programs, as `integration/chaos` does them, for a short time. Needs the sandbox.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::time::Duration;

use integration::chain::program;
use integration::{ended, sandbox};
use serde_json::Value;
use tokio::process::Command;

const FAR: Duration = Duration::from_mins(15);

/// One at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn seed_does_no_harm(seed: &str) {
    let _one = ONE.lock().await;
    sandbox::require().unwrap();
    let mut command = Command::new(program("chaos").unwrap());
    command.args(["--seed", seed, "--for", "60s", "--json"]);
    let output = ended::output(command, FAR).await.unwrap();
    let said = ended::text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    println!("{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rounds = report["rounds"].as_array().unwrap();
    assert!(!rounds.is_empty(), "{said}");
    assert!(
        rounds.iter().all(|round| round["seconds_to_good"].is_u64()),
        "{said}"
    );
}

#[tokio::test]
async fn faults_of_seed_1_do_no_harm() {
    seed_does_no_harm("1").await;
}

#[tokio::test]
async fn faults_of_seed_2_do_no_harm() {
    seed_does_no_harm("2").await;
}

#[tokio::test]
async fn faults_of_seed_3_do_no_harm() {
    seed_does_no_harm("3").await;
}
