//! Runs a group of cases: both sides at once, each on a directory of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use reqwest::Method;
use serde_json::Value;

use super::case::{Case, Change, Group, Outcome, Put};
use super::observe::{Observation, Requests, Snapshot};
use super::obstacles::{SmallDisk, fill, is_open, waits_for_writer};
use super::rig::{Rig, Side, Tokens};
use crate::conformance::cases::State;
use crate::process::Daemon;
use crate::wait;
use crate::wait::FAR;

/// An account beside the cases that every monitor serves: its token tells that a pass was made.
const SENTINEL: &str = "zz-sentinel";

/// The observations of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// HTCondor's.
    pub theirs: Observation,
    /// Ours.
    pub ours: Observation,
}

/// One side of a group.
struct Running<'a> {
    rig: &'a Rig,
    group: &'a Group,
    side: Side,
    directory: PathBuf,
    tokens: BTreeMap<&'static str, Tokens>,
    before: BTreeMap<&'static str, Snapshot>,
    daemon: Option<Daemon>,
    requests: Option<Requests>,
    inside: String,
    // Dropped after the daemon that uses it.
    disk: Option<SmallDisk>,
}

/// Runs a group; gives the observations by the cases' names.
pub async fn run(rig: &Rig, group: &Group) -> anyhow::Result<BTreeMap<&'static str, Pair>> {
    if group.state.is_some() {
        rig.warm().await?;
    }
    let (mut theirs, mut ours) = tokio::try_join!(
        Running::prepare(rig, group, Side::Theirs),
        Running::prepare(rig, group, Side::Ours)
    )?;
    for fault in group.faults {
        for side in [Side::Theirs, Side::Ours] {
            rig.add_fault(&fault.replace("$SIDE", side.word())).await?;
        }
    }
    if let Some(state) = group.state {
        rig.bring(state).await?;
    }
    let from = Requests::read(&rig.chain.requests())?.count();
    theirs.start()?;
    ours.start()?;
    let first = async |side: &mut Running<'_>| {
        side.first_passes().await?;
        side.count_requests()
    };
    tokio::try_join!(first(&mut theirs), first(&mut ours))?;
    let mut from = from;
    if let Some(change) = group.change {
        from = Requests::read(&rig.chain.requests())?.count();
        theirs.change()?;
        ours.change()?;
        match change {
            Change::Hangup => {
                let again = async |side: &mut Running<'_>| {
                    side.pass().await?;
                    side.count_requests()
                };
                tokio::try_join!(again(&mut theirs), again(&mut ours))?;
            }
            // Ours needs no telling. HTCondor's looks once a minute, and has just looked.
            Change::Untold => {
                ours.noticed().await?;
                ours.count_requests()?;
                theirs.count_requests()?;
            }
        }
    }
    let mut pairs = BTreeMap::new();
    for case in group.cases {
        let pair = Pair {
            theirs: theirs.observe(case, from)?,
            ours: ours.observe(case, from)?,
        };
        pairs.insert(case.name, pair);
    }
    theirs.stop().await?;
    ours.stop().await?;
    rig.admin
        .call(Method::DELETE, "/faults", &Value::Null)
        .await?;
    if group.state == Some(State::RefreshRefused) {
        rig.onboard().await?;
    }
    Ok(pairs)
}

impl<'a> Running<'a> {
    /// Makes the directory with all that is there before the start.
    async fn prepare(rig: &'a Rig, group: &'a Group, side: Side) -> anyhow::Result<Self> {
        let inside = rig.directory(group.name, side)?;
        let mut running = Self {
            rig,
            group,
            side,
            directory: rig.path(&inside),
            tokens: BTreeMap::new(),
            before: BTreeMap::new(),
            daemon: None,
            requests: None,
            inside,
            disk: None,
        };
        if group.small_disk {
            running.disk = Some(SmallDisk::mount(&running.directory)?);
            rig.own(&running.directory, 0o2770, "root:condor")?;
        }
        for name in names(group) {
            let tokens = rig.tokens().await?;
            running.tokens.insert(name, tokens);
            running.put(name, "", Put::Folder(0o2700, "condor:condor"))?;
        }
        // What stands later in a case is later on the disk, too: the order of `.top` and `.use`
        // is what monitors go by.
        let rounds = group.cases.iter().map(|case| case.files.len()).max();
        for round in 0..rounds.unwrap_or(0) {
            for case in group.cases {
                if let Some((path, put)) = case.files.get(round) {
                    running.put(case.name, path, *put)?;
                }
            }
            running.grow_older(Duration::ZERO).await?;
        }
        running.put(SENTINEL, "cms.top", Put::Text(super::table::TOP))?;
        running.remember();
        if group.aged {
            running.grow_older(Duration::from_secs(3)).await?;
        }
        Ok(running)
    }

