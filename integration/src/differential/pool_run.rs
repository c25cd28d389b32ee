//! What two whole pools, one with each monitor, make of what happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};

use super::both_pools::BothPools;
use super::case::Outcome;
use super::folder_run::Pair;
use super::observe::{Observation, Requests};
use super::rig::{Rig, Side, Tokens};
use super::storer::{self, Person};
use crate::chain::program;
use crate::pool::{Credmon, Job, JobState, Options, Pool};
use crate::wait;
use crate::wait::FAR;

const CONFIGURATION: &str = "/etc/condor/config.d/50-test.conf";
pub(super) const USER: &str = "cmsprod";

/// What is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Good.
    Good,
    /// With a revoked vault token.
    Dead,
    /// Vault has no refresh token for it.
    NotOnboarded,
}

/// A pool with one of the monitors.
pub(super) struct Whole<'a> {
    rig: &'a Rig,
    side: Side,
    pub(super) pool: Pool,
}

/// Starts both pools and lets each row happen to them.
pub async fn run(rig: &Rig, folder: &Path) -> anyhow::Result<BTreeMap<&'static str, Pair>> {
    let mut pools = BothPools::start(rig, folder).await?;
    pools.row("stored", Whole::stores).await?;
    for (row, service, kind) in [
        ("job-without-token", "dune", Kind::NotOnboarded),
        ("job-with-dead-token", "icecube", Kind::Dead),
    ] {
        let holds = async |side: &Whole<'_>| side.holds(service, kind).await;
        pools.row(row, holds).await?;
    }
    // One after the other: both are the same person at the same Vault.
    let persons = [pools.theirs.person()?, pools.ours.person()?];
    let service = "cms_production";
    let mut by_storer = [const { Vec::new() }; 2];
    for (person, seen) in persons.iter().zip(&mut by_storer) {
        seen.push(person.approves(service).await?);
        seen.push(person.reduces(service).await?);
        seen.push(person.has_a_ticket(service).await?);
    }
    let [by_theirs, by_ours] = by_storer;
    let names = ["storer-oidc", "storer-handle", "storer-kerberos"];
    for ((name, theirs), ours) in names.into_iter().zip(by_theirs).zip(by_ours) {
        pools.add(name, Pair { theirs, ours });
    }
    pools.row("reconfigured", Whole::reconfigured).await?;
    let pair = refused_while_a_job_runs(&pools.theirs, &pools.ours).await?;
    pools.add("refused-while-running", pair);
    pools.row("restarted", Whole::restarted).await?;
    pools.stop().await
}

/// A job runs when the vault token is revoked. That HTCondor's side holds it shows that the starters
/// have asked for the token again.
async fn refused_while_a_job_runs(theirs: &Whole<'_>, ours: &Whole<'_>) -> anyhow::Result<Pair> {
    let (theirs_job, ours_job) = tokio::try_join!(theirs.runs_a_job(), ours.runs_a_job())?;
    let one = async |side: &Whole<'_>, tokens: &Tokens| -> anyhow::Result<_> {
        side.rig.revoke(tokens).await?;
        side.refused().await?;
        Ok(side.files())
    };
    let (theirs_lines, ours_lines) =
        tokio::try_join!(one(theirs, &theirs_job.1), one(ours, &ours_job.1))?;
    let held = theirs.held_or_ended(&theirs_job.0).await?;
    fs::write(ours.pool.path("/tmp/end-of-job"), "")?;
    let code = ours.pool.wait_job(&ours_job.0, FAR).await;
    let code = code.with_context(|| ours.pool.logs(20))?;
    let observed = |mut lines: BTreeSet<String>, outcome, words: String| {
        lines.insert(words);
        Observation { outcome, lines }
    };
    let ended = JobState::Completed(Some(code));
    Ok(Pair {
        theirs: observed(theirs_lines, Outcome::Deleted, in_words(&held)),
        ours: observed(ours_lines, Outcome::Kept, in_words(&ended)),
    })
}

fn in_words(state: &JobState) -> String {
    match state {
        JobState::Held { code, .. } => format!("the job is held, code {code}"),
        JobState::Completed(Some(code)) => format!("the job ends well, exit code {code}"),
        other => format!("the job is {other:?}"),
    }
}

impl<'a> Whole<'a> {
    pub(super) async fn start(rig: &'a Rig, folder: &Path, side: Side) -> anyhow::Result<Self> {
        let credmon = match side {
            Side::Theirs => Credmon::Reference,
            Side::Ours => Credmon::Program(program("condor_credmon_htvault")?),
        };
        let mut options = Options::new(&[USER], credmon);
        options.release = rig.release;
        if side == Side::Theirs {
            "ap2.test".clone_into(&mut options.host);
        }
        options.configuration = vec![
            "CREDMON_OAUTH_TOKEN_REFRESH = 1".to_owned(),
            "CREDMON_OAUTH_LOG = /var/log/condor/CredMonOAuthLog".to_owned(),
            storer::CONFIGURATION.to_owned(),
        ];
        let folder = folder.join(format!("pool-{}", side.word()));
        let pool = Pool::start(&folder, &rig.chain.ca, &options).await?;
        Ok(Self { rig, side, pool })
    }

