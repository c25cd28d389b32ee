//! One credential as it is in the directory. Files of a version that is known are not read.

use std::sync::Arc;

use nix::errno::Errno;

use super::folder::{Folder, file_id};
use super::{top, use_file};
use crate::model::{CredentialId, FileId, InUse, Observed, ObservedTop, TopProblem};

/// Observes one credential; `None` when it is gone. Files of a version that is known are not read.
pub(super) fn observe(
    folder: &Folder,
    id: &CredentialId,
    known: Option<&Observed>,
) -> Option<Observed> {
    let present = |name: &str| folder.stat_of(name).map(|stat| stat.as_ref().map(file_id));
    let top = known.map(|known| &known.top);
    let top = if let Some(known) = top.filter(|top| is_known(top, present)) {
        known.clone()
    } else {
        let (stamp, top) = top::read(folder, id)?;
        Arc::new(ObservedTop {
            id: id.clone(),
            stamp,
            route: top.map(|top| top.route(id)),
        })
    };
    let before = known.and_then(|known| known.in_use.clone());
    let in_use = match present(&id.use_name()) {
        Ok(file) if file == before.as_ref().map(InUse::file) => before,
        Ok(None) => None,
        Ok(Some(file)) => match use_file::read(folder, id) {
            Ok(Some(token)) => Some(InUse::Token(Arc::new(token))),
            // It is looked at again by the next scan.
            Err(errno) if is_shortage(errno) => before,
            // Another file than the one that is known: it may be replaced.
            Ok(None) | Err(_) => Some(InUse::Other(Box::new(file))),
        },
        Err(_) => before,
    };
    Some(Observed { top, in_use })
}

/// `true` for an error of this host that says nothing of the file, and passes.
fn is_shortage(errno: Errno) -> bool {
    use Errno::{EAGAIN, EINTR, EMFILE, ENFILE, ENOMEM, ESTALE};
    matches!(errno, EAGAIN | EINTR | EMFILE | ENFILE | ENOMEM | ESTALE)
}

/// `true` when the files of a credential, by their paths below the directory, are those that are known.
pub(super) fn is_current(root: &Folder, known: &Observed) -> bool {
    let id = &known.top.id;
    let present = |name: &str| {
        let stat = root.stat_of(&[id.user(), "/", name].concat());
        stat.map(|stat| stat.as_ref().map(file_id))
    };
    let in_use = known.in_use.as_ref().map(InUse::file);
    is_known(&known.top, present) && present(&id.use_name()) == Ok(in_use)
}

/// `true` when a `.top`, and that of its parent, are those that are known.
fn is_known(
    ObservedTop { id, stamp, route }: &ObservedTop,
    present: impl Fn(&str) -> Result<Option<FileId>, Errno>,
) -> bool {
    // One that could not be read is tried again.
    !matches!(route, Err(TopProblem::Unreadable(_))) && top::is_of(stamp, id, present) == Ok(true)
}
