//! What the demonstration runs on: the chain's parts, the bastion, and a credmon, which runs by
//! itself on a folder of this host or under the master of a real HTCondor pool.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use nix::unistd::Pid;

use crate::chain::{Chain, Lives, installed};
use crate::here;
use crate::pool::{Job, JobState, Pool};
use crate::process::{Daemon, Memory};
use crate::sandbox;

/// The job's program, as installed in the pool.
const SHOW_TOKEN: &str = "/usr/local/bin/show-token";

/// The running parts, in the order in which they must end.
pub struct Stage {
    bastion: Daemon,
    credmon: Place,
    /// KDC, Vault, issuer.
    pub chain: Chain,
    /// The credential directory, as seen from this host.
    pub directory: PathBuf,
}

/// Where the credmon runs.
enum Place {
    Here(Daemon),
    Pool { pool: Pool, job: Progress },
}

/// How far the job is.
enum Progress {
    NotYet,
    Running { job: Job, told: usize },
    Done,
}

impl Stage {
    /// Starts everything; `say` is told of each step.
    pub async fn set(condor: bool, lives: Lives, say: impl Fn(&str)) -> anyhow::Result<Self> {
        let folder = sandbox::run_folder()?;
        let chain = Chain::start(&folder, lives).await?;
        say("KDC, Vault and token issuer answer");
        let (credmon, directory, mut bastion);
        if condor {
            let options = installed::pool_options(&chain)?;
            let pool = Pool::start(&folder.join("pool"), &chain.ca, &options).await?;
            install_job(&pool)?;
            say("the HTCondor pool answers, its credmon is ours");
            directory = pool.credentials();
            bastion = installed::bastion(&chain, &pool)?;
            credmon = Place::Pool {
                pool,
                job: Progress::NotYet,
            };
        } else {
            directory = here::credential_directory(&folder)?;
            credmon = Place::Here(here::credmon(&chain, &directory)?);
            let config =
                chain.write_bastion_config(&chain.bastion_yaml(&chain.here(&directory)))?;
            bastion = chain.bastion(&config)?;
        }
        bastion.arg("run");
        let bastion = Daemon::spawn("token-bastion", bastion, &folder.join("bastion.log"))?;
        say("bastion and credmon run; from here on the credential directory tells");
        Ok(Self {
            bastion,
            credmon,
            chain,
            directory,
        })
    }

    /// Fails when something that must run does not.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        let mut daemons = vec![&mut self.bastion, &mut self.chain.vault];
        if let Place::Here(credmon) = &mut self.credmon {
            daemons.push(credmon);
        }
        for daemon in daemons {
            if let Some(status) = daemon.try_ended()? {
                bail!(
                    "{} ended with {status}:\n{}",
                    daemon.name(),
                    daemon.tail(20)
                );
            }
        }
        Ok(())
    }

    /// Submits the job, where there is a pool and it was not done before.
    pub async fn submit_once(&mut self) -> anyhow::Result<()> {
        if let Place::Pool { pool, job } = &mut self.credmon
            && matches!(job, Progress::NotYet)
        {
            let description = format!(
                "executable = {SHOW_TOKEN}\narguments = cms_crab\n\
                 use_oauth_services = cms_crab\nstream_output = true"
            );
            *job = Progress::Running {
                job: pool.submit("crabtw", &description).await?,
                told: 0,
            };
        }
        Ok(())
    }

    /// What the job has printed since the last time, and its end.
    pub async fn news(&mut self) -> anyhow::Result<Vec<String>> {
        let Place::Pool {
            pool,
            job: progress,
        } = &mut self.credmon
        else {
            return Ok(Vec::new());
        };
        let Progress::Running { job, told } = progress else {
            return Ok(Vec::new());
        };
        let output = pool.job_output(job)?;
        // A line that is still being written is told the next time.
        let whole = output
            .rfind('\n')
            .map_or("", |end| output.get(..end).unwrap_or(""));
        let mut news: Vec<String> = whole
            .lines()
            .skip(*told)
            .map(|line| format!("job      crabtw   cms_crab        {line}"))
            .collect();
        *told += news.len();
        if *told >= 2 {
            match pool.job_state(job).await? {
                JobState::Completed(Some(0)) => {
                    news.push("job      crabtw   cms_crab        ended well".to_owned());
                    *progress = Progress::Done;
                }
                JobState::Idle | JobState::Running => {}
                other => bail!("the job is {other:?}\n{}", pool.job_errors(job)?),
            }
        }
        Ok(news)
    }

    /// Whether nothing is to be expected of a job any more.
    pub fn job_is_done(&self) -> bool {
        matches!(
            self.credmon,
            Place::Here(_)
                | Place::Pool {
                    job: Progress::Done,
                    ..
                }
        )
    }

    /// Resident memory of bastion and credmon, as lines.
    pub fn memory(&self) -> anyhow::Result<Vec<String>> {
        let credmon = match &self.credmon {
            Place::Here(daemon) => daemon.pid(),
            Place::Pool { pool, .. } => pool.credmon_pid()?,
        };
        let line = |name: &str, pid: Pid| -> anyhow::Result<String> {
            let bytes = Memory::of(pid)?.resident;
            Ok(format!(
                "memory   {name:<24} {}.{} MB resident",
                bytes / 1_000_000,
                bytes % 1_000_000 / 100_000
            ))
        };
        Ok(vec![
            line("token-bastion", self.bastion.pid())?,
            line("condor_credmon_htvault", credmon)?,
        ])
    }

    /// The ends of the logs, for the message of a failure.
    pub fn tails(&self) -> String {
        let credmon = match &self.credmon {
            Place::Here(daemon) => daemon.tail(15),
            Place::Pool { pool, .. } => pool.logs(15),
        };
        format!(
            "--- bastion\n{}\n--- credmon\n{credmon}\n--- Vault\n{}",
            self.bastion.tail(15),
            self.chain.vault.tail(5)
        )
    }

    /// Ends everything, and says so when bastion or credmon do not end well.
    pub async fn end(mut self) -> anyhow::Result<()> {
        let status = self.bastion.stop().await?;
        if !status.success() {
            bail!(
                "token-bastion ended with {status}:\n{}",
                self.bastion.tail(20)
            );
        }
        match self.credmon {
            Place::Here(mut daemon) => {
                let status = daemon.stop().await?;
                if !status.success() {
                    bail!("the credmon ended with {status}:\n{}", daemon.tail(20));
                }
            }
            Place::Pool { pool, .. } => pool.stop().await?,
        }
        Ok(())
    }
}

fn install_job(pool: &Pool) -> anyhow::Result<()> {
    let program = pool.path(SHOW_TOKEN);
    fs::write(&program, include_str!("show-token"))
        .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", program.display()))
}
