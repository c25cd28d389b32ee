//! Groups of schedds that are found through a collector, and the deliveries to each of them.
//!
//! Always true: a schedd that is found gets the same deliveries as one that is listed by name.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use htcondor_cedar::{Address, Error};

use super::names::{Glob, NameFilter};
use crate::model::delivery::{
    Authentication, CreddTarget, Credential, Delivery, DeliveryId, Target, Way,
};

/// A group of schedds that a collector is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Name of the group.
    pub group: String,
    /// Collector to ask; the local configuration's when `None`.
    pub collector: Option<String>,
    /// Expression of `ClassAds` that the schedds' ads must satisfy; all schedds when `None`.
    pub constraint: Option<String>,
    /// Way to the collector and to their credds.
    pub way: Way,
    /// Authentication at their credds.
    pub authentication: Authentication,
    /// Deliveries to each of them: for one account and service the first that matches counts.
    pub templates: Vec<DeliveryTemplate>,
}

/// A delivery without its schedd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryTemplate {
    /// Schedds that it is for, among those that are found.
    pub schedds: NameFilter,
    /// Those of them that have the values of an entry of `at`; all of them when `None`.
    pub at: Option<Glob>,
    /// The credential that is delivered.
    pub credential: Arc<Credential>,
    /// The credential whose access token opens the credd.
    pub authorize: Arc<Credential>,
    /// Lifetime of the vault token.
    pub lifetime: Duration,
    /// Renewal margin: the token is renewed when less than this is left.
    pub renew_below: Duration,
}

impl Search {
    /// Deliveries to a schedd that was found.
    #[must_use]
    pub fn deliveries(&self, schedd: &str) -> Vec<Arc<Delivery>> {
        let mut known = BTreeSet::new();
        let matching = self
            .templates
            .iter()
            .filter(|template| template.matches(schedd));
        let deliveries = matching.map(|template| template.at(schedd, self.target(schedd)));
        let first = deliveries.filter(|delivery| known.insert(delivery.id.clone()));
        first.map(Arc::new).collect()
    }

    /// Longest lifetime of a vault token for its schedds.
    #[must_use]
    pub fn longest_lifetime(&self) -> Duration {
        let lifetimes = self.templates.iter().map(|template| template.lifetime);
        lifetimes.max().unwrap_or_default()
    }

    pub(crate) fn target(&self, schedd: &str) -> Target {
        Target::Credd(CreddTarget {
            host: schedd.to_owned(),
            collector: self.collector.clone(),
            way: self.way.clone(),
            authentication: self.authentication.clone(),
        })
    }
}

/// Port of a collector that is named without one.
const COLLECTOR_PORT: u16 = 9618;

/// Addresses of a pool's collectors as `collector` names them: one, or several between commas.
///
/// # Errors
/// One of them is no address.
pub(crate) fn collectors(names: &str) -> Result<Vec<Address>, Error> {
    let names = names.split(',').map(str::trim);
    let names = names.filter(|name| !name.is_empty());
    let addresses = names.map(|name| match Address::new(name, COLLECTOR_PORT) {
        Ok(address) => Ok(address),
        Err(_) => name.parse(),
    });
    addresses.collect()
}

impl DeliveryTemplate {
    /// Returns true when it is for this schedd.
    #[must_use]
    pub fn matches(&self, schedd: &str) -> bool {
        self.schedds.matches(schedd) && self.at.as_ref().is_none_or(|at| at.matches(schedd))
    }

    /// The delivery at a schedd.
    #[must_use]
    pub fn at(&self, schedd: &str, target: Target) -> Delivery {
        Delivery {
            id: DeliveryId {
                account: self.credential.identity.account.clone(),
                service: self.credential.service.clone(),
                schedd: schedd.to_owned(),
            },
            credential: Arc::clone(&self.credential),
            authorize: Arc::clone(&self.authorize),
            target,
            lifetime: self.lifetime,
            renew_below: self.renew_below,
        }
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "search {}", self.group)
    }
}
