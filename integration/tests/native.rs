//! The bastion on a host that has no HTCondor, delivering to real schedds of two releases: it speaks to collector and
//! credd itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use integration::chain::{Chain, Lives, Places, installed};
use integration::pool::{Pool, Release};
use integration::process::Daemon;
use integration::wait::FAR;
use integration::{ended, sandbox, wait};
use nix::sys::signal::{self, Signal};
use serde_json::Value;
use tokio::process::Command;

/// One site at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A pool, and a bastion elsewhere.
struct Site {
    pool: Pool,
    chain: Chain,
    config: PathBuf,
    folder: tempfile::TempDir,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

impl Site {
    async fn start(release: Release, credds: &str) -> anyhow::Result<Self> {
        let one = ONE.lock().await;
        let folder = sandbox::new_folder()?;
        let chain = Chain::start(folder.path(), Lives::HOUR).await?;
        let mut options = installed::pool_options(&chain)?;
        options.release = release;
        options.members = vec!["ap2.test".to_owned()];
        let pool = Pool::start(&folder.path().join("pool"), &chain.ca, &options).await?;
        let places = Places {
            keytabs: chain.keytabs(),
            ca_file: Some(chain.ca.file()),
            schedd: format!("credds: [{credds}], collector: \"{}\"", pool.collector()),
        };
        let config = chain.write_bastion_config(&chain.bastion_yaml(&places))?;
        Ok(Self {
            pool,
            chain,
            config,
            folder,
            _one: one,
        })
    }

    /// The bastion with nothing that HTCondor could be found by.
    fn bastion(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let nothing = self.folder.path().join("nothing");
        fs::create_dir_all(&nothing)?;
        for place in [
            "/etc/condor",
            "/usr/bin/condor_store_cred",
            "/usr/bin/condor_status",
        ] {
            ensure!(!Path::new(place).exists(), "this machine has {place}");
        }
        let mut command = self.chain.bastion(&self.config)?;
        command
            .args(arguments)
            .env("PATH", &nothing)
            .env("CONDOR_CONFIG", nothing.join("condor_config"));
        Ok(command)
    }

    fn service(&self) -> anyhow::Result<Daemon> {
        let log = self.folder.path().join("bastion.log");
        Daemon::spawn("token-bastion", self.bastion(&["run"])?, &log)
    }

    /// Exit code and output.
    async fn run(&self, arguments: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
        let output = ended::output(self.bastion(arguments)?, FAR).await?;
        Ok((output.status.code(), ended::text(&output)))
    }

    async fn report(&self) -> anyhow::Result<Value> {
        let output = ended::output(self.bastion(&["status", "--json"])?, FAR).await?;
        serde_json::from_slice(&output.stdout).with_context(|| ended::text(&output))
    }

    /// Waits until all deliveries of a schedd are good.
    async fn good_at(&self, schedd: &str, service: &Daemon) -> anyhow::Result<()> {
        wait::until(&format!("good deliveries at {schedd}"), FAR, async || {
            let report = self.report().await?;
            let lines = report["deliveries"].as_array().context("no list")?;
            let mut there = lines.iter().filter(|line| line["schedd"] == schedd);
            let good = lines.len() >= 3 && there.all(|line| line["state"] == "good");
            ensure!(good, "{report:#}");
            anyhow::Ok(())
        })
        .await
        .with_context(|| service.tail(30))
    }

    /// A push to a schedd that must be good; gives the time that it took, with the new vault tokens and the wait for
    /// the credmon.
    async fn push(&self, more: &[&str], service: &Daemon) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let (code, text) = self.run(&[&["push"], more].concat()).await?;
        ensure!(code == Some(0), "{code:?}: {text}\n{}", service.tail(30));
        Ok(begun.elapsed())
    }
}

