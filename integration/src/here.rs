//! The chain with a credmon on a credential directory of this host, for tests that need no pool.
//!
//! What holds: the parts share the sandbox's addresses, so one of these runs at a time; it lives in
//! a folder of its own, which goes with it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::chain::{Chain, Lives};
use crate::process::Daemon;
use crate::sandbox;

/// The running parts, in the order in which they must end.
pub struct Here {
    /// The credmon.
    pub credmon: Daemon,
    /// KDC, Vault, issuer.
    pub chain: Chain,
    /// The credential directory.
    pub directory: PathBuf,
    folder: TempDir,
}

impl Here {
    /// Starts everything but a bastion.
    pub async fn start(lives: Lives) -> anyhow::Result<Self> {
        Self::start_cluster(lives, &["127.83.0.1:8200"]).await
    }

    /// The same with a Vault that listens on these addresses: something else may stand before it.
    pub async fn start_cluster(lives: Lives, nodes: &[&'static str]) -> anyhow::Result<Self> {
        let folder = sandbox::new_folder()?;
        let chain = Chain::start_cluster(folder.path(), lives, nodes).await?;
        let directory = credential_directory(folder.path())?;
        let credmon = credmon(&chain, &directory)?;
        Ok(Self {
            credmon,
            chain,
            directory,
            folder,
        })
    }

    /// The folder of everything here.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration of a bastion that delivers into the directory.
    #[must_use]
    pub fn yaml(&self) -> String {
        self.chain.bastion_yaml(&self.chain.here(&self.directory))
    }
}

/// Makes the credential directory of a chain in this folder, with HTCondor's mode.
pub fn credential_directory(folder: &Path) -> anyhow::Result<PathBuf> {
    let directory = folder.join("oauth_credentials");
    fs::create_dir_all(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o2770))?;
    Ok(directory)
}

/// Starts a credmon on a credential directory; its log is in the chain's folder.
pub fn credmon(chain: &Chain, directory: &Path) -> anyhow::Result<Daemon> {
    let log = chain.folder().join("credmon.log");
    Daemon::spawn("condor_credmon_htvault", chain.credmon(directory)?, &log)
}
