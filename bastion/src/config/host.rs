//! Checks of files of this host that the configuration names: keytabs, certificate authorities.
//!
//! A keytab that is missing or cannot be read, and one that everybody may read, are faults for `check`. A
//! service that runs goes on, with a warning at each start: other accounts are not to suffer, the keytab may
//! come later, and a wrong mode is no reason to let jobs fail.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use htvault::text::printable;
use tokio::task::JoinSet;

use super::Config;
use crate::system::files::keytab::{self, Damage, Keytab};
use crate::system::files::{KEYTABS, ReadError};

/// Keytabs that are checked at a time.
const AT_A_TIME: usize = 64;
/// Principals that a message names.
const NAMED: usize = 3;
/// Characters of a principal in a message.
const PRINCIPAL_LIMIT: usize = 100;

/// A fault of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFault {
    /// Accounts that it concerns; none for all of them.
    accounts: Vec<String>,
    /// The file and the accounts that need it, description and advice.
    message: String,
    /// Deliveries cannot work as long as it is so.
    stops: bool,
}

impl HostFault {
    /// Accounts that it concerns; none for all of them.
    #[must_use]
    pub fn accounts(&self) -> &[String] {
        &self.accounts
    }

    /// True when deliveries cannot work as long as it is so.
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

/// Fault of one keytab.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeytabFault {
    /// Description and advice.
    pub(crate) what: String,
    /// Logins with it fail.
    pub(crate) stops: bool,
}

/// Checks every keytab, in the order of paths. Accounts that share a keytab and its fault are named
/// in one.
pub async fn keytab_faults(config: &Config) -> Vec<HostFault> {
    // Accounts by keytab and principal.
    let mut keytabs: BTreeMap<&Path, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for identity in config.identities() {
        let principals = keytabs.entry(&identity.keytab).or_default();
        let users = principals.entry(&identity.principal).or_default();
        if !users.contains(&identity.account.as_str()) {
            users.push(&identity.account);
        }
    }
    // More than there are threads: those that hang are waited for together.
    let mut reading = JoinSet::new();
    let mut read = BTreeMap::new();
    for path in keytabs.keys() {
        if reading.len() >= AT_A_TIME
            && let Some(ended) = reading.join_next().await
        {
            read.extend(ended.ok());
        }
        let path = path.to_path_buf();
        reading.spawn(async move {
            let keytab = read_keytab(&path).await;
            (path, keytab)
        });
    }
    while let Some(ended) = reading.join_next().await {
        read.extend(ended.ok());
    }
    let mut faults = Vec::new();
    for (path, principals) in keytabs {
        let mut accounts: BTreeMap<KeytabFault, Vec<&str>> = BTreeMap::new();
        for (principal, users) in principals {
            let fault = read.get(path).and_then(|read| judge(read, principal));
            if let Some(fault) = fault {
                accounts.entry(fault).or_default().extend(users);
            }
        }
        let path = path.display();
        faults.extend(accounts.into_iter().map(|(fault, mut accounts)| {
            accounts.sort_unstable();
            let names = accounts.join(", ");
            HostFault {
                accounts: accounts.into_iter().map(str::to_owned).collect(),
                message: format!("account {names}: keytab {path}: {}", fault.what),
                stops: fault.stops,
            }
        }));
    }
    faults
}

/// Checks the certificate authorities.
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

/// Checks the keytab of one principal.
pub(crate) async fn keytab_fault(keytab: &Path, principal: &str) -> Option<KeytabFault> {
    judge(&read_keytab(keytab).await, principal)
}

/// Reads a keytab; the error says what to do.
async fn read_keytab(path: &Path) -> Result<Keytab, String> {
    let owned = path.to_owned();
    let read = KEYTABS.run(path, move || keytab::read(&owned)).await;
    let read = read.map_err(|failure| failure.to_string())?;
    read.map_err(|error| match error {
        ReadError::System(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "there is no such file; put the keytab there or correct the path".to_owned()
        }
        ReadError::System(error) => format!(
            "it cannot be read ({error}); make it readable by the user that the service runs as"
        ),
        error => format!("{error}; put the keytab there or correct the path"),
    })
}

