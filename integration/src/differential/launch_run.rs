//! Runs one process of each side through its life: start, a good credential, a signal, the end.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;

use super::case::{Expected, Outcome, Reference};
use super::folder_run::Pair;
use super::observe::Observation;
use super::rig::{Rig, Side};
use crate::process::Daemon;
use crate::wait;
use crate::wait::FAR;

/// The credential directory at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// As HTCondor wants it, with a good credential.
    Good,
    /// The same with this mode; it is set right when the monitor has complained or ended.
    Mode(u32),
    /// Missing.
    Missing,
    /// A plain file is in its place.
    File,
}

/// A start with options and settings.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// Names the row.
    pub name: &'static str,
    /// The situation in words.
    pub words: &'static str,
    /// Arguments; `$DIR` stands for the directory, `$LOG` for the usual log.
    pub arguments: &'static [&'static str],
    /// Settings besides directory (`$DIR`) and log; one of these names with an empty value is left
    /// out.
    pub settings: &'static [(&'static str, &'static str)],
    /// The directory.
    pub place: Place,
    /// The log that is looked for, when another than the usual.
    pub log: &'static str,
    /// What ends it.
    pub end: Signal,
    /// The other side.
    pub reference: Reference,
    /// HTCondor's never makes a pass: it is looked at when its log holds this or, for an empty
    /// text, when it has used the processor for longer than any start takes.
    pub theirs_hangs: Option<&'static str>,
    /// What is expected.
    pub expected: Expected,
}

impl Launch {
    /// A start without options, ended by SIGTERM; what is expected follows.
    #[must_use]
    pub const fn new(name: &'static str, words: &'static str) -> Self {
        Self {
            name,
            words,
            arguments: &[],
            settings: &[],
            place: Place::Good,
            log: "",
            end: Signal::SIGTERM,
            reference: Reference::Vault,
            theirs_hangs: None,
            expected: Expected::Same(Outcome::Served),
        }
    }

    /// With options.
    #[must_use]
    pub const fn options(mut self, arguments: &'static [&'static str]) -> Self {
        self.arguments = arguments;
        self
    }

    /// With settings.
    #[must_use]
    pub const fn with(mut self, settings: &'static [(&'static str, &'static str)]) -> Self {
        self.settings = settings;
        self
    }

    /// With another directory.
    #[must_use]
    pub const fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// With another log.
    #[must_use]
    pub const fn logs_to(mut self, log: &'static str) -> Self {
        self.log = log;
        self
    }

    /// Ended by another signal.
    #[must_use]
    pub const fn ended_by(mut self, end: Signal) -> Self {
        self.end = end;
        self
    }

    /// Against another of HTCondor's programs.
    #[must_use]
    pub const fn against(mut self, reference: Reference) -> Self {
        self.reference = reference;
        self
    }

    /// HTCondor's never makes a pass; what its log holds then.
    #[must_use]
    pub const fn theirs_hangs(mut self, saying: &'static str) -> Self {
        self.theirs_hangs = Some(saying);
        self
    }

    /// What is expected.
    #[must_use]
    pub const fn expect(mut self, expected: Expected) -> Self {
        self.expected = expected;
        self
    }
}

/// Runs it on both sides; HTCondor's first unless it hangs.
pub async fn run(rig: &Rig, launch: &Launch) -> anyhow::Result<Pair> {
    if let Some(saying) = launch.theirs_hangs {
        let hanging = Started::new(rig, launch, Side::Theirs).await?;
        let ours = Started::new(rig, launch, Side::Ours).await?.whole().await?;
        let theirs = hanging.cut_short(saying).await?;
        return Ok(Pair { theirs, ours });
    }
    let one = async |side| Started::new(rig, launch, side).await?.whole().await;
    let (theirs, ours) = tokio::try_join!(one(Side::Theirs), one(Side::Ours))?;
    Ok(Pair { theirs, ours })
}

struct Started<'a> {
    rig: &'a Rig,
    launch: &'a Launch,
    inside: String,
    log: String,
    daemon: Daemon,
    lines: BTreeSet<String>,
}

