//! What the site's configuration says about serving credentials.

use crate::old::providers::Routing;
use crate::old::schedule::Limits;

/// The rules that all decisions follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Bounds of renewal.
    pub limits: Limits,
    /// Whose a credential is.
    pub routing: Routing,
    /// `TRUSTED_VAULT_HOSTS`; `None` trusts all.
    pub trusted_hosts: Option<Vec<String>>,
    /// Whether a credential whose vault token is dead is deleted, `.top` and `.use`.
    pub delete_dead: bool,
    /// This machine's name: schedds that serve the same account renew at different times.
    pub here: String,
}

impl Rules {
    /// Whether a Vault may be asked.
    #[must_use]
    pub fn trusts(&self, host: &str) -> bool {
        self.trusted_hosts
            .as_ref()
            .is_none_or(|hosts| hosts.iter().any(|h| h.eq_ignore_ascii_case(host)))
    }
}
