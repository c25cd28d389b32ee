//! Rights that the process gives up before its threads start.
//!
//! - Capabilities: as root, those for files of other owners (`KEPT`); as another user, none. The
//!   bounding set as well, so that no program that is started regains any.
//! - Landlock: everything may be read, as far as permissions allow, but files are made, changed
//!   and removed only below the places that are named.
//!
//! Both hold for the calling thread and what it starts from then on. What a kernel does not offer is
//! logged and done without.

use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, path_beneath_rules,
};
use tokio::time::Instant;

use super::apart::{ANSWER, on_thread};
use crate::model::{Event, Level};

/// Capabilities that root keeps: reading and writing in folders of condor's, giving files their owner and
/// group, and keeping a group's bit on a directory that is made.
const KEPT: [Capability; 3] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FSETID,
];

/// The version of landlock whose rights are asked for; of an older kernel, those that it has.
const LANDLOCK: ABI = ABI::V3;

/// Folders in which files are to be made, found and open.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// By real paths, without symbolic links.
    folders: Vec<(PathBuf, PathFd)>,
    /// Files whose file system does not answer.
    silent: Vec<PathBuf>,
    /// Files of whose folders none exists but the root, below which is everything.
    homeless: Vec<PathBuf>,
}

impl Found {
    /// Finds the folders of these files, beside those that are open. Each path is asked for on a thread of its own: a
    /// file system that hangs costs only its own files.
    pub(super) async fn of(folders: Vec<(PathBuf, PathFd)>, files: &[PathBuf]) -> Self {
        let mut found = Self {
            folders,
            ..Self::default()
        };
        for (file, folders) in ask(files, open_folders).await {
            let Some(mut folders) = folders else {
                found.silent.push(file);
                continue;
            };
            let is_named = |folder: &Path| absolute(&file).parent() == Some(folder);
            folders.retain(|(folder, _)| folder.parent().is_some() || is_named(folder));
            if folders.is_empty() {
                found.homeless.push(file);
            }
            found.folders.extend(folders);
        }
        found.folders.sort_by(|(one, _), (other, _)| one.cmp(other));
        found.folders.dedup_by(|(one, _), (other, _)| one == other);
        found
    }

    /// `true` for a file whose file system does not answer.
    pub(super) fn is_silent(&self, file: &Path) -> bool {
        self.silent.iter().any(|silent| silent == file)
    }

    /// Files that were left out, in words.
    pub(super) fn complaints(&self, daemon: &str) -> Vec<String> {
        let silent = self.silent.iter().map(|file| complaint(daemon, file));
        let homeless = self.homeless.iter().map(|file| {
            let file = file.display();
            format!(
                "no folder on the way to {file} exists: make its folder, then {}",
                restart(daemon)
            )
        });
        silent.chain(homeless).collect()
    }
}

/// Folders where this process may write after it gave up its other rights, by real paths; `None`: everywhere.
pub(super) struct Places(Option<Vec<PathBuf>>);

impl Places {
    /// Gives up what the work does not need but to make files in these folders; says what could not be given up.
    pub(super) fn give_up(found: Found) -> (Self, Vec<Event>) {
        let mut events = Vec::new();
        if let Err(error) = drop_capabilities() {
            let text = format!("the process keeps more rights than it needs: {error}");
            events.push(Event::new(Level::Warning, text));
        }
        let (paths, folders): (Vec<_>, Vec<_>) = found.folders.into_iter().unzip();
        let confined = confine(folders);
        let shortcoming = shortcoming(&confined);
        events.extend(shortcoming.map(|text| Event::new(Level::Info, text)));
        (Self::after(&confined, paths), events)
    }

    /// Those after a confinement to these folders, which a kernel without landlock does not make.
    fn after(confined: &Result<RulesetStatus, RulesetError>, folders: Vec<PathBuf>) -> Self {
        let is_confined = !matches!(confined, Ok(RulesetStatus::NotEnforced) | Err(_));
        Self(is_confined.then_some(folders))
    }

    pub(super) fn are_confined(&self) -> bool {
        self.0.is_some()
    }

    /// Gives up nothing, as the site asks for.
    pub(super) fn everywhere() -> (Self, Vec<Event>) {
        let text = "CREDMON_HTVAULT_CONFINE is false: the process keeps all its rights";
        (Self(None), vec![Event::new(Level::Warning, text)])
    }

    /// Files that this process may not make, in words.
    pub(super) async fn complaints(&self, daemon: &str, files: &[PathBuf]) -> Vec<String> {
        let Some(folders) = &self.0 else {
            return Vec::new();
        };
        let mut complaints = Vec::new();
        for (file, real) in ask(files, real).await {
            let real = real.unwrap_or_else(|| absolute(&file));
            if !folders.iter().any(|folder| real.starts_with(folder)) {
                complaints.push(complaint(daemon, &file));
            }
        }
        complaints
    }
}

