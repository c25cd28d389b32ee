//! One credential as it is in the directory. Files of a version that is known are not read.

use std::sync::Arc;

use nix::errno::Errno;

use super::folder::{Folder, file_id};
use super::{top, use_file};
use crate::model::{CredentialId, FileId, Observed, TopProblem};

/// Observes one credential; `None` when it is gone. Files of a version that is known are not read.
pub(super) fn observe(
    folder: &Folder,
    id: CredentialId,
    known: Option<&Arc<Observed>>,
) -> Option<Arc<Observed>> {
    let present = |name: &str| folder.stat_of(name).map(|stat| stat.as_ref().map(file_id));
    let is_known = |known: &&Arc<Observed>| has_known_top(known, present);
    let (stamp, top) = if let Some(known) = known.filter(is_known) {
        (known.stamp, known.top.clone())
    } else {
        let (stamp, top) = top::read(folder, &id)?;
        (stamp, top.map(|top| top.route(&id)))
    };
    let before = known
        .map(|known| (known.use_file, known.token.clone()))
        .unwrap_or_default();
    let (use_file, token) = match present(&id.use_name()) {
        Ok(file) if file == before.0 => before,
        Ok(None) => (None, None),
        Ok(file) => match use_file::read(folder, &id) {
            Ok(token) => (file, token.map(Arc::new)),
            // It is looked at again by the next scan.
            Err(errno) if is_shortage(errno) => before,
            // Another file than the one that is known: it may be replaced.
            Err(_) => (file, None),
        },
        Err(_) => before,
    };
    let observed = Observed {
        id,
        stamp,
        top,
        use_file,
        token,
    };
    if let Some(known) = known
        && **known == observed
    {
        return Some(known.clone());
    }
    Some(Arc::new(observed))
}

/// `true` for an error of this host that says nothing of the file, and passes.
fn is_shortage(errno: Errno) -> bool {
    use Errno::{EAGAIN, EINTR, EMFILE, ENFILE, ENOMEM, ESTALE};
    matches!(errno, EAGAIN | EINTR | EMFILE | ENFILE | ENOMEM | ESTALE)
}

/// `true` when the files of a credential, by their paths below the directory, are those that are known.
pub(super) fn is_current(root: &Folder, known: &Arc<Observed>) -> bool {
    let user = known.id.user();
    let present = |name: &str| {
        let stat = root.stat_of(&format!("{user}/{name}"));
        stat.map(|stat| stat.as_ref().map(file_id))
    };
    has_known_top(known, present) && present(&known.id.use_name()) == Ok(known.use_file)
}

fn has_known_top(
    known: &Observed,
    present: impl Fn(&str) -> Result<Option<FileId>, Errno>,
) -> bool {
    let parent = match (known.stamp.parent, known.id.parent()) {
        (Some(_), Some(parent)) => present(&parent.top_name()),
        _ => Ok(None),
    };
    // A parent that was missing or not readable may be there now.
    let may_heal = match &known.top {
        Ok(_) => false,
        Err(TopProblem::Unreadable(_)) => true,
        Err(TopProblem::Unusable(_)) => known.stamp.parent.is_none() && known.id.parent().is_some(),
    };
    !may_heal
        && present(&known.id.top_name()) == Ok(Some(known.stamp.own))
        && parent == Ok(known.stamp.parent)
}
