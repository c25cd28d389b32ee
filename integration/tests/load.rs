//! The load in its quick form: see `integration::load`. Needs the sandbox.
//!
//! That nothing was missing is asserted, and that the report is complete; no time and no memory: these are programs that
//! are not optimised, few credentials, and a machine that does other things besides.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use integration::chain::program;
use integration::wait::FAR;
use integration::{ended, sandbox};
use serde_json::Value;
use tokio::process::Command;

/// One at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Holds a short load; gives the report.
async fn held(subject: &str) -> Value {
    let _one = ONE.lock().await;
    sandbox::require().unwrap();
    let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
    let mut command = Command::new(program("load").unwrap());
    command
        .args([subject, "--quick", "--json", "--plot"])
        .arg(folder.path())
        .env("TOKEN_BASTION_RUN", folder.path());
    let output = ended::output(command, FAR).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors, "", "nothing else is said in a pipe");
    let plot = folder.path().join(format!("load-{subject}.svg"));
    let plot = std::fs::read_to_string(plot).unwrap();
    assert!(plot.contains("resident memory"));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Fails when a token or a delivery was missing at any time, or figures are.
fn assert_complete(report: &Value, names: &[&str]) {
    let samples = report["samples"].as_array().unwrap();
    assert!(samples.len() > 5, "{}", samples.len());
    for sample in samples {
        assert_eq!(sample["missing"], 0, "{sample}");
    }
    for name in names {
        let figures = report["figures"].as_array().unwrap();
        let figure = figures.iter().find(|figure| figure["name"] == *name);
        let ours = figure.unwrap()["ours"].as_f64().unwrap();
        assert!(ours > 0.0, "{name}: {ours}");
    }
}

#[tokio::test]
async fn the_credmon_keeps_every_token_under_load() {
    let report = held("credmon").await;
    assert_complete(&report, &["rate", "memory_end", "descriptors_most"]);
}

#[tokio::test]
async fn the_bastion_keeps_every_delivery_under_load() {
    let report = held("bastion").await;
    assert_complete(&report, &["pushes", "memory_end", "descriptors_most"]);
}