fn complaint(daemon: &str, file: &Path) -> String {
    format!(
        "{} lies where this process gave up to write when it started, for good: it was not configured then, or its file \
         system did not answer: {}",
        file.display(),
        restart(daemon)
    )
}

/// Commands that start a daemon anew, in words. `condor_restart` finds none of this kind.
fn restart(daemon: &str) -> String {
    format!("restart it (condor_off -daemon {daemon} and condor_on -daemon {daemon})")
}

/// Keeps only the capabilities that are needed.
fn drop_capabilities() -> Result<(), String> {
    let refused = |step: &'static str| move |error| format!("capabilities: {step}: {error}");
    let has = caps::read(None, CapSet::Permitted).map_err(refused("reading"))?;
    if has.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::runtime::thread_all_supported() {
            if !KEPT.contains(&capability) {
                caps::drop(None, CapSet::Bounding, capability).map_err(refused("bounding set"))?;
            }
        }
    }
    let kept: CapsHashSet = KEPT.into_iter().filter(|c| has.contains(c)).collect();
    let none = CapsHashSet::new();
    caps::set(None, CapSet::Inheritable, &none).map_err(refused("inheritable set"))?;
    caps::set(None, CapSet::Effective, &kept).map_err(refused("effective set"))?;
    caps::set(None, CapSet::Permitted, &kept).map_err(refused("permitted set"))
}

/// Missing part of a confinement, for the log.
fn shortcoming(confined: &Result<RulesetStatus, RulesetError>) -> Option<String> {
    let why = match confined {
        Ok(RulesetStatus::FullyEnforced) => return None,
        Ok(RulesetStatus::PartiallyEnforced) => {
            "this kernel knows only a part of landlock; Linux 6.2 and later know all that is used"
        }
        Ok(RulesetStatus::NotEnforced) => {
            "this kernel has no landlock, or it is not in its list (lsm=); Linux 5.13 and later have it"
        }
        Err(error) => &error.to_string(),
    };
    Some(format!(
        "writing is not fully confined to the configured directories: {why}. All other protections \
         hold, and credentials are served as usual"
    ))
}

/// Lets this thread, and what it starts, write below these folders only.
fn confine(folders: Vec<PathFd>) -> Result<RulesetStatus, RulesetError> {
    // Reading is not asked about: a rule that allows it everywhere is looked for at each opening, all
    // the way up to the root.
    let write = AccessFs::from_write(LANDLOCK);
    let rules = folders
        .into_iter()
        .map(|folder| PathBeneath::new(folder, write));
    let status = Ruleset::default()
        .handle_access(write)?
        .create()?
        .add_rules(rules.map(Ok::<_, RulesetError>))?
        .add_rules(path_beneath_rules(["/dev/null"], write))?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// Asks a file system about each path, with one thread for each; `None` where there is no answer in time.
async fn ask<T: Send + 'static>(
    paths: &[PathBuf],
    ask: fn(&Path) -> T,
) -> Vec<(PathBuf, Option<T>)> {
    let start = |path: &PathBuf| {
        let asked = path.clone();
        (path.clone(), on_thread("places", move || ask(&asked)))
    };
    // All before the first is waited for.
    let started: Vec<_> = paths.iter().map(start).collect();
    let deadline = Instant::now() + ANSWER;
    let mut answers = Vec::with_capacity(paths.len());
    for (path, answer) in started {
        let answer = tokio::time::timeout_at(deadline, answer).await;
        answers.push((path, answer.ok().and_then(Result::ok)));
    }
    answers
}

/// Opens the folders that must be written to, so that this file or directory can be made anew: the nearest one above
/// it that exists, and where a symbolic link is in its place the one above what that leads to.
pub(super) fn open_folders(path: &Path) -> Vec<(PathBuf, PathFd)> {
    let above = |path: &Path| {
        let folder = path.ancestors().skip(1).find(|folder| folder.is_dir())?;
        let folder = folder.canonicalize().ok()?;
        let open = PathFd::new(&folder).ok()?;
        Some((folder, open))
    };
    let paths = [absolute(path), real(path)];
    paths.iter().filter_map(|path| above(path)).collect()
}

/// The absolute path without symbolic links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let path = absolute(path);
    let resolve = |above: &Path| {
        let rest = path.strip_prefix(above).ok()?;
        Some(above.canonicalize().ok()?.join(rest))
    };
    path.ancestors().find_map(resolve).unwrap_or(path)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests;
