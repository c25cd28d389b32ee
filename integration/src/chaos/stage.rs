//! The parts that are attacked: a real OpenBao behind a relay, KDC, issuer, LDAP, the bastion, and for each of three
//! schedds a credential directory with a credmon.
//!
//! What always holds: each directory, and the bastion's state, is a file system of its own, small enough to be filled;
//! all clocks but those of the programs under test are true.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use htvault::VaultToken;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;
use tempfile::TempDir;

use super::audit::ACCESSORS;
use super::draw::{Sizes, Target};
use super::relay::Relay;
use crate::chain::{ACCOUNTS, Account, Lives, VAULT};
use crate::ended;
use crate::hostile::clock::FalseClock;
use crate::kdc::REALM;
use crate::openbao::site::Site;
use crate::process::Daemon;
use crate::sandbox;

/// Access tokens of 90 seconds, of which 60 are always left: outages of so long leave no gap.
pub const LIVES: Lives = Lives {
    access_token: 90,
    access_minimum: 60,
    vault_token: 120,
    renew_below: 60,
};
/// Schedds.
const SCHEDDS: [&str; 3] = ["ap1", "ap2", "ap3"];
/// Where clients find Vault: the relay.
const RELAY: &str = "127.83.0.1:8200";
/// Where OpenBao listens.
const OPENBAO: &str = "127.83.0.2:8200";
const OPENBAO_HOST: [&str; 1] = ["vault2.test"];
/// Bytes of each file system.
const SIZE: &str = "size=2m";
const FAR: Duration = Duration::from_mins(2);

/// A host with a credmon.
pub struct Schedd {
    /// The credmon, unless it was stopped.
    pub credmon: Option<Daemon>,
    /// Its clock.
    pub clock: FalseClock,
    /// The file system of its credentials.
    pub file_system: SmallFileSystem,
    name: &'static str,
}

/// The running parts, in the order in which they must end.
pub struct Stage {
    /// The bastion, unless it was stopped.
    pub bastion: Option<Daemon>,
    /// The clock of its host.
    pub bastion_clock: FalseClock,
    /// The schedds.
    pub schedds: Vec<Schedd>,
    /// The file system of the bastion's state.
    pub state_folder: SmallFileSystem,
    /// The network before Vault.
    pub relay: Relay,
    /// Vault, LDAP, KDC, issuer.
    pub site: Site,
    /// Accessors of the tokens that were there before the bastion.
    pub others: BTreeSet<String>,
    config: PathBuf,
    folder: TempDir,
}

/// A file system in memory.
#[derive(Debug)]
pub struct SmallFileSystem(PathBuf);

impl SmallFileSystem {
    fn mount(at: &Path, mode: u32) -> anyhow::Result<Self> {
        fs::create_dir_all(at)?;
        mount(
            Some("tmpfs"),
            at,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(SIZE),
        )
        .with_context(|| format!("cannot mount {}", at.display()))?;
        let mounted = Self(at.to_owned());
        fs::set_permissions(at, fs::Permissions::from_mode(mode))?;
        Ok(mounted)
    }

    /// Fills it, or makes room again.
    pub fn fill(&self, is_full: bool) -> anyhow::Result<()> {
        let file = self.0.join(".fill");
        if is_full {
            // As large as fits; the error is what is wanted.
            let _ = fs::write(&file, vec![0; 4 << 20]);
            ensure!(fs::metadata(&file)?.len() > 0, "nothing was written");
            Ok(())
        } else {
            fs::remove_file(&file).context("cannot make room")
        }
    }

