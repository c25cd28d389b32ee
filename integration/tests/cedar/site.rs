//! A pool with a credd, an issuer, and what opens the credd.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use htcondor_cedar::{AccessToken, Address, Collector, Credd, Credential, Kind, Query, Tls};
use integration::chain::login::Login;
use integration::chain::{Chain, Lives, installed};
use integration::pool::{Pool, Release};
use integration::sandbox;

/// Deadline of each operation.
pub const WITHIN: Duration = Duration::from_secs(20);
/// How long the tests take a token to live, unless they test its end.
const LIFETIME: Duration = Duration::from_mins(5);

/// One site at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A pool on one host, with all that it needs.
pub struct Site {
    pub pool: Pool,
    pub chain: Chain,
    pub folder: tempfile::TempDir,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

impl Site {
    pub async fn start(
        release: Release,
        lives: Lives,
        configuration: &[&str],
    ) -> anyhow::Result<Self> {
        let one = ONE.lock().await;
        let folder = tempfile::tempdir_in(sandbox::run_folder()?)?;
        let chain = Chain::start(folder.path(), lives).await?;
        chain.kdc.use_here()?;
        let mut options = installed::pool_options(&chain)?;
        options.release = release;
        let more = configuration.iter().map(|line| (*line).to_owned());
        options.configuration.extend(more);
        let pool = Pool::start(&folder.path().join("pool"), &chain.ca, &options).await?;
        Ok(Self {
            pool,
            chain,
            folder,
            _one: one,
        })
    }

    /// An access token of an account's role.
    pub async fn access_token(&self, account: &str, role: &str) -> anyhow::Result<String> {
        let login = Login::new(&self.chain, account, role).await?;
        login.access_token().await
    }

    /// What a bastion stores for an account.
    pub async fn secret(&self, account: &str, role: &str) -> anyhow::Result<String> {
        Ok(Login::new(&self.chain, account, role).await?.secret())
    }

    /// Certificate and name of the pool's host.
    pub fn tls(&self) -> anyhow::Result<Tls> {
        Ok(Tls::new(self.chain.ca.roots()?, self.pool.host())?)
    }

    pub fn collector(&self) -> anyhow::Result<Collector> {
        Ok(Collector::new(self.pool.collector().parse()?))
    }

    /// The credd's address, as the collector knows it.
    pub async fn address(&self) -> anyhow::Result<Address> {
        let query = Query {
            projection: vec!["Name".to_owned(), "MyAddress".to_owned()],
            ..Query::new(Kind::Credd)
        };
        let ads = self.collector()?.query(&query, WITHIN).await?;
        let [ad] = ads.as_slice() else {
            anyhow::bail!("{ads:?}");
        };
        ensure!(ad.string("name") == Some(self.pool.host()), "{ad:?}");
        Ok(ad.string("MyAddress").context("no address")?.parse()?)
    }

    /// The credd, opened by this token.
    pub async fn credd(&self, token: &str) -> anyhow::Result<Credd> {
        let token = AccessToken::new(token.to_owned(), LIFETIME);
        Ok(Credd::new(self.address().await?, self.tls()?, token))
    }

    /// HTCondor's own tool with this token.
    pub async fn tool(&self, token: &str, arguments: &[&str], input: &str) -> anyhow::Result<()> {
        let file = self.pool.path("/tmp/secret");
        fs::write(&file, input)?;
        let mut command = self.pool.command("root", "condor_store_cred");
        command
            .args(arguments)
            .env("_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS", "SCITOKENS")
            .env("BEARER_TOKEN", token);
        let output = integration::ended::output(command, Duration::from_mins(1)).await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{text}{errors}");
        Ok(())
    }

    /// Content, mode, owner and group of a stored credential.
    pub fn stored(&self, account: &str, name: &str) -> anyhow::Result<(String, u32, u32, u32)> {
        let file = self
            .pool
            .credentials()
            .join(format!("{account}/{name}.top"));
        let meta = fs::metadata(&file).with_context(|| file.display().to_string())?;
        let content = fs::read_to_string(&file)?;
        Ok((content, meta.mode(), meta.uid(), meta.gid()))
    }

    pub async fn remap(&self, map: &str) -> anyhow::Result<()> {
        fs::write(self.pool.path("/etc/condor/mapfile"), map)?;
        self.pool.reconfigure(&[]).await
    }
}

/// The account's credential for a service.
pub fn credential(account: &str, service: &str) -> Credential {
    Credential {
        account: Some(account.to_owned()),
        ..Credential::new(service)
    }
}
