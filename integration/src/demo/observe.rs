//! What the demonstration sees: the credential directory, the one place where bastion and credmon
//! meet. Nobody is asked what he did; what is there is looked at.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use htvault::{AccessToken, Claims, Client, CredentialUrl, TokenInfo, VaultToken};
use jiff::Timestamp;
use serde::Deserialize;

use super::story::seconds_until;

/// One service credential of one account, in the order in which they are shown.
pub type Key = (String, String);

/// What is stored for each delivery.
pub type Snapshot = BTreeMap<Key, Stored>;

/// The two tokens of a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The vault token in `.top`.
    pub vault: Option<VaultLife>,
    /// What the access token in `.use` says of itself.
    pub access: Option<Claims>,
}

/// The life of a vault token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultLife {
    /// Its accessor, which names it and opens nothing.
    pub accessor: String,
    /// Its whole life, in seconds, as left when it was first seen.
    pub whole: i64,
    /// When it ends.
    pub ends: Timestamp,
}

/// Looks at a credential directory; asks Vault about each vault token once.
pub struct Observer {
    directory: PathBuf,
    client: Client,
    known: BTreeMap<PathBuf, (SystemTime, Option<VaultLife>)>,
}

#[derive(Deserialize)]
struct Top {
    vault_token: String,
    vault_url: CredentialUrlText,
}

/// The URL, kept only when it is one.
#[derive(Deserialize)]
#[serde(transparent)]
struct CredentialUrlText(String);

impl Observer {
    /// An observer of `directory`, with a client for lookups.
    #[must_use]
    pub fn new(directory: PathBuf, client: Client) -> Self {
        Self {
            directory,
            client,
            known: BTreeMap::new(),
        }
    }

    /// What is there at `now`. Files that vanish or are not understood count as not there.
    pub async fn look(&mut self, now: Timestamp) -> Snapshot {
        let mut snapshot = Snapshot::new();
        for (account, folder) in entries(&self.directory) {
            for (name, path) in entries(&folder) {
                if let Some(service) = name.strip_suffix(".top") {
                    let vault = self.vault_life(&path, now).await;
                    snapshot
                        .entry((account.clone(), service.to_owned()))
                        .or_default()
                        .vault = vault;
                } else if let Some(service) = name.strip_suffix(".use") {
                    snapshot
                        .entry((account.clone(), service.to_owned()))
                        .or_default()
                        .access = fs::read_to_string(&path)
                        .ok()
                        .map(AccessToken::from)
                        .and_then(|token| Claims::read(token.expose()));
                }
            }
        }
        snapshot
    }

    async fn vault_life(&mut self, top: &Path, now: Timestamp) -> Option<VaultLife> {
        let modified = fs::metadata(top).and_then(|m| m.modified()).ok()?;
        if let Some((seen, life)) = self.known.get(top)
            && *seen == modified
            && life.is_some()
        {
            return life.clone();
        }
        let life = self.ask(top, now).await;
        self.known.insert(top.to_owned(), (modified, life.clone()));
        life
    }

    async fn ask(&self, top: &Path, now: Timestamp) -> Option<VaultLife> {
        let top: Top = serde_json::from_str(&fs::read_to_string(top).ok()?).ok()?;
        let url: CredentialUrl = top.vault_url.0.parse().ok()?;
        if url.server() != *self.client.server() {
            return None;
        }
        let token = VaultToken::from(top.vault_token);
        let TokenInfo {
            accessor, expires, ..
        } = self.client.lookup_self(&token).await.ok()?;
        let ends = expires?;
        Some(VaultLife {
            accessor,
            whole: seconds_until(ends, now),
            ends,
        })
    }
}

/// Names and paths of what is in a folder; nothing for one that cannot be read.
fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect();
    found.sort();
    found
}
