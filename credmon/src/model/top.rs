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

impl FileId {
    /// Device and inode: the same for all versions that are written in place.
    pub(crate) fn place(self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// Which version of a `.top` it is: its own file, and its parent's when that lends the vault token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopStamp {
    pub(crate) own: FileId,
    /// All zero while the one that would lend it is missing.
    pub(crate) parent: Option<Box<FileId>>,
}

impl TopStamp {
    /// Time of the later change, in nanoseconds since 1970.
    pub(crate) fn changed(&self) -> i64 {
        self.parent.as_ref().map_or(self.own.changed, |parent| {
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

/// A credential as it was found in the directory. Cheap to clone: who scans and who decides have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) top: Arc<ObservedTop>,
    /// Its `.use`, whatever that holds.
    pub(crate) in_use: Option<InUse>,
}

impl Observed {
    /// `true` for a token that is not older than its `.top`, by the times of the files: after a restart, they tell
    /// whether it is from this one.
    pub(crate) fn is_served(&self) -> bool {
        let token = self.in_use.as_ref().and_then(InUse::token);
        token.is_some_and(|token| self.top.stamp.changed() <= token.file.changed)
    }
}

/// The `.top` of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObservedTop {
    pub(crate) id: CredentialId,
    pub(crate) stamp: TopStamp,
    pub(crate) route: Result<Route, TopProblem>,
}

/// Content of a `.use`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InUse {
    Token(Arc<TokenInfo>),
    /// Something that is no token.
    Other(Box<FileId>),
}

impl InUse {
    pub(crate) fn file(&self) -> FileId {
        match self {
            Self::Token(token) => token.file,
            Self::Other(file) => **file,
        }
    }

    pub(crate) fn token(&self) -> Option<&Arc<TokenInfo>> {
        match self {
            Self::Token(token) => Some(token),
            Self::Other(_) => None,
        }
    }
}
