//! Copies of access tokens for agents beside the schedd that cannot read the credential directory.
//!
//! A copy follows its `.use`: it is compared after each renewal and each full scan, and replaced when
//! content, owner or mode differ. It is installed as `.use` is (whole, by a rename, through no link,
//! also not on the way to its folder), and stays when the `.use` is gone. A copy that fails is a problem that
//! stops nothing: copies have a thread of their own, where users and groups are looked up, too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Group, Uid, User};

use super::directory::Directory;
use super::folder::Folder;
use super::install::{FileAttributes, Owner, install_bytes, output_place, remove_output_leftovers};
use super::use_file::SIZE_LIMIT;
use crate::model::{CopyOwner, Heartbeat, TokenCopy, lock};

/// The thread that brings copies up to date. It ends when this is dropped.
pub(crate) struct Copier {
    requests: Sender<Request>,
    pub(crate) heartbeat: Heartbeat,
    problems: Arc<Mutex<Problems>>,
    thread: JoinHandle<()>,
}

/// Copies to bring up to date from a directory.
type Request = (Arc<Directory>, Vec<TokenCopy>);

/// Reasons why copies could not be written the last time, by their paths.
type Problems = BTreeMap<PathBuf, String>;

impl Copier {
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (requests, received) = channel();
        let (heartbeat, problems) = (Heartbeat::default(), Arc::default());
        let of_thread = (heartbeat.clone(), Arc::clone(&problems));
        let thread = std::thread::Builder::new().name("copies".to_owned());
        let thread = thread.spawn(move || run(&received, &of_thread.0, &of_thread.1))?;
        Ok(Self {
            requests,
            heartbeat,
            problems,
            thread,
        })
    }

    /// Which of these copies could not be written the last time, and why.
    pub(crate) fn problems(&self, copies: &[TokenCopy]) -> Vec<String> {
        let problems = lock(&self.problems);
        let problem = |copy: &TokenCopy| {
            let why = problems.get(&copy.path)?;
            let (id, path) = (&copy.id, copy.path.display());
            Some(format!(
                "the copy of {id} at {path} (CREDMON_HTVAULT_COPIES) cannot be written: {why}"
            ))
        };
        copies.iter().filter_map(problem).collect()
    }

    pub(crate) fn update(&self, directory: Arc<Directory>, copies: Vec<TokenCopy>) {
        // The thread ends only with this.
        let _ = self.requests.send((directory, copies));
    }

    /// Waits until all that was asked for is done, unless a file system hangs for so long. Nothing is done after it.
    pub(crate) async fn finish(&mut self, limit: Duration) {
        // The thread ends with the last request.
        self.requests = channel().0;
        while !self.thread.is_finished() && self.heartbeat.hanging(limit).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn run(requests: &Receiver<Request>, heartbeat: &Heartbeat, problems: &Mutex<Problems>) {
    let mut owners = Owners::default();
    for (directory, mut copies) in requests {
        // A look-up that hangs holds up those that need none the least.
        copies.sort_by_key(|copy| is_unknown(&owners, copy));
        for copy in &copies {
            let path = copy.path.display();
            let work = if is_unknown(&owners, copy) {
                format!("{path} or the look-up of its owner")
            } else {
                path.to_string()
            };
            let _working = heartbeat.start(work.as_ref());
            let owner = owner_of(&mut owners, copy);
            let updated = owner.and_then(|owner| update(directory.root(), copy, owner));
            let problems = &mut lock(problems);
            match updated {
                Ok(()) => _ = problems.remove(&copy.path),
                Err(why) => _ = problems.insert(copy.path.clone(), why),
            }
        }
    }
}

/// Owners of copies that were looked up. Each is looked up until he is found, and not again: a name service that hangs,
/// fails, or starts anew and knows nobody holds up no copy whose owner is known.
type Owners = BTreeMap<CopyOwner, (Uid, Gid)>;

fn is_unknown(owners: &Owners, copy: &TokenCopy) -> bool {
    let owner = copy.owner.as_ref();
    owner.is_some_and(|owner| !owners.contains_key(owner))
}

fn owner_of(owners: &mut Owners, copy: &TokenCopy) -> Result<Owner, String> {
    let Some(owner) = &copy.owner else {
        return Ok(Owner::Own);
    };
    let (user, group) = match owners.get(owner) {
        Some(known) => *known,
        None => look_up(owner)?,
    };
    owners.insert(owner.clone(), (user, group));
    Ok(Owner::Exactly(user, group))
}

/// Looks up a user and a group of the system's.
fn look_up(owner: &CopyOwner) -> Result<(Uid, Gid), String> {
    let user = looked_up(User::from_name(&owner.user), "user", &owner.user)?;
    let gid = match &owner.group {
        None => user.gid,
        Some(group) => looked_up(Group::from_name(group), "group", group)?.gid,
    };
    Ok((user.uid, gid))
}

fn looked_up<T>(found: nix::Result<Option<T>>, kind: &str, name: &str) -> Result<T, String> {
    match found {
        Ok(found) => found.ok_or_else(|| format!("there is no {kind} {name}")),
        Err(errno) => Err(format!(
            "{kind} {name} cannot be looked up: {}",
            errno.desc()
        )),
    }
}

/// Brings one copy up to date.
fn update(root: &Folder, copy: &TokenCopy, owner: Owner) -> Result<(), String> {
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
        let present = Owner::Exactly(Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        stat.st_mode & 0o7777 == copy.mode && (owner == Owner::Own || owner == present)
    });
    if is_right
        && target
            .read(name, SIZE_LIMIT)
            .is_ok_and(|(_, content)| content == token)
    {
        return Ok(());
    }
    let attributes = FileAttributes {
        mode: Mode::from_bits_truncate(copy.mode),
        owner,
        sync: false,
    };
    remove_output_leftovers(&target);
    let installed = install_bytes(&target, name, attributes, &token);
    installed.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
