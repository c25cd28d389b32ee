//! Real OpenBao servers, one or several nodes with raft, as `integration/setup/openbao` has them.
//!
//! Owns their processes, their configuration, their unseal key and root token. What always holds: a
//! node listens with TLS on an address of the sandbox; nothing is written outside the folder that
//! was given; dropping it ends all nodes.

pub mod admin;
pub mod api;
pub mod ldap;
mod node;
pub mod refresher;
pub mod setup;
pub mod site;

use std::path::Path;

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::ca::{Ca, Issued};
use crate::wait;
use crate::wait::FAR;
use api::{Api, OPERATOR};
use node::{Node, program};

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

impl OpenBao {
    /// Starts nodes at these names of the sandbox below `folder`, initialized, unsealed and joined;
    /// the first one leads.
    pub async fn start(
        folder: &Path,
        ca: &Ca,
        release: Release,
        hosts: &[&'static str],
    ) -> anyhow::Result<Self> {
        let certificate = issue(ca, hosts)?;
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
        let api = Api::new(&first.url(), &ca.file(), OPERATOR)?;
        let (key, token) = initialize(&api).await?;
        let bao = Self {
            api: api.with_token(token),
            nodes,
            key,
            release,
        };
        bao.unseal(0).await?;
        bao.wait_for_leader().await?;
        if hosts.len() > 1 {
            // A node that joins may vote at once, not after ten seconds.
            let path = "sys/storage/raft/autopilot/configuration";
            let at_once = json!({"server_stabilization_time": "1ms"});
            bao.api.write(path, at_once).await?;
        }
        for number in 1..hosts.len() {
            bao.unseal(number).await?;
        }
        bao.wait_for_voters().await?;
        Ok(bao)
    }

    /// Waits until every node may vote: before that a leader that is killed is followed by nobody.
    async fn wait_for_voters(&self) -> anyhow::Result<()> {
        wait::until("all nodes to be voters", FAR, async || {
            let path = "sys/storage/raft/configuration";
            let body = self.api.read(path).await?.unwrap_or_default();
            let servers = body.pointer("/data/config/servers");
            let servers = servers.and_then(Value::as_array);
            let may_vote = |server: &&Value| server.get("voter") == Some(&Value::Bool(true));
            let voters = servers.into_iter().flatten().filter(may_vote).count();
            ensure!(voters == self.nodes.len(), "{voters} voters");
            Ok(())
        })
        .await
    }

    fn node(&self, number: usize) -> anyhow::Result<&Node> {
        (self.nodes.get(number)).with_context(|| format!("there is no node {number}"))
    }

    fn node_mut(&mut self, number: usize) -> anyhow::Result<&mut Node> {
        (self.nodes.get_mut(number)).with_context(|| format!("there is no node {number}"))
    }

    /// The URL of the first node.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes.first().map_or_else(String::new, Node::url)
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
            let status = api.call(Method::GET, "sys/seal-status", &Value::Null);
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

    /// Seals a node.
    pub async fn seal(&self, number: usize) -> anyhow::Result<()> {
        let api = self.api_of(number)?;
        api.write("sys/seal", json!({})).await.map(drop)
    }

    /// Leaves a standby alone, without a leader and without one to be elected: the leader is sealed,
    /// by which it takes its name away, and all others hang.
    pub async fn leave_alone(&mut self, number: usize) -> anyhow::Result<()> {
        let leader = self.leader().await?;
        ensure!(leader != number, "the node is no standby");
        for other in (0..self.count()).filter(|other| ![leader, number].contains(other)) {
            self.hang(other, true)?;
        }
        let is_late = |error: &reqwest::Error| error.is_timeout();
        match self.seal(leader).await {
            // On a busy machine; that there is no leader any more is what counts, and is waited for.
            Err(error) if error.downcast_ref().is_some_and(is_late) => println!("{error:#}"),
            sealed => sealed?,
        }
        self.wait_until_leaderless(number).await
    }

    /// Undoes that and [`OpenBao::seal`].
    pub async fn take_back(&mut self) -> anyhow::Result<()> {
        for number in 0..self.count() {
            self.hang(number, false)?;
        }
        for number in 0..self.count() {
            self.unseal(number).await?;
        }
        self.wait_for_leader().await.map(drop)
    }

    /// The number of the node that leads, as the nodes that answer see it.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        for (number, node) in self.nodes.iter().enumerate() {
            let health = self.api.at(&node.url());
            let health = health.send(Method::GET, "sys/health", &Value::Null);
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

    /// Waits until a node can pass on nothing: it points to the leader that it knew. What is only read
    /// it answers by itself.
    async fn wait_until_leaderless(&self, number: usize) -> anyhow::Result<()> {
        let api = self.api_of(number)?;
        let body = json!({"is": "asked"});
        wait::until("the node to miss its leader", FAR, async || {
            let method = Method::POST;
            let reply = api.send(method, "secret/oauth/who-leads", &body).await?;
            ensure!(reply.status == 307, "{} {}", reply.status, reply.errors());
            Ok(())
        })
        .await
    }

    /// The command `bao` as an admin calls it, with the root token.
    pub fn command(&self, ca_file: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(program(self.release)?);
        command
            .env("BAO_ADDR", self.url())
            .env("BAO_CACERT", ca_file)
            .env("BAO_TOKEN", self.api.token_of().expose_secret());
        Ok(command)
    }

    /// Ends a node at once, as a host that loses its power.
    pub async fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        self.node_mut(number)?.daemon()?.signal(Signal::SIGKILL)?;
        self.stop(number).await
    }

    /// Stops a node in order.
    pub async fn stop(&mut self, number: usize) -> anyhow::Result<()> {
        let node = self.node_mut(number)?;
        node.daemon()?.stop().await?;
        node.daemon = None;
        Ok(())
    }

    /// Starts a node again and unseals it.
    pub async fn resume(&mut self, number: usize) -> anyhow::Result<()> {
        let release = self.release;
        self.node_mut(number)?.start(release)?;
        self.unseal(number).await
    }

    /// The process of a node.
    pub fn pid(&mut self, number: usize) -> anyhow::Result<Pid> {
        Ok(self.node_mut(number)?.daemon()?.pid())
    }

    /// Gives all nodes another certificate.
    pub fn renew_certificate(&mut self, ca: &Ca) -> anyhow::Result<()> {
        let hosts: Vec<&str> = self.nodes.iter().map(|node| node.host).collect();
        issue(ca, &hosts)?;
        for node in &mut self.nodes {
            node.daemon()?.signal(Signal::SIGHUP)?;
        }
        Ok(())
    }

    /// Lets a node hang (`SIGSTOP`), or go on (`SIGCONT`).
    pub fn hang(&mut self, number: usize, hangs: bool) -> anyhow::Result<()> {
        let signal = if hangs {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        self.node_mut(number)?.daemon()?.signal(signal)
    }

    /// Stops all nodes and starts them with another release, on the same storage.
    pub async fn upgrade(&mut self, release: Release) -> anyhow::Result<()> {
        for number in 0..self.nodes.len() {
            self.stop(number).await?;
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
        for daemon in self
            .nodes
            .iter_mut()
            .filter_map(|node| node.daemon.as_mut())
        {
            let _ = daemon.signal(Signal::SIGKILL);
        }
    }
}

/// A certificate for nodes at these names, in the files in which they expect it.
fn issue(ca: &Ca, hosts: &[&str]) -> anyhow::Result<Issued> {
    let mut names = vec!["openbao.test", "cluster.test", "vault.test"];
    names.extend(hosts);
    names.dedup();
    ca.issue(&names)
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
