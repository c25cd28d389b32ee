//! A `.top` file as it was observed, without its secret.

use std::sync::Arc;

use super::{CredentialId, TokenInfo};

/// Identity of one version of a file: place, size, and time of the last change of anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// `st_ctime`, in nanoseconds since 1970.
    pub(crate) changed: i64,
}

/// Which version of a `.top` it is: its own file, and its parent's when that lends the vault token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopStamp {
    pub(crate) own: FileId,
    pub(crate) parent: Option<FileId>,
}

impl TopStamp {
    /// Time of the later change, in nanoseconds since 1970.
    pub(crate) fn changed(&self) -> i64 {
        self.parent.map_or(self.own.changed, |parent| {
            parent.changed.max(self.own.changed)
        })
    }
}

/// Whose request it is and whom it asks: the grain at which requests are admitted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) account: Arc<str>,
    /// Host of the Vault.
    pub(crate) host: Arc<str>,
    /// Path up to the issuer.
    pub(crate) issuer: Arc<str>,
}

/// Host and issuer of a route.
pub(crate) type Target = (Arc<str>, Arc<str>);

impl Route {
    pub(crate) fn target(&self) -> Target {
        (self.host.clone(), self.issuer.clone())
    }
}

/// Why a `.top` is of no use now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TopProblem {
    /// Its content: only a new file helps.
    #[error("its .top cannot be used: {0}")]
    Unusable(Arc<str>),
    /// The system did not let us read it: a passing error, no verdict.
    #[error("its .top cannot be read: {0}")]
    Unreadable(Arc<str>),
}

/// A credential as it was found in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) id: CredentialId,
    pub(crate) stamp: TopStamp,
    pub(crate) top: Result<Route, TopProblem>,
    /// Its `.use`, whatever that holds.
    pub(crate) use_file: Option<FileId>,
    /// The access token in its `.use`; `None` when there is none, or what is there is no token.
    pub(crate) token: Option<Arc<TokenInfo>>,
}
