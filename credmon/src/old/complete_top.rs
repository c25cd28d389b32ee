//! The `.top` of a credential as a whole: with the vault token that is its own or its parent's.
//!
//! What always holds: the stamp is that of the very files that were read; a parent lends its vault
//! token and nothing else. No secret is kept here: who reads it drops it.

use htvault::{CredentialUrl, VaultToken};

use crate::old::folder::{FileId, FileTime, Folder, ReadFault};
use crate::old::service_name::CredentialId;
use crate::old::top_file::{self, Top, TopFault};

/// Which `.top` it is: its file, and its parent's when that lends the vault token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopStamp {
    /// Its own file.
    pub own: FileId,
    /// Its parent's. Few have one.
    pub parent: Option<Box<FileId>>,
}

impl TopStamp {
    /// When the later of the files changed.
    #[must_use]
    pub fn changed(&self) -> FileTime {
        let own = self.own.changed;
        (self.parent.as_ref()).map_or(own, |parent| parent.changed.max(own))
    }
}

/// A `.top` with the vault token to use, its own or its parent's.
#[derive(Debug)]
pub struct CompleteTop {
    /// The vault token.
    pub vault_token: VaultToken,
    /// Where the access token is read.
    pub url: CredentialUrl,
    /// Scopes to reduce it to.
    pub scopes: Option<String>,
    /// Audience to make it for.
    pub audience: Option<String>,
}

/// Reads the `.top` of a credential, and its parent's when that lends the vault token. `None` when
/// it is gone.
#[must_use]
pub fn read_top(
    folder: &Folder,
    id: &CredentialId,
) -> Option<(TopStamp, Result<CompleteTop, TopFault>)> {
    let (own, top) = read_one(folder, id)?;
    let mut stamp = TopStamp { own, parent: None };
    let complete = top.and_then(|top| {
        let url = top.url.ok_or(TopFault::NoUrl)?;
        let vault_token = match top.vault_token {
            Some(token) => token,
            None => borrow_token(folder, id, &mut stamp)?,
        };
        Ok(CompleteTop {
            vault_token,
            url,
            scopes: top.scopes,
            audience: top.audience,
        })
    });
    Some((stamp, complete))
}

/// Takes the vault token of the parent.
fn borrow_token(
    folder: &Folder,
    id: &CredentialId,
    stamp: &mut TopStamp,
) -> Result<VaultToken, TopFault> {
    let parent = id.parent().ok_or(TopFault::NoToken)?;
    let name = parent.service().to_owned();
    let (file, top) = read_one(folder, &parent).ok_or_else(|| TopFault::NoParent(name.clone()))?;
    stamp.parent = Some(Box::new(file));
    top.and_then(|top| top.vault_token.ok_or(TopFault::NoToken))
        .map_err(|fault| TopFault::BadParent {
            parent: name,
            fault: Box::new(fault),
        })
}

/// Reads one `.top`; `None` when there is none.
fn read_one(folder: &Folder, id: &CredentialId) -> Option<(FileId, Result<Top, TopFault>)> {
    let name = id.top_name();
    let fault = match folder.read(&name, top_file::SIZE_LIMIT) {
        Ok((file, content)) => return Some((file, top_file::parse(&content))),
        Err(ReadFault::Missing) => return None,
        Err(ReadFault::NotAFile(what)) => TopFault::NotAFile(what),
        Err(ReadFault::TooLarge) => TopFault::TooLarge,
        Err(ReadFault::Refused(errno)) => TopFault::Unreadable(errno.desc().to_owned()),
    };
    let stat = folder.look(&name).ok().flatten()?;
    Some((FileId::from(&stat), Err(fault)))
}
