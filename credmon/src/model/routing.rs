//! Division of credentials among the credential monitors of one schedd.
//!
//! HTCondor runs several monitors in one directory since 24.3; each provider belongs to one of them.
//! A credential that no list claims is ours. The provider of a name depends on HTCondor's version
//! ([`NameStyle`]). Since sites list names such as `cms_crab` as a whole, and handles of `cms` are
//! names of the same form, our own list may hold either.

use std::collections::BTreeSet;

/// Reading of service names by the HTCondor here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NameStyle {
    /// Before 24.3: there are no providers, and whatever is stored is Vault's.
    Unrouted,
    /// 24.3 to 25.12: the whole name is compared with lists, though jobs ask for handles.
    Whole,
    /// Later with `CREDMON_ALLOW_SPECIAL_CHAR_NAMES`: the whole name is the provider, and nothing
    /// has a handle.
    Exact,
    /// From 25.13 on: the provider of `cms_crab` is `cms`.
    #[default]
    Parted,
}

impl NameStyle {
    /// Reads `CONDOR_VERSION`, such as `23.9.6`; what is unknown is taken for the newest.
    pub(crate) fn of_version(version: Option<&str>) -> Self {
        let number = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok());
        let mut parts = version.unwrap_or_default().split('.');
        match number(parts.next()).zip(number(parts.next())) {
            Some(known) if known < (24, 3) => Self::Unrouted,
            Some(known) if known < (25, 13) => Self::Whole,
            Some(_) | None => Self::Parted,
        }
    }
}

/// The configuration's lists of providers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Routing {
    /// `VAULT_CREDMON_PROVIDER_NAMES`; empty or with `*` for all that nobody else claims.
    pub(crate) ours: BTreeSet<String>,
    /// Names in the lists of other monitors.
    pub(crate) others: BTreeSet<String>,
    /// Providers that have a `<provider>_CLIENT_ID`, in capitals.
    pub(crate) with_client_id: BTreeSet<String>,
    /// Reading of names.
    pub(crate) names: NameStyle,
}

/// Reason why a credential is left to others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOurs {
    #[error("VAULT_CREDMON_PROVIDER_NAMES does not hold provider {0}")]
    NotListed(String),
    #[error("provider {0} is the schedd's own token issuer; {EXPLICIT}")]
    LocalIssuer(String),
    #[error("{0}_CLIENT_ID is configured; {EXPLICIT}")]
    HasClientId(String),
    #[error("provider {0} is in another credential monitor's list; {EXPLICIT}")]
    ListedElsewhere(String),
    #[error("its name ends in an underscore: the handle is missing")]
    NoHandle,
    #[error("its name begins with an underscore: the provider is missing")]
    NoProvider,
}

const EXPLICIT: &str = "to serve it here, name it in VAULT_CREDMON_PROVIDER_NAMES";

impl Routing {
    /// Decides whether a service is ours; the reason when it is not.
    pub(crate) fn check(&self, service: &str) -> Result<(), NotOurs> {
        let parted = self.names == NameStyle::Parted;
        if parted && service.ends_with('_') {
            return Err(NotOurs::NoHandle);
        }
        if parted && service.starts_with('_') {
            return Err(NotOurs::NoProvider);
        }
        let provider = if parted {
            service.split('_').next().unwrap_or(service)
        } else {
            service
        };
        let claim = self.claim_of_others(service, provider);
        // A whole name in a list of others' is theirs before a handle of ours is.
        let before_others = parted || self.ours.contains(service);
        if self.lists(service) && (before_others || claim.is_none()) {
            return Ok(());
        }
        if !self.ours.is_empty() && !self.ours.contains("*") {
            return Err(NotOurs::NotListed(provider.to_owned()));
        }
        claim.map_or(Ok(()), Err)
    }