    /// The user, with HTCondor's storer.
    fn person(&self) -> anyhow::Result<Person<'_>> {
        storer::install(&self.rig.chain, &self.pool)?;
        Ok(Person {
            rig: self.rig,
            pool: &self.pool,
            side: self.side,
            user: USER,
        })
    }

    /// Stores a credential as a user does, by the credd.
    pub(super) async fn store(&self, service: &str, kind: Kind) -> anyhow::Result<Tokens> {
        let tokens = self.rig.tokens().await?;
        let token = match kind {
            Kind::Dead => &tokens.dead,
            Kind::Good | Kind::NotOnboarded => &tokens.living,
        };
        let mut top = super::table::TOP.replace("$TOKEN", token.expose());
        if kind == Kind::NotOnboarded {
            top = top.replace("cmsprod:default", "cmsprod/robot:default");
        }
        let store = ["condor_store_cred", "add-oauth", "-s", service, "-i", "-"];
        let answer = self.pool.run_with_input(USER, &store, &top).await?;
        answer.success()?;
        Ok(tokens)
    }

    /// Waits for an access token that is not older than the `.top`.
    pub(super) async fn served(&self, service: &str) -> anyhow::Result<()> {
        let token = self
            .pool
            .credentials()
            .join(format!("{USER}/{service}.use"));
        let what = format!("an access token for {service} ({})", self.side.word());
        wait::until(&what, FAR, async || -> anyhow::Result<()> {
            ensure!(token.exists(), "none");
            Ok(())
        })
        .await
        .with_context(|| self.pool.logs(20))
    }

    async fn files_now(&self) -> anyhow::Result<BTreeSet<String>> {
        let list = [
            "find",
            crate::pool::CREDENTIALS,
            "-printf",
            "%P has %m %u:%g\n",
        ];
        let found = self.pool.run("root", &list).await?.success()?;
        Ok(found.lines().map(|line| line.trim().to_owned()).collect())
    }

    fn files(&self) -> BTreeSet<String> {
        let folder = self.pool.credentials().join(USER);
        let there = |name: &str| folder.join(name).exists();
        let word = |there: bool| if there { "there" } else { "gone" };
        ["cms.top", "cms.use"]
            .into_iter()
            .map(|name| format!("{name} is {}", word(there(name))))
            .collect()
    }

    /// A first credential.
    pub(super) async fn stores(&self) -> anyhow::Result<Observation> {
        self.store("cms", Kind::Good).await?;
        self.served("cms").await?;
        let complete = self.pool.credentials().join("CREDMON_COMPLETE");
        wait::until("a pass", FAR, async || complete.exists().then_some(())).await?;
        let query = ["condor_store_cred", "query-oauth", "-s", "cms"];
        let answer = self.pool.run(USER, &query).await?.success()?;
        let mut lines = self.files_now().await?;
        let first = answer.lines().find(|line| line.starts_with("A credential"));
        lines.insert(first.unwrap_or("no credential").to_owned());
        Ok(Observation {
            outcome: Outcome::Served,
            lines,
        })
    }

    /// A job that asks for a credential that Vault gives no access token for: it never had one, or
    /// the vault token is dead.
    async fn holds(&self, service: &str, kind: Kind) -> anyhow::Result<Observation> {
        self.store(service, kind).await?;
        let top = self
            .pool
            .credentials()
            .join(format!("{USER}/{service}.top"));
        let what = format!("the refusal of {service} ({})", self.side.word());
        wait::until(&what, FAR, async || -> anyhow::Result<()> {
            let log = self.log()?;
            let told = log.contains(&format!("{USER}/{service}: d"));
            let left = self.side == Side::Theirs && (kind == Kind::NotOnboarded || !top.exists());
            ensure!(told || left, "{log}");
            Ok(())
        })
        .await?;
        let outcome = if top.exists() {
            Outcome::NotServed
        } else {
            Outcome::Deleted
        };
        let text = format!("executable = /bin/true\nuse_oauth_services = {service}");
        let line = match self.pool.submit(USER, &text).await {
            Err(error) => {
                let words = format!("{error:#}");
                ensure!(words.contains("is missing"), "{words}");
                "condor_submit fails: the credential is missing".to_owned()
            }
            Ok(job) => in_words(&self.held_or_ended(&job).await?),
        };
        Ok(Observation {
            outcome,
            lines: BTreeSet::from([line]),
        })
    }

    async fn held_or_ended(&self, job: &Job) -> anyhow::Result<JobState> {
        self.pool
            .wait_job_state(job, "to be held", FAR, |state| {
                matches!(state, JobState::Held { .. } | JobState::Completed(_))
            })
            .await
            .with_context(|| self.pool.logs(20))
    }

    /// The configuration changes, and an admin calls `condor_reconfig`.
    async fn reconfigured(&self) -> anyhow::Result<Observation> {
        let file = self.pool.path(CONFIGURATION);
        let text = fs::read_to_string(&file)?;
        fs::write(&file, format!("{text}CREDMON_OAUTH_TOKEN_MINIMUM = 1200\n"))?;
        let before = self.pool.credmon_pid()?;
        self.pool
            .run("root", &["condor_reconfig"])
            .await?
            .success()?;
        let word = match self.side {
            Side::Theirs => "Got SIGHUP",
            Side::Ours => "the configuration changed",
        };
        self.logged(word).await?;
        let tokens = self.store("cms_new", Kind::Good).await?;
        self.served("cms_new").await?;
        let requests = Requests::read(&self.rig.chain.requests())?;
        // What follows the first request depends on how long the test takes.
        let lines = requests.of(0, &tokens.accessor, "cms_new", self.side, false);
        let mut lines: BTreeSet<String> = lines
            .into_iter()
            .filter(|line| line.contains("=1200") || line.contains("=2400"))
            .collect();
        let same = self.pool.credmon_pid()? == before;
        lines.insert(format!("the process goes on: {same}"));
        Ok(Observation {
            outcome: Outcome::Served,
            lines,
        })
    }

    /// `condor_restart`: the master starts anew, and all daemons with it.
    async fn restarted(&self) -> anyhow::Result<Observation> {
        let before = self.pool.credmon_pid()?;
        let restart = ["condor_restart", "-fast"];
        let answer = self.pool.run("root", &restart).await?;
        let mut lines = BTreeSet::new();
        lines.insert(format!("condor_restart: exit code {:?}", answer.code));
        wait::until("another process", FAR, async || -> anyhow::Result<()> {
            let now = self.pool.credmon_pid()?;
            ensure!(now != before, "the same");
            Ok(())
        })
        .await
        .with_context(|| format!("{}{}{}", answer.stdout, answer.stderr, self.pool.logs(20)))?;
        wait::until("the credd to be back", FAR, async || {
            self.store("cms_after", Kind::Good).await
        })
        .await?;
        self.served("cms_after").await?;
        lines.insert("another process serves".to_owned());
        Ok(Observation {
            outcome: Outcome::Served,
            lines,
        })
    }

    /// A job that uses `cms`, whose credential is stored anew, and runs until it is told to end.
    async fn runs_a_job(&self) -> anyhow::Result<(Job, Tokens)> {
        let tokens = self.store("cms", Kind::Good).await?;
        self.hang_up()?;
        let requests = self.rig.chain.requests();
        wait::until("the new vault token to be used", FAR, async || {
            let all = Requests::read(&requests)?;
            let seen = all.of(0, &tokens.accessor, "cms", self.side, false);
            ensure!(!seen.is_empty(), "it is not");
            Ok(())
        })
        .await?;
        self.served("cms").await?;
        let text = "executable = /bin/sh\narguments = \"-c 'until [ -e /tmp/end-of-job ]; do sleep 0.2; done'\"\nuse_oauth_services = cms";
        let job = self.pool.submit(USER, text).await?;
        self.pool
            .wait_job_state(&job, "to run", FAR, |state| *state == JobState::Running)
            .await
            .with_context(|| self.pool.logs(20))?;
        Ok((job, tokens))
    }

    /// Waits until the monitor has been refused.
    async fn refused(&self) -> anyhow::Result<()> {
        self.hang_up()?;
        match self.side {
            Side::Theirs => {
                let top = self.pool.credentials().join(format!("{USER}/cms.top"));
                wait::until("the deletion", FAR, async || {
                    // It renews what is a second old, at each signal.
                    self.hang_up()?;
                    ensure!(!top.exists(), "not yet");
                    Ok(())
                })
                .await
            }
            Side::Ours => self.logged(&format!("{USER}/cms: dead")).await,
        }
    }

    async fn logged(&self, word: &str) -> anyhow::Result<()> {
        let what = format!("\"{word}\" in the log ({})", self.side.word());
        wait::until(&what, FAR, async || -> anyhow::Result<()> {
            let text = self.log()?;
            ensure!(text.contains(word), "{text}");
            Ok(())
        })
        .await
    }

    fn log(&self) -> anyhow::Result<String> {
        let log = self.pool.path("/var/log/condor/CredMonOAuthLog");
        fs::read_to_string(log).context("cannot read the monitor's log")
    }

    fn hang_up(&self) -> anyhow::Result<()> {
        kill(self.pool.credmon_pid()?, Signal::SIGHUP).context("cannot send SIGHUP")
    }
}
