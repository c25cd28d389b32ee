//! The benchmarks in their quick form: see `integration::bench`. Needs the sandbox.
//!
//! That figures are there is asserted, and that no renewal is missed; no time, no memory and no ratio
//! of them: these are programs that are not optimised, small numbers, and a machine that does other
//! things besides.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use integration::chain::program;
use integration::wait::FAR;
use integration::{ended, sandbox};
use serde_json::Value;
use tokio::process::Command;

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

/// Fails unless these figures are there, of both where two are compared, each a positive number.
fn assert_measured(report: &Value, names: &[&str], fields: &[&str]) {
    for name in names {
        for field in fields {
            let measured = figure(report, name, field).as_f64();
            let positive = measured.is_some_and(|number| number.is_finite() && number > 0.0);
            assert!(positive, "{name}, {field}: {measured:?}");
        }
    }
}

#[tokio::test]
async fn ours_is_measured_beside_the_reference_and_misses_no_renewal() {
    let report = measured("credmon", &["memory", "renew", "load"]).await;
    let told = serde_json::to_string_pretty(&report).unwrap();
    let both = ["memory_rss_100", "memory_pss_100", "processor_renewal"];
    assert_measured(&report, &both, &["ours", "theirs", "ratio"]);
    for name in ["load_errors", "load_missed", "load_not_good"] {
        assert_eq!(figure(&report, name, "ours"), 0.0, "{name}: {told}");
    }
    assert_measured(&report, &["load_rate"], &["ours"]);
    assert_eq!(report["load_before"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn the_bastion_is_measured_beside_a_shell_loop_and_the_requests_alone() {
    let report = measured("bastion", &[]).await;
    assert_measured(&report, &["push_time"], &["ours", "theirs", "ratio"]);
    // In hundredths of a second: ours may be none of them.
    assert_measured(
        &report,
        &["push_processor", "push_processor_tool"],
        &["theirs"],
    );
    assert_measured(
        &report,
        &["directory_multiple", "directory_memory"],
        &["ours"],
    );
    for name in ["push_processor", "push_processor_tool", "directory_idle"] {
        let told = figure(&report, name, "ours");
        assert!(told.is_number(), "{name}: {told}");
    }
    assert_eq!(report["load_before"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn pushes_are_measured_beside_condor_store_cred() {
    let report = measured("push", &[]).await;
    let both = ["tool_full_part", "tool_full_processor_part"];
    assert_measured(&report, &both, &["ours", "theirs", "ratio"]);
    assert_measured(&report, &["full", "resumed", "query", "rate"], &["ours"]);
    assert_measured(&report, &["fleet_one", "fleet_all"], &["ours", "theirs"]);
    assert_measured(&report, &["fleet_many"], &["ours"]);
}
