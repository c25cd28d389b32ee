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
    ABI, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    path_beneath_rules,
};

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

/// Folders where this process may write after it gave up its other rights; `None`: everywhere.
pub(super) struct Places(Option<Vec<PathBuf>>);

impl Places {
    /// Gives up what the work does not need but to make these files; says what could not be given up.
    pub(super) fn give_up(files: &[PathBuf]) -> (Self, Vec<Event>) {
        let mut events = Vec::new();
        if let Err(error) = drop_capabilities() {
            let text = format!("the process keeps more rights than it needs: {error}");
            events.push(Event::new(Level::Warning, text));
        }
        let folders = places(files);
        let shortcoming = shortcoming(&confine(&folders));
        events.extend(shortcoming.map(|text| Event::new(Level::Info, text)));
        (Self(Some(folders)), events)
    }

    /// Gives up nothing, as the site asks for.
    pub(super) fn everywhere() -> (Self, Vec<Event>) {
        let text = "CREDMON_HTVAULT_CONFINE is false: the process keeps all its rights";
        (Self(None), vec![Event::new(Level::Warning, text)])
    }

    /// Files that this process may not make, in words.
    pub(super) fn complaints(&self, daemon: &str, files: &[PathBuf]) -> Vec<String> {
        let folders = self.0.as_deref();
        let is_inside = |file: &&PathBuf| {
            let file = absolute(file);
            folders.is_none_or(|all| all.iter().any(|folder| file.starts_with(folder)))
        };
        let outside = files.iter().filter(|file| !is_inside(file));
        let text = |file: &PathBuf| {
            format!(
                "{} lies where this process gave up to write when it started: restart it \
                 (condor_restart -daemon {daemon})",
                file.display()
            )
        };
        outside.map(text).collect()
    }
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

/// Lets this thread, and what it starts, write below these places only.
fn confine(places: &[PathBuf]) -> Result<RulesetStatus, RulesetError> {
    // Reading is not asked about: a rule that allows it everywhere is looked for at each opening, all
    // the way up to the root.
    let write = AccessFs::from_write(LANDLOCK);
    let status = Ruleset::default()
        .handle_access(write)?
        .create()?
        .add_rules(path_beneath_rules(places, write))?
        .add_rules(path_beneath_rules(["/dev/null"], write))?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// The folders that must be written to, so that these files and directories can be made anew: the
/// nearest one above each that exists.
fn places(paths: &[PathBuf]) -> Vec<PathBuf> {
    let folder = |path: &PathBuf| {
        let path = absolute(path);
        let folder = path.ancestors().skip(1).find(|folder| folder.is_dir());
        folder.map(Path::to_owned)
    };
    let mut places: Vec<PathBuf> = paths.iter().filter_map(folder).collect();
    places.sort();
    places.dedup();
    places
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests;
