//! Addresses of credds. Those of schedds that a search found come with its answer. For listed schedds
//! (`credds: [HOST, …]`) a collector is asked once for all credds that it knows. Addresses change while names stay: a
//! credd that is started anew may have another one.
//!
//! Always true: an address where nobody answers is not used again before the collector was asked again, unless it
//! does not answer either; a collector that does not answer, or lacks a credd, takes nothing away that is known. An
//! address that is known and fresh is read without waiting for a question that is under way.

mod listed;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::Search;
use crate::schedd::discovery::{
    CreddAd, FoundSchedds, QueryFailure, ScheddAd, credd_named, credd_of_host,
};
use crate::system::keyed::Keyed;
use listed::{Listed, same};

/// Time for which the answer of a collector counts: as often it is asked for schedds.
const FRESH: Duration = Duration::from_mins(5);
/// Pause after a collector gave no answer.
const AFTER_SILENCE: Duration = Duration::from_mins(1);
/// Time for which an answer counts even for whom nobody answered at its address.
const JUST_NOW: Duration = Duration::from_secs(1);
/// Time after which a credd is forgotten that nobody asked for.
const FORGOTTEN: Duration = Duration::from_hours(24);

/// Known addresses of credds.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Of schedds that searches found, by collector and by name in deliveries.
    found: Mutex<HashMap<Name, Found>>,
    /// Of the credds of each collector.
    listed: Mutex<HashMap<Option<String>, Listed>>,
    /// Locked while a collector is asked: who needs the answer waits for it.
    asking: Keyed<Option<String>, ()>,
}

/// Collector, and name in deliveries.
type Name = (Option<String>, String);

/// Schedd that a search found.
#[derive(Clone, Debug)]
struct Found {
    group: String,
    location: Location,
    /// The ad that gave the address, if one did.
    ad: ScheddAd,
}

impl Found {
    /// Address of its credd in the last answer of its collector. `before` is the credd that had the address where nobody
    /// answered.
    fn address(
        &self,
        listed: &mut Listed,
        schedd: &str,
        before: Option<&CreddAd>,
    ) -> Option<String> {
        let (ad, credds) = (&self.ad, &listed.credds);
        let credd = match before {
            Some(before) => same(credds, before),
            // It named its credd itself: the only one of its host may be another.
            None if ad.credd.is_some() && !ad.is_of_host => credd_named(credds, &ad.name),
            None if self.location.has_name => return listed.location(schedd).address,
            // Its own name is not that of a credd, and others at that host may have credds of their own.
            None => credd_of_host(credds, &ad.machine),
        };
        credd?.address.clone()
    }
}

/// Place of one credd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Location {
    /// In angle brackets; `None` when it is not known.
    pub(super) address: Option<String>,
    /// HTCondor's tools find the credd by the schedd's name in deliveries as well.
    pub(super) has_name: bool,
    /// Reason why the collector did not answer the last time.
    pub(super) fault: Option<QueryFailure>,
}

/// A name in angle brackets is an address.
fn given(schedd: &str) -> Option<Location> {
    schedd.starts_with('<').then(|| Location {
        address: Some(schedd.to_owned()),
        ..Location::default()
    })
}

fn key(collector: Option<&str>, schedd: &str) -> Name {
    (collector.map(str::to_owned), schedd.to_owned())
}

impl Addresses {
    fn found(&self) -> MutexGuard<'_, HashMap<Name, Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or changes what is known of a collector's credds.
    fn with<T>(&self, collector: Option<&str>, act: impl FnOnce(&mut Listed) -> T) -> T {
        let mut all = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        act(all.entry(collector.map(str::to_owned)).or_default())
    }

    /// Takes over the answer of a search, in place of its last one.
    pub(super) fn learn(&self, search: &Search, schedds: &FoundSchedds) {
        let mut found = self.found();
        found.retain(|_, found| found.group != search.group);
        for (name, schedd) in &schedds.0 {
            let Some(first) = schedd.ads.first() else {
                continue;
            };
            let ad = schedd.ads.iter().find(|ad| ad.credd.is_some());
            let ad = ad.unwrap_or(first);
            let location = Location {
                address: ad.credd.clone(),
                // Others at that host may have credds of their own.
                has_name: first.name == *name,
                fault: None,
            };
            let known = Found {
                group: search.group.clone(),
                location,
                ad: ad.clone(),
            };
            found.insert((search.collector.clone(), name.clone()), known);
        }
    }

    /// Address of a schedd's credd: as its search found it, else as its collector knows a credd of that name.
    /// `ask` asks the collector for all credds, if that is to be done.
    pub(super) async fn get(
        &self,
        collector: Option<&str>,
        schedd: &str,
        ask: impl Future<Output = Result<Vec<CreddAd>, QueryFailure>>,
    ) -> Location {
        if let Some(given) = given(schedd) {
            return given;
        }
        let key = key(collector, schedd);
        if let Some(found) = self.found().get(&key) {
            return found.location.clone();
        }
        let fresh = |listed: &mut Listed| listed.is_fresh().then(|| listed.location(schedd));
        if let Some(location) = self.with(collector, fresh) {
            return location;
        }
        let _asking = self.asking.lock(collector.map(str::to_owned)).await;
        // Somebody else may have asked meanwhile.
        if let Some(location) = self.with(collector, fresh) {
            return location;
        }
        let answer = ask.await;
        self.with(collector, |listed| {
            listed.take(answer);
            listed.location(schedd)
        })
    }

    /// Address of a schedd's credd after nobody answered at `failed`, or when none is known: the collector is asked,
    /// unless somebody else has just done that, or it gave no answer a while ago.
    pub(super) async fn again(
        &self,
        collector: Option<&str>,
        schedd: &str,
        failed: Option<&str>,
        ask: impl Future<Output = Result<Vec<CreddAd>, QueryFailure>>,
    ) -> Location {
        if let Some(given) = given(schedd) {
            return given;
        }
        let key = key(collector, schedd);
        let found = self.found().get(&key).cloned();
        let is_other = |location: &Location| {
            let address = location.address.as_deref();
            address.is_some() && address != failed
        };
        if let Some(Found { location, .. }) = &found
            && is_other(location)
        {
            return location.clone();
        }
        let credd_there = |listed: &mut Listed| {
            let has_it = |ad: &&CreddAd| failed.is_some() && ad.address.as_deref() == failed;
            listed.credds.iter().find(has_it).cloned()
        };
        let before = self.with(collector, credd_there);
        let is_known = |listed: &mut Listed| {
            listed.is_final() || (found.is_none() && is_other(&listed.location(schedd)))
        };
        if !self.with(collector, is_known) {
            let _asking = self.asking.lock(collector.map(str::to_owned)).await;
            // Somebody else may have asked meanwhile.
            if !self.with(collector, is_known) {
                let answer = ask.await;
                self.with(collector, |listed| listed.take(answer));
            }
        }
        let location = self.with(collector, |listed| {
            if let Some(failed) = failed {
                listed.failed(schedd, failed);
            }
            let Some(found) = &found else {
                return listed.location(schedd);
            };
            let before = before.or_else(|| credd_there(listed));
            Location {
                address: found.address(listed, schedd, before.as_ref()),
                has_name: found.location.has_name,
                fault: listed.fault.clone(),
            }
        });
        if let Some(found) = self.found().get_mut(&key)
            && location.address.is_some()
        {
            found.location.address.clone_from(&location.address);
        }
        location
    }
}

#[cfg(test)]
mod tests;
