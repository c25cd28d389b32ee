//! What the files of this host are like, as far as the configuration needs them.
//!
//! A keytab that is missing or cannot be read, and one that everybody may read, are faults for
//! `check`. A service that runs goes on: other accounts are not to suffer, the keytab may come
//! later, and a wrong mode is no reason to let jobs die; it says so each time it starts.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Config;

/// Something on this host that has to be put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFault {
    /// The accounts that are concerned; none when all are.
    accounts: Vec<String>,
    /// The file and the accounts that need it, what is wrong, and what to do.
    message: String,
    /// Deliveries cannot work as long as it is so.
    stops: bool,
}

impl HostFault {
    /// The accounts that are concerned; none when all are.
    #[must_use]
    pub fn accounts(&self) -> &[String] {
        &self.accounts
    }

    /// Whether deliveries cannot work as long as it is so.
    #[must_use]
    pub fn stops(&self) -> bool {
        self.stops
    }
}

impl fmt::Display for HostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Looks at every keytab. One fault for each file.
#[must_use]
pub fn keytab_faults(config: &Config) -> Vec<HostFault> {
    let mut accounts: BTreeMap<&Path, Vec<&str>> = BTreeMap::new();
    for identity in config.identities() {
        let users = accounts.entry(&identity.keytab).or_default();
        if !users.contains(&identity.account.as_str()) {
            users.push(&identity.account);
        }
    }
    accounts
        .into_iter()
        .filter_map(|(keytab, accounts)| {
            let (what, stops) = keytab_fault(keytab)?;
            let message = format!(
                "account {}: keytab {}: {what}",
                accounts.join(", "),
                keytab.display()
            );
            Some(HostFault {
                accounts: accounts.into_iter().map(str::to_owned).collect(),
                message,
                stops,
            })
        })
        .collect()
}

/// Whether the certificate authorities can be used.
#[must_use]
pub fn authority_fault(config: &Config) -> Option<HostFault> {
    let settings = config.vault.for_client();
    let error = settings
        .and_then(|settings| htvault::Client::new(&settings))
        .err()?;
    Some(HostFault {
        accounts: Vec::new(),
        message: error.to_string(),
        stops: true,
    })
}

/// What is wrong with a keytab, and whether that stops deliveries.
pub(crate) fn keytab_fault(keytab: &Path) -> Option<(String, bool)> {
    let metadata = match std::fs::File::open(keytab).and_then(|file| file.metadata()) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let what = "there is no such file; put the keytab there or correct the path";
            return Some((what.to_owned(), true));
        }
        Err(error) => {
            let what = format!(
                "it cannot be read ({error}); make it readable by the user that the service runs as"
            );
            return Some((what, true));
        }
    };
    if !metadata.is_file() {
        return Some(("it is no file; correct the path".to_owned(), true));
    }
    let mode = metadata.mode() & 0o7777;
    (mode & 0o007 != 0).then(|| {
        let what = format!(
            "everybody may use it (mode {mode:04o}); `chmod 0400` it, and make a new key if others could have read it"
        );
        (what, false)
    })
}