    /// Waits until a file that is made now is later than all that were made before, by more than
    /// `age`.
    async fn grow_older(&self, age: Duration) -> anyhow::Result<()> {
        let probe = self.directory.join(".probe");
        let touch = || -> anyhow::Result<std::time::SystemTime> {
            fs::write(&probe, "")?;
            Ok(probe.metadata()?.modified()?)
        };
        let start = touch()?;
        wait::until("the clock to go on", FAR, async || -> anyhow::Result<()> {
            let passed = touch()?.duration_since(start).unwrap_or_default();
            ensure!(passed > age, "{passed:?}");
            Ok(())
        })
        .await?;
        fs::remove_file(&probe).context("just made")
    }

    fn remember(&mut self) {
        for name in names(self.group) {
            self.before
                .insert(name, Snapshot::take(&self.directory, name));
        }
    }

    fn put(&self, account: &'static str, path: &str, put: Put) -> anyhow::Result<()> {
        let tokens = self.tokens.get(account).context("made before")?;
        let folder = self.directory.join(account);
        let at = match path.strip_prefix("../") {
            Some(beside) => self.directory.join(beside),
            None if path.is_empty() => folder,
            None => folder.join(path),
        };
        let what = || format!("cannot make {}", at.display());
        let write = |content: &str, mode: u32, owner: &str| -> anyhow::Result<()> {
            // Whole, and at once: as the credd does it.
            let new = self.directory.join(".being-put");
            fs::write(&new, content).with_context(what)?;
            self.rig.own(&new, mode, owner)?;
            fs::rename(&new, &at).with_context(what)
        };
        let filled = |text: &str| {
            text.replace("$TOKEN", tokens.living.expose())
                .replace("$DEAD", tokens.dead.expose())
                .replace("$SIDE", self.side.word())
        };
        match put {
            Put::Text(text) => write(&filled(text), 0o600, "root:condor"),
            Put::Owned(text, mode, owner) => write(&filled(text), mode, owner),
            Put::AccessToken(life) => {
                let (token, issued) = super::table::access_token(life);
                write(&token, 0o400, "root:condor")?;
                let file = fs::File::open(&at).with_context(what)?;
                file.set_modified(issued.into()).with_context(what)
            }
            Put::Blanks(count) => {
                let text = format!("{}{}", " ".repeat(count), filled(super::table::TOP));
                write(&text, 0o600, "root:condor")
            }
            Put::Pipe => {
                mkfifo(&at, Mode::S_IRUSR | Mode::S_IWUSR).with_context(what)?;
                self.rig.own(&at, 0o600, "root:condor")
            }
            Put::Filler => fill(&at).with_context(what),
            Put::Link(target) => std::os::unix::fs::symlink(target, &at).with_context(what),
            Put::Folder(mode, owner) => {
                fs::create_dir_all(&at).with_context(what)?;
                self.rig.own(&at, mode, owner)
            }
            Put::Nothing if at.is_dir() => fs::remove_dir_all(&at).with_context(what),
            Put::Nothing => fs::remove_file(&at).with_context(what),
        }
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let name = self.group.name;
        let log = format!("/var/log/condor/{name}-{}", self.side.word());
        let mut settings = vec![
            (
                "SEC_CREDENTIAL_DIRECTORY_OAUTH".to_owned(),
                self.inside.clone(),
            ),
            ("CREDMON_OAUTH_LOG".to_owned(), log),
        ];
        for (setting, value) in self.group.settings {
            settings.push(((*setting).to_owned(), (*value).to_owned()));
        }
        let reference = self.group.reference;
        self.daemon = Some(
            self.rig
                .start_side(name, self.side, reference, &[], &settings)?,
        );
        Ok(())
    }

    /// The first pass, and more if the group wants them.
    async fn first_passes(&mut self) -> anyhow::Result<()> {
        if self.group.theirs_stuck && self.side == Side::Theirs {
            return self.stuck().await;
        }
        self.complete().await?;
        for _ in 1..self.group.passes {
            self.pass().await?;
        }
        Ok(())
    }

    /// Waits until a process of it waits for a writer of a named pipe.
    async fn stuck(&mut self) -> anyhow::Result<()> {
        let daemon = self.daemon.as_mut().context("it was started")?;
        let group = daemon.pid();
        wait::until("it to be stuck", FAR, async || -> anyhow::Result<()> {
            ensure!(waits_for_writer(group)?, "it is not");
            Ok(())
        })
        .await
        .with_context(|| daemon.tail(20))
    }

