//! One site: a folder with an authority, a credential directory, and places for log and status.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::answer::{Answer, Request};
use super::credmon::Setup;
use super::directory::CredentialDirectory;
use super::server::Server;
use crate::ca::Ca;
use crate::sandbox;

/// A site. Its folder goes with it.
pub struct Site {
    /// Who signs the servers' certificates.
    pub ca: Ca,
    /// The credential directory.
    pub directory: CredentialDirectory,
    folder: TempDir,
}

impl Site {
    /// Makes one in the sandbox.
    pub fn new() -> anyhow::Result<Self> {
        let folder = sandbox::new_folder()?;
        let at = folder.path();
        for name in ["log", "run", "creds"] {
            fs::create_dir(at.join(name))?;
        }
        Ok(Self {
            ca: Ca::create(&at.join("ca"), "Test CA of the attacks")?,
            directory: CredentialDirectory::create(&at.join("creds/oauth_credentials"))?,
            folder,
        })
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// A server with a name of its own.
    pub async fn server(
        &self,
        name: &str,
        rule: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Server> {
        Server::start(&self.ca, name, rule).await
    }

    /// A credmon for this site, to be changed and started.
    #[must_use]
    pub fn credmon(&self) -> Setup {
        let mut setup = Setup::new(self.folder());
        setup
            .set(
                "SEC_CREDENTIAL_DIRECTORY_OAUTH",
                self.directory.path().display(),
            )
            .set("AUTH_SSL_CLIENT_CAFILE", self.ca.file().display());
        setup
    }
}
