//! A schedd's host: its credd, its credmon, and the files that both work with.
//!
//! Always true: files outlive the programs; while the host is down nothing of it answers or works.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use credmon::simulation::{MemoryFiles, ModelVault};
use htvault::{CredentialUrl, ErrorKind, VaultToken};
use jiff::Timestamp;
use tokio::task::JoinHandle;

use crate::schedd_name;
use crate::world::{Client, HostClock, World};

/// A schedd's host.
pub(crate) struct Schedd {
    pub(crate) files: MemoryFiles,
    pub(crate) clock: HostClock,
    is_up: AtomicBool,
    credmon: Mutex<Option<JoinHandle<()>>>,
    /// The credd crashes in the middle of the next push; `true` inside: after it has stored the credential.
    crash: Mutex<Option<bool>>,
}

impl Schedd {
    pub(crate) fn new(schedd: usize, clock: HostClock) -> Self {
        // Any URL of an issuer's tokens: who is asked for is known from the account.
        let url =
            format!("https://htvault.example.org:8200/v1/secret/oauth/creds/cms/{schedd}:default");
        let url: CredentialUrl = url.parse().unwrap_or_else(|error| unreachable!("{error}"));
        Self {
            files: MemoryFiles::new(url, Arc::new(clock.clone())),
            clock,
            is_up: AtomicBool::new(false),
            credmon: Mutex::default(),
            crash: Mutex::default(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// Has the credd crash in the middle of the next push.
    pub(crate) fn crash_at_next_push(&self, after_storing: bool) {
        *self.crash.lock().unwrap_or_else(PoisonError::into_inner) = Some(after_storing);
    }

    /// How the credd crashes now, if it does.
    pub(crate) fn crash(&self) -> Option<bool> {
        self.crash
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl World {
    /// Starts the programs of a schedd's host.
    pub(crate) fn start_schedd(&self, number: usize) {
        let Some(schedd) = self.schedds().get(number) else {
            return;
        };
        let vault = Arc::new(Asked {
            world: self.clone(),
            client: Client::Schedd(number),
        });
        let credmon = credmon::simulation::run(schedd.files.clone(), vault, schedd_name(number));
        let credmon = tokio::spawn(credmon);
        *schedd
            .credmon
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(credmon);
        schedd.is_up.store(true, Ordering::Relaxed);
    }

    /// Stops them all at once.
    pub(crate) fn stop_schedd(&self, number: usize) {
        let Some(schedd) = self.schedds().get(number) else {
            return;
        };
        schedd.is_up.store(false, Ordering::Relaxed);
        let credmon = schedd
            .credmon
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(credmon) = credmon {
            credmon.abort();
        }
    }
}

/// Vault as a credmon asks it.
struct Asked {
    world: World,
    client: Client,
}

impl ModelVault for Asked {
    async fn access_token(
        &self,
        account: &str,
        vault_token: &VaultToken,
        minimum_seconds: u64,
    ) -> Result<(Timestamp, Timestamp), ErrorKind> {
        self.world
            .read(self.client, account, vault_token, minimum_seconds)
            .await
    }

    async fn look_up(&self, vault_token: &VaultToken) -> Result<Option<Timestamp>, ErrorKind> {
        self.world.look_up(self.client, vault_token).await
    }
}
