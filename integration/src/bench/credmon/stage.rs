//! Where both are measured: the rig of the differential test, with many stored credentials.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use htvault::VaultToken;
use tempfile::TempDir;

use crate::chain::{Lives, VAULT};
use crate::differential::rig::Rig;
use crate::sandbox;

/// The stage. Everything on it ends when it is dropped.
pub(crate) struct Stage {
    // In the order in which they must be dropped.
    pub(crate) rig: Rig,
    tokens: Vec<VaultToken>,
    _folder: TempDir,
}

impl Stage {
    /// Makes it, with so many credentials at Vault of which each has a living vault token.
    pub(crate) async fn set(lives: Lives, credentials: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(sandbox::run_folder()?)?;
        // The pool's own users have to get in.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let grants = (0..credentials)
            .map(|number| format!("cms:{}:default", credkey(number)))
            .collect();
        let rig = Rig::start_granted(folder.path(), lives, grants).await?;
        let tokens = rig.living_tokens(credentials).await?;
        Ok(Self {
            rig,
            tokens,
            _folder: folder,
        })
    }

    /// The `.top` of a credential, as `condor_vault_storer` makes it. The vault token is that of
    /// any credential: the server lets all of them read all.
    pub(crate) fn top(&self, credential: usize, token: usize) -> Option<String> {
        let token = self.tokens.get(token % self.tokens.len().max(1))?.expose();
        let url = format!(
            "{VAULT}/v1/secret/oauth/creds/cms/{}:default",
            credkey(credential)
        );
        Some(format!(
            "{{\"vault_token\": \"{token}\", \"vault_url\": \"{url}\"}}"
        ))
    }
}

/// Under which key a credential is stored at Vault: robots of the one principal that logs in.
fn credkey(number: usize) -> String {
    format!("cmsprod/bench/{number:05}")
}
