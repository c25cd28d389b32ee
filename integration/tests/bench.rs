//! The benchmarks in their quick form: see `integration::bench`. Needs the
//! sandbox.
//!
//! Only what was measured side by side is asserted, with wide margins: these are programs that are
//! not optimised, small numbers, and a machine that does other things besides.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::time::Duration;

use integration::chain::program;
use integration::{ended, sandbox};
use serde_json::Value;
use tokio::process::Command;

const FAR: Duration = Duration::from_mins(6);

/// One at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Runs these parts of a benchmark into a pipe; gives the report.
async fn measured(subject: &str, parts: &[&str]) -> Value {
    let _one = ONE.lock().await;
    sandbox::require().unwrap();
    let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
    let mut command = Command::new(program("bench").unwrap());
    command
        .args([subject, "--quick", "--json"])
        .args(parts)
        .env("TOKEN_BASTION_RUN", folder.path());
    let output = ended::output(command, FAR).await.unwrap();
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
    let report = measured("credmon", &["memory", "renew", "load"]).await;
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

#[tokio::test]
async fn the_bastion_needs_less_than_a_shell_loop_and_little_more_than_the_requests() {
    let report = measured("bastion", &[]).await;
    let told = serde_json::to_string_pretty(&report).unwrap();
    let number = |name: &str, field: &str| figure(&report, name, field).as_f64().unwrap();
    assert!(number("push_time", "ratio") < 1.0, "{told}");
    assert!(number("push_processor", "ratio") < 0.5, "{told}");
    assert!(number("push_processor_tool", "theirs") > 0.0, "{told}");
    assert!(number("directory_multiple", "ours") < 10.0, "{told}");
    assert!(number("directory_memory", "ours") < 60.0, "{told}");
    assert!(number("directory_idle", "ours") < 50.0, "{told}");
    assert_eq!(report["load_before"].as_array().unwrap().len(), 2);
}