#[tokio::test]
async fn a_host_without_htcondor_delivers_and_sees_it_good_within_a_second() -> anyhow::Result<()> {
    for release in [Release::Current, Release::Older] {
        let mut site = Site::start(release, "ap.test").await?;
        let (code, text) = site.run(&["check"]).await?;
        ensure!(code == Some(0) && text.contains("cedar"), "{text}");
        let mut service = site.service()?;
        site.good_at("ap.test", &service).await?;
        let stored = fs::read_to_string(site.pool.credentials().join("crabtw/cms_crab.top"))?;
        ensure!(stored.contains("vault_token"), "nothing is stored");

        let mut times = Vec::new();
        for _ in 0..5 {
            // Times at a credd are whole seconds.
            wait::pass(Duration::from_millis(1100)).await;
            times.push(site.push(&["--account", "crabtw"], &service).await?);
        }
        println!("{release:?}: pushes that were seen good took {times:?}");
        ensure!(
            times.iter().min() < Some(&Duration::from_secs(1)),
            "{times:?}"
        );

        // Each step of the way there is named.
        let (code, text) = site.run(&["doctor"]).await?;
        let steps = "address, connection, negotiation, TLS, token, authorization, command";
        ensure!(code == Some(0) && text.contains(steps), "{code:?}: {text}");
        ensure!(
            !text.contains("HTCondor  "),
            "no tool is looked for: {text}"
        );

        // Its credd is started anew; the older release gives it another id behind the shared port.
        site.pool.restart("credd").await?;
        // What the service itself looks at while there is no credd may fail.
        let mark = service.mark();
        site.push(&[], &service).await?;
        let (lines, _) = service.lines_after(mark);
        let failed: Vec<_> = lines.iter().filter(|line| line.contains("WARN")).collect();
        ensure!(failed.is_empty(), "{failed:#?}\n{}", site.pool.logs(60));
        ensure!(service.stop().await?.success(), "{}", service.tail(20));

        // Schedds are found without HTCondor, too.
        let yaml = fs::read_to_string(&site.config)?;
        let search = yaml.replace("credds: [ap.test]", "constraint: 'Name == \"ap.test\"'");
        ensure!(yaml != search, "{yaml}");
        fs::write(&site.config, search)?;
        let (code, text) = site.run(&["once"]).await?;
        ensure!(
            code == Some(0) && text.contains("ap.test"),
            "{code:?}: {text}"
        );
        let (code, text) = site.run(&["doctor"]).await?;
        ensure!(
            code == Some(0) && text.contains("group here"),
            "{code:?}: {text}"
        );
        site.pool.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn doctor_names_the_step_that_fails() -> anyhow::Result<()> {
    let mut site = Site::start(Release::Current, "ap.test").await?;
    let told = async |site: &Site, parts: &[&str]| {
        wait::until(parts[0], FAR, async || {
            let (code, text) = site.run(&["doctor", "--account", "crabtw"]).await?;
            let all = parts.iter().all(|part| text.contains(part));
            ensure!(code == Some(1) && all, "{code:?}: {text}");
            anyhow::Ok(())
        })
        .await
    };
    site.pool.off("credd").await?;
    let words = "address failed: the collector ap.test:9618 knows no credd of ap.test";
    told(&site, &[words]).await?;
    site.pool.on("credd").await?;

    let map = fs::read_to_string(site.pool.path("/etc/condor/mapfile"))?;
    fs::write(site.pool.path("/etc/condor/mapfile"), "")?;
    site.pool.reconfigure(&[]).await?;
    let right = "token failed (passed: address, connection, negotiation, TLS)";
    told(&site, &[right, "the map file lacks a line `SCITOKENS"]).await?;
    fs::write(site.pool.path("/etc/condor/mapfile"), map)?;

    site.pool
        .reconfigure(&["ALLOW_WRITE = nobody@ap.test"])
        .await?;
    let right = "authorization failed (passed: address, connection, negotiation, TLS, token)";
    told(&site, &[right, "ALLOW_WRITE"]).await?;

    site.pool
        .reconfigure(&["TRUSTED_VAULT_HOSTS = other.test"])
        .await?;
    let other = site.chain.ca.issue(&["elsewhere.test"])?;
    let good =
        ["crt", "key"].map(|ending| site.pool.path(&format!("/etc/condor/test/host.{ending}")));
    let kept: Vec<Vec<u8>> = good.iter().map(fs::read).collect::<Result<_, _>>()?;
    fs::copy(&other.certificate, &good[0])?;
    fs::copy(&other.key, &good[1])?;
    let right = "TLS failed (passed: address, connection, negotiation)";
    told(&site, &[right, "is for another name"]).await?;
    for (file, content) in good.iter().zip(kept) {
        fs::write(file, content)?;
    }
    site.pool.stop().await
}

#[tokio::test]
async fn a_credd_that_is_killed_under_pushes_costs_a_retry_and_no_other_schedd_anything()
-> anyhow::Result<()> {
    let site = Site::start(Release::Current, "ap.test, ap2.test").await?;
    let mut options = installed::pool_options(&site.chain)?;
    options.host = "ap2.test".to_owned();
    options.manager = Some(site.pool.host().to_owned());
    let second = Pool::start(&site.folder.path().join("pool2"), &site.chain.ca, &options).await?;
    let mut service = site.service()?;
    for schedd in ["ap.test", "ap2.test"] {
        site.good_at(schedd, &service).await?;
    }

    for round in 0..3 {
        let pushes = async {
            // Everything to both, again and again, while the credd of one is killed.
            for _ in 0..3 {
                let (_, text) = site.run(&["push", "--schedd", "ap2.test"]).await?;
                println!("round {round}: {text}");
            }
            anyhow::Ok(())
        };
        let others = async {
            for _ in 0..3 {
                site.push(&["--schedd", "ap.test"], &service).await?;
            }
            anyhow::Ok(())
        };
        let killed = async {
            wait::pass(Duration::from_millis(150 + 170 * round)).await;
            let credd = second.process("condor_credd")?;
            signal::kill(credd, Signal::SIGKILL)?;
            anyhow::Ok(())
        };
        let (pushes, others, killed) = tokio::join!(pushes, others, killed);
        pushes.and(others).and(killed)?;
        site.good_at("ap2.test", &service).await?;
    }
    ensure!(service.stop().await?.success(), "{}", service.tail(20));
    second.stop().await?;
    site.pool.stop().await
}
