//! Deliveries that the configuration has no longer: ways to reach their schedds.
//!
//! Always true: a schedd is reached as the configuration says that it is for another delivery; a
//! credd that an access token opens is reached for an account that still has one to open it.

use std::sync::Arc;

use jiff::Timestamp;

use super::delivery::by_admins;
use super::{RevocationReport, Step, StepObject, StepOutcome};
use crate::config::Search;
use crate::model::delivery::{Credential, Delivery, DeliveryId};
use crate::model::records::TokenRecords;

/// A delivery with its schedd as it is configured: `listed` by name, or found by `searches`.
/// `None` when it does not.
#[must_use]
pub fn leftover<'a>(
    listed: &[Arc<Delivery>],
    searches: impl IntoIterator<Item = &'a Search>,
    id: &DeliveryId,
) -> Option<Delivery> {
    let there = listed
        .iter()
        .filter(|other| other.id.schedd == id.schedd)
        .map(|other| other.as_ref().clone());
    let found = searches.into_iter().flat_map(|search| {
        let target = search.target(&id.schedd);
        let fitting = search.templates.iter();
        let fitting = fitting.filter(|template| template.matches(&id.schedd));
        fitting.map(move |template| template.at(&id.schedd, target.clone()))
    });
    there
        .chain(found)
        .filter(|other| can_reach(other, id))
        // The same service of the same account, or the same account: the more it is like it.
        .max_by_key(|other| {
            let same_account = other.id.account == id.account;
            (same_account && other.id.service == id.service, same_account)
        })
        .map(|other| alike(other, id))
}

/// Returns `true` when a delivery is configured, be its schedd found by now or not.
#[must_use]
pub fn is_wanted<'a>(
    listed: &[Arc<Delivery>],
    searches: impl IntoIterator<Item = &'a Search>,
    id: &DeliveryId,
) -> bool {
    let would_find = |search: &Search| {
        let wanted = search.deliveries(&id.schedd);
        wanted.iter().any(|delivery| delivery.id == *id)
    };
    listed.iter().any(|delivery| delivery.id == *id) || searches.into_iter().any(would_find)
}

/// Returns `true` when the schedd is opened for `id` in the way that it is for the other.
fn can_reach(other: &Delivery, id: &DeliveryId) -> bool {
    other.target.credd().is_none_or(|credd| {
        // A super-user says whom it speaks for; anybody else speaks for one account.
        credd.authentication.domain.is_some() && !other.target.needs_opener()
            || other.id.account == id.account
    })
}

/// The other delivery under this name.
fn alike(other: Delivery, id: &DeliveryId) -> Delivery {
    if other.id == *id {
        return other;
    }
    let credential = Credential {
        service: id.service.clone(),
        ..(*other.credential).clone()
    };
    Delivery {
        id: id.clone(),
        credential: Arc::new(credential),
        ..other
    }
}

/// Report on a delivery whose schedd cannot be reached by anything configured: its tokens
/// that live are named.
#[must_use]
pub fn by_name(
    id: &DeliveryId,
    records: &TokenRecords,
    now: Timestamp,
    leave_schedd: bool,
) -> RevocationReport {
    let names = records.iter().filter(|token| token.life.expires > now);
    let mut steps: Vec<Step> = names.map(by_admins).collect();
    steps.push(if leave_schedd {
        Step::new(
            StepObject::Stored,
            StepOutcome::Left,
            "nothing was asked of the schedd",
        )
    } else {
        Step::new(
            StepObject::Stored,
            StepOutcome::NotDone,
            "nothing in the configuration says any longer how to reach it for this account; put that in again and run \
             this again, or have the schedd's admin delete it",
        )
    });
    RevocationReport {
        id: id.clone(),
        steps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{credd_by, delivery};
    use crate::model::delivery::{Method, Target};

    fn id(account: &str, service: &str, schedd: &str) -> DeliveryId {
        DeliveryId {
            account: account.to_owned(),
            service: service.to_owned(),
            schedd: schedd.to_owned(),
        }
    }

    fn at(account: &str, schedd: &str, method: Method, domain: Option<&str>) -> Arc<Delivery> {
        let target = credd_by(schedd, method, domain);
        Arc::new(delivery(account, "cms", schedd, target))
    }

    #[test]
    fn a_schedd_is_reached_as_for_another_delivery_that_may_speak_for_the_account() {
        let reach = |listed: &Arc<Delivery>, account: &str, schedd: &str| {
            let id = id(account, "gone", schedd);
            let found = leftover(&[Arc::clone(listed)], [], &id);
            found.map(|found| {
                assert_eq!(found.id, id);
                assert_eq!(found.target, listed.target);
                found.credential.identity.account.clone()
            })
        };
        let a = Some("a".to_owned());
        let own = at("a", "ap1", Method::Scitokens, None);
        assert_eq!(reach(&own, "a", "ap1"), a);
        assert_eq!(reach(&own, "a", "ap2"), None);
        assert_eq!(
            reach(&own, "b", "ap1"),
            None,
            "a's token opens nothing for b"
        );
        let super_user = at("a", "ap1", Method::Idtokens, Some("test"));
        assert_eq!(reach(&super_user, "b", "ap1"), a);
        let mapped = at("a", "ap1", Method::Kerberos, None);
        assert_eq!(reach(&mapped, "b", "ap1"), None);
        let here = delivery("a", "cms", "here", Target::Directory("/d".into()));
        assert_eq!(reach(&Arc::new(here), "b", "here"), a);
    }

    #[test]
    fn the_accounts_own_delivery_is_preferred() {
        let listed = [
            at("b", "ap1", Method::Idtokens, Some("test")),
            at("a", "ap1", Method::Idtokens, Some("test")),
            at("c", "ap1", Method::Idtokens, Some("test")),
        ];
        let found = leftover(&listed, [], &id("a", "gone", "ap1")).unwrap();
        assert_eq!(found.credential.identity.account, "a");
        assert_eq!(found.credential.service, "gone");
    }
}
