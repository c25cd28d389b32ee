//! The parts that are attacked: a real OpenBao behind a relay, KDC, issuer, LDAP, the bastion, and for each of three
//! schedds a credential directory with a credmon.
//!
//! What always holds: each directory, and the bastion's state, is a file system of its own, small enough to be filled;
//! all clocks but those of the programs under test are true.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;

use anyhow::Context as _;
use htvault::VaultToken;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::action::Target;
use super::audit::ACCESSORS;
use super::file_system::SmallFileSystem;
use super::layout::Layout;
use super::schedd::Schedd;
use crate::chain::{ACCOUNTS, Lives, VAULT, program};
use crate::ended;
use crate::hostile::clock::FalseClock;
use crate::kdc::REALM;
use crate::openbao::site::Site;
use crate::pool::Pool;
use crate::process::Daemon;
use crate::relay::Relay;
use crate::sandbox;
use crate::wait::FAR;

/// Access tokens of 90 seconds, of which 60 are always left: outages of so long leave no gap.
pub const LIVES: Lives = Lives {
    access_token: 90,
    access_minimum: 60,
    vault_token: 120,
    renew_below: 60,
};
/// The bastion in a pool's root.
const BASTION: &str = "/usr/sbin/token-bastion";
/// Where clients find Vault: the relay.
const RELAY: &str = "127.83.0.1:8200";
/// Where OpenBao listens.
const OPENBAO: &str = "127.83.0.2:8200";
const OPENBAO_HOST: [&str; 1] = ["vault2.test"];
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
    /// Who is delivered where.
    pub layout: Layout,
    /// Accessors of the tokens that were there before the bastion.
    pub others: BTreeSet<String>,
    config: PathBuf,
    folder: TempDir,
    _pools: TempDir,
}

/// The name of a schedd's group: its own for a directory.
fn group(number: usize) -> String {
    format!("ap{}", number + 1)
}

impl Stage {
    /// Starts everything.
    pub async fn set(layout: Layout) -> anyhow::Result<Self> {
        let folder = sandbox::new_folder()?;
        let (at, to): (SocketAddr, SocketAddr) = (RELAY.parse()?, OPENBAO.parse()?);
        let relay = Relay::start(at, to).await?;
        let site = Site::start_at(folder.path(), LIVES, &OPENBAO_HOST, "vault.test").await?;
        let state_folder = SmallFileSystem::mount(&folder.path().join("state"), 0o700)?;
        // Beside the folder, which pools have in them.
        let pools = sandbox::new_folder()?;
        let mut schedds = Vec::new();
        for name in layout.schedds {
            schedds.push(if layout.are_pools {
                Schedd::pool(name, pools.path(), &site.chain).await?
            } else {
                Schedd::directory(name, folder.path(), &site.chain)?
            });
        }
        let mut stage = Self {
            bastion: None,
            bastion_clock: FalseClock::new(folder.path())?,
            schedds,
            state_folder,
            relay,
            layout,
            others: site.bao.api.list(ACCESSORS).await?.into_iter().collect(),
            config: PathBuf::new(),
            site,
            folder,
            _pools: pools,
        };
        stage.config = stage.configure(&stage.yaml(None))?;
        if let Some(pool) = stage.pool() {
            // What the bastion has on its host.
            for shown in [
                stage.folder.path(),
                stage.state_folder.folder(),
                &sandbox::fault_tools()?,
            ] {
                pool.show(shown)?;
            }
            fs::copy(program("token-bastion")?, pool.path(BASTION)).context("the bastion")?;
        }
        stage.start_bastion()?;
        Ok(stage)
    }

    /// The pool on whose host the bastion runs.
    fn pool(&self) -> Option<&Pool> {
        self.schedds.first().and_then(Schedd::as_pool)
    }

    /// The command `token-bastion`; its clock is that of the bastion's host.
    fn bastion_command(&self) -> anyhow::Result<Command> {
        let chain = &self.site.chain;
        let mut command = match self.pool() {
            None => chain.bastion(&self.config)?,
            Some(pool) => {
                let mut command = pool.command("root", BASTION);
                command.arg("--config").arg(&self.config);
                command.env("KRB5_CONFIG", chain.kdc.krb5_conf());
                command
            }
        };
        command.envs(self.bastion_clock.variables()?);
        Ok(command)
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
        for (number, schedd) in self.schedds.iter().enumerate() {
            let _ = writeln!(yaml, "  {}: {{{}}}", group(number), schedd.group());
        }
        let groups: Vec<String> = (0..self.schedds.len()).map(group).collect();
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
                    groups.join(", ")
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
        self.state_folder.folder().join("state.json")
    }

    /// The folders with credentials.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        self.schedds.iter().map(Schedd::credentials).collect()
    }

    /// The vault token that a schedd has for a delivery.
    pub fn vault_token(&self, target: Target) -> anyhow::Result<Option<VaultToken>> {
        let (account, service, _) = self.layout.names(target)?;
        let schedd = self
            .schedds
            .get(target.schedd)
            .context("a schedd's number")?;
        let file = schedd
            .credentials()
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
            let mut command = self.bastion_command()?;
            command.arg("run");
            let log = self.folder.path().join("bastion.log");
            self.bastion = Some(Daemon::spawn("token-bastion", command, &log)?);
        }
        Ok(())
    }

    /// A schedd, by its number.
    pub fn schedd(&mut self, number: usize) -> anyhow::Result<&mut Schedd> {
        self.schedds.get_mut(number).context("a schedd's number")
    }

    /// Starts a schedd's credmon, unless it runs.
    pub fn start_credmon(&mut self, number: usize) -> anyhow::Result<()> {
        let schedd = self.schedds.get_mut(number).context("a schedd's number")?;
        schedd.start_credmon(&self.site.chain)
    }

    /// The command `token-bastion` with these arguments, until it ends.
    pub fn command(
        &self,
        arguments: &[&str],
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<Output>> + Send + use<>> {
        let mut command = self.bastion_command()?;
        command.args(arguments);
        Ok(ended::output(command, FAR))
    }

    /// The ends of all logs.
    #[must_use]
    pub fn tails(&self) -> String {
        let bastion = self
            .bastion
            .as_ref()
            .map_or_else(String::new, |bastion| bastion.tail(25));
        let schedds = self.schedds.iter().map(Schedd::tail).collect::<String>();
        format!(
            "--- token-bastion\n{bastion}\n{schedds}{}",
            self.site.bao.tail(5)
        )
    }

    /// Ends the programs under test.
    pub async fn end(self) -> anyhow::Result<()> {
        if let Some(mut bastion) = self.bastion {
            bastion.stop().await?;
        }
        for schedd in self.schedds {
            schedd.stop().await?;
        }
        Ok(())
    }
}