fn judge(read: &Result<Keytab, String>, principal: &str) -> Option<KeytabFault> {
    let stops = |what: String| Some(KeytabFault { what, stops: true });
    let keytab = match read {
        Ok(keytab) => keytab,
        Err(why) => return stops(why.clone()),
    };
    let anew = "make it anew with kadmin or ktutil";
    if let Some(entries) = &keytab.entries {
        let damage = entries.damage.map(Damage::words);
        match damage {
            Some(damage) if !entries.principals.contains(principal) => {
                return stops(format!("{damage}; {anew}"));
            }
            None if entries.principals.is_empty() => {
                return stops(format!("there is no key in it; {anew}"));
            }
            None if !entries.principals.contains(principal) => {
                let mut named: Vec<String> = (entries.principals.iter().take(NAMED))
                    .map(|principal| printable(principal, PRINCIPAL_LIMIT))
                    .collect();
                if entries.principals.len() > NAMED {
                    named.push("others".to_owned());
                }
                return stops(format!(
                    "it has no key of {principal}, only of {}; correct the principal, or put the right keytab there",
                    named.join(", ")
                ));
            }
            Some(damage) => {
                return Some(KeytabFault {
                    what: format!("{damage}, and the key is in front of that; {anew}"),
                    stops: false,
                });
            }
            None => {}
        }
    }
    let mode = keytab.mode;
    (mode & 0o007 != 0).then(|| KeytabFault {
        what: format!(
            "everybody may use it (mode {mode:04o}); `chmod 0400` it, and make a new key if others could have read it"
        ),
        stops: false,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::fixtures;
    use crate::model::delivery::{Credential, Identity, Target};
    use crate::system::files::keytab::tests::keytab;

    fn write(path: &Path, content: &[u8], mode: u32) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    async fn fault(content: &[u8], mode: u32) -> Option<(String, bool)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kt");
        write(&path, content, mode);
        let fault = keytab_fault(&path, "a@T").await?;
        Some((fault.what, fault.stops))
    }

    #[tokio::test]
    async fn a_keytab_is_good_when_it_has_the_principals_key_for_few_eyes() {
        assert_eq!(fault(&keytab(&["b@T", "a@T"]), 0o400).await, None);
        assert_eq!(fault(&[5, 1, 0], 0o400).await, None, "not examined");
        let (what, stops) = fault(&keytab(&["a@T"]), 0o404).await.unwrap();
        assert!(what.starts_with("everybody may use it (mode 0404)") && !stops);
    }

    #[tokio::test]
    async fn a_keytab_without_the_principals_key_is_a_fault_before_any_login() {
        let anew = "make it anew with kadmin or ktutil";
        let whole = keytab(&["a@T", "b@T"]);
        let many = keytab(&["A@T", "b@T", "c@T", "d@T"]);
        for (content, words, stops) in [
            (&b""[..], format!("it is empty; {anew}"), true),
            (b"no keytab", format!("it is not a keytab; {anew}"), true),
            (&whole[..9], format!("it is truncated; {anew}"), true),
            (
                &whole[..whole.len() - 1],
                format!("it is truncated, and the key is in front of that; {anew}"),
                false,
            ),
            (&[5, 2], format!("there is no key in it; {anew}"), true),
            (
                &many,
                "it has no key of a@T, only of A@T, b@T, c@T, others; correct the principal, or put \
                 the right keytab there"
                    .to_owned(),
                true,
            ),
        ] {
            assert_eq!(fault(content, 0o400).await, Some((words, stops)));
        }
    }

    #[tokio::test]
    async fn a_keytab_that_is_no_file_is_reported_and_the_others_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let fifo = path("fifo.keytab");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        write(&path("shared.keytab"), &keytab(&["a@T"]), 0o400);
        let delivery = |account: &str, keytab: PathBuf| {
            let mut delivery =
                fixtures::delivery(account, "cms", "here", Target::Directory("/creds".into()));
            let identity = Arc::new(Identity {
                account: account.to_owned(),
                principal: format!("{account}@T"),
                keytab,
            });
            delivery.credential = Arc::new(Credential {
                identity,
                ..Credential::clone(&delivery.credential)
            });
            delivery
        };
        let config = fixtures::config(vec![
            delivery("a", path("shared.keytab")),
            delivery("b", fifo.clone()),
            delivery("c", path("shared.keytab")),
            delivery("d", fifo.clone()),
        ]);
        let faults = keytab_faults(&config).await;
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let fifo = fifo.display();
        let shared = path("shared.keytab");
        let shared = shared.display();
        assert_eq!(
            told,
            [
                format!(
                    "account b, d: keytab {fifo}: it is a FIFO, and only plain files are read; put the keytab there or correct the path"
                ),
                format!(
                    "account c: keytab {shared}: it has no key of c@T, only of a@T; correct the principal, or put the right keytab there"
                ),
            ]
        );
        assert_eq!(faults[0].accounts(), ["b", "d"]);
    }
}
