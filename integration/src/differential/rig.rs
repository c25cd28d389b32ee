//! The place where both sides run: a pool's root without its daemons, Vault and its issuer, and
//! vault tokens for each case.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use htvault::{Client, Settings, VaultToken, kerberos::Ticket};
use tokio::task::JoinSet;

use super::case::Reference;
use crate::chain::{ADMIN, Chain, Lives, VAULT, program};
use crate::conformance::admin::Admin;
use crate::kdc::REALM;
use crate::pool::{self, CREDMON, Credmon, Options, Root};
use crate::process::Daemon;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// HTCondor's.
    Theirs,
    /// Ours.
    Ours,
}

impl Side {
    /// A word for file names, and for paths at the server.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Theirs => "theirs",
            Self::Ours => "ours",
        }
    }
}

/// The vault tokens of one case of one side.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// A living one.
    pub living: VaultToken,
    /// The accessor of the living one.
    pub accessor: String,
    /// A revoked one.
    pub dead: VaultToken,
}

/// The place.
pub struct Rig {
    // In the order in which they must be dropped.
    root: Root,
    /// KDC, Vault, issuer.
    pub chain: Chain,
    /// What brings faults about.
    pub admin: Admin,
    client: Client,
    login: VaultToken,
    ids: BTreeMap<&'static str, (u32, u32)>,
}

/// Requests for vault tokens that are under way at once.
const TOKENS_AT_ONCE: usize = 16;

/// Tokens of an hour, as sites have them.
pub const HOUR: Lives = Lives {
    access_token: 3600,
    access_minimum: 2400,
    vault_token: 604_800,
    renew_below: 259_200,
};

impl Rig {
    /// Makes it below `folder`.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        Self::start_granted(folder, HOUR, Vec::new()).await
    }

    /// The same with tokens of other lives, and stored credentials besides those of the accounts:
    /// `ISSUER:CREDKEY:ROLE` each.
    pub async fn start_granted(
        folder: &Path,
        lives: Lives,
        grants: Vec<String>,
    ) -> anyhow::Result<Self> {
        let chain = Chain::start_granted(folder, lives, &["127.83.0.1:8200"], grants).await?;
        chain.kdc.use_here()?;
        let mut settings = Settings::new(VAULT.parse()?);
        settings.tls.ca_file = Some(chain.ca.file());
        let client = Client::new(&settings)?;
        let keytab = chain.keytabs().join("cmsprod.keytab");
        let principal = format!("cmsprod@{REALM}");
        let negotiate = tokio::task::spawn_blocking(move || {
            Ticket::from_keytab(&principal, &keytab)?.negotiate("host", "vault.test")
        })
        .await
        .context("Kerberos stopped")??;
        let login = client.login("cms", "default", &negotiate).await?.token;
        let admin = Admin::new(&format!("http://{ADMIN}"), &chain.ca.file())?;
        let ours = program("condor_credmon_htvault")?;
        let options = Options::new(&["cmsprod"], Credmon::Program(ours));
        let root = pool::without_daemons(&folder.join("pool"), &chain.ca, &options).await?;
        let mut rig = Self {
            root,
            chain,
            admin,
            client,
            login,
            ids: BTreeMap::new(),
        };
        for user in ["root", "condor", "cmsprod", "nobody"] {
            let mut ids = [0, 0];
            for (id, option) in ids.iter_mut().zip(["-u", "-g"]) {
                let answer = rig.root.run("root", &["id", option, user], "").await?;
                *id = answer.success()?.trim().parse()?;
            }
            rig.ids.insert(user, (ids[0], ids[1]));
        }
        Ok(rig)
    }

    /// Where a path of the root is for us.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.path(inside)
    }

    /// Tokens for a case of a side.
    pub async fn tokens(&self) -> anyhow::Result<Tokens> {
        let living = self.client.create_token(&self.login, 86_400).await?;
        let dead = self.client.create_token(&self.login, 86_400).await?;
        self.client.revoke_self(&dead.token).await?;
        Ok(Tokens {
            living: living.token,
            accessor: living.accessor,
            dead: dead.token,
        })
    }

    /// Living vault tokens, each one of its own.
    pub async fn living_tokens(&self, count: usize) -> anyhow::Result<Vec<VaultToken>> {
        let mut made = Vec::with_capacity(count);
        while made.len() < count {
            let mut some = JoinSet::new();
            for _ in 0..TOKENS_AT_ONCE.min(count - made.len()) {
                let (client, login) = (self.client.clone(), self.login.clone());
                some.spawn(async move { client.create_token(&login, 86_400).await });
            }
            while let Some(token) = some.join_next().await {
                made.push(token.context("a request broke off")??.token);
            }
        }
        Ok(made)
    }

    /// Revokes the living one.
    pub async fn revoke(&self, tokens: &Tokens) -> anyhow::Result<()> {
        Ok(self.client.revoke_self(&tokens.living).await?)
    }

    /// Gives a file to `user:group` with a mode.
    pub fn own(&self, path: &Path, mode: u32, owner: &str) -> anyhow::Result<()> {
        let (user, group) = owner.split_once(':').context("an owner is user:group")?;
        let id = |name| {
            self.ids
                .get(name)
                .with_context(|| format!("no user {name}"))
        };
        chown(path, Some(id(user)?.0), Some(id(group)?.1))
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
            .with_context(|| format!("cannot give {} to {owner}", path.display()))
    }

    /// `user:group` of ids.
    #[must_use]
    pub fn owner(&self, user: u32, group: u32) -> String {
        let name = |wanted: u32, pick: fn(&(u32, u32)) -> u32| {
            (self.ids.iter())
                .find(|(_, ids)| pick(ids) == wanted)
                .map_or_else(|| wanted.to_string(), |(name, _)| (*name).to_owned())
        };
        format!("{}:{}", name(user, |ids| ids.0), name(group, |ids| ids.1))
    }

    /// Makes a credential directory as an admin would; gives its path in the root.
    pub fn directory(&self, name: &str, side: Side) -> anyhow::Result<String> {
        let inside = format!("/var/lib/condor/differential/{name}-{}", side.word());
        let path = self.path(&inside);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        self.own(&path, 0o2770, "root:condor")?;
        Ok(inside)
    }

    /// Starts a side's program. `settings` are names of HTCondor's configuration.
    pub fn start_side(
        &self,
        name: &str,
        side: Side,
        reference: Reference,
        arguments: &[String],
        settings: &[(String, String)],
    ) -> anyhow::Result<Daemon> {
        let program = match (side, reference) {
            (Side::Ours, _) => CREDMON,
            (Side::Theirs, Reference::Vault) => "/usr/sbin/condor_credmon_vault",
            (Side::Theirs, Reference::Several) => "/usr/sbin/condor_credmon_oauth",
        };
        let mut command = self.root.command("root", program);
        command.args(arguments);
        for (name, value) in settings {
            command.env(format!("_CONDOR_{name}"), value);
        }
        let output = format!("{name}-{}.output", side.word());
        let title = format!("{name} ({})", side.word());
        Daemon::spawn(&title, command, &self.chain.folder().join(output))
    }
}
