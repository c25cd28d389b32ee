//! Groups of schedds that a collector is asked for, and what is wanted at each that is found.
//!
//! What holds: a schedd that is found gets the same deliveries as one that is listed by name.

use std::sync::Arc;
use std::time::Duration;

use crate::delivery::{Credential, Delivery, DeliveryId, Opening, Target};

/// A group of schedds to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Name of the group.
    pub group: String,
    /// Collector to ask; the local configuration's when `None`.
    pub collector: Option<String>,
    /// What the schedds' ads must satisfy, an expression of `ClassAds`; all schedds when `None`.
    pub constraint: Option<String>,
    /// How their credds are opened.
    pub opening: Opening,
    /// What is wanted at each of them.
    pub wanted: Vec<Pattern>,
}

/// A delivery whose schedd is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// What is delivered.
    pub credential: Arc<Credential>,
    /// The credential whose access token opens the credd.
    pub authorize: Arc<Credential>,
    /// How long the vault token lives.
    pub lifetime: Duration,
    /// It is renewed when less than this is left.
    pub renew_below: Duration,
    /// Held jobs are released once it is good.
    pub release_held: bool,
}

impl Search {
    /// What is wanted at a schedd that was found, `schedd` being its name.
    #[must_use]
    pub fn deliveries(&self, schedd: &str) -> Vec<Arc<Delivery>> {
        let wanted = self.wanted.iter().map(|pattern| {
            let target = Target::Credd {
                host: schedd.to_owned(),
                collector: self.collector.clone(),
                opening: self.opening.clone(),
            };
            Arc::new(pattern.at(schedd, target))
        });
        wanted.collect()
    }
}

impl Pattern {
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
            release_held: self.release_held,
        }
    }
}