    /// `true` when our list names a service, or one that it is a handle of: where HTCondor compares
    /// whole names, its job would wait for the token of a handle in vain.
    fn lists(&self, service: &str) -> bool {
        let mut name = service;
        loop {
            if self.ours.contains(name) {
                return true;
            }
            match name.rsplit_once('_') {
                Some((parent, _)) if self.names != NameStyle::Exact => name = parent,
                _ => return false,
            }
        }
    }

    /// Claim of another monitor on a service.
    fn claim_of_others(&self, service: &str, provider: &str) -> Option<NotOurs> {
        if self.names == NameStyle::Unrouted {
            return None;
        }
        if provider == "scitokens" {
            return Some(NotOurs::LocalIssuer(provider.to_owned()));
        }
        if self.with_client_id.contains(&provider.to_ascii_uppercase()) {
            return Some(NotOurs::HasClientId(provider.to_owned()));
        }
        let listed = self.others.contains(provider) || self.others.contains(service);
        listed.then(|| NotOurs::ListedElsewhere(provider.to_owned()))
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
        for service in ["dune_pro", "cms_crab", "cms_crab_read"] {
            assert_eq!(routing.check(service), Ok(()), "{service}");
        }
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
    fn where_whole_names_count_others_claim_those_alone() {
        for names in [NameStyle::Whole, NameStyle::Exact] {
            let routing = Routing {
                names,
                others: set(&["cms"]),
                with_client_id: set(&["GITHUB"]),
                ..Routing::default()
            };
            for service in ["cms_crab", "cms_", "_cms", "scitokens_x", "github_x"] {
                assert_eq!(routing.check(service), Ok(()), "{service}");
            }
            for service in ["cms", "scitokens", "github"] {
                assert!(routing.check(service).is_err(), "{service}");
            }
        }
    }

    #[test]
    fn handles_of_what_is_listed_are_ours_unless_claimed_or_switched_off() {
        let mut routing = Routing {
            names: NameStyle::Whole,
            ours: set(&["cms"]),
            others: set(&["cms_box"]),
            ..Routing::default()
        };
        assert_eq!(routing.check("cms_read"), Ok(()));
        for service in ["cms_box", "dune"] {
            let found = routing.check(service);
            assert!(matches!(found, Err(NotOurs::NotListed(_))), "{service}");
        }
        routing.names = NameStyle::Exact;
        assert!(routing.check("cms_read").is_err());
    }

    #[test]
    fn without_providers_all_is_ours_unless_a_list_says_otherwise() {
        let mut routing = Routing {
            names: NameStyle::Unrouted,
            others: set(&["box"]),
            with_client_id: set(&["GITHUB"]),
            ..Routing::default()
        };
        for service in ["cms_crab", "cms_", "_cms", "scitokens", "box", "github"] {
            assert_eq!(routing.check(service), Ok(()), "{service}");
        }
        routing.ours = set(&["cms", "box"]);
        for service in ["cms", "cms_crab", "box"] {
            assert_eq!(routing.check(service), Ok(()), "{service}");
        }
        assert!(routing.check("dune").is_err());
    }

    #[test]
    fn the_version_says_how_names_are_read() {
        for (version, names) in [
            ("10.0.9", NameStyle::Unrouted),
            ("23.0.28", NameStyle::Unrouted),
            ("23.9.6", NameStyle::Unrouted),
            ("24.0.23", NameStyle::Unrouted),
            ("24.2.2", NameStyle::Unrouted),
            ("24.3.0", NameStyle::Whole),
            ("24.12.23", NameStyle::Whole),
            ("25.0.13", NameStyle::Whole),
            ("25.12.2", NameStyle::Whole),
            ("25.13.2", NameStyle::Parted),
            ("25.14.1", NameStyle::Parted),
            ("26.0.1", NameStyle::Parted),
            ("newest", NameStyle::Parted),
        ] {
            assert_eq!(NameStyle::of_version(Some(version)), names, "{version}");
        }
        assert_eq!(NameStyle::of_version(None), NameStyle::Parted);
    }
}
