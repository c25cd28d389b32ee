//! Selection of deliveries by names on a command line.
//!
//! Always true: an unknown name is an error with the most similar name, never an empty answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::delivery::{Credential, DeliveryId};
use crate::model::names::suggestion;

/// Advice for a name that is similar to none.
const SEE_STATUS: &str = "see `token-bastion status` for those that there are";

/// Selection of deliveries by names; `None` matches any name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Account at the schedd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// HTCondor's service name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Host of the credd, or name of the directory's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedd: Option<String>,
}

/// Returns true when a name is the selected one, or none is.
fn may_be(selected: Option<&String>, name: &str) -> bool {
    selected.is_none_or(|selected| selected == name)
}

impl Selection {
    /// Returns true when a delivery is selected.
    #[must_use]
    pub fn matches(&self, id: &DeliveryId) -> bool {
        may_be(self.account.as_ref(), &id.account)
            && may_be(self.service.as_ref(), &id.service)
            && may_be(self.schedd.as_ref(), &id.schedd)
    }

    /// Returns true when an order for the selected deliveries is meant for those too that are revoked. It names a
    /// schedd: whoever pushes everything, or logs in for an account, does not think of the schedd that was stolen.
    #[must_use]
    pub fn delivers_revoked(&self) -> bool {
        self.schedd.is_some()
    }

    /// Returns true for a credential whose deliveries may be selected.
    #[must_use]
    pub fn matches_credential(&self, credential: &Credential) -> bool {
        may_be(self.account.as_ref(), &credential.identity.account)
            && may_be(self.service.as_ref(), &credential.service)
    }

    /// Checks that the selection matches some of `ids`.
    ///
    /// # Errors
    /// An unknown name, with the most similar one; or no delivery has all names. The message is for the person.
    pub fn check(&self, ids: &[&DeliveryId]) -> Result<(), String> {
        type Name = fn(&DeliveryId) -> &str;
        let names: [(&str, &Option<String>, Name); 3] = [
            ("account", &self.account, |id| &id.account),
            ("service", &self.service, |id| &id.service),
            ("schedd", &self.schedd, |id| &id.schedd),
        ];
        for (what, typed, name) in names {
            let Some(typed) = typed else { continue };
            if ids.iter().all(|id| name(id) != typed) {
                let known = ids.iter().map(|id| name(id));
                let hint = suggestion(typed, known);
                let hint = hint.unwrap_or_else(|| SEE_STATUS.to_owned());
                return Err(format!("no delivery has {what} {typed:?}; {hint}"));
            }
        }
        if !ids.is_empty() && !ids.iter().any(|id| self.matches(id)) {
            return Err("there are such names, but no delivery has all of them".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(account: &str, service: &str) -> DeliveryId {
        DeliveryId {
            account: account.to_owned(),
            service: service.to_owned(),
            schedd: "ap1".to_owned(),
        }
    }

    fn selection(account: Option<&str>, service: Option<&str>) -> Selection {
        Selection {
            account: account.map(str::to_owned),
            service: service.map(str::to_owned),
            schedd: None,
        }
    }

    #[test]
    fn a_name_that_nothing_has_is_told_with_the_nearest() {
        let (prod, crab) = (id("cmsprod", "cms"), id("crabtw", "cms_crab"));
        let check = |account, service| selection(account, service).check(&[&prod, &crab]);
        assert_eq!(check(None, None), Ok(()));
        assert_eq!(check(Some("cmsprod"), Some("cms")), Ok(()));
        assert_eq!(
            check(Some("cmsprd"), None).unwrap_err(),
            "no delivery has account \"cmsprd\"; did you mean \"cmsprod\"?"
        );
        assert_eq!(
            check(None, Some("atlas")).unwrap_err(),
            "no delivery has service \"atlas\"; see `token-bastion status` for those that there are"
        );
        assert_eq!(
            check(Some("cmsprod"), Some("cms_crab")).unwrap_err(),
            "there are such names, but no delivery has all of them"
        );
    }
}
