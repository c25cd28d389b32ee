//! After the start the process keeps only what its work needs.
//!
//! - Capabilities: as root, those for files of other owners (`KEPT`); as another user, none. The
//!   bounding set as well, so that no program that is started regains any.
//! - Landlock: everything may be read, as far as permissions allow, but files are made, changed
//!   and removed only below the places that are named.
//!
//! Both hold for the calling thread and what it starts from then on, so this comes before any other
//! thread. What a kernel does not offer is said and done without.

use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    path_beneath_rules,
};

/// What root keeps: reading and writing in folders of condor's, giving files their owner and
/// group, and keeping a group's bit on a directory that is made.
const KEPT: [Capability; 3] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FSETID,
];

/// The version of landlock whose rights are asked for; of an older kernel, those that it has.
const LANDLOCK: ABI = ABI::V3;

/// Keeps only the capabilities that are needed.
///
/// # Errors
/// The kernel refuses; the words say what.
pub fn drop_capabilities() -> Result<(), String> {
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

/// How far writing is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Wholly.
    Full,
    /// As far as this kernel can.
    Partial,
    /// Not at all: this kernel cannot.
    None,
}

/// What is missing of a confinement, for the log; `None` when nothing is.
#[must_use]
pub fn shortcoming(confined: &Result<Confinement, String>) -> Option<String> {
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
///
/// # Errors
/// The kernel refuses; the words say what.
pub fn confine(places: &[PathBuf]) -> Result<Confinement, String> {
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
#[must_use]
pub fn places<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Vec<PathBuf> {
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

/// Which of some paths may not be written to by a process that was confined to `places`.
pub fn outside<'p>(
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
mod tests {
    use super::*;

    /// What is given up is given up by one thread, which ends.
    fn apart<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(act).join().unwrap()
    }

    #[test]
    fn root_keeps_what_files_of_others_need_and_nothing_else() {
        let left = apart(|| {
            drop_capabilities().unwrap();
            // A second time, without what was given up.
            drop_capabilities().unwrap();
            let read = |set| caps::read(None, set).unwrap();
            [
                read(CapSet::Permitted),
                read(CapSet::Effective),
                read(CapSet::Inheritable),
            ]
        });
        let kept: CapsHashSet = KEPT.into_iter().collect();
        assert!(left[0].is_subset(&kept) && left[0] == left[1]);
        assert!(left[2].is_empty());
        if nix::unistd::geteuid().is_root() {
            assert_eq!(left[0], kept);
        }
    }

    #[test]
    fn root_still_puts_files_into_folders_of_others_in_their_group() {
        use crate::old::folder::Folder;
        use crate::old::placing::{Like, Owner, place};
        use nix::unistd::{Gid, Uid, chown};
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let condor = (Uid::from_raw(12_345), Gid::from_raw(54_321));
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o2700)).unwrap();
        chown(dir.path(), Some(condor.0), Some(condor.1)).unwrap();
        let path = dir.path().to_owned();
        let folder = apart(move || {
            drop_capabilities().unwrap();
            let folder = Folder::open(&path).unwrap();
            let like = |owner| Like {
                mode: nix::sys::stat::Mode::S_IRUSR,
                owner,
                sync: true,
            };
            place(&folder, "group", like(Owner::Group(condor.1)), |_| Ok(())).unwrap();
            place(&folder, "group", like(Owner::Group(condor.1)), |_| Ok(())).unwrap();
            let other = Owner::Exactly(condor.0, condor.1);
            place(&folder, "owner", like(other), |_| Ok(())).unwrap();
            place(&folder, "owner", like(other), |_| Ok(())).unwrap();
            path
        });
        let meta = |name: &str| std::fs::metadata(folder.join(name)).unwrap();
        assert_eq!((meta("group").uid(), meta("group").gid()), (0, 54_321));
        assert_eq!((meta("owner").uid(), meta("owner").gid()), (12_345, 54_321));
        assert_eq!(meta("owner").permissions().mode() & 0o7777, 0o400);
    }

    #[test]
    fn writing_elsewhere_is_refused_where_the_kernel_can() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("a"), "x").unwrap();
        let (place, other) = (inside.path().to_owned(), outside.path().to_owned());
        let (confinement, within, beyond, read) = apart(move || {
            let confinement = confine(std::slice::from_ref(&place)).unwrap();
            std::fs::create_dir(place.join("u")).unwrap();
            std::fs::write(place.join("u/new"), "x").unwrap();
            (
                confinement,
                std::fs::rename(place.join("u/new"), place.join("u/a")).is_ok(),
                std::fs::write(other.join("a"), "y").is_ok(),
                std::fs::read_to_string(other.join("a")).unwrap(),
            )
        });
        assert!(within);
        assert_eq!(beyond, confinement == Confinement::None);
        assert_eq!(read == "x", confinement != Confinement::None);
    }

    #[test]
    fn what_a_kernel_lacks_is_said() {
        assert_eq!(shortcoming(&Ok(Confinement::Full)), None);
        for (confined, part) in [
            (Ok(Confinement::Partial), "a part of landlock"),
            (Ok(Confinement::None), "no landlock"),
            (Err("landlock: refused".to_owned()), "landlock: refused"),
        ] {
            let words = shortcoming(&confined).unwrap();
            assert!(words.contains(part), "{words}");
            assert!(words.contains("served as usual"), "{words}");
        }
    }

    #[test]
    fn a_place_is_the_nearest_folder_that_exists() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("a/b/creds"), dir.path().join("log"));
        let found = places([one.as_path(), two.as_path()]);
        assert_eq!(found, [dir.path()]);
        let elsewhere = Path::new("/elsewhere/x");
        let out: Vec<_> = outside(&found, [one.as_path(), elsewhere]).collect();
        assert_eq!(out, [elsewhere]);
    }
}
