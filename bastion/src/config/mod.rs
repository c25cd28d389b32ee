//! The configuration: files are read as typed sections, joined, and resolved into deliveries.
//!
//! Always true: a [`Config`] has no faults; nothing here needs the network. [`load`] reports everything that
//! is wrong with the configuration's files; [`host`] checks the files of this host that they name (keytabs,
//! certificate authorities).

mod changes;
mod cron;
mod faults;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod given;
pub mod host;
mod load;
mod names;
mod reader;
mod resolve;
mod schema;
mod search;
mod sections;
mod values;
mod watch;
mod yaml;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use changes::changes;
pub use cron::Cron;
pub(crate) use faults::first_of;
pub use faults::{Fault, Faults};
pub use load::load;
pub(crate) use load::written_control;
pub use names::{Glob, NameFilter};
pub use schema::schema;
pub(crate) use search::collectors;
pub use search::{DeliveryTemplate, Search};
pub use watch::Watch;

use crate::model::delivery::{Credential, Delivery, Identity};

/// Path of the configuration, unless another one is named.
pub const DEFAULT_FILE: &str = "/etc/token-bastion/token-bastion.yaml";

/// Path of the socket for commands, unless another one is configured.
pub const DEFAULT_CONTROL: &str = "/run/token-bastion/control";
/// Directory of the state, unless another one is configured.
pub const DEFAULT_STATE: &str = "/var/lib/token-bastion";

/// A configuration without faults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Vault that issues all tokens.
    pub vault: htvault::Settings,
    /// First part of Vault's service principal, usually `host`.
    pub kerberos_service: String,
    /// Times at which every delivery is checked.
    pub check: Cron,
    /// Checks, and renewals after a start, are spread over this time.
    pub spread: Duration,
    /// Deliveries at listed schedds, in the order of names, each name once.
    pub deliveries: Vec<Arc<Delivery>>,
    /// Deliveries at schedds that are found through a collector.
    pub searches: Vec<Search>,
    /// Loopback address at which metrics, health and status are served by HTTP; `None` for nowhere.
    pub listen: Option<SocketAddr>,
    /// The socket for commands.
    pub control: PathBuf,
    /// Directory of the state that survives a restart; it contains no secret.
    pub state: PathBuf,
    /// Warnings: allowed, and probably mistakes.
    pub warnings: Vec<Fault>,
}

impl Config {
    /// Credentials that are delivered to listed schedds and to those that searches find; some more than once.
    pub fn credentials(&self) -> impl Iterator<Item = &Arc<Credential>> {
        let known = self.deliveries.iter().map(|delivery| &delivery.credential);
        known.chain(self.templates().map(|template| &template.credential))
    }

    /// Identities that log in; some more than once.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.credentials().map(|credential| &*credential.identity)
    }

    /// Lifetimes of vault tokens and their renewal margins, some more than once.
    fn durations(&self) -> impl Iterator<Item = (Duration, Duration)> {
        let known = self
            .deliveries
            .iter()
            .map(|known| (known.lifetime, known.renew_below));
        known.chain(
            self.templates()
                .map(|found| (found.lifetime, found.renew_below)),
        )
    }

    /// Deliveries at schedds that searches find.
    fn templates(&self) -> impl Iterator<Item = &DeliveryTemplate> {
        self.searches.iter().flat_map(|search| &search.templates)
    }
}
