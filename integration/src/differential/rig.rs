//! The place where both sides run: a pool's root without its daemons, Vault and its issuer, and
//! vault tokens for each case.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use htvault::{AccessTokenRequest, Client, CredentialUrl, Settings, VaultToken, kerberos::Ticket};
use nix::mount::MsFlags;
use tokio::task::JoinSet;

use super::case::Reference;
use crate::chain::{ADMIN, Chain, Lives, VAULT, program};
use crate::conformance::admin::{Admin, approve};
use crate::conformance::cases::State;
use crate::conformance::names::Names;
use crate::conformance::server::Server;
use crate::kdc::REALM;
use crate::onboarding::onboard;
use crate::pool::{self, Answer, CREDMON, Credmon, Options, Release, Root};
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
    /// Its HTCondor.
    pub release: Release,
    client: Client,
    login: VaultToken,
    ids: BTreeMap<&'static str, (u32, u32)>,
}

/// Requests for vault tokens that are under way at once.
const TOKENS_AT_ONCE: usize = 16;

impl Rig {
    /// Makes it below `folder`.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        Self::start_on(folder, Release::Current).await
    }

    /// The same on an HTCondor of this release.
    pub async fn start_on(folder: &Path, release: Release) -> anyhow::Result<Self> {
        Self::make(folder, Lives::HOUR, Vec::new(), release).await
    }

    /// The same with tokens of other lives, and stored credentials besides those of the accounts:
    /// `ISSUER:CREDKEY:ROLE` each.
    pub async fn start_granted(
        folder: &Path,
        lives: Lives,
        grants: Vec<String>,
    ) -> anyhow::Result<Self> {
        Self::make(folder, lives, grants, Release::Current).await
    }

    async fn make(
        folder: &Path,
        lives: Lives,
        grants: Vec<String>,
        release: Release,
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
        let mut options = Options::new(&["cmsprod"], Credmon::Program(ours));
        options.release = release;
        let root = pool::without_daemons(&folder.join("pool"), &chain.ca, &options).await?;
        let mut rig = Self {
            root,
            chain,
            admin,
            release,
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

    /// A command in the root as a user, with nothing in its environment but a path and a home.
    #[must_use]
    pub fn command(&self, user: &str, program: &str) -> tokio::process::Command {
        self.root.command(user, program)
    }

    /// Runs a command in the root as a user, to its end.
    pub async fn run(&self, user: &str, command: &[&str]) -> anyhow::Result<Answer> {
        self.root.run(user, command, "").await
    }

    /// Adds a fault, written as on the command line.
    pub async fn add_fault(&self, text: &str) -> anyhow::Result<()> {
        let mut fields = serde_json::Map::new();
        for (place, part) in text.split(',').enumerate() {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if place == 0 {
                fields.insert("effect".to_owned(), name.into());
                if !value.is_empty() {
                    fields.insert("value".to_owned(), value.into());
                }
            } else {
                fields.insert(name.to_owned(), value.into());
            }
        }
        let fields = serde_json::json!(fields);
        self.admin
            .call(reqwest::Method::POST, "/faults", &fields)
            .await
            .map(drop)
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

    /// Lets Vault get an access token for `cms`, which it keeps.
    pub async fn warm(&self) -> anyhow::Result<()> {
        let url = CredentialUrl::creds(self.client.server(), "cms", "cmsprod", "default")?;
        let request = AccessTokenRequest {
            minimum_seconds: Some(2400),
            ..AccessTokenRequest::default()
        };
        self.client
            .access_token(&url, &self.login, &request)
            .await
            .map(drop)
            .context("cannot get an access token for cms")
    }

    /// Brings the server into a state; the refresh token is that for `cms`.
    pub async fn bring(&self, state: State) -> anyhow::Result<()> {
        let names = Names {
            url: VAULT.to_owned(),
            issuer: "cms".to_owned(),
            role: "default".to_owned(),
            credkey: "cmsprod".to_owned(),
            audience: None,
            scopes: None,
        };
        ensure!(self.admin.bring(state, &names).await?, "not {state:?}");
        Ok(())
    }

    /// Gives Vault a new refresh token for `cms`, as the person does.
    pub async fn onboard(&self) -> anyhow::Result<()> {
        let role = "cms:default".parse().map_err(anyhow::Error::msg)?;
        onboard(&self.client, &self.trust()?, &role, "cmsprod", "cmsprod").await
    }

    /// Approves at the issuer's page that a link leads to, as the person.
    pub async fn approve(&self, link: &str) -> anyhow::Result<()> {
        approve(&self.trust()?, link, "cmsprod").await
    }

    /// What trusts the servers.
    fn trust(&self) -> anyhow::Result<Server> {
        Server::new(VAULT, &self.chain.ca.file())
    }

    /// The accessor of a vault token.
    pub async fn accessor(&self, token: &VaultToken) -> anyhow::Result<String> {
        Ok(self.client.lookup_self(token).await?.accessor)
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

    /// Makes a credential directory a file system of its own, in memory. The pool's root is an
    /// overlay, which opens each file twice and cannot tell whether it is on a disk.
    pub fn put_in_memory(&self, inside: &str) -> anyhow::Result<()> {
        let path = self.path(inside);
        let none: Option<&str> = None;
        nix::mount::mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), none)
            .with_context(|| format!("cannot mount {}", path.display()))?;
        self.own(&path, 0o2770, "root:condor")
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
