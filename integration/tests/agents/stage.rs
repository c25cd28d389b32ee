//! The parts that the agents meet: the chain with tokens that live for seconds, a pool with the
//! agents and HTCondor's bindings installed, and a bastion that can be stopped and killed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use integration::chain::{ADMIN, Chain, Lives, installed};
use integration::conformance::admin::Admin;
use integration::pool::{Answer, CREDMON, Pool};
use integration::process::Daemon;
use integration::{ended, sandbox, wait};
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;
use tokio::process::Command;

use super::{FAR, tokens};

/// The job's program, as installed in the pool.
pub const JOB: &str = "/opt/agents/show_tokens.py";
/// The agents, and HTCondor's bindings from `PyPI`.
const AGENTS: &str = "/opt/agents";
const BINDINGS: &str = "/opt/bindings";

/// A new access token every few seconds, and a new vault token as often.
const QUICK: Lives = Lives {
    access_token: 24,
    access_minimum: 18,
    vault_token: 30,
    renew_below: 22,
};

/// The parts, in the order in which they must end.
pub struct Stage {
    bastion: Option<Daemon>,
    pub pool: Pool,
    chain: Chain,
    folder: tempfile::TempDir,
}

impl Stage {
    /// All but the bastion.
    pub async fn set() -> anyhow::Result<Self> {
        let folder = sandbox::new_folder()?;
        let chain = Chain::start(folder.path(), QUICK).await?;
        let mut options = installed::pool_options(&chain)?;
        // The schedd tells of a second submitter's jobs at its next update, by default within 300 s.
        options.configuration.push("SCHEDD_INTERVAL = 2".to_owned());
        let pool = Pool::start(&folder.path().join("pool"), &chain.ca, &options).await?;
        let bindings = std::env::var_os("TOKEN_BASTION_BINDINGS").map(PathBuf::from);
        let bindings = bindings.context("the sandbox says where the bindings are")?;
        ensure!(
            bindings.is_dir(),
            "no bindings: run integration/setup/bindings"
        );
        for (from, to) in [
            (Path::new(env!("CARGO_MANIFEST_DIR")).join("agents"), AGENTS),
            (bindings, BINDINGS),
        ] {
            let mut copy = Command::new("cp");
            copy.arg("--archive").arg(&from).arg(pool.path(to));
            ensure!(
                copy.status().await?.success(),
                "cannot copy {}",
                from.display()
            );
        }
        Ok(Self {
            bastion: None,
            pool,
            chain,
            folder,
        })
    }

    /// Starts the bastion, for the first time or again.
    pub fn start_bastion(&mut self) -> anyhow::Result<()> {
        let mut command = installed::bastion(&self.chain, &self.pool)?;
        command.arg("run");
        let log = self.folder.path().join("bastion.log");
        self.bastion = Some(Daemon::spawn("token-bastion", command, &log)?);
        Ok(())
    }

    /// Ends it as `systemctl stop` does.
    pub async fn stop_bastion(&mut self) -> anyhow::Result<()> {
        let status = self.bastion.as_mut().unwrap().stop().await?;
        ensure!(status.code() == Some(0), "{status}");
        Ok(())
    }

    /// Ends it without a word.
    pub async fn kill_bastion(&mut self) -> anyhow::Result<()> {
        let bastion = self.bastion.as_mut().unwrap();
        bastion.signal(Signal::SIGKILL)?;
        bastion.wait(FAR).await?;
        Ok(())
    }

    /// An agent: `words` are its script and what follows.
    fn agent(&self, user: &str, words: &str) -> Command {
        let mut command = self.pool.command(user, "/usr/bin/python3");
        command
            .arg("-B")
            .args(format!("{AGENTS}/{words}").split(' '))
            .env("PYTHONPATH", BINDINGS);
        command
    }

