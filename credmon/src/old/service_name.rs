//! Names of credentials: which account, which service, and what a service's name says.
//!
//! HTCondor's names have letters, digits and `-+=_.` only; nothing else gets past
//! [`CredentialId::new`], so a name never changes a path or a log line.

use std::fmt;
use std::sync::Arc;

use crate::old::sharing::Shared;

/// One credential of one account: the folder and the file name without ending.
///
/// Cheap to clone, and to keep: all that have the same account or service can [share](Self::share)
/// its name. In their order all credentials of an account stand together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId {
    user: Arc<str>,
    service: Arc<str>,
}

impl CredentialId {
    /// `None` when either is no name that HTCondor gives.
    #[must_use]
    pub fn new(user: &str, service: &str) -> Option<Self> {
        (is_account(user) && is_service(service)).then(|| Self {
            user: user.into(),
            service: service.into(),
        })
    }

    /// The account: the name of the folder.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The service: the name of the files without ending.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Keeps the names that others have as well once. `user` is that of its own account.
    pub fn share(&mut self, user: &Arc<str>, services: &mut Shared<str>) {
        if **user == *self.user {
            self.user = Arc::clone(user);
        }
        services.share(&mut self.service);
    }

    /// Name of the file that holds the vault token.
    #[must_use]
    pub fn top_name(&self) -> String {
        format!("{}.top", self.service())
    }

    /// Name of the file that holds the access token.
    #[must_use]
    pub fn use_name(&self) -> String {
        format!("{}.use", self.service())
    }

    /// The credential that lends its vault token to this one, if this one has a handle: the name
    /// up to the last underscore.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (parent, _handle) = self.service().rsplit_once('_')?;
        is_service(parent).then(|| Self {
            user: Arc::clone(&self.user),
            service: parent.into(),
        })
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.user, self.service)
    }
}

/// Whether a folder's name can be that of an account.
#[must_use]
pub fn is_account(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && !name.contains('/')
        && !name.chars().any(char::is_control)
}

/// Whether a name can be that of a service.
#[must_use]
pub fn is_service(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-+=_.".contains(c))
}

/// The provider of a service: what stands before the first underscore.
#[must_use]
pub fn provider(service: &str) -> &str {
    service.split_once('_').map_or(service, |(first, _)| first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(service: &str) -> CredentialId {
        CredentialId::new("cmsprod", service).unwrap()
    }

    #[test]
    fn a_handle_has_a_parent_and_a_plain_name_has_none() {
        assert_eq!(id("cms_crab_read").parent(), Some(id("cms_crab")));
        assert_eq!(id("cms_crab").parent(), Some(id("cms")));
        assert_eq!(id("cms").parent(), None);
        assert_eq!(id("_x").parent(), None);
    }

    #[test]
    fn the_credentials_of_an_account_stand_together() {
        let mut ids: Vec<_> = [
            ("a.b", "x"),
            ("a", "z"),
            ("a-b", "y"),
            ("a", "b"),
            ("ab", "x"),
        ]
        .map(|(user, service)| CredentialId::new(user, service).unwrap())
        .into();
        ids.sort();
        let mut users: Vec<_> = ids.iter().map(CredentialId::user).collect();
        users.dedup();
        assert_eq!(users.len(), 4, "{ids:?}");
        assert_eq!(
            ids[0].to_string(),
            format!("{}/{}", ids[0].user(), ids[0].service())
        );
    }

    #[test]
    fn the_provider_ends_at_the_first_underscore() {
        assert_eq!(provider("cms_crab_read"), "cms");
        assert_eq!(provider("cms"), "cms");
    }

    #[test]
    fn odd_names_are_no_credentials() {
        for service in ["", ".hidden", "a/b", "a b", "a\nb", "é", "a:b"] {
            assert_eq!(CredentialId::new("u", service), None, "{service:?}");
        }
        for user in ["", ".", "..", "a/b", "a\nb"] {
            assert_eq!(CredentialId::new(user, "cms"), None, "{user:?}");
        }
        assert!(CredentialId::new("user.name-1", "a-b+c=d.e_f").is_some());
    }
}
