//! The parts of a server that runs, and what an operator can do to them.
//!
//! What always holds: whatever was done here is undone by [`Parts::reset`], except killed tokens.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};

use super::controls::Controls;
use super::issuer::Issuer;
use super::node::{Condition, Node};
use super::port::Port;
use super::settings::RoleName;
use super::state::Kept;
use super::vault::Vault;

/// All parts.
pub struct Parts {
    /// The state that the nodes share.
    pub vault: Arc<Vault>,
    /// The nodes.
    pub nodes: Vec<Arc<Node>>,
    /// Where each node listens.
    pub ports: Vec<Port>,
    /// The token issuer.
    pub issuer: Arc<Issuer>,
    /// Where it listens.
    pub issuer_port: Port,
    /// What is wrong at present.
    pub controls: Arc<Controls>,
}

/// Whether the issuer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuerState {
    /// It does.
    Up,
    /// Its port is closed.
    Down,
    /// It takes requests and answers none.
    Hung,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "active" => Ok(Self::Active),
            "standby" => Ok(Self::Standby),
            "sealed" => Ok(Self::Sealed),
            "leaderless" => Ok(Self::Leaderless),
            _ => Err(format!(
                "{text:?} is no condition: it is active, standby, sealed or leaderless"
            )),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Sealed => "sealed",
            Self::Leaderless => "leaderless",
        })
    }
}

impl FromStr for IssuerState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "up" => Ok(Self::Up),
            "down" => Ok(Self::Down),
            "hung" => Ok(Self::Hung),
            _ => Err(format!("{text:?} is no state: it is up, down or hung")),
        }
    }
}

impl fmt::Display for IssuerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Hung => "hung",
        })
    }
}

impl Parts {
    fn port(&self, number: usize) -> anyhow::Result<&Port> {
        let place = number.checked_sub(1);
        let port = place.and_then(|place| self.ports.get(place));
        port.ok_or_else(|| anyhow!("there is no node {number}, only {}", self.ports.len()))
    }

    /// Puts a node, counted from 1, into a state.
    pub fn set_condition(&self, number: usize, condition: Condition) -> anyhow::Result<()> {
        self.port(number)?;
        if let Some(node) = number.checked_sub(1).and_then(|n| self.nodes.get(n)) {
            node.set_condition(condition);
        }
        Ok(())
    }

    /// Closes or opens the port of a node, counted from 1.
    pub async fn set_node_up(&self, number: usize, up: bool) -> anyhow::Result<()> {
        let port = self.port(number)?;
        if up {
            let address = port.address();
            let opened = port.up().await;
            opened.with_context(|| format!("node {number} cannot listen on {address}"))
        } else {
            port.down().await;
            Ok(())
        }
    }

    /// Whether the issuer answers.
    pub async fn issuer_state(&self) -> IssuerState {
        match (self.issuer_port.is_up().await, self.controls.issuer_hangs()) {
            (false, _) => IssuerState::Down,
            (true, true) => IssuerState::Hung,
            (true, false) => IssuerState::Up,
        }
    }

    /// Makes the issuer answer, or not.
    pub async fn set_issuer(&self, state: IssuerState) -> anyhow::Result<()> {
        self.controls.set_issuer_hangs(state == IssuerState::Hung);
        if state == IssuerState::Down {
            self.issuer_port.down().await;
            return Ok(());
        }
        let address = self.issuer_port.address();
        let opened = self.issuer_port.up().await;
        opened.with_context(|| format!("the issuer cannot listen on {address}"))
    }

    /// Kills the refresh tokens of a credkey, of one role or of all; says how many there were.
    #[must_use]
    pub fn kill_refresh_tokens(&self, credkey: &str, role: Option<&RoleName>) -> usize {
        (self.vault.settings.roles.keys())
            .filter(|known| role.is_none_or(|role| role == *known))
            .map(|role| self.issuer.revoke_grants(role, credkey))
            .sum()
    }

    /// Kills a Vault token and all below it; says how many died.
    #[must_use]
    pub fn kill_vault_token(&self, accessor: &str) -> usize {
        self.vault.revoke_accessor(accessor)
    }

    /// What a state file keeps; none when the key cannot be copied, which does not happen.
    #[must_use]
    pub fn kept(&self) -> Option<Kept> {
        let (key, grants) = self.issuer.kept().ok()?;
        Some(Kept {
            cluster: self.vault.cluster.clone(),
            key,
            tokens: self.vault.living_tokens(),
            grants,
            credentials: self.vault.secrets.all(),
        })
    }

    /// Puts everything back: all is up and well, the first node leads. What was killed stays dead.
    pub async fn reset(&self) -> anyhow::Result<()> {
        self.controls.reset();
        self.set_issuer(IssuerState::Up).await?;
        for (place, node) in self.nodes.iter().enumerate() {
            let leads = place == 0;
            node.set_condition(if leads {
                Condition::Active
            } else {
                Condition::Standby
            });
            self.set_node_up(place.saturating_add(1), true).await?;
        }
        Ok(())
    }
}
