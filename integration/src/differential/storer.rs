//! The way in which HTCondor lets a person store a credential: `condor_vault_storer`, which calls
//! htgettoken. Both are the real ones; the person is played.
//!
//! htgettoken comes from the environment of `integration/setup/htgettoken`, and is put into the
//! pool's root, whose own Python has what it imports.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use htvault::VaultToken;
use serde_json::Value;

use super::case::Outcome;
use super::observe::{Observation, Requests};
use super::rig::{Rig, Side};
use crate::chain::Chain;
use crate::pool::Pool;
use crate::process::Daemon;
use crate::wait::FAR;
use crate::{sandbox, wait};

/// Lines for the pool's configuration.
pub(super) const CONFIGURATION: &str =
    "SEC_CREDENTIAL_GETTOKEN_OPTS = -a vault.test --web-open-command=";

/// A person with an account in a pool, who uses the storer.
pub(super) struct Person<'a> {
    /// Where the person is.
    pub rig: &'a Rig,
    /// Which pool.
    pub pool: &'a Pool,
    /// Whose pool it is.
    pub side: Side,
    /// The account.
    pub user: &'static str,
}

/// Puts htgettoken into a pool, and makes it a member of the realm.
pub(crate) fn install(chain: &Chain, pool: &Pool) -> anyhow::Result<()> {
    let environment = sandbox::htgettoken()?;
    let packages = fs::read_dir(environment.join("lib"))
        .with_context(|| format!("no htgettoken in {}", environment.display()))?
        .flatten()
        .map(|python| python.path().join("site-packages/htgettoken"))
        .find(|package| package.is_dir())
        .with_context(|| format!("no htgettoken in {}", environment.display()))?;
    copy(
        &packages,
        &pool.path("/usr/lib/python3/dist-packages/htgettoken"),
    )?;
    let program = pool.path("/usr/bin/htgettoken");
    fs::write(
        &program,
        "#!/usr/bin/python3\nimport sys\nfrom htgettoken import main\nsys.exit(main())\n",
    )?;
    make_executable(&program)?;
    // Tickets are where they are on every site.
    let realm = fs::read_to_string(chain.kdc.krb5_conf())?;
    let lines = realm.lines();
    let usual: Vec<&str> = lines
        .filter(|l| !l.contains("default_ccache_name"))
        .collect();
    fs::write(pool.path("/etc/krb5.conf"), usual.join("\n") + "\n")
        .context("cannot make the pool a member of the realm")
}

/// Copies the plain files of a folder.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from)?.flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn make_executable(file: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} a program", file.display()))
}

fn text_of<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value.get(field).and_then(Value::as_str)
}

