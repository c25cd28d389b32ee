//! Real OpenBao servers, one or several nodes with raft, as `integration/setup/openbao` has them.
//!
//! Owns their processes, their configuration, their unseal key and root token. What always holds: a
//! node listens with TLS on an address of the sandbox; nothing is written outside the folder that
//! was given; dropping it ends all nodes.

pub mod admin;
pub mod api;
pub mod ldap;
pub mod onboarding;
pub mod refresher;
pub mod site;
pub mod setup;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::address::{self, Protocol};
use crate::ca::{Ca, Issued};
use crate::process::Daemon;
use crate::{sandbox, wait};
use api::Api;

const FAR: Duration = Duration::from_mins(1);

/// Which OpenBao: `integration/setup/openbao` keeps both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The last one with Kerberos built in.
    WithKerberos,
    /// One that is built without.
    WithoutKerberos,
}

impl Release {
    /// Its version.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::WithKerberos => "2.6.2",
            Self::WithoutKerberos => "2.7.2",
        }
    }
}

/// The nodes of one cluster.
pub struct OpenBao {
    /// The operator's side of the first node.
    pub api: Api,
    nodes: Vec<Node>,
    key: SecretString,
    release: Release,
}

/// A node: a process on one address.
struct Node {
    /// Its name in the sandbox.
    host: &'static str,
    folder: PathBuf,
    daemon: Option<Daemon>,
}

impl Node {
    fn url(&self) -> String {
        format!("https://{}:8200", self.host)
    }

    /// Writes the configuration; `first` is the node that it joins.
    fn configure(&self, ca: &Ca, certificate: &Issued, first: Option<&Self>) -> anyhow::Result<()> {
        let data = self.folder.join("data");
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let join = first.map_or_else(String::new, |first| {
            let (url, ca_file) = (first.url(), ca.file());
            let ca_file = ca_file.display();
            format!(
                "  retry_join {{\n    leader_api_addr = \"{url}\"\n    \
                 leader_ca_cert_file = \"{ca_file}\"\n  }}\n"
            )
        });
        let Self { host, .. } = self;
        let text = format!(
            "storage \"raft\" {{
  path = \"{data}\"
  node_id = \"{host}\"
  # Elections in one or two seconds: five times faster than by default.
  performance_multiplier = 1
{join}}}
listener \"tcp\" {{
  address = \"{host}:8200\"
  cluster_address = \"{host}:8201\"
  tls_cert_file = \"{certificate}\"
  tls_key_file = \"{key}\"
}}
api_addr = \"https://{host}:8200\"
cluster_addr = \"https://{host}:8201\"
default_lease_ttl = \"672h\"
max_lease_ttl = \"672h\"
",
            data = data.display(),
            certificate = certificate.certificate.display(),
            key = certificate.key.display(),
        );
        let file = self.folder.join("bao.hcl");
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    fn start(&mut self, release: Release) -> anyhow::Result<()> {
        let address = (self.host, 8200);
        let address = std::net::ToSocketAddrs::to_socket_addrs(&address)
            .with_context(|| format!("the sandbox has no name {}", self.host))?
            .next();
        let address: SocketAddr = address.with_context(|| format!("{} has no address", self.host))?;
        address::require_free("bao", Protocol::Tcp, address)?;
        let program = sandbox::openbao()?.join(release.version()).join("bao");
        let mut command = Command::new(program);
        command
            .arg("server")
            .arg(format!("-config={}", self.folder.join("bao.hcl").display()));
        let log = self.folder.join("bao.log");
        let name = format!("bao {} at {}", release.version(), self.host);
        self.daemon = Some(Daemon::spawn(&name, command, &log)?);
        Ok(())
    }

    fn daemon(&mut self) -> anyhow::Result<&mut Daemon> {
        (self.daemon.as_mut()).with_context(|| format!("the node at {} does not run", self.host))
    }
}

