//! Owners and modes that a credential directory and an account's folder may have before a vault token is
//! stored there.
//!
//! HTCondor keeps the directory as `2770 root:condor`, and the credd makes folders as `2700
//! condor:condor`. A group that has access to the whole directory may have it to the folders, too. In a
//! personal pool all belong to one user. Whoever else owns a folder, or may write into it, gets the token.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use nix::unistd::{Gid, Group, Uid, User, geteuid};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Permission bits.
    pub(super) mode: u32,
}

impl Attributes {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode() & 0o7777,
        }
    }

    /// `USER:GROUP, mode MODE`.
    fn words(self) -> String {
        format!(
            "{}:{}, mode {:04o}",
            user_name(self.uid),
            group_name(self.gid),
            self.mode
        )
    }
}

/// An error says why nothing is stored, with advice: others could read or replace it.
pub(super) fn check_directory(directory: Attributes) -> Result<(), String> {
    if directory.mode & 0o002 == 0 {
        return Ok(());
    }
    Err(format!(
        "everybody may write into it ({}), and so make an account's folder that is not HTCondor's; expected is mode \
         2770: `chmod 2770` it, and see who owns the folders in it",
        directory.words()
    ))
}

/// The same for an account's folder in that directory.
pub(super) fn check_folder(
    account: &str,
    folder: Attributes,
    directory: Attributes,
) -> Result<(), String> {
    if is_trusted(folder.uid, directory) && is_closed(folder, directory.gid) {
        return Ok(());
    }
    let (user, group) = owner_of_folders(directory).unwrap_or((directory.uid, directory.gid));
    let owner = format!("{}:{}", user_name(user), group_name(group));
    Err(format!(
        "others than HTCondor could read or replace what is stored in folder {account} ({}), so nothing is stored \
         there; expected is {owner}, mode 2700: `chown {owner}` and `chmod 2700` it, or remove it when it is not \
         HTCondor's",
        folder.words()
    ))
}

/// Owners who may write everywhere in the directory anyway.
fn is_trusted(user: u32, directory: Attributes) -> bool {
    let known = [0, geteuid().as_raw(), directory.uid];
    known.contains(&user) || owner_of_folders(directory).is_ok_and(|(owner, _)| owner == user)
}

/// Nobody but the owner has access; besides, the group that has access to the whole directory may.
fn is_closed(folder: Attributes, group: u32) -> bool {
    let others = folder.mode & 0o007 != 0;
    let by_group = folder.mode & 0o070 != 0;
    !others && (!by_group || [0, group].contains(&folder.gid))
}

/// Owner of new folders: HTCondor's user, after whom the directory's group is named; without such a
/// user, the directory's owner.
pub(super) fn owner_of_folders(directory: Attributes) -> io::Result<(u32, u32)> {
    let group = Group::from_gid(Gid::from_raw(directory.gid))?;
    let user = match group {
        Some(group) => User::from_name(&group.name)?.map(|user| user.uid.as_raw()),
        None => None,
    };
    Ok((user.unwrap_or(directory.uid), directory.gid))
}

fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

fn group_name(gid: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    group.map_or_else(|| gid.to_string(), |group| group.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No user or group of a test system.
    const SOMEBODY: u32 = 3_999_999_001;
    const CREDD: u32 = 3_999_999_002;

    fn like(uid: u32, gid: u32, mode: u32) -> Attributes {
        Attributes { uid, gid, mode }
    }

    #[test]
    fn folders_as_htcondor_makes_them_are_used() {
        let of_root = like(0, CREDD, 0o2770);
        let of_a_user = like(CREDD, CREDD, 0o700);
        for (folder, directory) in [
            (like(0, CREDD, 0o2700), of_root),
            (like(0, CREDD, 0o2770), of_root),
            (like(0, 0, 0o2750), of_root),
            (like(0, SOMEBODY, 0o700), of_root),
            (like(CREDD, CREDD, 0o2700), of_a_user),
            (like(geteuid().as_raw(), SOMEBODY, 0o2700), of_root),
        ] {
            assert_eq!(check_folder("a", folder, directory), Ok(()), "{folder:?}");
        }
        assert_eq!(check_directory(of_root), Ok(()));
        assert_eq!(check_directory(like(0, 0, 0o755)), Ok(()));
    }

    #[test]
    fn folders_that_others_may_use_are_refused() {
        let directory = like(0, CREDD, 0o2770);
        for folder in [
            like(SOMEBODY, CREDD, 0o2700),
            like(0, CREDD, 0o2701),
            like(0, CREDD, 0o2702),
            like(0, CREDD, 0o2704),
            like(0, SOMEBODY, 0o2730),
        ] {
            assert!(check_folder("a", folder, directory).is_err(), "{folder:?}");
        }
        let exposure = check_folder("cmsprod", like(SOMEBODY, SOMEBODY, 0o755), directory);
        let exposure = exposure.unwrap_err();
        assert_eq!(
            exposure,
            "others than HTCondor could read or replace what is stored in folder cmsprod \
             (3999999001:3999999001, mode 0755), so nothing is stored there; expected is root:3999999002, mode 2700: \
             `chown root:3999999002` and `chmod 2700` it, or remove it when it is not HTCondor's"
        );
    }

    #[test]
    fn a_directory_that_everybody_may_write_is_refused() {
        let exposure = check_directory(like(0, 0, 0o1777)).unwrap_err();
        assert!(exposure.contains("(root:root, mode 1777)"), "{exposure}");
    }
}
