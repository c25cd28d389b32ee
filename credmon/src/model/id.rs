//! Names of credentials: account, service, and the parts of a service's name.
//!
//! HTCondor's names have letters, digits and `-+=_.` only; nothing else gets past
//! [`CredentialId::new`], so a name never changes a path or a log line.

use std::fmt;
use std::sync::Arc;

use super::shared_text;

/// One credential of one account: folder and file name without ending. Cheap to clone, and no larger than a pointer,
/// for it stands in each queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CredentialId(Arc<Names>);

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Names {
    user: Arc<str>,
    service: Arc<str>,
}

impl CredentialId {
    /// `None` when either is no name that HTCondor gives.
    pub(crate) fn new(user: &Arc<str>, service: &str) -> Option<Self> {
        (is_account(user) && is_service(service)).then(|| {
            Self(Arc::new(Names {
                user: user.clone(),
                service: shared_text(service),
            }))
        })
    }

    pub(crate) fn user(&self) -> &Arc<str> {
        &self.0.user
    }

    /// Name of the files without ending.
    pub(crate) fn service(&self) -> &Arc<str> {
        &self.0.service
    }

    /// Name of the file that holds the vault token.
    pub(crate) fn top_name(&self) -> String {
        [self.service(), ".top"].concat()
    }

    /// Name of the file that holds the access token.
    pub(crate) fn use_name(&self) -> String {
        [self.service(), ".use"].concat()
    }

    /// The credential that lends its vault token to one with a handle: the name up to the last
    /// underscore.
    pub(crate) fn parent(&self) -> Option<Self> {
        Self::new(self.user(), self.parent_service()?)
    }

    /// Name of the file that holds that vault token.
    pub(crate) fn parent_top_name(&self) -> Option<String> {
        Some(format!("{}.top", self.parent_service()?))
    }

    fn parent_service(&self) -> Option<&str> {
        let (parent, _handle) = self.service().rsplit_once('_')?;
        is_service(parent).then_some(parent)
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.user(), self.service())
    }
}

/// `true` for a folder's name that can be an account's.
pub(crate) fn is_account(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && !name.contains('/')
        // Nor invisible characters, or those that turn the direction of a line.
        && htvault::text::printable(name, usize::MAX) == name
}

fn is_service(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-+=_.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(service: &str) -> CredentialId {
        CredentialId::new(&"cmsprod".into(), service).unwrap()
    }

    #[test]
    fn a_handle_has_a_parent_and_a_plain_name_has_none() {
        assert_eq!(id("cms_crab_read").parent(), Some(id("cms_crab")));
        assert_eq!(id("cms_crab").parent(), Some(id("cms")));
        let name = id("cms_crab").parent_top_name();
        assert_eq!(name.as_deref(), Some("cms.top"));
        assert_eq!(id("cms").parent(), None);
        assert_eq!(id("_x").parent(), None);
    }

    #[test]
    fn odd_names_are_no_credentials() {
        for service in ["", ".hidden", "a/b", "a b", "a\nb", "é", "a:b"] {
            assert_eq!(CredentialId::new(&"u".into(), service), None, "{service:?}");
        }
        for user in [
            "",
            ".",
            "..",
            "a/b",
            "a\nb",
            "\u{1b}[2J",
            "a\u{202e}b",
            "\u{200b}root",
        ] {
            assert_eq!(CredentialId::new(&user.into(), "cms"), None, "{user:?}");
        }
        assert!(CredentialId::new(&"user.name-1".into(), "a-b+c=d.e_f").is_some());
    }
}
