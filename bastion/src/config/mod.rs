//! The configuration: files read, joined, judged, and made into deliveries that cannot be wrong.
//!
//! Nothing here needs the network. [`load`] judges what was written; [`host`] judges what the
//! files of this host are like (keytabs, certificate authorities).

mod changes;
mod cron;
pub mod duration;
mod faults;
mod given;
pub mod host;
mod load;
mod names;
mod overview;
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

use htvault::{RequestLimit, ServerUrl, TlsSettings};

pub use changes::{Changed, Changes, Difference, Part};
pub use cron::Cron;
pub use faults::{Fault, Faults, nearest};
pub use load::load;
pub(crate) use load::read_text;
pub use names::{Glob, Names};
pub use overview::Overview;
pub use schema::schema;
pub use search::{Pattern, Search};
pub use watch::Watch;

use crate::delivery::{Delivery, Identity};

/// Where the configuration is when no other place is named.
pub const DEFAULT_FILE: &str = "/etc/token-bastion/token-bastion.yaml";

/// Where the socket for commands is when no other place is named.
pub const DEFAULT_CONTROL: &str = "/run/token-bastion/control";
/// Where state is kept when no other place is named.
pub const DEFAULT_STATE: &str = "/var/lib/token-bastion";

/// A configuration that was found good.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Vault that everything is read from.
    pub vault: VaultSettings,
    /// First part of Vault's service principal, usually `host`.
    pub kerberos_service: String,
    /// When every delivery is looked at.
    pub check: Cron,
    /// Looks and renewals are spread over this time.
    pub spread: Duration,
    /// What is wanted at schedds that are known, in the order of names, each name once.
    pub deliveries: Vec<Arc<Delivery>>,
    /// What is wanted at schedds that a collector is asked for.
    pub searches: Vec<Search>,
    /// Where metrics, health and status are served by HTTP; nowhere when `None`.
    pub listen: Option<SocketAddr>,
    /// The socket for commands of people on this host.
    pub control: PathBuf,
    /// Where things are kept that are no secrets and outlive a restart, such as the age of grants.
    pub state: PathBuf,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Fault>,
}

impl Config {
    /// Who logs in, for deliveries at known schedds and at those that are to be found; some more
    /// than once.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        let known = self.deliveries.iter().map(|delivery| &delivery.credential);
        let found = self.searches.iter().flat_map(|search| &search.wanted);
        known
            .chain(found.map(|pattern| &pattern.credential))
            .map(|credential| &*credential.identity)
    }
}

/// The Vault and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSettings {
    /// Its addresses, the preferred one first; the first one names the cluster. Never empty.
    pub servers: Vec<ServerUrl>,
    /// Certificate authorities to trust.
    pub tls: TlsSettings,
    /// How many requests may be sent.
    pub requests: Option<RequestLimit>,
}

impl VaultSettings {
    /// The same for a client.
    ///
    /// # Errors
    /// There is no address.
    pub fn for_client(&self) -> Result<htvault::Settings, htvault::Error> {
        let mut settings = htvault::Settings::for_cluster(self.servers.clone())?;
        settings.tls = self.tls.clone();
        settings.limit = self.requests;
        // A bound that we set ourselves is no failure: whatever is to be sent waits for its turn.
        settings.limit_wait = Duration::from_hours(24);
        Ok(settings)
    }
}