    /// Waits for the end of a pass.
    async fn complete(&mut self) -> anyhow::Result<()> {
        let (group, word) = (self.group.name, self.side.word());
        let complete = self.directory.join("CREDMON_COMPLETE");
        let daemon = self.daemon.as_mut().context("it was started")?;
        let what = format!("a pass of {group} ({word})");
        wait::until(&what, FAR, async || -> anyhow::Result<()> {
            ensure!(complete.exists(), "no CREDMON_COMPLETE");
            // HTCondor's makes it, then sets its time, and ends when it has been removed in between.
            ensure!(!is_open(&complete)?, "CREDMON_COMPLETE is still open");
            Ok(())
        })
        .await
        .with_context(|| daemon.tail(20))
    }

    /// One more pass, from its beginning.
    async fn pass(&mut self) -> anyhow::Result<()> {
        // Ours may be in the middle of one that began before what was changed; HTCondor's makes
        // its passes one after the other.
        let passes = if self.side == Side::Ours { 2 } else { 1 };
        for _ in 0..passes {
            let complete = self.directory.join("CREDMON_COMPLETE");
            fs::remove_file(&complete).context("a pass was made before")?;
            self.signal(Signal::SIGHUP)?;
            self.complete().await?;
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        let daemon = self.daemon.as_mut().context("it was started")?;
        daemon.signal(signal)
    }

    fn change(&mut self) -> anyhow::Result<()> {
        // In both, what is in place now is what was there before.
        self.remember();
        // The monitor sees all changes at once: one that is quick would serve a `.top` before the disk is full.
        self.signal(Signal::SIGSTOP)?;
        for case in self.group.cases {
            for (path, put) in case.then {
                self.put(case.name, path, *put)?;
            }
        }
        // What was put is no doing of the monitor's; what was taken away neither.
        for case in self.group.cases {
            let put: Vec<&str> = case.then.iter().map(|(path, _)| *path).collect();
            let now = Snapshot::take(&self.directory, case.name);
            if let Some(before) = self.before.get_mut(case.name) {
                before.accept(&put, &now);
            }
        }
        self.signal(Signal::SIGCONT)
    }

    /// Waits until every case with a changed file has a new access token.
    async fn noticed(&mut self) -> anyhow::Result<()> {
        wait::until(
            "the changes to be noticed",
            FAR,
            async || -> anyhow::Result<()> {
                for case in self.group.cases.iter().filter(|case| !case.then.is_empty()) {
                    let (outcome, lines) = self.files(case)?;
                    let new = outcome == Outcome::Served;
                    ensure!(new, "{}: {lines:?}", case.name);
                }
                Ok(())
            },
        )
        .await
    }

    fn files(&self, case: &Case) -> anyhow::Result<(Outcome, BTreeSet<String>)> {
        let before = self.before.get(case.name).context("taken before")?;
        let now = Snapshot::take(&self.directory, case.name);
        Ok(now.since(before, self.rig, &self.directory, case.name))
    }

    /// Remembers the requests so far, as soon as this side has made its passes: it may try again what
    /// has failed while the other side is still at work.
    fn count_requests(&mut self) -> anyhow::Result<()> {
        self.requests = Some(Requests::read(&self.rig.chain.requests())?);
        Ok(())
    }

    fn observe(&self, case: &Case, from: usize) -> anyhow::Result<Observation> {
        let requests = self.requests.as_ref().context("read after the passes")?;
        let (outcome, mut lines) = self.files(case)?;
        let accessor = &self.tokens.get(case.name).context("made before")?.accessor;
        let counted = self.group.passes > 1;
        lines.extend(requests.of(from, accessor, case.name, self.side, counted));
        let left = stray_files(&self.directory)?;
        if left > 0 {
            lines.insert("leaves a temporary file in the credential directory".to_owned());
        }
        Ok(Observation { outcome, lines })
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        let mut daemon = self.daemon.take().context("it was started")?;
        daemon.stop().await.map(drop)
    }
}

fn names(group: &Group) -> impl Iterator<Item = &'static str> {
    group
        .cases
        .iter()
        .map(|case| case.name)
        .chain(std::iter::once(SENTINEL))
}

/// Files of the directory that no monitor should leave.
fn stray_files(directory: &Path) -> anyhow::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        count += usize::from(name.starts_with("tmp") || name.starts_with(".credmon-"));
    }
    Ok(count)
}
