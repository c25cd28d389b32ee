//! The benchmark of the credential monitor in its quick form: see `integration::bench`. Needs the
//! sandbox.
//!
//! Only what was measured side by side is asserted, with wide margins: these are programs that are
//! not optimised, small numbers, and a machine that does other things besides.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::time::Duration;

use integration::chain::program;
use integration::sandbox;
use serde_json::Value;
use tokio::process::Command;

const FAR: Duration = Duration::from_mins(6);

/// Runs these parts into a pipe; gives the report.
async fn measured(parts: &[&str]) -> Value {
    sandbox::require().unwrap();
    let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
    let mut command = Command::new(program("bench").unwrap());
    command
        .args(["credmon", "--quick", "--json"])
        .args(parts)
        .env("TOKEN_BASTION_RUN", folder.path())
        .kill_on_drop(true);
    let output = tokio::time::timeout(FAR, command.output())
        .await
        .unwrap()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors, "", "nothing else is said in a pipe");
    assert_eq!(output.status.code(), Some(0));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A field of a figure.
fn figure<'a>(report: &'a Value, name: &str, field: &str) -> &'a Value {
    let figures = report["figures"].as_array().unwrap();
    let found = figures.iter().find(|figure| figure["name"] == name);
    &found.unwrap()[field]
}

#[tokio::test]
async fn ours_needs_less_than_the_reference_and_misses_no_renewal() {
    let report = measured(&["memory", "renew", "load"]).await;
    let told = serde_json::to_string_pretty(&report).unwrap();
    let ratio = |name: &str| figure(&report, name, "ratio").as_f64().unwrap();
    assert!(ratio("memory_rss_100") < 0.5, "{told}");
    assert!(ratio("memory_pss_100") < 0.5, "{told}");
    assert!(ratio("processor_renewal") > 0.0, "{told}");
    for name in ["load_errors", "load_missed", "load_not_good"] {
        assert_eq!(figure(&report, name, "ours"), 0.0, "{name}: {told}");
    }
    assert!(figure(&report, "load_rate", "ours").as_f64().unwrap() > 0.0);
    assert_eq!(report["load_before"].as_array().unwrap().len(), 3);
}
