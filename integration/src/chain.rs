//! The parts of the chain that are the same for every test and for the demonstration: a
//! certificate authority, a KDC with the accounts' keytabs, and `htvault-dev` with its issuer.
//!
//! Also the two programs under test, as commands with the configuration that fits these parts.
//! What always holds: everything lives below one folder, runs on the sandbox's names, and ends
//! when the [`Chain`] is dropped.

pub mod installed;
pub mod login;
mod vault;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use secrecy::SecretString;
use tokio::process::Command;

use crate::ca::Ca;
use crate::dev::random;
use crate::kdc::{Kdc, REALM};
use crate::process::Daemon;
use crate::sandbox;
use vault::{CLIENT_SECRET, vault_command};

pub use vault::{dev_server, start_dev_server};

/// The address of the development Vault, by its name in the sandbox.
pub const VAULT: &str = "https://vault.test:8200";
/// The address of its admin endpoint.
pub const ADMIN: &str = "127.83.0.1:8199";
/// The issuer's URL, as its tokens name it.
pub const ISSUER: &str = "https://issuer.test:8443/cms";

/// An account of the bastion, with the services that it has credentials for.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// The account: the principal without realm, and the user at the schedd.
    pub name: &'static str,
    /// HTCondor's service names.
    pub services: &'static [&'static str],
}

/// The accounts of the demonstration: CRAB's task worker, and a production agent with two roles.
pub const ACCOUNTS: [Account; 2] = [
    Account {
        name: "cmsprod",
        services: &["cms", "cms_production"],
    },
    Account {
        name: "crabtw",
        services: &["cms_crab"],
    },
];

/// How long tokens live, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Lives {
    /// Access tokens, as the issuer makes them.
    pub access_token: u64,
    /// What an access token must have left, for the credmon (`CREDMON_OAUTH_TOKEN_MINIMUM`).
    pub access_minimum: u64,
    /// Vault tokens, as the bastion asks for them.
    pub vault_token: u64,
    /// When the bastion replaces a vault token.
    pub renew_below: u64,
}

impl Lives {
    /// Access tokens of an hour and vault tokens of a week, as sites have them.
    pub const HOUR: Self = Self {
        access_token: 3600,
        access_minimum: 2400,
        vault_token: 604_800,
        renew_below: 259_200,
    };
    /// Long enough for nothing to be renewed while a test looks.
    pub const CALM: Self = Self {
        access_token: 600,
        access_minimum: 60,
        vault_token: 1200,
        renew_below: 300,
    };
    /// Tokens of one minute, both replaced after some twenty seconds: weeks of production in a
    /// minute.
    pub const SHORT: Self = Self {
        access_token: 60,
        access_minimum: 40,
        vault_token: 60,
        renew_below: 40,
    };
    /// Small enough for a test to see several renewals of both tokens.
    pub const QUICK: Self = Self {
        access_token: 16,
        access_minimum: 12,
        vault_token: 30,
        renew_below: 22,
    };
}

/// The running parts.
pub struct Chain {
    folder: PathBuf,
    lives: Lives,
    nodes: Vec<&'static str>,
    grants: Vec<String>,
    keeps_state: bool,
    /// The authority that made every certificate.
    pub ca: Ca,
    /// The KDC.
    pub kdc: Kdc,
    /// `htvault-dev`: Vault and issuer.
    pub vault: Daemon,
}

/// What the bastion's configuration says of places.
#[derive(Clone, Debug)]
pub struct Places {
    /// Folder with `ACCOUNT.keytab` files, as the bastion sees it.
    pub keytabs: PathBuf,
    /// CA file, as the bastion sees it; the system's authorities when `None`.
    pub ca_file: Option<PathBuf>,
    /// The group of schedds in YAML: `directory: /path` or `credds: [host]`.
    pub schedd: String,
}

impl Chain {
    /// A role whose tokens open no credd.
    pub const STORAGE_ROLE: &str = "cms:storage=storage.read:/ openid offline_access";

    /// Starts all parts below `folder`, which must exist, and waits until they answer.
    pub async fn start(folder: &Path, lives: Lives) -> anyhow::Result<Self> {
        Self::start_cluster(folder, lives, &["127.83.0.1:8200"]).await
    }

