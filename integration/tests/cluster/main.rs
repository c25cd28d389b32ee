//! The client library with a cluster of three nodes on three addresses, aliases, faults, quotas
//! and outages: what it hides from its callers, and what it tells them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod addresses;
mod outages;

use htvault::kerberos::Ticket;
use htvault::{AccessTokenRequest, Client, IssuedToken, Settings, VaultToken};
use integration::chain::{ADMIN, Chain, Lives};
use integration::conformance::admin::Admin;
use integration::sandbox;
use integration::wait::FAR;
use reqwest::Method;
use serde_json::{Value, json};

const NODES: [&str; 3] = ["127.83.0.1:8200", "127.83.0.2:8200", "127.83.0.3:8200"];
/// A name with the three addresses.
const CLUSTER: &str = "https://cluster.test:8200";

/// One cluster at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Cluster {
    chain: Chain,
    admin: Admin,
    _folder: tempfile::TempDir,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

async fn cluster(nodes: &[&'static str]) -> Cluster {
    let one = ONE.lock().await;
    let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
    let chain = Chain::start_cluster(folder.path(), Lives::HOUR, nodes)
        .await
        .unwrap();
    chain.kdc.use_here().unwrap();
    let admin = Admin::new(&format!("http://{ADMIN}"), &chain.ca.file()).unwrap();
    Cluster {
        chain,
        admin,
        _folder: folder,
        _one: one,
    }
}

impl Cluster {
    fn settings(&self, server: &str) -> Settings {
        let mut settings = Settings::new(server.parse().unwrap());
        settings.cluster = Some("vault.test".to_owned());
        settings.tls.ca_file = Some(self.chain.ca.file());
        settings
    }

    fn client(&self) -> Client {
        Client::new(&self.settings(CLUSTER)).unwrap()
    }

    async fn login(&self, client: &Client) -> IssuedToken {
        let keytab = self.chain.keytabs().join("crabtw.keytab");
        let ticket = Ticket::from_keytab("crabtw@TEST", &keytab).unwrap();
        let host = client.settings().kerberos_host();
        let negotiate = ticket.negotiate("host", host).unwrap();
        client.login("cms", "crab", &negotiate).await.unwrap()
    }

    async fn set(&self, path: &str, body: Value) {
        self.admin.call(Method::PUT, path, &body).await.unwrap();
    }

    /// Makes something go wrong.
    async fn fault(&self, fault: Value) {
        self.admin
            .call(Method::POST, "/faults", &fault)
            .await
            .unwrap();
    }

    /// Counts, from now on, the requests that each node gets.
    async fn count(&self) {
        self.admin.restore().await.unwrap();
        for node in 1..=3 {
            self.fault(json!({"effect": "latency", "value": "1ms", "node": node}))
                .await;
        }
    }

    /// What [`Cluster::count`] has counted.
    async fn counted(&self) -> Vec<u64> {
        let state = self
            .admin
            .call(Method::GET, "/faults", &Value::Null)
            .await
            .unwrap();
        state["faults"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|fault| fault["effect"] == "latency")
            .map(|fault| fault["met"].as_u64().unwrap())
            .collect()
    }
}

/// The order in which the resolver gives the three addresses is its own business: the first one
/// that is asked is found out.
async fn preferred(cluster: &Cluster, client: &Client, token: &VaultToken) -> usize {
    cluster.count().await;
    client.lookup_self(token).await.unwrap();
    let counted = cluster.counted().await;
    assert_eq!(counted.iter().sum::<u64>(), 1, "{counted:?}");
    counted.iter().position(|&count| count == 1).unwrap()
}

fn minimum(seconds: u64) -> AccessTokenRequest {
    AccessTokenRequest {
        minimum_seconds: Some(seconds),
        ..AccessTokenRequest::default()
    }
}