impl OpenBao {
    /// Starts nodes at these names of the sandbox below `folder`, initialized, unsealed and joined;
    /// the first one leads.
    pub async fn start(
        folder: &Path,
        ca: &Ca,
        release: Release,
        hosts: &[&'static str],
    ) -> anyhow::Result<Self> {
        let mut names = vec!["openbao.test", "cluster.test"];
        names.extend(hosts);
        let certificate = ca.issue(&names)?;
        let mut nodes: Vec<Node> = hosts
            .iter()
            .map(|host| Node {
                host,
                folder: folder.join(host),
                daemon: None,
            })
            .collect();
        let (first, others) = nodes.split_first_mut().context("a cluster has nodes")?;
        first.configure(ca, &certificate, None)?;
        first.start(release)?;
        for other in others {
            other.configure(ca, &certificate, Some(first))?;
            other.start(release)?;
        }
        let api = Api::new(&first.url(), &ca.file())?;
        let (key, token) = initialize(&api).await?;
        let bao = Self {
            api: api.with_token(token),
            nodes,
            key,
            release,
        };
        for number in 0..hosts.len() {
            bao.unseal(number).await?;
        }
        bao.wait_for_leader().await?;
        Ok(bao)
    }

    fn node(&self, number: usize) -> anyhow::Result<&Node> {
        (self.nodes.get(number)).with_context(|| format!("there is no node {number}"))
    }

    fn node_mut(&mut self, number: usize) -> anyhow::Result<&mut Node> {
        (self.nodes.get_mut(number)).with_context(|| format!("there is no node {number}"))
    }

    /// How many nodes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// The operator's side of a node, counted from 0.
    pub fn api_of(&self, number: usize) -> anyhow::Result<Api> {
        Ok(self.api.at(&self.node(number)?.url()))
    }

    /// Unseals a node, and waits until it is: a joining node learns only then what cluster it is in.
    pub async fn unseal(&self, number: usize) -> anyhow::Result<()> {
        let api = self.api_of(number)?;
        let node = self.node(number)?;
        let asked = json!({"key": self.key.expose_secret()});
        let unsealed = wait::until("a node to be unsealed", FAR, async || {
            let status = api.call(reqwest::Method::GET, "sys/seal-status", &Value::Null);
            let status = status.await?;
            let joined = status.get("initialized") == Some(&Value::Bool(true));
            ensure!(joined, "it has not joined yet");
            if status.get("sealed") == Some(&Value::Bool(true)) {
                api.write("sys/unseal", asked.clone()).await?;
                anyhow::bail!("it is sealed");
            }
            Ok(())
        });
        let said = || node.daemon.as_ref().map_or_else(String::new, |d| d.tail(5));
        unsealed.await.with_context(said)
    }

    /// Seals the first node.
    pub async fn seal(&self) -> anyhow::Result<()> {
        self.api.write("sys/seal", json!({})).await.map(drop)
    }

    /// The number of the node that leads, as the nodes that answer see it.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        for (number, node) in self.nodes.iter().enumerate() {
            let health = self.api.at(&node.url());
            let health = health.send(reqwest::Method::GET, "sys/health", &Value::Null);
            if health.await.is_ok_and(|reply| reply.status == 200) {
                return Ok(number);
            }
        }
        anyhow::bail!("no node says that it leads")
    }

    /// Waits until a node leads.
    pub async fn wait_for_leader(&self) -> anyhow::Result<usize> {
        wait::until("a leader", FAR, async || self.leader().await).await
    }

    /// Waits until a node finds that there is no leader.
    pub async fn wait_until_leaderless(&self, number: usize) -> anyhow::Result<()> {
        let api = self.api_of(number)?;
        wait::until("the node to miss its leader", FAR, async || {
            let method = reqwest::Method::GET;
            let reply = api.send(method, "auth/token/lookup-self", &Value::Null);
            let reply = reply.await?;
            let leaderless = reply.errors().contains("active cluster node not found");
            ensure!(leaderless, "{} {}", reply.status, reply.errors());
            Ok(())
        })
        .await
    }

    /// Ends a node at once, as a host that loses its power.
    pub async fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        let node = self.node_mut(number)?;
        node.daemon()?.signal(Signal::SIGKILL)?;
        node.daemon()?.wait(FAR).await?;
        node.daemon = None;
        Ok(())
    }

    /// Starts a node again and unseals it.
    pub async fn resume(&mut self, number: usize) -> anyhow::Result<()> {
        let release = self.release;
        self.node_mut(number)?.start(release)?;
        self.unseal(number).await
    }

    /// Lets a node hang (`SIGSTOP`), or go on (`SIGCONT`).
    pub fn hang(&mut self, number: usize, hangs: bool) -> anyhow::Result<()> {
        let signal = if hangs { Signal::SIGSTOP } else { Signal::SIGCONT };
        self.node_mut(number)?.daemon()?.signal(signal)
    }

    /// Stops all nodes and starts them with another release, on the same storage.
    pub async fn upgrade(&mut self, release: Release) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            node.daemon()?.stop().await?;
            node.daemon = None;
        }
        self.release = release;
        for node in &mut self.nodes {
            node.start(release)?;
        }
        for number in 0..self.nodes.len() {
            self.unseal(number).await?;
        }
        self.wait_for_leader().await.map(drop)
    }

    /// The last lines of all nodes, for the message of a test that fails.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let tails = self.nodes.iter().filter_map(|node| node.daemon.as_ref());
        let tails = tails.map(|daemon| format!("{}:\n{}", daemon.name(), daemon.tail(count)));
        tails.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        // What is stopped would not hear that it is to end.
        for daemon in self.nodes.iter_mut().filter_map(|node| node.daemon.as_mut()) {
            let _ = daemon.signal(Signal::SIGKILL);
        }
    }
}

/// Initializes a node; gives the unseal key and the root token.
async fn initialize(api: &Api) -> anyhow::Result<(SecretString, SecretString)> {
    let asked = json!({"secret_shares": 1, "secret_threshold": 1});
    let given = wait::until("the first node to be initialized", FAR, async || {
        api.write("sys/init", asked.clone()).await
    })
    .await?;
    let text = |place: &str| {
        let text = given.pointer(place).and_then(Value::as_str);
        text.map(SecretString::from)
            .with_context(|| format!("no {place} in the answer of sys/init"))
    };
    Ok((text("/keys/0")?, text("/root_token")?))
}
