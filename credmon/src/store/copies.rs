//! Copies of access tokens for agents beside the schedd that cannot read the credential directory.
//!
//! A copy follows its `.use`: it is compared after each renewal and each full scan, and replaced when
//! content, owner or mode differ. It is installed as `.use` is (whole, by a rename, through no link,
//! also not on the way to its folder), and stays when the `.use` is gone. A copy that fails is logged
//! once and stops nothing: copies have a thread of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid};

use super::directory::Directory;
use super::folder::Folder;
use super::install::{FileAttributes, Owner, check_output, install_bytes};
use super::use_file::SIZE_LIMIT;
use crate::model::{CredentialId, Heartbeat, TokenCopy};

/// Request to bring copies up to date: all, or those of one credential.
pub(crate) struct CopyRequest {
    pub(crate) directory: Arc<Directory>,
    pub(crate) copies: Arc<Vec<TokenCopy>>,
    pub(crate) only: Option<CredentialId>,
}

/// Brings copies up to date until the requests end: body of the thread.
pub(crate) fn run(requests: &Receiver<CopyRequest>, heartbeat: &Heartbeat) {
    let mut errors = BTreeMap::new();
    for request in requests {
        let wanted = |copy: &&TokenCopy| request.only.as_ref().is_none_or(|id| copy.id == *id);
        for copy in request.copies.iter().filter(wanted) {
            let _working = heartbeat.start(&copy.path);
            follow(request.directory.root(), copy, &mut errors);
        }
    }
}

/// Brings one copy up to date; an error is logged when it is new.
fn follow(root: &Folder, copy: &TokenCopy, errors: &mut BTreeMap<PathBuf, String>) {
    match update(root, copy) {
        Ok(()) => _ = errors.remove(&copy.path),
        Err(why) => {
            if errors.get(&copy.path) != Some(&why) {
                let path = copy.path.display();
                tracing::warn!(
                    "the copy of {} at {path} (CREDMON_HTVAULT_COPIES) cannot be written: {why}",
                    copy.id
                );
            }
            errors.insert(copy.path.clone(), why);
        }
    }
}

fn update(root: &Folder, copy: &TokenCopy) -> Result<(), String> {
    let folder = root.folder(copy.id.user()).ok();
    let token = folder.and_then(|folder| folder.read(&copy.id.use_name(), SIZE_LIMIT).ok());
    let Some((_, token)) = token else {
        return Ok(());
    };
    let name = copy.path.file_name().and_then(|name| name.to_str());
    let (Some(name), Some(parent)) = (name, copy.path.parent()) else {
        return Err("its path names no file".to_owned());
    };
    let target = Folder::open_without_links(parent).map_err(|errno| match errno {
        Errno::ELOOP | Errno::ENOTDIR => {
            "a symbolic link on the way to it is not followed: name the real path".to_owned()
        }
        errno => errno.desc().to_owned(),
    })?;
    if target.is_null_device(name) {
        return Ok(());
    }
    check_output(&target, name).map_err(|error| error.to_string())?;
    let is_right = target.stat_of(name).ok().flatten().is_some_and(|stat| {
        let owner = (stat.st_uid, stat.st_gid);
        stat.st_mode & 0o7777 == copy.mode && copy.owner.is_none_or(|wanted| wanted == owner)
    });
    if is_right
        && target
            .read(name, SIZE_LIMIT)
            .is_ok_and(|(_, content)| content == token)
    {
        return Ok(());
    }
    let exactly = |(user, group)| Owner::Exactly(Uid::from_raw(user), Gid::from_raw(group));
    let attributes = FileAttributes {
        mode: Mode::from_bits_truncate(copy.mode),
        owner: copy.owner.map_or(Owner::Own, exactly),
        sync: false,
    };
    let installed = install_bytes(&target, name, attributes, &token);
    installed.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
