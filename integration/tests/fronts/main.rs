//! A bastion whose Vault is not what answers: a standby that redirects, a load balancer or firewall that answers in
//! Vault's place, certificates of unusual kinds, an issuer whose claims have odd types. KDC, credmon and the
//! development Vault are real; the front before it does what each test says. Needs the sandbox.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod certificates;
mod claims;
mod lies;
mod pages;
mod standby;

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use bastion::engine::report::{Group, Report};
use bastion::policy::plan::State;
use integration::chain::{Lives, VAULT};
use integration::ended;
use integration::here::Here;
use integration::hostile::{Front, Handling};
use integration::wait::FAR;

/// Address of `vault.test`, where the front is, and its other one in `cluster.test`.
const FRONT: [&str; 2] = ["127.83.0.1:8200", "127.83.0.3:8200"];
/// Address of the Vault behind it.
const BEHIND: &str = "127.83.0.2:8200";
/// URL of the Vault behind it.
const BEHIND_URL: &str = "https://vault2.test:8200";
/// A name for all of these addresses.
const CLUSTER: &str = "https://cluster.test:8200";

/// One site at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A bastion's host, with a Vault at another address than the one that is configured.
struct Site {
    here: Here,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

impl Site {
    async fn start() -> Self {
        let one = ONE.lock().await;
        let here = Here::start_cluster(Lives::CALM, &[BEHIND]).await.unwrap();
        Self { here, _one: one }
    }

    /// A front at the configured address.
    async fn front(&self, rule: impl Fn(&str) -> Handling + Send + Sync + 'static) -> Front {
        let addresses = FRONT.map(|address| address.parse().unwrap());
        let front = Front::start(&self.here.chain.ca, &addresses, BEHIND_URL, rule);
        front.await.unwrap()
    }

    /// Writes the configuration, with another address of Vault.
    fn configure(&self, address: &str) -> PathBuf {
        let yaml = self.here.yaml().replace(VAULT, address);
        self.here.chain.write_bastion_config(&yaml).unwrap()
    }

    /// Forgets all that was delivered.
    fn forget(&self) {
        let _ = fs::remove_dir_all(self.here.chain.folder().join("state"));
        for account in ["cmsprod", "crabtw"] {
            let _ = fs::remove_dir_all(self.here.directory.join(account));
        }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let config = self.here.chain.folder().join("token-bastion.yaml");
        let mut command = self.here.chain.bastion(&config).unwrap();
        command.args(arguments);
        ended::output(command, FAR).await.unwrap()
    }

    /// The report of `once`, and what it logged.
    async fn once(&self) -> (Report, String) {
        let output = self.run(&["once", "--json"]).await;
        let report: Report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", ended::text(&output)));
        let is_good = output.status.code() == Some(0);
        assert_eq!(is_good, report.is_good(), "{}", ended::text(&output));
        (report, String::from_utf8(output.stderr).unwrap())
    }
}

fn states(report: &Report) -> Vec<State> {
    report.deliveries.iter().map(|line| line.state).collect()
}

/// The only problem of a report.
fn only(report: &Report) -> &Group {
    assert_eq!(report.problems.len(), 1, "{:#?}", report.problems);
    &report.problems[0]
}
