//! `token-bastion doctor` on the real parts: what it says where all is well, and of one fault each
//! in the things that deliveries hang on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use bastion::engine::report::Report;
use integration::chain::{ADMIN, Lives};
use integration::conformance::admin::Admin;
use integration::here::Here;
use integration::wait::FAR;
use integration::{ended, wait};
use reqwest::Method;
use serde_json::json;

/// Access tokens that end soon, so that Vault does not serve cached ones for long.
const QUICK: Lives = Lives {
    access_token: 16,
    access_minimum: 12,
    vault_token: 600,
    renew_below: 300,
};

/// One at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Stage {
    here: Here,
    config: PathBuf,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

impl Stage {
    async fn start() -> Self {
        Self::with(QUICK).await
    }

    async fn with(lives: Lives) -> Self {
        let one = ONE.lock().await;
        let here = Here::start(lives).await.unwrap();
        let config = here.chain.write_bastion_config(&here.yaml()).unwrap();
        Self {
            here,
            config,
            _one: one,
        }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.here.chain.bastion(&self.config).unwrap();
        command.args(arguments);
        ended::output(command, FAR).await.unwrap()
    }

    /// What is said, and the exit code.
    async fn doctor(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let output = self.run(&[&["doctor"], arguments].concat()).await;
        let text = String::from_utf8(output.stdout).unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (format!("{text}{said}"), output.status.code())
    }

    async fn admin(&self, method: Method, path: &str, body: serde_json::Value) {
        let admin = Admin::new(&format!("http://{ADMIN}"), &self.here.chain.ca.file()).unwrap();
        admin.call(method, path, &body).await.unwrap();
    }
}

/// The line of a step.
fn line<'a>(text: &'a str, step: &str) -> &'a str {
    let found = text.lines().find(|line| line.contains(step));
    found.unwrap_or_else(|| panic!("no {step:?} in:\n{text}"))
}

#[tokio::test]
async fn each_fault_is_found_at_its_step_and_hides_no_other() {
    let mut stage = Stage::start().await;
    let delivered = stage.run(&["once"]).await;
    assert_eq!(delivered.status.code(), Some(0), "{delivered:?}");

    // All is well.
    let (text, code) = stage.doctor(&[]).await;
    assert_eq!(code, Some(0), "{text}");
    for step in [
        "address",
        "clock",
        "keytab",
        "ticket",
        "login cms_crab",
        "access token cms_crab",
        "directory cms_crab at here",
        "credmon cms_crab at here",
    ] {
        assert!(line(&text, step).starts_with("  ok"), "{text}");
    }
    for secret in ["hvs.", "eyJ"] {
        assert!(!text.contains(secret), "{text}");
    }
    let before = fs::read(stage.here.directory.join("crabtw/cms_crab.top")).unwrap();

    // As data, and of one account.
    let output = stage
        .run(&["doctor", "--json", "--account", "crabtw"])
        .await;
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let titles: Vec<&str> = json["sections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|section| section["title"].as_str().unwrap())
        .collect();
    assert_eq!(titles.len(), 3, "{titles:?}");
    assert!(titles[2].starts_with("Account crabtw"), "{titles:?}");
    let (text, code) = stage.doctor(&["--account", "crabtv"]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("did you mean \"crabtw\"?"), "{text}");

    // A refresh token that is gone.
    stage
        .admin(Method::POST, "/kill", json!({"credkey": "crabtw"}))
        .await;
    // Vault serves the access token that it has kept until that ends.
    wait::until("the kept access token's end", FAR, async || {
        let (text, _) = stage.doctor(&["--account", "crabtw"]).await;
        if text.contains("  refresh token cms_crab") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await
    .unwrap();
    let (text, code) = stage.doctor(&[]).await;
    assert_eq!(code, Some(1), "{text}");
    let told = line(&text, "refresh token cms_crab");
    assert!(told.starts_with("  WRONG"), "{text}");
    assert!(line(&text, "access token cms_production").starts_with("  ok"));

    // A key that is not there.
    let keytab = stage.here.chain.keytabs().join("cmsprod.keytab");
    let away = stage.here.chain.keytabs().join("away");
    fs::rename(&keytab, &away).unwrap();
    let (text, code) = stage.doctor(&["--account", "cmsprod"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(line(&text, "  keytab").starts_with("  WRONG"), "{text}");
    assert!(
        line(&text, "  login cms ").starts_with("  not tried"),
        "{text}"
    );
    assert!(
        line(&text, "credmon cms at here").starts_with("  ok"),
        "{text}"
    );
    fs::rename(&away, &keytab).unwrap();

    // A clock that is ten minutes off.
    stage
        .admin(Method::PUT, "/clock", json!({"vault": "10m"}))
        .await;
    let (text, code) = stage.doctor(&["--account", "crabtw"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(line(&text, "  clock").contains("behind Vault's"), "{text}");
    stage
        .admin(Method::PUT, "/clock", json!({"vault": "0s"}))
        .await;

    // A Vault that is down, and nothing was changed by all that looking.
    stage.here.chain.vault.stop().await.unwrap();
    let (text, code) = stage.doctor(&["--account", "crabtw"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(line(&text, "  address").starts_with("  WRONG"), "{text}");
    let after = fs::read(stage.here.directory.join("crabtw/cms_crab.top")).unwrap();
    assert!(before == after, "doctor stores nothing");
    stage.here.credmon.stop().await.unwrap();
}

#[tokio::test]
async fn a_mount_whose_logins_live_less_than_tokens_is_told_and_served() {
    let mut stage = Stage::with(Lives::CALM).await;
    let chain = &mut stage.here.chain;
    chain.vault.stop().await.unwrap();
    // As `token_ttl` of the Kerberos mount does; tokens are to live 20 minutes.
    chain
        .restart_vault_with(&["--login-life", "40s"])
        .await
        .unwrap();
    let (text, code) = stage.doctor(&["--account", "crabtw"]).await;
    assert_eq!(code, Some(0), "{text}");
    let login = line(&text, "login cms_crab");
    assert!(login.starts_with("  warning"), "{text}");
    for part in [
        "kerberos-cms_crab live 40s",
        "`tokens.lifetime` (20m)",
        "raise `token_ttl`",
    ] {
        assert!(login.contains(part), "{part}: {text}");
    }
    // Without any network nothing can be said of it.
    assert_eq!(stage.run(&["check"]).await.status.code(), Some(0));

    // It is served as well as it can be, and what is said of it is true.
    let mut service = stage.here.chain.service(&stage.config).unwrap();
    let mut accessors = std::collections::BTreeSet::new();
    wait::until("two replacements of each token", FAR, async || {
        let output = stage.run(&["status", "--json"]).await;
        let report: Report = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
        if accessors.is_empty() && !report.is_good() {
            return Err(format!("{:?}", report.problems));
        }
        for delivery in &report.deliveries {
            assert!(delivery.state.is_in_order(), "{delivery:?}");
            assert!(
                delivery.vault_token_seconds_left.unwrap() <= 40,
                "{delivery:?}"
            );
            accessors.extend(delivery.accessor.clone());
        }
        (accessors.len() >= 9)
            .then_some(())
            .ok_or(format!("{} tokens", accessors.len()))
    })
    .await
    .unwrap();
    let said = service.tail(1000);
    assert!(
        said.contains("logins by kerberos-cms_crab live 40s"),
        "{said}"
    );
    service.stop().await.unwrap();
    stage.here.credmon.stop().await.unwrap();
}