    /// Runs one that ends at once.
    pub async fn run(&self, user: &str, words: &str) -> anyhow::Result<Answer> {
        let output = ended::output(self.agent(user, words), FAR).await?;
        Ok(Answer {
            command: words.to_owned(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Starts one that follows its jobs.
    pub fn start(&self, user: &str, name: &str, words: &str) -> anyhow::Result<Daemon> {
        let log = self.folder.path().join(format!("{name}.log"));
        Daemon::spawn(name, self.agent(user, words), &log)
    }

    /// Starts a production agent; `tokens` says how many each of its jobs is to see.
    pub fn start_production(&self, jobs: usize, tokens: &str) -> anyhow::Result<Daemon> {
        let agent = format!("production_agent.py --jobs {jobs} --poll 1 --min-life 5s");
        let words = format!("{agent} {JOB} {tokens} cms cms_production");
        self.start("cmsprod", "production", &words)
    }

    /// The credmon's word on a credential, asked by its account.
    pub async fn status(&self, user: &str, service: &str, life: &str) -> anyhow::Result<Answer> {
        let words = format!("{CREDMON} status --user {user} --service {service} --min-life {life}");
        let command: Vec<&str> = words.split(' ').collect();
        self.pool.run(user, &command).await
    }

    /// Waits until it is good.
    pub async fn wait_good(&self, user: &str, service: &str) -> anyhow::Result<()> {
        let what = format!("the credential {service} of {user} to be good");
        wait::until(&what, FAR, async || {
            self.status(user, service, "5s").await?.success()
        })
        .await?;
        Ok(())
    }

    /// Waits until each of the three jobs has seen so many tokens.
    pub async fn wait_tokens(&self, count: usize) -> anyhow::Result<()> {
        let what = format!("each job to have seen {count} tokens");
        wait::until(&what, FAR, async || {
            let show = ["find", "/var/lib/condor/execute", "-name", "_condor_stdout"];
            let found = self.pool.run("root", &show).await?.success()?;
            let mut seen = Vec::new();
            for file in found.lines() {
                // A job that has just ended took it away.
                let output = fs::read_to_string(self.pool.path(file)).unwrap_or_default();
                seen.extend(tokens(&output).into_values().map(|tokens| tokens.len()));
            }
            // Two services of two jobs, one of the third.
            ensure!(
                seen.len() == 5 && seen.iter().all(|&seen| seen >= count),
                "{seen:?}"
            );
            Ok(())
        })
        .await
    }

    /// What the jobs wrote to their outputs.
    pub fn outputs_of(&self, users: &[&str]) -> anyhow::Result<Vec<String>> {
        let mut outputs = Vec::new();
        for user in users {
            for entry in fs::read_dir(self.pool.path("/home").join(user))? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "out") {
                    outputs.push(fs::read_to_string(path)?);
                }
            }
        }
        Ok(outputs)
    }

    /// From now on the issuer refuses the refresh tokens that Vault has for this account.
    pub async fn lose_the_grant_of(&self, account: &str) -> anyhow::Result<()> {
        let admin = Admin::new(&format!("http://{ADMIN}"), &self.chain.ca.file())?;
        let victim = json!({"credkey": account});
        admin.call(Method::POST, "/kill", &victim).await?;
        Ok(())
    }

    /// For the message of a failure.
    pub fn logs(&self) -> String {
        let bastion = self.bastion.as_ref().map(|bastion| bastion.tail(20));
        format!(
            "{}\n--- bastion\n{}",
            self.pool.logs(20),
            bastion.unwrap_or_default()
        )
    }

    /// Ends all; no log may hold a token.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.stop_bastion().await?;
        for log in ["production.log", "task.log", "bastion.log"] {
            let text = fs::read_to_string(self.folder.path().join(log))?;
            for line in text.lines() {
                // A JWT's header and payload both begin so. One alone may be a part of a random accessor.
                let at = line.find(".eyJ").or_else(|| line.find("hvs."));
                if let Some(at) = at {
                    bail!(
                        "a token is in {log}, after: {}",
                        line.get(..at).unwrap_or(log)
                    );
                }
            }
        }
        self.pool.stop().await
    }
}