impl Person<'_> {
    /// Stores a service for the first time: the storer shows a link, the person approves there.
    pub(super) async fn approves(&self, service: &str) -> anyhow::Result<Observation> {
        let mut command = self.pool.command(self.user, "script");
        // htgettoken offers this on a terminal only, which `script` is.
        let call = format!("condor_vault_storer '{service}'");
        command
            .args(["--quiet", "--return", "--flush", "--command", &call])
            .arg("/dev/null");
        let log = format!("storer-{}.log", self.side.word());
        let log = self.rig.chain.folder().join(log);
        let mut terminal = Daemon::spawn("condor_vault_storer", command, &log)?;
        let link = terminal.wait_for_line("/device?user_code=", FAR).await?;
        self.rig.approve(link.trim()).await?;
        let status = terminal.wait(FAR).await?;
        ensure!(status.success(), "{status}: {}", terminal.tail(30));
        self.is_served(service).await
    }

    /// Stores it anew after its files are gone, by a Kerberos ticket.
    pub(super) async fn has_a_ticket(&self, service: &str) -> anyhow::Result<Observation> {
        let delete = ["condor_store_cred", "delete-oauth", "-s", service];
        self.pool.run(self.user, &delete).await?.success()?;
        let forget = "rm -f /tmp/vt_* /tmp/bt_*";
        let forget = ["sh", "-c", forget];
        self.pool.run(self.user, &forget).await?.success()?;
        let keytab = self.rig.chain.keytabs().join("cmsprod.keytab");
        let inside = format!("/home/{}/keytab", self.user);
        fs::copy(&keytab, self.pool.path(&inside)).context("cannot give the person a keytab")?;
        let chown = ["chown", self.user, &inside];
        self.pool.run("root", &chown).await?.success()?;
        let kinit = ["kinit", "-k", "-t", &inside, "cmsprod"];
        self.pool.run(self.user, &kinit).await?.success()?;
        self.stores(service).await?;
        self.is_served(service).await
    }

    /// Stores a credential with a handle, whose scopes are reduced, beside its parent.
    pub(super) async fn reduces(&self, service: &str) -> anyhow::Result<Observation> {
        let request =
            format!("{service}&handle=read&scopes=storage.read:/&audience=https://storage.example");
        self.stores(&request).await?;
        self.is_served(&format!("{service}_read")).await
    }

    async fn stores(&self, request: &str) -> anyhow::Result<()> {
        // It writes to /dev/stdout, which must be the user's own.
        let line = "condor_vault_storer -d \"$0\" 2>&1 | cat";
        let store = ["bash", "-o", "pipefail", "-c", line, request];
        self.pool.run(self.user, &store).await?.success().map(drop)
    }

    /// Waits for an access token that came of what was stored; says what there is then.
    async fn is_served(&self, service: &str) -> anyhow::Result<Observation> {
        let folder = self.pool.credentials().join(self.user);
        let (top, token) = (
            folder.join(format!("{service}.top")),
            folder.join(format!("{service}.use")),
        );
        wait::until("an access token", FAR, async || -> anyhow::Result<()> {
            ensure!(token.exists(), "no {}", token.display());
            Ok(())
        })
        .await
        .with_context(|| self.pool.logs(20))?;
        let stored: Value = serde_json::from_str(&fs::read_to_string(&top)?)?;
        let parent = || -> anyhow::Result<Value> {
            let (parent, _) = service.rsplit_once('_').context("it has a parent")?;
            let text = fs::read_to_string(folder.join(format!("{parent}.top")))?;
            Ok(serde_json::from_str(&text)?)
        };
        let mut fields: Vec<&str> = stored
            .as_object()
            .into_iter()
            .flat_map(|fields| fields.keys().map(String::as_str))
            .collect();
        fields.sort_unstable();
        let mut lines = BTreeSet::from([format!(".top has {}", fields.join(", "))]);
        let vault_token = match text_of(&stored, "vault_token") {
            Some(token) => token.to_owned(),
            None => text_of(&parent()?, "vault_token")
                .context("the parent has a vault token")?
                .to_owned(),
        };
        let accessor = self.rig.accessor(&VaultToken::from(vault_token)).await?;
        let requests = Requests::read(&self.rig.chain.requests())?;
        let asked = requests.of(0, &accessor, service, self.side, false);
        // htgettoken asks by the same token, and a handle by its parent's.
        let url = text_of(&stored, "vault_url").unwrap_or_default();
        let (_, path) = url.split_once("/secret/oauth/").unwrap_or_default();
        let own = format!("asks {path}?");
        let asked = asked.into_iter();
        lines.extend(asked.filter(|line| line.starts_with(&own) && line.contains("=2400")));
        lines.insert(super::observe::token(&token));
        for file in [&top, &token] {
            let inside = format!(
                "{}/{}/{}",
                crate::pool::CREDENTIALS,
                self.user,
                file.file_name().unwrap_or_default().to_string_lossy()
            );
            let list = ["stat", "-c", "%n %a %U:%G", &inside];
            let found = self.pool.run("root", &list).await?;
            lines.insert(found.success()?.trim().to_owned());
        }
        Ok(Observation {
            outcome: Outcome::Served,
            lines,
        })
    }
}
