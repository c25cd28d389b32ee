//! The daemons of a pool, one by one: that they answer, and ending and starting them.

use std::collections::BTreeSet;

use anyhow::ensure;

use super::Pool;
use crate::wait::{self, FAR};

impl Pool {
    /// Starts one daemon anew (`credd`, `schedd`) and waits until it answers.
    pub async fn restart(&mut self, daemon: &str) -> anyhow::Result<()> {
        let before = self.start_time(daemon).await?;
        self.run("root", &["condor_restart", "-fast", "-daemon", daemon])
            .await?
            .success()?;
        wait::until(
            &format!("the {daemon} to be back"),
            FAR,
            async || match self.start_time(daemon).await {
                Ok(now) if now == before => Err(anyhow::anyhow!("the old one's advertisement")),
                other => other,
            },
        )
        .await?;
        self.wait_until_it_answers(daemon).await
    }

    /// A daemon is known to the collector before it takes commands.
    async fn wait_until_it_answers(&self, daemon: &str) -> anyhow::Result<()> {
        let ping = ["condor_ping", "-type", daemon, "-name", &self.host, "READ"];
        wait::until(&format!("the {daemon} to answer"), FAR, async || {
            self.run("root", &ping).await?.success()
        })
        .await?;
        Ok(())
    }

    /// Ends one daemon (`credd`), and waits until it says so.
    pub async fn off(&mut self, daemon: &str) -> anyhow::Result<()> {
        self.run("root", &["condor_off", "-fast", "-daemon", daemon])
            .await?
            .success()?;
        wait::until(&format!("the end of the {daemon}"), FAR, async || {
            self.start_time(daemon).await.is_err().then_some(())
        })
        .await
    }

    /// Starts a daemon that was ended, and waits until it answers.
    pub async fn on(&mut self, daemon: &str) -> anyhow::Result<()> {
        self.run("root", &["condor_on", "-daemon", daemon])
            .await?
            .success()?;
        self.wait_until_it_answers(daemon).await
    }

    pub(super) async fn wait_until_up(&mut self) -> anyhow::Result<()> {
        wait::until(
            "the pool's daemons to advertise themselves",
            FAR,
            async || {
                if let Some(status) = self.master.try_ended()? {
                    // Final: but the wait's own error carries it as well as any other.
                    anyhow::bail!("condor_master ended with {status}");
                }
                let here = format!("Machine == \"{}\"", self.host);
                let query = [
                    "condor_status",
                    "-any",
                    "-constraint",
                    &here,
                    "-af",
                    "MyType",
                ];
                let answer = self.root.run("root", &query, "").await?.success()?;
                let there: BTreeSet<&str> = answer.lines().collect();
                let daemons = self.daemons.iter();
                let missing: Vec<&&str> = daemons.filter(|kind| !there.contains(*kind)).collect();
                ensure!(missing.is_empty(), "no advertisement of {missing:?} yet");
                Ok(())
            },
        )
        .await
    }

    async fn start_time(&self, daemon: &str) -> anyhow::Result<String> {
        let constraint = format!(
            "toLower(MyType) == toLower(\"{}\") && Machine == \"{}\"",
            if daemon == "schedd" {
                "Scheduler"
            } else {
                daemon
            },
            self.host
        );
        let time = self
            .run(
                "root",
                &[
                    "condor_status",
                    "-any",
                    "-constraint",
                    &constraint,
                    "-af",
                    "DaemonStartTime",
                ],
            )
            .await?
            .success()?;
        ensure!(!time.trim().is_empty(), "no advertisement of the {daemon}");
        Ok(time.trim().to_owned())
    }
}
