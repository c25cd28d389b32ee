//! `.use` files: the access token for jobs, and its claims.
//!
//! Mode 0400, group of the credential directory, as HTCondor's own monitor leaves it. On a disk it is
//! synced before the rename: XFS, for one, writes a new file's content long after its name, so a
//! power failure would leave an empty token, which HTCondor takes for a token. The folder is not
//! synced: after a power failure the old token may be back, which is older but whole.

use htvault::{AccessTokenAnswer, TokenForm};
use jiff::Timestamp;
use nix::sys::stat::Mode;
use nix::unistd::Gid;

use super::folder::{Folder, ReadError, file_id};
use super::install::{FileAttributes, InstallError, Owner, install_bytes};
use crate::model::{CredentialId, Lifetime, TokenInfo};

/// Largest `.use` that is read, in bytes.
pub(super) const SIZE_LIMIT: usize = 512 * 1024;

/// Reads the token in place; `None` when there is none, or what is there is no token.
///
/// # Errors
/// The system does not let us read it: what is there is not known.
pub(crate) fn read(
    folder: &Folder,
    id: &CredentialId,
) -> Result<Option<TokenInfo>, nix::errno::Errno> {
    let (stat, content) = match folder.read(&id.use_name(), SIZE_LIMIT) {
        Ok(read) => read,
        Err(ReadError::System(errno)) => return Err(errno),
        Err(ReadError::Missing | ReadError::NotAFile(_) | ReadError::TooLarge) => return Ok(None),
    };
    let Ok(text) = std::str::from_utf8(&content) else {
        return Ok(None);
    };
    let claims = match TokenForm::of(text.strip_suffix('\n').unwrap_or(text)) {
        TokenForm::Jwt(claims) => Some(claims),
        TokenForm::Opaque => None,
        _ => return Ok(None),
    };
    let written = Timestamp::from_second(stat.st_mtime).unwrap_or_default();
    let lifetime = Lifetime::of(claims.as_ref(), None, written);
    Ok(Some(TokenInfo::new(
        file_id(&stat),
        written,
        lifetime,
        claims.as_ref(),
    )))
}

/// Installs a token.
pub(crate) fn write(
    folder: &Folder,
    group: Gid,
    sync: bool,
    id: &CredentialId,
    answer: &AccessTokenAnswer,
    now: Timestamp,
) -> Result<TokenInfo, InstallError> {
    let attributes = FileAttributes {
        mode: Mode::S_IRUSR,
        owner: Owner::Group(group),
        sync,
    };
    let content = secrecy::zeroize::Zeroizing::new(format!("{}\n", answer.token.expose()));
    let stat = install_bytes(folder, &id.use_name(), attributes, content.as_bytes())?;
    let lifetime = Lifetime::of(answer.claims.as_ref(), answer.expire_time, now);
    Ok(TokenInfo::new(
        file_id(&stat),
        now,
        lifetime,
        answer.claims.as_ref(),
    ))
}

#[cfg(test)]
mod tests;