    /// The same with a Vault of several nodes, which listen on these addresses; the first is the
    /// active one.
    pub async fn start_cluster(
        folder: &Path,
        lives: Lives,
        nodes: &[&'static str],
    ) -> anyhow::Result<Self> {
        Self::start_granted(folder, lives, nodes, Vec::new()).await
    }

    /// The same with stored credentials besides those of the accounts: `ISSUER:CREDKEY:ROLE` each.
    pub async fn start_granted(
        folder: &Path,
        lives: Lives,
        nodes: &[&'static str],
        grants: Vec<String>,
    ) -> anyhow::Result<Self> {
        sandbox::require()?;
        let ca = Ca::create(&folder.join("ca"), "Test CA of token-bastion")?;
        let kdc = Kdc::start(&folder.join("kdc")).await?;
        let keytabs = folder.join("keytabs");
        fs::create_dir_all(&keytabs)?;
        for account in ACCOUNTS {
            let keytab = keytabs.join(format!("{}.keytab", account.name));
            let principal = format!("{}@{REALM}", account.name);
            kdc.add_principal_with_keytab(&principal, &keytab).await?;
        }
        let host_keytab = folder.join("vault.keytab");
        kdc.add_principal_with_keytab("host/vault.test", &host_keytab)
            .await?;
        let secret = folder.join(CLIENT_SECRET);
        fs::write(&secret, random::letters(40))
            .with_context(|| format!("cannot write {}", secret.display()))?;
        let nodes = nodes.to_vec();
        let vault = vault_command(folder, lives, &nodes, &grants, &ca, &kdc)?;
        let vault = start_dev_server(folder, vault).await?;
        Ok(Self {
            folder: folder.to_owned(),
            lives,
            nodes,
            grants,
            keeps_state: false,
            ca,
            kdc,
            vault,
        })
    }

    /// From now on `htvault-dev` keeps its state over a restart.
    pub async fn keep_state(&mut self) -> anyhow::Result<()> {
        self.vault.stop().await?;
        self.keeps_state = true;
        self.restart_vault().await
    }

    /// Starts `htvault-dev` again after it was stopped; its state is new, unless it keeps it.
    pub async fn restart_vault(&mut self) -> anyhow::Result<()> {
        self.restart_vault_with(&[]).await
    }

    /// The same with further options.
    pub async fn restart_vault_with(&mut self, options: &[&str]) -> anyhow::Result<()> {
        let Self { nodes, grants, .. } = self;
        let mut command =
            vault_command(&self.folder, self.lives, nodes, grants, &self.ca, &self.kdc)?;
        command.args(options);
        if self.keeps_state {
            command
                .arg("--state")
                .arg(self.folder.join("htvault-dev.state"));
        }
        self.vault = start_dev_server(&self.folder, command).await?;
        Ok(())
    }

    /// The folder of this chain.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The secret of the issuer's client, for another Vault that uses this issuer.
    pub fn issuer_client_secret(&self) -> anyhow::Result<SecretString> {
        let secret = fs::read_to_string(self.folder.join(CLIENT_SECRET))?;
        Ok(secret.into())
    }

    /// The folder with the accounts' keytabs.
    #[must_use]
    pub fn keytabs(&self) -> PathBuf {
        self.folder.join("keytabs")
    }

    /// One line of JSON for each request that the Vault has answered.
    #[must_use]
    pub fn requests(&self) -> PathBuf {
        self.folder.join("requests.jsonl")
    }

    /// The places of a bastion on this host, delivering into `directory`.
    #[must_use]
    pub fn here(&self, directory: &Path) -> Places {
        Places {
            keytabs: self.keytabs(),
            ca_file: Some(self.ca.file()),
            schedd: format!("directory: {}", directory.display()),
        }
    }

    /// The bastion's configuration for the accounts of the demonstration.
    #[must_use]
    pub fn bastion_yaml(&self, places: &Places) -> String {
        let Lives {
            vault_token,
            renew_below,
            ..
        } = self.lives;
        let mut yaml = format!("vault:\n  address: {VAULT}\n");
        if let Some(ca_file) = &places.ca_file {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(yaml, "  ca_file: {}", ca_file.display());
        }
        let _ = write!(
            yaml,
            "tokens: {{lifetime: {vault_token}s, renew_below: {renew_below}s}}\n\
             schedule: {{check: \"* * * * *\", spread: 5s}}\n\
             defaults:\n\
             \x20 principal: \"{{account}}@{REALM}\"\n\
             \x20 keytab: {}/{{account}}.keytab\n\
             schedds:\n\
             \x20 here: {{{}}}\n\
             accounts:\n",
            places.keytabs.display(),
            places.schedd,
        );
        for account in ACCOUNTS {
            let _ = write!(
                yaml,
                "  {}:\n    schedds: [here]\n    credentials:\n",
                account.name
            );
            for service in account.services {
                let _ = writeln!(yaml, "      {service}: {{}}");
            }
        }
        yaml
    }

    /// Writes a configuration for the bastion below this chain's folder; gives its path.
    pub fn write_bastion_config(&self, yaml: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join("token-bastion.yaml");
        let mut yaml = yaml.to_owned();
        if !yaml.contains("control:") {
            // What a service keeps on its host is this chain's own.
            let folder = self.folder.display();
            let own = format!("control: {{socket: {folder}/control}}\nstate: {folder}/state\n");
            // At the end, so that the lines that a test counts stay where they are.
            yaml.push_str(&own);
        }
        fs::write(&path, yaml).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// `token-bastion --config CONFIG …` on this host.
    pub fn bastion(&self, config: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(program("token-bastion")?);
        command
            .arg("--config")
            .arg(config)
            .env("KRB5_CONFIG", self.kdc.krb5_conf());
        Ok(command)
    }

    /// `token-bastion run` on this host; its log is in this chain's folder.
    pub fn service(&self, config: &Path) -> anyhow::Result<Daemon> {
        let mut command = self.bastion(config)?;
        command.arg("run");
        Daemon::spawn("token-bastion", command, &self.folder.join("bastion.log"))
    }

    /// `condor_credmon_htvault` on this host for `directory`, configured by its environment.
    pub fn credmon(&self, directory: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(program("condor_credmon_htvault")?);
        command
            .env("_CONDOR_SEC_CREDENTIAL_DIRECTORY_OAUTH", directory)
            .env("_CONDOR_AUTH_SSL_CLIENT_CAFILE", self.ca.file())
            .env(
                "_CONDOR_CREDMON_OAUTH_TOKEN_MINIMUM",
                self.lives.access_minimum.to_string(),
            );
        Ok(command)
    }
}

/// A program of this workspace, as built beside the one that runs now.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe().context("cannot tell where this program is")?;
    // Tests live in `deps/`, one below the programs.
    let path = here
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    ensure!(
        path.is_some(),
        "{name} is not built beside {}: build the whole workspace first (integration/test does)",
        here.display()
    );
    path.context("just checked")
}
