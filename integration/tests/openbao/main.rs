//! The real OpenBao, as `integration/setup/openbao` has it, in place of `htvault-dev`: the same
//! clients, policies and paths as at a site. The oauthapp plugin is not to be had: what it would
//! answer comes from a key-value store that `openbao::refresher` fills.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod cluster;
mod conformance;
mod job;
mod outages;
mod tokens;
mod without_kerberos;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use bastion::engine::report::Report;
use htvault::kerberos::Ticket;
use htvault::{AccessTokenRequest, Client, IssuedToken, VaultToken};
use integration::chain::{Lives, VAULT};
use integration::openbao::site::{ONE_NODE, Site};
use integration::process::Daemon;
use integration::wait::FAR;
use integration::{ended, here, sandbox, wait};

/// One site at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Parts {
    site: Site,
    client: Client,
    folder: tempfile::TempDir,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

async fn parts(lives: Lives) -> Parts {
    parts_at(lives, &ONE_NODE, "vault.test").await
}

async fn parts_at(lives: Lives, hosts: &[&'static str], name: &str) -> Parts {
    let one = ONE.lock().await;
    let folder = sandbox::new_folder().unwrap();
    let site = Site::start_at(folder.path(), lives, hosts, name).await;
    let site = site.unwrap();
    site.chain.kdc.use_here().unwrap();
    let client = site.client().unwrap();
    Parts {
        site,
        client,
        folder,
        _one: one,
    }
}

impl Parts {
    /// A login for a role, by the keytab of an account.
    async fn login(&self, account: &str, role: &str) -> IssuedToken {
        let keytab = self.site.chain.keytabs().join(format!("{account}.keytab"));
        let principal = format!("{account}@TEST");
        let login = self.login_with(&keytab, &principal, role).await;
        login.unwrap()
    }

    async fn login_with(
        &self,
        keytab: &Path,
        principal: &str,
        role: &str,
    ) -> Result<IssuedToken, htvault::Error> {
        let ticket = Ticket::from_keytab(principal, keytab).unwrap();
        let host = self.client.settings().kerberos_host();
        let negotiate = ticket.negotiate("host", host).unwrap();
        self.client.login("cms", role, &negotiate).await
    }
}

fn minimum(seconds: u64) -> AccessTokenRequest {
    AccessTokenRequest {
        minimum_seconds: Some(seconds),
        ..AccessTokenRequest::default()
    }
}

/// The bastion and a credmon on this host, with a real Vault.
struct Host {
    _credmon: Daemon,
    parts: Parts,
    directory: PathBuf,
    config: PathBuf,
}

impl Host {
    async fn start(lives: Lives) -> Self {
        Self::start_at(lives, &ONE_NODE, "vault.test").await
    }

    async fn start_at(lives: Lives, hosts: &[&'static str], name: &str) -> Self {
        let parts = parts_at(lives, hosts, name).await;
        let chain = &parts.site.chain;
        let directory = here::credential_directory(parts.folder.path()).unwrap();
        let credmon = here::credmon(chain, &directory).unwrap();
        let yaml = chain.bastion_yaml(&chain.here(&directory));
        let yaml = yaml.replace(VAULT, &format!("https://{name}:8200"));
        let config = chain.write_bastion_config(&yaml).unwrap();
        Self {
            _credmon: credmon,
            parts,
            directory,
            config,
        }
    }

    fn service(&self) -> Daemon {
        self.parts.site.chain.service(&self.config).unwrap()
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut bastion = self.parts.site.chain.bastion(&self.config).unwrap();
        bastion.args(arguments);
        ended::output(bastion, FAR).await.unwrap()
    }

    async fn report(&self, command: &str) -> Result<Report, String> {
        let output = self.run(&[command, "--json"]).await;
        let report = serde_json::from_slice(&output.stdout);
        report.map_err(|error| format!("{error}: {}", ended::text(&output)))
    }

    async fn all_good(&self) -> Report {
        let good = wait::until("all to be good", FAR, async || {
            let report = self.report("status").await?;
            if report.is_good() {
                Ok(report)
            } else {
                Err(format!("{:#?}", report.problems))
            }
        });
        good.await.unwrap()
    }

    /// The vault tokens that the schedd has, by file.
    fn vault_tokens(&self) -> BTreeMap<PathBuf, VaultToken> {
        let text = |path: &Path| {
            let text = fs::read_to_string(path).unwrap();
            let top: serde_json::Value = serde_json::from_str(&text).unwrap();
            top["vault_token"].as_str().unwrap().to_owned()
        };
        self.files("top")
            .into_iter()
            .map(|path| {
                let token = VaultToken::from(text(&path));
                (path, token)
            })
            .collect()
    }

    /// The access tokens that jobs have, by file.
    fn access_tokens(&self) -> BTreeMap<PathBuf, String> {
        self.files("use")
            .into_iter()
            .map(|path| {
                let token = fs::read_to_string(&path).unwrap();
                (path, token)
            })
            .collect()
    }

    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let files = [
            ("cmsprod", "cms"),
            ("cmsprod", "cms_production"),
            ("crabtw", "cms_crab"),
        ];
        files
            .iter()
            .map(|(account, service)| {
                let folder = self.directory.join(account);
                folder.join(format!("{service}.{ending}"))
            })
            .filter(|path| path.exists())
            .collect()
    }
}
