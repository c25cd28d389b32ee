//! The configuration: files read, joined, judged, and made into deliveries that cannot be wrong.
//!
//! Nothing here needs the network. [`load`] judges what was written; [`host`] judges what the
//! files of this host are like (keytabs, certificate authorities).

mod changes;
mod cron;
pub mod duration;
mod faults;
pub mod host;
mod judge;
mod keys;
mod names;
mod overview;
mod raw;
mod resolve;
mod resolve_account;
mod resolve_credential;
mod resolve_schedds;
mod schema;
mod search;
mod template;
mod tree;
mod watch;
mod yaml_error;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use htvault::{RequestLimit, ServerUrl, TlsSettings};

pub use changes::{Changed, Changes, Difference, Part};
pub use cron::Cron;
pub use faults::{At, Fault, Faults, nearest};
pub use names::{Glob, Names};
pub use overview::Overview;
pub use schema::schema;
pub use search::{Pattern, Search};
pub use watch::Watch;

use crate::delivery::{Delivery, Identity};
use crate::files;

/// Where the configuration is when no other place is named.
pub const DEFAULT_FILE: &str = "/etc/token-bastion/token-bastion.yaml";

/// Where the socket for commands is when no other place is named.
pub const DEFAULT_CONTROL: &str = "/run/token-bastion/control";
/// Where state is kept when no other place is named.
pub const DEFAULT_STATE: &str = "/var/lib/token-bastion";

/// Limit for the size of a configuration file: some 50,000 accounts.
const FILE_LIMIT: u64 = 16 << 20;
/// Folder beside the configuration whose files are read too.
const FOLDER: &str = "config.d";

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

/// Reads a configuration: the file, and `config.d/*.yaml` beside it in the order of names. Blocks.
///
/// # Errors
/// All faults that can be found.
pub fn load(file: &Path) -> Result<Config, Faults> {
    let mut faults = Faults::default();
    let mut roots = Vec::new();
    for path in paths(file, &mut faults) {
        let name = path.display().to_string();
        match read_text(&path) {
            Ok(text) => roots.extend(tree::parse(&name, &text, &mut faults)),
            Err(why) => faults.add(&At::file(&name), "", why),
        }
    }
    // What a file that cannot be read would have said is not missed twice.
    if !faults.is_empty() {
        return faults.or(None);
    }
    let raw = raw::read(&roots, &mut faults);
    drop(roots);
    let config = resolve::config(&raw, &mut faults);
    let warnings = faults.take_warnings();
    faults.or(config.map(|config| Config { warnings, ..config }))
}

/// Reads the text of a configuration file; the error says what to do.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    let refuse = |why: &dyn std::fmt::Display, advice: &str| {
        format!("the file cannot be read: {why}; {advice}")
    };
    let content = files::read(path, FILE_LIMIT);
    let content = content.map_err(|error| refuse(&error, error.advice()))?;
    let text = std::str::from_utf8(&content);
    let text =
        text.map_err(|_| refuse(&"it is no text in UTF-8", "correct the path or the file"))?;
    Ok(text.to_owned())
}

/// The file itself and the files of `config.d` beside it. Hidden ones belong to editors and tools.
fn paths(file: &Path, faults: &mut Faults) -> Vec<PathBuf> {
    let mut paths = vec![file.to_owned()];
    if files::open(file).is_err() {
        return paths;
    }
    let directory = file.parent().unwrap_or(Path::new("")).join(FOLDER);
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return paths,
        Err(error) => {
            faults.add(
                &At::file(&directory.display().to_string()),
                "",
                format!("the directory cannot be read: {error}; correct its permissions"),
            );
            return paths;
        }
    };
    let hidden = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b".")
    };
    let mut more: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| !hidden(path))
        .collect();
    more.sort();
    for path in more {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml") => paths.push(path),
            Some("yml" | "YAML" | "YML") => faults.warn(
                &At::file(&path.display().to_string()),
                "",
                "the file is not read, since its name does not end in .yaml; rename it",
            ),
            _ => {}
        }
    }
    paths
}
