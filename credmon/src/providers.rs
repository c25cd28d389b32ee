//! Which credentials are ours, and which belong to another credential monitor of the same schedd.
//!
//! HTCondor 25 runs several monitors in one directory; each provider belongs to one of them. What
//! nobody claims is ours. The provider of `cms_crab` is `cms`; since sites list such names in full
//! too, a list may name either. With special characters allowed in names, the whole name is the
//! provider.

use std::collections::BTreeSet;
use std::fmt;

use crate::service_name;

/// The configuration's lists of providers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// `VAULT_CREDMON_PROVIDER_NAMES`; empty or with `*` for all that nobody else claims.
    pub ours: BTreeSet<String>,
    /// Names in the lists of other monitors.
    pub others: BTreeSet<String>,
    /// Providers that have a `<provider>_CLIENT_ID`, in capitals.
    pub with_client_id: BTreeSet<String>,
    /// `CREDMON_ALLOW_SPECIAL_CHAR_NAMES`.
    pub special_characters: bool,
}

/// Why a credential is left to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotOurs {
    /// `VAULT_CREDMON_PROVIDER_NAMES` names others only.
    NotListed(String),
    /// It is the schedd's own token issuer's.
    LocalIssuer(String),
    /// It has a `<provider>_CLIENT_ID`.
    HasClientId(String),
    /// Another monitor's list names it.
    ListedElsewhere(String),
    /// The name ends in an underscore, so its handle is missing.
    NoHandle,
    /// The name begins with an underscore, so its provider is missing.
    NoProvider,
}

impl Routing {
    /// Whether a service is ours.
    ///
    /// # Errors
    /// The reason when it is not.
    pub fn check(&self, service: &str) -> Result<(), NotOurs> {
        if !self.special_characters && service.ends_with('_') {
            return Err(NotOurs::NoHandle);
        }
        if !self.special_characters && service.starts_with('_') {
            return Err(NotOurs::NoProvider);
        }
        let provider = if self.special_characters {
            service
        } else {
            service_name::provider(service)
        };
        let named = |list: &BTreeSet<String>| list.contains(provider) || list.contains(service);
        if named(&self.ours) {
            return Ok(());
        }
        if !self.ours.is_empty() && !self.ours.contains("*") {
            return Err(NotOurs::NotListed(provider.to_owned()));
        }
        if provider == "scitokens" {
            return Err(NotOurs::LocalIssuer(provider.to_owned()));
        }
        if self.with_client_id.contains(&provider.to_ascii_uppercase()) {
            return Err(NotOurs::HasClientId(provider.to_owned()));
        }
        if named(&self.others) {
            return Err(NotOurs::ListedElsewhere(provider.to_owned()));
        }
        Ok(())
    }
}

impl fmt::Display for NotOurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let explicit = "to serve it here, name it in VAULT_CREDMON_PROVIDER_NAMES";
        match self {
            Self::NotListed(provider) => {
                write!(
                    f,
                    "VAULT_CREDMON_PROVIDER_NAMES does not hold provider {provider}"
                )
            }
            Self::LocalIssuer(provider) => {
                write!(
                    f,
                    "provider {provider} is the schedd's own token issuer; {explicit}"
                )
            }
            Self::HasClientId(provider) => {
                write!(f, "{provider}_CLIENT_ID is configured; {explicit}")
            }
            Self::ListedElsewhere(provider) => {
                write!(
                    f,
                    "provider {provider} is in another credential monitor's list; {explicit}"
                )
            }
            Self::NoHandle => f.write_str("its name ends in an underscore: the handle is missing"),
            Self::NoProvider => {
                f.write_str("its name begins with an underscore: the provider is missing")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&n| n.to_owned()).collect()
    }

    #[test]
    fn without_lists_all_is_ours_but_the_local_issuer() {
        let routing = Routing::default();
        for service in ["cms", "cms_crab", "cms_crab_read", "a.b+c=d"] {
            assert_eq!(routing.check(service), Ok(()), "{service}");
        }
        assert!(matches!(
            routing.check("scitokens"),
            Err(NotOurs::LocalIssuer(_))
        ));
        assert_eq!(routing.check("cms_"), Err(NotOurs::NoHandle));
        assert_eq!(routing.check("_cms"), Err(NotOurs::NoProvider));
        let why = NotOurs::NoProvider.to_string();
        assert!(why.contains("begins with an underscore"), "{why}");
    }

    #[test]
    fn a_list_may_hold_the_provider_or_the_whole_name() {
        let routing = Routing {
            ours: set(&["dune", "cms_crab"]),
            ..Routing::default()
        };
        assert_eq!(routing.check("dune_pro"), Ok(()));
        assert_eq!(routing.check("cms_crab"), Ok(()));
        assert!(matches!(
            routing.check("cms_prod"),
            Err(NotOurs::NotListed(_))
        ));
    }

    #[test]
    fn what_others_claim_is_theirs_unless_named_for_us() {
        let mut routing = Routing {
            others: set(&["box"]),
            with_client_id: set(&["GITHUB"]),
            ours: set(&["*"]),
            ..Routing::default()
        };
        assert!(matches!(
            routing.check("box_read"),
            Err(NotOurs::ListedElsewhere(_))
        ));
        assert!(matches!(
            routing.check("github"),
            Err(NotOurs::HasClientId(_))
        ));
        assert_eq!(routing.check("cms"), Ok(()));
        routing.ours = set(&["*", "box", "github", "scitokens"]);
        for service in ["box", "github", "scitokens", "cms"] {
            assert_eq!(routing.check(service), Ok(()), "{service}");
        }
    }

    #[test]
    fn with_special_characters_the_whole_name_is_the_provider() {
        let routing = Routing {
            special_characters: true,
            others: set(&["cms"]),
            ..Routing::default()
        };
        assert_eq!(routing.check("cms_crab"), Ok(()));
        assert_eq!(routing.check("cms_"), Ok(()));
        assert_eq!(routing.check("_cms"), Ok(()));
        assert!(routing.check("cms").is_err());
    }
}
