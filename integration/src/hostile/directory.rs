//! A credential directory, written as the credd writes it and read as jobs do.
//!
//! What always holds: a `.top` is put in place by a rename, mode 0600; folders have mode 2700.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::token::AccessToken;
use crate::wait;

/// A credential directory.
#[derive(Clone, Debug)]
pub struct CredentialDirectory {
    path: PathBuf,
}

impl CredentialDirectory {
    /// Makes one with HTCondor's mode.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let made = Self {
            path: path.to_owned(),
        };
        made.chmod(0o2770)?;
        Ok(made)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes its mode.
    pub fn chmod(&self, mode: u32) -> anyhow::Result<()> {
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot change the mode of {}", self.path.display()))
    }

    /// An account's folder.
    #[must_use]
    pub fn folder(&self, user: &str) -> PathBuf {
        self.path.join(user)
    }

    /// The file with the vault token.
    #[must_use]
    pub fn top(&self, user: &str, service: &str) -> PathBuf {
        self.folder(user).join(format!("{service}.top"))
    }

    /// The file with the access token.
    #[must_use]
    pub fn used(&self, user: &str, service: &str) -> PathBuf {
        self.folder(user).join(format!("{service}.use"))
    }

    /// Stores a `.top` with this content.
    pub fn store_text(
        &self,
        user: &str,
        service: &str,
        content: impl AsRef<[u8]>,
    ) -> anyhow::Result<()> {
        let folder = self.folder(user);
        if !folder.is_dir() {
            fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o2700))?;
        }
        let new = folder.join(format!("{service}.top.tmp"));
        fs::write(&new, content).with_context(|| format!("cannot write {}", new.display()))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        fs::rename(&new, self.top(user, service)).context("cannot put a .top in place")
    }

    /// Stores a `.top` with a vault token and a URL.
    pub fn store(
        &self,
        user: &str,
        service: &str,
        vault_token: &str,
        vault_url: &str,
    ) -> anyhow::Result<()> {
        let top = json!({"vault_token": vault_token, "vault_url": vault_url});
        self.store_text(user, service, top.to_string())
    }

    /// Puts an access token in place, as an earlier run would have.
    pub fn put_used(
        &self,
        user: &str,
        service: &str,
        content: impl AsRef<[u8]>,
    ) -> anyhow::Result<()> {
        let new = self.folder(user).join(format!("{service}.use.new"));
        fs::write(&new, content).with_context(|| format!("cannot write {}", new.display()))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o400))?;
        fs::rename(&new, self.used(user, service)).context("cannot put a .use in place")
    }

    /// What stands in a `.use`.
    #[must_use]
    pub fn read(&self, user: &str, service: &str) -> Option<String> {
        let bytes = fs::read(self.used(user, service)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The access token in a `.use`.
    #[must_use]
    pub fn token(&self, user: &str, service: &str) -> Option<AccessToken> {
        AccessToken::read(&self.read(user, service)?)
    }

    /// Waits until an access token is there that lives.
    pub async fn served(
        &self,
        user: &str,
        service: &str,
        deadline: Duration,
    ) -> anyhow::Result<AccessToken> {
        let what = format!("a living access token of {user}/{service}");
        wait::until(&what, deadline, async || -> anyhow::Result<AccessToken> {
            let token = self.token(user, service).context("there is none")?;
            let left = token.left().context("it has no end")?;
            ensure!(left > 0, "it ended {} s ago", -left);
            Ok(token)
        })
        .await
    }

    /// Waits until an access token is there that is not this one.
    pub async fn renewed(
        &self,
        user: &str,
        service: &str,
        before: &AccessToken,
        deadline: Duration,
    ) -> anyhow::Result<AccessToken> {
        let what = format!("a newer access token of {user}/{service}");
        wait::until(&what, deadline, async || -> anyhow::Result<AccessToken> {
            let token = self.token(user, service).context("there is none")?;
            ensure!(token != *before, "it is still the same");
            Ok(token)
        })
        .await
    }
}
