//! `.top` files: the vault token and the URL where its access token is read.
//!
//! Input from a user, stored through the credd: parsed strictly, and no message repeats any of its
//! values (it holds a secret) but a host's name. A vault token is sent only to the server that its
//! own `.top` names: a credential with a handle borrows its parent's token for the same server only.

use htvault::{CredentialUrl, VaultToken};
use serde::Deserialize;

use super::folder::{Folder, ReadError, file_id};
use crate::model::{CredentialId, FileId, Route, TopProblem, TopStamp, shared_text, without_dot};

/// Largest `.top` that is read, in bytes. Real ones have a few hundred.
const SIZE_LIMIT: usize = 64 * 1024;

/// Longest URL, in bytes. Real ones have a hundred, and a host name has 253 at most.
const URL_LIMIT: usize = 300;

/// The only port that a vault URL may name (HTCondor's own monitor refuses others, too).
const VAULT_PORT: u16 = 8200;

/// A `.top` with the vault token to use, its own or its parent's. Holds a secret: dropped after the
/// request.
#[derive(Debug)]
pub(crate) struct CompleteTop {
    pub(crate) vault_token: VaultToken,
    pub(crate) url: CredentialUrl,
    /// Scopes to reduce the access token to.
    pub(crate) scopes: Option<String>,
    pub(crate) audience: Option<String>,
}

impl CompleteTop {
    /// Whom a request with it asks, so that an issuer that hangs does not delay the others of the
    /// same Vault.
    pub(crate) fn route(&self, id: &CredentialId) -> Route {
        let path = self.url.path();
        let parts = ["/creds/", "/sts/"]
            .iter()
            .filter_map(|kind| path.split_once(kind))
            // Behind the first, anything may be a name.
            .min_by_key(|(mount, _)| mount.len());
        let issuer = match parts {
            // Older servers have one mount for each issuer: secret/oauth-ISSUER/creds/….
            Some((mount, _)) if mount.contains("/oauth-") => mount,
            Some((mount, rest)) => {
                let issuer = rest.split('/').next().unwrap_or_default();
                let end = path.len() - rest.len() + issuer.len();
                match (mount, issuer) {
                    ("/v1/secret/oauth", _) | (_, "") => issuer,
                    // Elsewhere, such as in a token's own cubbyhole, anything may have that name.
                    _ => path.get(..end).unwrap_or(path),
                }
            }
            None => "",
        };
        // An address without the name of an issuer depends on nothing but itself.
        let issuer = if issuer.is_empty() { path } else { issuer };
        Route {
            account: id.user().clone(),
            host: shared_text(without_dot(self.url.server().host())),
            issuer: shared_text(issuer),
        }
    }
}

/// Content of one `.top`, checked.
struct Top {
    vault_token: Option<VaultToken>,
    url: Option<CredentialUrl>,
    scopes: Option<String>,
    audience: Option<String>,
}

/// Reads the `.top` of a credential, and its parent's when that lends the vault token; `None` when it
/// is gone.
pub(crate) fn read(
    folder: &Folder,
    id: &CredentialId,
) -> Option<(TopStamp, Result<CompleteTop, TopProblem>)> {
    let (own, top) = read_one(folder, id)?;
    let mut stamp = TopStamp { own, parent: None };
    let complete = top.and_then(|top| complete(folder, id, top, &mut stamp));
    Some((stamp, complete))
}

/// `true` when the `.top` of a credential, and its parent's when that lends the vault token, are of these versions.
/// `present`: version of the file of a name.
pub(super) fn is_of<E>(
    stamp: &TopStamp,
    id: &CredentialId,
    present: impl Fn(&str) -> Result<Option<FileId>, E>,
) -> Result<bool, E> {
    let parent = match stamp.parent.as_ref().and_then(|_| id.parent_top_name()) {
        Some(name) => Some(present(&name)?.unwrap_or_default()),
        None => None,
    };
    Ok(parent == stamp.parent.as_deref().copied() && present(&id.top_name())? == Some(stamp.own))
}

/// Reads a `.top` that lends nothing from another, from its content alone.
#[cfg(feature = "fuzzing")]
pub(crate) fn parse_complete(content: &[u8]) -> Result<CompleteTop, TopProblem> {
    let top = parse(content)?;
    Ok(CompleteTop {
        vault_token: (top.vault_token).ok_or_else(|| unusable("it has no vault_token"))?,
        url: top.url.ok_or_else(|| unusable("it has no vault_url"))?,
        scopes: top.scopes,
        audience: top.audience,
    })
}

