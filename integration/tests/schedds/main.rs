//! Schedds as a site has them, on the real parts: found through a collector, opened in each way,
//! away and back, with something wrong.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod wrong;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use integration::chain::{ACCOUNTS, Chain, Lives, installed};
use integration::pool::{Pool, Release};
use integration::process::Daemon;
use integration::wait::FAR;
use integration::{ended, sandbox, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Where a credd keeps issuers' keys, and that it could not get some.
const KEYS: &str = "/run/condor/cache/scitokens";

/// A group whose credds are spoken to natively.
const NATIVE: &str = ", collector: \"ap.test:9618\"";

/// One site at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A host with everything, and the bastion on it.
struct Site {
    pool: Pool,
    chain: Chain,
    folder: tempfile::TempDir,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

async fn site(configuration: &[&str]) -> anyhow::Result<Site> {
    site_with(Release::Current, configuration).await
}

async fn site_with(release: Release, configuration: &[&str]) -> anyhow::Result<Site> {
    let one = ONE.lock().await;
    let folder = tempfile::tempdir_in(sandbox::run_folder()?)?;
    let chain = Chain::start(folder.path(), Lives::SHORT).await?;
    let mut options = installed::pool_options(&chain)?;
    options.release = release;
    let lines = configuration.iter().map(|line| (*line).to_owned());
    options.configuration.extend(lines);
    options.members = vec!["ap2.test".to_owned()];
    let pool = Pool::start(&folder.path().join("pool"), &chain.ca, &options).await?;
    // Makes everything that it needs in the pool; which group is configured later.
    installed::bastion(&chain, &pool)?;
    Ok(Site {
        pool,
        chain,
        folder,
        _one: one,
    })
}

impl Site {
    fn yaml(&self, group: &str) -> String {
        self.chain.bastion_yaml(&installed::places(group))
    }

    /// Runs the service for a group of schedds.
    fn service(&self, group: &str) -> anyhow::Result<Daemon> {
        let mut command = installed::bastion(&self.chain, &self.pool)?;
        installed::configure(&self.pool, &self.yaml(group))?;
        command.arg("run");
        let log = self.folder.path().join("bastion.log");
        Daemon::spawn("token-bastion", command, &log)
    }

    /// Tries everything once; gives the report.
    async fn once(&self, yaml: &str) -> anyhow::Result<Value> {
        let mut command = installed::bastion(&self.chain, &self.pool)?;
        installed::configure(&self.pool, yaml)?;
        command.args(["once", "--json"]);
        let output = ended::output(command, FAR).await?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Tries until every delivery is good: a daemon takes a moment to read its configuration.
    async fn all_good(&self, yaml: &str) -> anyhow::Result<()> {
        wait::until("every delivery to be good", FAR, || self.is_good(yaml)).await
    }

    /// Tries everything once; every delivery is good then.
    async fn is_good(&self, yaml: &str) -> anyhow::Result<()> {
        let report = self.once(yaml).await?;
        let lines = report["deliveries"].as_array().context("no list")?;
        let good = !lines.is_empty() && lines.iter().all(|line| line["state"] == "good");
        ensure!(good, "{report:#}");
        Ok(())
    }

    /// Does what is to be done when the credd could not get an issuer's keys.
    async fn forget_keys(&mut self) -> anyhow::Result<()> {
        match fs::remove_dir_all(self.pool.path(KEYS)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => self.pool.restart("credd").await,
        }
    }

    /// What an admin finds in the credd's log.
    fn credd_said(&self, part: &str) -> anyhow::Result<()> {
        let log = fs::read_to_string(self.pool.path("/var/log/condor/CredLog"))?;
        ensure!(log.contains(part), "{log}");
        Ok(())
    }

    /// Tries until this is told.
    async fn told(&self, yaml: &str, part: &str) -> anyhow::Result<()> {
        wait::until(part, FAR, async || {
            let report = self.once(yaml).await?;
            let problems = report["problems"].as_array().context("no list")?;
            let message = |problem: &Value| problem["message"].as_str().map(str::to_owned);
            let told: Vec<String> = problems.iter().filter_map(message).collect();
            ensure!(told.iter().any(|text| text.contains(part)), "{told:#?}");
            Ok(())
        })
        .await
    }
}

/// What is stored and served in a pool's credential directory.
fn stored(pool: &Pool, ending: &str) -> BTreeMap<PathBuf, String> {
    let all = ACCOUNTS.iter().flat_map(|account| {
        let files = account.services.iter();
        files.map(|service| format!("{}/{service}.{ending}", account.name))
    });
    all.filter_map(|name| {
        let text = fs::read_to_string(pool.credentials().join(&name)).ok()?;
        Some((name.into(), text))
    })
    .collect()
}

/// Waits until jobs of every account have an access token in a pool, of another push than `before`.
async fn served(
    pool: &Pool,
    before: &BTreeMap<PathBuf, String>,
    service: &Daemon,
) -> anyhow::Result<()> {
    let what = format!("tokens at {}", pool.host());
    wait::until(&what, FAR, async || {
        let (tops, uses) = (stored(pool, "top"), stored(pool, "use"));
        let new = tops.iter().all(|(name, top)| before.get(name) != Some(top));
        let all = tops.len() == 3 && uses.len() == 3 && new;
        if all {
            Ok(())
        } else {
            Err(format!("{:?}", uses.keys()))
        }
    })
    .await
    .with_context(|| service.tail(30))
}

#[tokio::test]
async fn schedds_are_found_and_lost_and_found_again() -> anyhow::Result<()> {
    found_and_lost("cedar").await
}

#[tokio::test]
async fn schedds_are_found_and_lost_and_found_again_with_htcondors_tools() -> anyhow::Result<()> {
    found_and_lost("condor").await
}

async fn found_and_lost(transport: &str) -> anyhow::Result<()> {
    let kind = [
        "TestKind = \"crab\"",
        "SCHEDD_ATTRS = $(SCHEDD_ATTRS) TestKind",
    ];
    let site = site(&kind).await?;
    let search = |collector: &str, constraint: &str| {
        format!(
            "transport: {transport}, collector: \"{collector}:9618\", constraint: '{constraint}'"
        )
    };
    let group = &search("ap.test", "TestKind == \"crab\"");
    let nothing = BTreeMap::new();
    let mut service = site.service(group)?;
    served(&site.pool, &nothing, &service).await?;

    // Another host joins the pool.
    let mut options = installed::pool_options(&site.chain)?;
    "ap2.test".clone_into(&mut options.host);
    options.manager = Some(site.pool.host().to_owned());
    options.configuration.extend(kind.map(str::to_owned));
    let folder = site.folder.path().join("pool2");
    let mut second = Pool::start(&folder, &site.chain.ca, &options).await?;
    let mark = service.mark();
    service.signal(Signal::SIGHUP)?;
    service
        .wait_for_line_after(mark, "schedd found", FAR)
        .await?;
    served(&second, &nothing, &service).await?;

    // Its credd stops, and is back at another address; the first host is served all the time.
    let mark = service.mark();
    second.off("credd").await?;
    service
        .wait_for_line_after(mark, "it is tried again", FAR)
        .await?;
    served(&site.pool, &stored(&site.pool, "top"), &service).await?;
    let before = stored(&second, "top");
    second.on("credd").await?;
    served(&second, &before, &service).await?;

    // It leaves the pool.
    second.stop().await?;
    let mark = service.mark();
    service.signal(Signal::SIGHUP)?;
    let gone = "does not know the schedd any more";
    service.wait_for_line_after(mark, gone, FAR).await?;
    ensure!(service.stop().await?.success(), "{}", service.tail(20));

    // What is no expression is told as that.
    let broken = site.yaml(&search("ap.test", "TestKind = = 3"));
    site.told(&broken, "is no expression that HTCondor takes")
        .await?;
    let nowhere = site.yaml(&search("ap2.test", "true"));
    site.told(&nowhere, "the collector ap2.test:9618 does not answer")
        .await?;
    site.pool.stop().await
}