impl<'a> Started<'a> {
    async fn new(rig: &'a Rig, launch: &'a Launch, side: Side) -> anyhow::Result<Self> {
        let name = format!("launch-{}", launch.name);
        let inside = rig.directory(&name, side)?;
        let directory = rig.path(&inside);
        match launch.place {
            Place::Good => store(rig, &directory).await?,
            Place::Mode(mode) => {
                store(rig, &directory).await?;
                fs::set_permissions(&directory, fs::Permissions::from_mode(mode))?;
            }
            Place::Missing => fs::remove_dir(&directory)?,
            Place::File => {
                fs::remove_dir(&directory)?;
                fs::write(&directory, "")?;
            }
        }
        let usual = format!("/var/log/condor/{name}-{}", side.word());
        let filled = |text: &str| text.replace("$DIR", &inside).replace("$LOG", &usual);
        let arguments: Vec<String> = launch.arguments.iter().map(|text| filled(text)).collect();
        let mut settings: Vec<(String, String)> = [
            ("SEC_CREDENTIAL_DIRECTORY_OAUTH", "$DIR"),
            ("CREDMON_OAUTH_LOG", "$LOG"),
        ]
        .into_iter()
        .filter(|(name, _)| launch.settings.iter().all(|(own, _)| own != name))
        .chain(launch.settings.iter().copied())
        .map(|(name, value)| (name.to_owned(), filled(value)))
        .collect();
        settings.retain(|(name, value)| !(value.is_empty() && name.ends_with("_LOG")));
        let log = match launch.log {
            "" => usual.clone(),
            other => filled(other),
        };
        // Left by the other side, where both have the same.
        let _ = fs::remove_file(rig.path(&log));
        let daemon = rig.start_side(&name, side, launch.reference, &arguments, &settings)?;
        Ok(Self {
            rig,
            launch,
            inside,
            log,
            daemon,
            lines: BTreeSet::new(),
        })
    }

    fn directory(&self) -> std::path::PathBuf {
        self.rig.path(&self.inside)
    }

    fn complained(&self) -> bool {
        fs::read_to_string(self.rig.path(&self.log)).is_ok_and(|text| text.contains("ERROR"))
    }

    /// Waits until it has ended, made a pass, or (if asked) complained.
    async fn settled(&mut self, complaint: bool) -> anyhow::Result<()> {
        let complete = self.directory().join("CREDMON_COMPLETE");
        wait::until("an end or a pass", FAR, async || -> anyhow::Result<()> {
            let ended = self.daemon.try_ended()?.is_some();
            let done = ended || complete.exists() || (complaint && self.complained());
            ensure!(done, "neither");
            Ok(())
        })
        .await
        .with_context(|| self.daemon.tail(20))
    }

