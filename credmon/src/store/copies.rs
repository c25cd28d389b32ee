//! Copies of access tokens for agents beside the schedd that cannot read the credential directory.
//!
//! A copy follows its `.use`: it is compared after each renewal and each full scan, and replaced when
//! content, owner or mode differ. It is installed as `.use` is (whole, by a rename, through no link,
//! also not on the way to its folder), and stays when the `.use` is gone. A copy that fails is logged
//! once and stops nothing: copies have a thread of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid};

use super::directory::Directory;
use super::folder::Folder;
use super::install::{FileAttributes, Owner, install_bytes, output_place};
use super::use_file::SIZE_LIMIT;
use crate::model::{Heartbeat, TokenCopy};

/// The thread that brings copies up to date. It ends when this is dropped.
pub(crate) struct Copier {
    requests: Sender<Request>,
    pub(crate) heartbeat: Heartbeat,
}

/// Copies to bring up to date from a directory.
type Request = (Arc<Directory>, Vec<TokenCopy>);

impl Copier {
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (requests, received) = channel();
        let heartbeat = Heartbeat::default();
        let of_thread = heartbeat.clone();
        let thread = std::thread::Builder::new().name("copies".to_owned());
        thread.spawn(move || run(&received, &of_thread))?;
        Ok(Self {
            requests,
            heartbeat,
        })
    }

    pub(crate) fn update(&self, directory: Arc<Directory>, copies: Vec<TokenCopy>) {
        // The thread ends only with this.
        let _ = self.requests.send((directory, copies));
    }
}

fn run(requests: &Receiver<Request>, heartbeat: &Heartbeat) {
    let mut errors = BTreeMap::new();
    for (directory, copies) in requests {
        for copy in &copies {
            let _working = heartbeat.start(&copy.path);
            follow(directory.root(), copy, &mut errors);
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
    let open = |parent: &Path| {
        Folder::open_without_links(parent).map_err(|errno| match errno {
            Errno::ELOOP | Errno::ENOTDIR => {
                "a symbolic link on the way to it is not followed: name the real path".to_owned()
            }
            errno => errno.desc().to_owned(),
        })
    };
    let Some((target, name)) = output_place(&copy.path, open)? else {
        return Ok(());
    };
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
