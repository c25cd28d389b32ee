//! A credential directory for tests.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use htvault::Claims;
use htvault::clock::SystemClock;

use crate::model::Observed;
use crate::store::{Directory, Observation, Scanner};

/// A credential directory.
#[derive(Debug)]
pub(crate) struct Credentials {
    dir: tempfile::TempDir,
}

impl Credentials {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        set_mode(dir.path(), 0o2770);
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Stores a `.top` as the credd does; its issuer is `cms`.
    pub(crate) fn store(&self, user: &str, service: &str, host: &str, token: &str) {
        self.store_of_issuer(user, service, host, "cms", token);
    }

    /// Stores a `.top` of another issuer.
    pub(crate) fn store_of_issuer(
        &self,
        user: &str,
        service: &str,
        host: &str,
        issuer: &str,
        token: &str,
    ) {
        let url = format!("https://{host}:8200/v1/secret/oauth/creds/{issuer}/{user}:{service}");
        let top = serde_json::json!({"vault_token": token, "vault_url": url});
        self.put(user, &format!("{service}.top"), &top.to_string());
    }

    /// Puts a file in place by a rename.
    pub(crate) fn put(&self, user: &str, name: &str, content: &str) {
        let folder = self.path().join(user);
        std::fs::create_dir_all(&folder).unwrap();
        let new = folder.join(".new");
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, folder.join(name)).unwrap();
    }

    pub(crate) fn file(&self, user: &str, name: &str) -> PathBuf {
        self.path().join(user).join(name)
    }

    pub(crate) fn remove(&self, user: &str, name: &str) {
        std::fs::remove_file(self.file(user, name)).unwrap();
    }

    pub(crate) fn directory(&self) -> Directory {
        Directory::open(self.path(), None).unwrap()
    }

    /// What a scan finds.
    pub(crate) fn scan(&self) -> Vec<Observed> {
        let (observations, mut observed) = tokio::sync::mpsc::unbounded_channel();
        let clock = Arc::new(SystemClock);
        let path = Some(self.path().to_owned());
        Scanner::new(path, true, observations, clock).scan_all(|_| true);
        let mut found = Vec::new();
        while let Ok(observation) = observed.try_recv() {
            if let Observation::Changed(observed) = observation {
                found.push(observed);
            }
        }
        found
    }

    /// What a scan finds of one credential.
    pub(crate) fn observed(&self, user: &str, service: &str) -> Option<Observed> {
        let is_it = |observed: &Observed| {
            (&**observed.top.id.user(), &**observed.top.id.service()) == (user, service)
        };
        self.scan().into_iter().find(is_it)
    }

    /// Claims of the access token in place.
    pub(crate) fn claims(&self, user: &str, service: &str) -> Option<Claims> {
        let text = std::fs::read_to_string(self.file(user, &format!("{service}.use"))).ok()?;
        Claims::read(text.trim())
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