    /// Lets nobody write, or lets them again.
    pub fn read_only(&self, is_read_only: bool) -> anyhow::Result<()> {
        let only = if is_read_only {
            MsFlags::MS_RDONLY
        } else {
            MsFlags::empty()
        };
        let flags = MsFlags::MS_REMOUNT | only;
        mount(None::<&str>, &self.0, None::<&str>, flags, Some(SIZE))
            .with_context(|| format!("cannot remount {}", self.0.display()))
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Account and service of each credential, in the order of their numbers.
pub fn credentials() -> impl Iterator<Item = (Account, &'static str)> {
    let of = |account: Account| {
        account
            .services
            .iter()
            .map(move |service| (account, *service))
    };
    ACCOUNTS.into_iter().flat_map(of)
}

/// Sizes of this site.
#[must_use]
pub fn sizes() -> Sizes {
    Sizes {
        accounts: ACCOUNTS.len(),
        credentials: credentials().count(),
        schedds: SCHEDDS.len(),
    }
}

/// Every delivery.
pub fn targets() -> impl Iterator<Item = Target> {
    let Sizes {
        credentials,
        schedds,
        ..
    } = sizes();
    (0..credentials)
        .flat_map(move |credential| (0..schedds).map(move |schedd| Target { credential, schedd }))
}

/// Account, service and schedd of a delivery.
pub fn names(target: Target) -> anyhow::Result<(&'static str, &'static str, &'static str)> {
    let (account, service) = credentials()
        .nth(target.credential)
        .context("a credential's number")?;
    let schedd = SCHEDDS.get(target.schedd).context("a schedd's number")?;
    Ok((account.name, service, schedd))
}

/// The options that name a delivery.
pub fn selection(target: Target) -> anyhow::Result<[&'static str; 6]> {
    let (account, service, schedd) = names(target)?;
    Ok([
        "--account",
        account,
        "--service",
        service,
        "--schedd",
        schedd,
    ])
}

impl Stage {
    /// Starts everything.
    pub async fn set() -> anyhow::Result<Self> {
        let folder = sandbox::new_folder()?;
        let (at, to): (SocketAddr, SocketAddr) = (RELAY.parse()?, OPENBAO.parse()?);
        let relay = Relay::start(at, to).await?;
        let site = Site::start_at(folder.path(), LIVES, &OPENBAO_HOST, "vault.test").await?;
        let state_folder = SmallFileSystem::mount(&folder.path().join("state"), 0o700)?;
        let mut schedds = Vec::new();
        for name in SCHEDDS {
            let own = folder.path().join(name);
            fs::create_dir_all(&own)?;
            schedds.push(Schedd {
                credmon: None,
                clock: FalseClock::new(&own)?,
                file_system: SmallFileSystem::mount(&own.join("oauth_credentials"), 0o2770)?,
                name,
            });
        }
        let mut stage = Self {
            bastion: None,
            bastion_clock: FalseClock::new(folder.path())?,
            schedds,
            state_folder,
            relay,
            others: site.bao.api.list(ACCESSORS).await?.into_iter().collect(),
            config: PathBuf::new(),
            site,
            folder,
        };
        stage.config = stage.configure(&stage.yaml(None))?;
        for number in 0..SCHEDDS.len() {
            stage.start_credmon(number)?;
        }
        stage.start_bastion()?;
        Ok(stage)
    }

    /// The configuration, without one account.
    #[must_use]
    pub fn yaml(&self, without: Option<usize>) -> String {
        let chain = &self.site.chain;
        let mut yaml = format!(
            "vault: {{address: {VAULT}, ca_file: {}}}\n\
             tokens: {{lifetime: {}s, renew_below: {}s}}\n\
             schedule: {{check: \"* * * * *\", spread: 5s}}\n\
             defaults: {{principal: \"{{account}}@{REALM}\", keytab: \"{}/{{account}}.keytab\"}}\n\
             schedds:\n",
            chain.ca.file().display(),
            LIVES.vault_token,
            LIVES.renew_below,
            chain.keytabs().display(),
        );
        // Writing to a string cannot fail, here and below.
        for schedd in &self.schedds {
            let _ = writeln!(
                yaml,
                "  {}: {{directory: {}}}",
                schedd.name,
                schedd.file_system.0.display()
            );
        }
        yaml.push_str("accounts:\n");
        for (number, account) in ACCOUNTS.iter().enumerate() {
            if Some(number) != without {
                let services = account
                    .services
                    .iter()
                    .map(|service| format!("{service}: {{}}"));
                let services = services.collect::<Vec<_>>().join(", ");
                let _ = writeln!(
                    yaml,
                    "  {}: {{schedds: [{}], credentials: {{{services}}}}}",
                    account.name,
                    SCHEDDS.join(", ")
                );
            }
        }
        yaml
    }

    /// Writes a configuration; the service notices.
    pub fn configure(&self, yaml: &str) -> anyhow::Result<PathBuf> {
        self.site.chain.write_bastion_config(yaml)
    }

    /// The bastion's control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    /// The file with the bastion's state.
    #[must_use]
    pub fn state_file(&self) -> PathBuf {
        self.state_folder.0.join("state.json")
    }

    /// The folders with credentials.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        self.schedds
            .iter()
            .map(|schedd| schedd.file_system.0.clone())
            .collect()
    }

    /// The vault token that a schedd has for a delivery.
    pub fn vault_token(&self, target: Target) -> anyhow::Result<Option<VaultToken>> {
        let (account, service, _) = names(target)?;
        let schedd = self
            .schedds
            .get(target.schedd)
            .context("a schedd's number")?;
        let file = schedd
            .file_system
            .0
            .join(account)
            .join(format!("{service}.top"));
        let Ok(text) = fs::read(file) else {
            return Ok(None);
        };
        let content: Value = serde_json::from_slice(&text)?;
        let token = content.pointer("/vault_token").and_then(Value::as_str);
        Ok(token.map(|token| token.to_owned().into()))
    }

    /// Starts the bastion, unless it runs.
    pub fn start_bastion(&mut self) -> anyhow::Result<()> {
        if self.bastion.is_none() {
            let mut command = self.site.chain.bastion(&self.config)?;
            command.arg("run").envs(self.bastion_clock.variables()?);
            let log = self.folder.path().join("bastion.log");
            self.bastion = Some(Daemon::spawn("token-bastion", command, &log)?);
        }
        Ok(())
    }

    /// A schedd, by its number.
    pub fn schedd(&mut self, number: usize) -> anyhow::Result<&mut Schedd> {
        self.schedds.get_mut(number).context("a schedd's number")
    }

    /// Starts a credmon, unless it runs.
    pub fn start_credmon(&mut self, number: usize) -> anyhow::Result<()> {
        let schedd = self.schedds.get_mut(number).context("a schedd's number")?;
        if schedd.credmon.is_none() {
            let own = self.folder.path().join(schedd.name);
            let mut command = self.site.chain.credmon(&schedd.file_system.0)?;
            command
                .env(
                    "_CONDOR_CREDMON_HTVAULT_STATUS_FILE",
                    own.join("status.json"),
                )
                .env(
                    "_CONDOR_CREDMON_OAUTH_TOKEN_REFRESH",
                    (LIVES.access_token / 3).to_string(),
                )
                .envs(schedd.clock.variables()?);
            let name = format!("credmon at {}", schedd.name);
            schedd.credmon = Some(Daemon::spawn(&name, command, &own.join("credmon.log"))?);
        }
        Ok(())
    }

    /// The command `token-bastion` with these arguments, until it ends. Its clock is the bastion's host's.
    pub fn command(
        &self,
        arguments: &[&str],
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<Output>> + Send + use<>> {
        let mut command = self.site.chain.bastion(&self.config)?;
        command
            .args(arguments)
            .envs(self.bastion_clock.variables()?);
        Ok(ended::output(command, FAR))
    }

    /// The ends of all logs.
    #[must_use]
    pub fn tails(&self) -> String {
        let credmons = self
            .schedds
            .iter()
            .filter_map(|schedd| schedd.credmon.as_ref());
        let ours = self.bastion.iter().chain(credmons);
        let mut text = String::new();
        for daemon in ours {
            let _ = write!(text, "--- {}\n{}\n", daemon.name(), daemon.tail(25));
        }
        text + &self.site.bao.tail(5)
    }

    /// Ends the programs under test.
    pub async fn end(mut self) -> anyhow::Result<()> {
        let credmons = self
            .schedds
            .iter_mut()
            .filter_map(|schedd| schedd.credmon.as_mut());
        for daemon in self.bastion.iter_mut().chain(credmons) {
            daemon.stop().await?;
        }
        Ok(())
    }
}
