//! Checks of files of this host that the configuration names: keytabs, certificate authorities.
//!
//! A keytab that is missing or cannot be read, and one that everybody may read, are faults for `check`. A running service
//! only warns of them at its start: other accounts go on, the keytab may be installed later, and a wrong mode is no
//! reason to let jobs fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use htvault::text::printable;
use htvault::{Authorities, TlsSettings};
use tokio::task::JoinSet;

use super::Config;
use crate::model::delivery::Way;
use crate::system::files::keytab::{self, Entries, Keytab};
use crate::system::files::{KEYTABS, ReadError};

/// Principals that a message names.
const NAMED: usize = 3;
/// Characters of a principal in a message.
const PRINCIPAL_LIMIT: usize = 100;
/// Advice for a keytab without the key.
const ANEW: &str = "make it anew with kadmin or ktutil";

/// A fault of this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostFault {
    /// Accounts that it concerns; none for all of them.
    pub accounts: Vec<String>,
    /// Description and advice.
    pub message: String,
    /// Deliveries fail until it is corrected.
    pub stops: bool,
}

impl HostFault {
    /// A fault that names no account.
    fn new(stops: bool, message: String) -> Self {
        Self {
            accounts: Vec::new(),
            message,
            stops,
        }
    }
}

impl fmt::Display for HostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Checks every keytab, in the order of paths. Accounts that share a keytab and its fault are named in one.
pub async fn keytab_faults(config: &Config) -> Vec<HostFault> {
    let used = config.identities();
    let used = used.map(|of| (&*of.keytab, &*of.principal, &*of.account));
    let used: BTreeSet<(&Path, &str, &str)> = used.collect();
    // All at once: those whose file systems hang are waited for together.
    let paths: BTreeSet<PathBuf> = used.iter().map(|(path, ..)| path.to_path_buf()).collect();
    let reads = paths
        .into_iter()
        .map(|path| async move { (read_keytab(&path).await, path) });
    let reads = reads.collect::<JoinSet<_>>().join_all().await;
    let read: BTreeMap<_, _> = reads.into_iter().map(|(read, path)| (path, read)).collect();
    let mut faults: BTreeMap<(&Path, HostFault), BTreeSet<&str>> = BTreeMap::new();
    for (path, principal, account) in used {
        if let Some(fault) = read.get(path).and_then(|read| check(read, principal)) {
            faults.entry((path, fault)).or_default().insert(account);
        }
    }
    let named = faults.into_iter().map(|((path, fault), accounts)| {
        let accounts = Vec::from_iter(accounts);
        let (names, path) = (accounts.join(", "), path.display());
        HostFault {
            message: format!("account {names}: keytab {path}: {}", fault.message),
            accounts: accounts.into_iter().map(str::to_owned).collect(),
            ..fault
        }
    });
    named.collect()
}

/// Fault of the certificate authorities of Vault and of the credds, if there is one. Without them nothing is delivered.
#[must_use]
pub fn authority_fault(config: &Config) -> Option<String> {
    let error = htvault::Client::new(&config.vault).err();
    let error = error.or_else(|| {
        let others = credd_authorities(config).into_iter();
        let mut others = others.filter(|authorities| **authorities != config.vault.tls);
        others.find_map(|authorities| Authorities::read(authorities).err())
    });
    error.map(|error| error.to_string())
}

/// Authorities of credds that this program speaks to itself.
fn credd_authorities(config: &Config) -> BTreeSet<&TlsSettings> {
    let listed = config.deliveries.iter();
    let listed = listed.filter_map(|delivery| delivery.target.way());
    let ways = listed.chain(config.searches.iter().map(|search| &search.way));
    ways.filter_map(Way::authorities).collect()
}

/// Checks the keytab of one principal.
pub(crate) async fn keytab_fault(keytab: &Path, principal: &str) -> Option<HostFault> {
    check(&read_keytab(keytab).await, principal)
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

fn check(read: &Result<Keytab, String>, principal: &str) -> Option<HostFault> {
    let Keytab { mode, entries } = match read {
        Ok(keytab) => keytab,
        Err(why) => return Some(HostFault::new(true, why.clone())),
    };
    if let Some(entries) = entries
        && let Some(fault) = key_fault(entries, principal)
    {
        return Some(fault);
    }
    if mode & 0o007 != 0 {
        let message = format!(
            "everybody may use it (mode {mode:04o}); `chmod 0400` it, and make a new key if others could have read it"
        );
        return Some(HostFault::new(false, message));
    }
    None
}

/// Fault of a keytab that is damaged, or has no key of a principal.
fn key_fault(entries: &Entries, principal: &str) -> Option<HostFault> {
    let Entries { principals, damage } = entries;
    let has_key = principals.contains(principal);
    if let Some(damage) = damage {
        let but = if has_key {
            ", but the key is before the damage"
        } else {
            ""
        };
        return Some(HostFault::new(!has_key, format!("{damage}{but}; {ANEW}")));
    }
    if has_key {
        return None;
    }
    if principals.is_empty() {
        let message = format!("there is no key in it; {ANEW}");
        return Some(HostFault::new(true, message));
    }
    let named = principals.iter().take(NAMED);
    let mut named: Vec<String> = named
        .map(|principal| printable(principal, PRINCIPAL_LIMIT))
        .collect();
    if principals.len() > NAMED {
        named.push("others".to_owned());
    }
    let message = format!(
        "it has no key of {principal}, only of {}; correct the principal, or put the right keytab there",
        named.join(", ")
    );
    Some(HostFault::new(true, message))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use super::*;
    use crate::fixtures;
    use crate::model::delivery::{Authentication, CreddTarget, Credential, Identity, Target};
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
        Some((fault.message, fault.stops))
    }

    #[tokio::test]
    async fn a_keytab_is_good_when_it_has_the_principals_key_for_few_eyes() {
        assert_eq!(fault(&keytab(&["b@T", "a@T"]), 0o400).await, None);
        assert_eq!(fault(&[5, 1, 0], 0o400).await, None, "not examined");
        let (message, stops) = fault(&keytab(&["a@T"]), 0o404).await.unwrap();
        assert!(message.starts_with("everybody may use it (mode 0404)") && !stops);
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
                format!("it is truncated, but the key is before the damage; {anew}"),
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
        assert_eq!(faults[0].accounts, ["b", "d"]);
    }

    #[test]
    fn authorities_of_credds_are_checked_as_those_of_vault() {
        const AUTHORITY: &str = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/schedd/cedar/authority.pem"
        );
        let credd = |ca_file: &str| {
            let authorities = TlsSettings {
                ca_file: Some(ca_file.into()),
                ca_dir: None,
            };
            let target = Target::Credd(CreddTarget {
                host: "ap1".to_owned(),
                collector: None,
                way: Way::Cedar { authorities },
                authentication: Authentication::default(),
            });
            fixtures::delivery("a", "cms", "ap1", target)
        };
        let fault = |files: &[&str]| {
            let deliveries = files.iter().map(|file| credd(file)).collect();
            let mut config = fixtures::config(deliveries);
            config.vault.tls.ca_file = Some(AUTHORITY.into());
            authority_fault(&config)
        };
        assert_eq!(fault(&[AUTHORITY]), None);
        let told = fault(&[AUTHORITY, "/nowhere/ca.pem"]).unwrap();
        assert!(
            told.contains("CA file /nowhere/ca.pem cannot be used"),
            "{told}"
        );
    }
}