    async fn whole(mut self) -> anyhow::Result<Observation> {
        let is_bad = match self.launch.place {
            Place::Good | Place::Missing => false,
            Place::Mode(mode) => mode & 0o7 != 0,
            Place::File => true,
        };
        self.settled(is_bad || self.launch.name == "no-directory")
            .await?;
        if is_bad {
            let directory = self.directory();
            if self.launch.place == Place::File {
                fs::remove_file(&directory)?;
                fs::create_dir(&directory)?;
            }
            self.rig.own(&directory, 0o2770, "root:condor")?;
            if self.launch.place == Place::File {
                store(self.rig, &directory).await?;
            }
            // The credd does so when something is stored.
            self.daemon.signal(Signal::SIGHUP)?;
            self.settled(false).await?;
        }
        if self.daemon.try_ended()?.is_some() {
            self.daemon.read_to_the_end().await;
        }
        self.look();
        if self.daemon.try_ended()?.is_none() {
            self.daemon.signal(self.launch.end)?;
            let status = self.daemon.wait(FAR).await?;
            let how = match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (None, signal) => format!("signal {signal:?}"),
            };
            self.say(format!("{}: ends with {how}", self.launch.end));
        } else if let Some(status) = self.daemon.try_ended()? {
            self.say(format!("ends by itself, exit code {:?}", status.code()));
        }
        self.afterwards();
        Ok(self.finish())
    }

    /// For one that hangs: what there is now.
    async fn cut_short(mut self, saying: &str) -> anyhow::Result<Observation> {
        let log = self.rig.path(&self.log);
        let pid = self.daemon.pid();
        wait::until("it to hang", FAR, async || -> anyhow::Result<()> {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let hangs = if saying.is_empty() {
                !text.is_empty() || processor_ticks(pid.as_raw())? > LONG_START
            } else {
                text.contains(saying)
            };
            ensure!(hangs, "it does not yet; its log:\n{text}");
            Ok(())
        })
        .await?;
        self.look();
        let ended = self.daemon.try_ended()?.is_some();
        self.say(format!("is {}", if ended { "gone" } else { "stuck" }));
        self.daemon.signal(Signal::SIGKILL)?;
        self.daemon.wait(FAR).await?;
        Ok(self.finish())
    }

    fn say(&mut self, line: String) {
        self.lines.insert(line);
    }

    /// What there is while it runs.
    fn look(&mut self) {
        let directory = self.directory();
        if let Some(line) = attributes(self.rig, &directory, "") {
            self.say(format!("directory {line}"));
        }
        for file in ["pid", "CREDMON_COMPLETE"] {
            if let Some(line) = attributes(self.rig, &directory, file) {
                self.say(format!("{file} {line}"));
            }
        }
        if let Ok(pid) = fs::read_to_string(directory.join("pid")) {
            let names_it = pid == self.daemon.pid().to_string();
            self.say(format!("pid names the process: {names_it}"));
        }
        let log = self.rig.path(&self.log);
        match fs::read_to_string(&log) {
            Ok(text) => {
                let mode = log.metadata().map_or(0, |meta| meta.mode() & 0o7777);
                self.say(format!("log is written, {mode:04o}"));
                let first = text.lines().next().unwrap_or_default();
                self.say(format!("log lines begin so: {}", form(first)));
            }
            Err(_) => self.say("log is not written".to_owned()),
        }
        if !self.daemon.tail(1).is_empty() {
            self.say("says something on the terminal".to_owned());
        }
    }

    /// What it leaves.
    fn afterwards(&mut self) {
        for file in ["pid", "CREDMON_COMPLETE"] {
            if self.directory().join(file).exists() {
                self.say(format!("leaves {file} when it ends"));
            }
        }
    }

    fn finish(self) -> Observation {
        let served = self.directory().join("cmsprod/cms.use").exists();
        let outcome = if served {
            Outcome::Served
        } else {
            Outcome::NotServed
        };
        Observation {
            outcome,
            lines: self.lines,
        }
    }
}

/// Processor time that no start takes, in hundredths of a second.
const LONG_START: u64 = 400;

/// Processor time that a process has used, in hundredths of a second.
fn processor_ticks(pid: i32) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field, the name, may hold blanks: count after its end.
    let (_, rest) = stat.rsplit_once(')').context("the kernel's own form")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    Ok(field(11).unwrap_or(0) + field(12).unwrap_or(0))
}

/// Stores a good credential.
async fn store(rig: &Rig, directory: &Path) -> anyhow::Result<()> {
    let tokens = rig.tokens().await?;
    let folder = directory.join("cmsprod");
    fs::create_dir(&folder)?;
    rig.own(&folder, 0o2700, "condor:condor")?;
    let top = folder.join("cms.top");
    fs::write(
        &top,
        super::table::TOP.replace("$TOKEN", tokens.living.expose()),
    )?;
    rig.own(&top, 0o600, "root:condor")
}

/// Mode and owner.
fn attributes(rig: &Rig, directory: &Path, file: &str) -> Option<String> {
    let at = if file.is_empty() {
        directory.to_owned()
    } else {
        directory.join(file)
    };
    let meta = at.symlink_metadata().ok()?;
    let owner = rig.owner(meta.uid(), meta.gid());
    Some(format!("has {:04o} {owner}", meta.mode() & 0o7777))
}

/// The beginning of a line with each digit as `0`.
fn form(line: &str) -> String {
    let zero = |c: char| if c.is_ascii_digit() { '0' } else { c };
    line.chars().take(18).map(zero).collect()
}