fn complete(
    folder: &Folder,
    id: &CredentialId,
    top: Top,
    stamp: &mut TopStamp,
) -> Result<CompleteTop, TopProblem> {
    let url = top.url.ok_or_else(|| unusable("it has no vault_url"))?;
    let vault_token = match top.vault_token {
        Some(token) => token,
        None => borrow_token(folder, id, &url, stamp)?,
    };
    Ok(CompleteTop {
        vault_token,
        url,
        scopes: top.scopes,
        audience: top.audience,
    })
}

/// Takes the vault token of the parent, for the parent's own server only.
fn borrow_token(
    folder: &Folder,
    id: &CredentialId,
    url: &CredentialUrl,
    stamp: &mut TopStamp,
) -> Result<VaultToken, TopProblem> {
    let parent = id
        .parent()
        .ok_or_else(|| unusable("it has no vault_token"))?;
    let name = parent.top_name();
    stamp.parent = Some(Box::default());
    let Some((file, top)) = read_one(folder, &parent) else {
        return Err(unusable(format!(
            "it has no vault_token, and {name}, whose token it would borrow, does not exist"
        )));
    };
    stamp.parent = Some(Box::new(file));
    let cannot = |why: String| format!("it has no vault_token, and {name} cannot lend one: {why}");
    let top = top.map_err(|problem| match problem {
        TopProblem::Unusable(why) => unusable(cannot(why.to_string())),
        TopProblem::Unreadable(why) => TopProblem::Unreadable(cannot(why.to_string()).into()),
    })?;
    let token = top
        .vault_token
        .ok_or_else(|| unusable(cannot("it has no vault_token".into())))?;
    let (wanted, lender) = (url.server(), top.url.as_ref().map(CredentialUrl::server));
    match lender {
        Some(lender) if lender == wanted => Ok(token),
        Some(lender) => Err(unusable(format!(
            "it has no vault_token, and {name} lends its own for its own server only ({lender}, not \
             {wanted})"
        ))),
        None => Err(unusable(cannot("it names no server (vault_url)".into()))),
    }
}

/// Reads one `.top`; `None` when there is none.
fn read_one(folder: &Folder, id: &CredentialId) -> Option<(FileId, Result<Top, TopProblem>)> {
    let name = id.top_name();
    let problem = match folder.read(&name, SIZE_LIMIT) {
        Ok((stat, content)) => return Some((file_id(&stat), parse(&content))),
        Err(ReadError::Missing) => return None,
        Err(ReadError::NotAFile(kind)) => unusable(format!("it is {kind}, not a plain file")),
        Err(ReadError::TooLarge) => unusable(format!("it is larger than {SIZE_LIMIT} bytes")),
        Err(ReadError::System(errno)) => TopProblem::Unreadable(errno.desc().into()),
    };
    match folder.stat_of(&name) {
        Ok(stat) => Some((file_id(&stat?), Err(problem))),
        Err(errno) => Some((
            FileId::default(),
            Err(TopProblem::Unreadable(errno.desc().into())),
        )),
    }
}

fn unusable(text: impl Into<String>) -> TopProblem {
    TopProblem::Unusable(text.into().into())
}

fn parse(content: &[u8]) -> Result<Top, TopProblem> {
    #[derive(Deserialize)]
    struct Raw {
        vault_token: Option<String>,
        vault_url: Option<String>,
        scopes: Option<String>,
        audience: Option<String>,
    }
    let raw: Raw = serde_json::from_slice(content).map_err(|error| {
        unusable(format!(
            "it is not the JSON that a vault storer writes (line {}, column {})",
            error.line(),
            error.column()
        ))
    })?;
    let vault_token = match raw.vault_token {
        Some(token) if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) => {
            return Err(unusable(
                "its vault_token holds characters that no token has",
            ));
        }
        token => token.map(VaultToken::from),
    };
    Ok(Top {
        vault_token,
        url: raw.vault_url.as_deref().map(parse_url).transpose()?,
        scopes: raw.scopes.filter(|s| !s.is_empty()),
        audience: raw.audience.filter(|s| !s.is_empty()),
    })
}

fn parse_url(text: &str) -> Result<CredentialUrl, TopProblem> {
    if text.len() > URL_LIMIT {
        return Err(unusable(format!(
            "its vault_url is longer than {URL_LIMIT} bytes"
        )));
    }
    // The parser of URLs leaves tabs and line breaks out: what is asked for would not be what is written.
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable(
            "its vault_url holds characters that no address has",
        ));
    }
    if !text.starts_with("https://") {
        return Err(unusable("its vault_url must begin with https://"));
    }
    let url: CredentialUrl = text.parse().map_err(|_| {
        unusable("its vault_url must be https://HOST:8200/v1/… and have no user, query or fragment")
    })?;
    if url.server().port() != VAULT_PORT {
        return Err(unusable("its vault_url must name port 8200"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
