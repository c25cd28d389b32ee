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

/// Capabilities that root keeps: reading and writing in folders of condor's, giving files their owner and
/// group, and keeping a group's bit on a directory that is made.
const KEPT: [Capability; 3] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FSETID,
];

/// The version of landlock whose rights are asked for; of an older kernel, those that it has.
const LANDLOCK: ABI = ABI::V3;

/// Keeps only the capabilities that are needed.
pub(crate) fn drop_capabilities() -> Result<(), String> {
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

/// Extent to which writing is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confinement {
    /// Wholly.
    Full,
    /// As far as this kernel can.
    Partial,
    /// Not at all: this kernel cannot.
    None,
}

/// Missing part of a confinement, for the log.
pub(crate) fn shortcoming(confined: &Result<Confinement, String>) -> Option<String> {
    let why = match confined {
        Ok(Confinement::Full) => return None,
        Ok(Confinement::Partial) => {
            "this kernel knows only a part of landlock; Linux 6.2 and later know all that is used"
        }
        Ok(Confinement::None) => {
            "this kernel has no landlock, or it is not in its list (lsm=); Linux 5.13 and later have it"
        }
        Err(words) => words,
    };
    Some(format!(
        "writing is not fully confined to the configured directories: {why}. All other protections \
         hold, and credentials are served as usual"
    ))
}

/// Lets this thread, and what it starts, write below these places only.
pub(crate) fn confine(places: &[PathBuf]) -> Result<Confinement, String> {
    let restrict = || -> Result<RulesetStatus, RulesetError> {
        // Reading is not asked about: a rule that allows it everywhere is looked for at each opening,
        // all the way up to the root.
        let write = AccessFs::from_write(LANDLOCK);
        let status = Ruleset::default()
            .handle_access(write)?
            .create()?
            .add_rules(path_beneath_rules(places, write))?
            .add_rules(path_beneath_rules(["/dev/null"], write))?
            .restrict_self()?;
        Ok(status.ruleset)
    };
    match restrict() {
        Ok(RulesetStatus::FullyEnforced) => Ok(Confinement::Full),
        Ok(RulesetStatus::PartiallyEnforced) => Ok(Confinement::Partial),
        Ok(RulesetStatus::NotEnforced) => Ok(Confinement::None),
        Err(error) => Err(format!("landlock: {error}")),
    }
}

/// The folders that must be written to, so that these files and directories can be made anew: the
/// nearest one above each that exists.
pub(crate) fn places<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = paths
        .into_iter()
        .filter_map(|path| {
            let path = absolute(path);
            let folder = path.ancestors().skip(1).find(|folder| folder.is_dir());
            folder.map(Path::to_owned)
        })
        .collect();
    places.sort();
    places.dedup();
    places
}

/// Paths that may not be written to by a process that was confined to `places`.
pub(crate) fn outside<'p>(
    places: &[PathBuf],
    paths: impl IntoIterator<Item = &'p Path>,
) -> impl Iterator<Item = &'p Path> {
    paths
        .into_iter()
        .filter(|path| !places.iter().any(|place| absolute(path).starts_with(place)))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests;
