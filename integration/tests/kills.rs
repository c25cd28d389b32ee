//! A bastion that is killed in the midst of pushes, or fails at each run: no token that lives at Vault is forgotten.
//! KDC, Vault, issuer and credmon are real. Needs the sandbox.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bastion::engine::report::Report;
use htvault::{Client, ErrorKind, Settings, VaultToken};
use integration::chain::{ADMIN, Lives, VAULT};
use integration::conformance::admin::Admin;
use integration::here::Here;
use integration::process::Daemon;
use integration::wait::FAR;
use integration::{ended, wait};
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};

/// Files of the three deliveries.
const STORED: [&str; 3] = [
    "cmsprod/cms.top",
    "cmsprod/cms_production.top",
    "crabtw/cms_crab.top",
];

/// One chain at a time: its servers have fixed addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Host {
    here: Here,
    config: PathBuf,
    admin: Admin,
    client: Client,
    /// Accessors of tokens that are none of the bastion's.
    others: BTreeSet<String>,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

impl Host {
    async fn start() -> Self {
        let one = ONE.lock().await;
        let here = Here::start(Lives::HOUR).await.unwrap();
        let ca = here.chain.ca.file();
        let mut settings = Settings::new(VAULT.parse().unwrap());
        settings.tls.ca_file = Some(ca.clone());
        let mut host = Self {
            config: here.chain.write_bastion_config(&here.yaml()).unwrap(),
            admin: Admin::new(&format!("http://{ADMIN}"), &ca).unwrap(),
            client: Client::new(&settings).unwrap(),
            others: BTreeSet::new(),
            here,
            _one: one,
        };
        host.others = host.living().await;
        host
    }

    /// Accessors of the bastion's tokens that live at Vault.
    async fn living(&self) -> BTreeSet<String> {
        let tokens = self.admin.call(Method::GET, "/tokens", &Value::Null).await;
        let tokens = tokens.unwrap();
        let names = tokens.as_array().unwrap().iter();
        let names = names.map(|token| token["accessor"].as_str().unwrap().to_owned());
        names.filter(|name| !self.others.contains(name)).collect()
    }

    /// Those of them that the state on disk does not name.
    async fn unknown(&self) -> BTreeSet<String> {
        let state = self.here.chain.folder().join("state/state.json");
        let state = fs::read_to_string(state).unwrap_or_default();
        let mut living = self.living().await;
        living.retain(|name| !state.contains(&format!("\"{name}\"")));
        living
    }

    /// Accessors of the tokens that jobs live on.
    async fn stored(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for file in STORED {
            let Ok(text) = fs::read(self.here.directory.join(file)) else {
                continue;
            };
            let content: Value = serde_json::from_slice(&text).unwrap();
            let token = VaultToken::from(content["vault_token"].as_str().unwrap().to_owned());
            match self.client.lookup_self(&token).await {
                Ok(info) => _ = names.insert(info.accessor),
                Err(error) => assert_eq!(error.kind(), ErrorKind::TokenRejected, "{error}"),
            }
        }
        names
    }

    fn service(&self) -> Daemon {
        let service = self.here.chain.service(&self.config).unwrap();
        service.ended_by(Signal::SIGKILL)
    }

    /// The report of a command.
    async fn run(&self, arguments: &[&str]) -> Report {
        let mut command = self.here.chain.bastion(&self.config).unwrap();
        command.args(arguments).arg("--json");
        let output = ended::output(command, FAR).await.unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| Report::default())
    }

    async fn all_good(&self) -> Report {
        let mut last = None;
        wait::until("all to be good", FAR, async || {
            let report = self.run(&["status"]).await;
            let is_good = report.is_good() && report.deliveries.len() == STORED.len();
            let words = format!("{:?}", report.problems);
            last = Some(report);
            if is_good { Ok(()) } else { Err(words) }
        })
        .await
        .unwrap();
        last.unwrap()
    }
}

#[tokio::test]
async fn a_kill_at_any_moment_of_a_push_forgets_nothing_that_was_stored() {
    let host = Host::start().await;
    // Each request takes a while, so that kills come between them.
    let slow = json!({"effect": "latency", "value": "40ms"});
    host.admin
        .call(Method::POST, "/faults", &slow)
        .await
        .unwrap();
    let mut unknown = BTreeSet::new();
    for round in 0..12_u32 {
        let mut service = host.service();
        if round > 0 {
            // Everybody gets a new token, in place of one that jobs live on.
            host.all_good().await;
            let mut push = host.here.chain.bastion(&host.config).unwrap();
            push.arg("push");
            let push = tokio::spawn(ended::output(push, FAR));
            let before = host.living().await.len();
            wait::until("the first of the new tokens", FAR, async || {
                (host.living().await.len() > before).then_some(())
            })
            .await
            .unwrap();
            wait::pass(Duration::from_millis(u64::from(round * 23))).await;
            service.stop().await.unwrap();
            push.abort();
        } else {
            wait::until("the first token", FAR, async || {
                (!host.living().await.is_empty()).then_some(())
            })
            .await
            .unwrap();
            service.stop().await.unwrap();
        }
        let now = host.unknown().await;
        let stored = host.stored().await;
        assert!(now.is_disjoint(&stored), "{round}: {now:?} {stored:?}");
        // What was answered in the last moment at most: a login and its child, of each delivery.
        let new = now.difference(&unknown).count();
        println!("round {round}: {new} not known");
        assert!(new <= 2 * STORED.len(), "{round}: {now:?}");
        unknown.extend(now);
    }
    host.admin.restore().await.unwrap();
    let mut service = host.here.chain.service(&host.config).unwrap();
    let report = host.all_good().await;
    let living = host.living().await;
    assert!(host.stored().await.len() == STORED.len());
    // Each that lives is the delivery's own, named for Vault's admins, or a login that is.
    let state = host.here.chain.folder().join("state/state.json");
    let state: Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
    let logins = state["logins"].as_array().unwrap();
    let logins = logins.iter().filter_map(|login| login["accessor"].as_str());
    let mut named: BTreeSet<String> = logins.map(str::to_owned).collect();
    for line in report.deliveries {
        named.extend(line.accessor);
        named.extend(line.other_accessors);
    }
    named.extend(unknown.clone());
    assert!(living.is_subset(&named), "{:?}", living.difference(&named));
    println!("{} live, {} of them not known", living.len(), unknown.len());
    service.stop().await.unwrap();
}

#[tokio::test]
async fn what_single_runs_that_fail_leave_is_known() {
    let host = Host::start().await;
    let text = fs::read_to_string(&host.config).unwrap();
    let wrong =
        "cms_crab: {audience: \"https://nobody.test\", scopes: [\"storage.modify:/nowhere\"]}";
    let text = text.replace("cms_crab: {}", wrong);
    host.here.chain.write_bastion_config(&text).unwrap();
    for _ in 0..3 {
        let report = host.run(&["once"]).await;
        assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
        assert_eq!(host.unknown().await, BTreeSet::new());
    }
    assert!(!host.living().await.is_empty());
}
