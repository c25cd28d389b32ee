//! Addresses that one collector gave: of schedds that searches found, and of credds in its last answer, with those of
//! earlier answers that are in use. Pure, but for the time.
//!
//! Always true: the credd that was found for a schedd stays that of the schedd, though a later answer lacks it: a
//! collector that was started anew knows few credds at first. It gives way to nobody but a credd that has the schedd's
//! own name.

use std::collections::HashMap;

use tokio::time::Instant;

use super::{AFTER_SILENCE, FORGOTTEN, FRESH, Location};
use crate::schedd::discovery::{
    CreddAd, FoundSchedd, QueryFailure, ScheddAd, credd_named, credd_of_host, find_credd,
};

/// What is known by one collector.
#[derive(Debug, Default)]
pub(super) struct KnownCredds {
    /// Schedds that searches found, by their names in deliveries.
    found: HashMap<String, Found>,
    credds: Vec<CreddAd>,
    /// Credds that were found for listed schedds, by the names of these.
    wanted: HashMap<String, Wanted>,
    /// Time of the last question.
    asked: Option<Instant>,
    ask_again: Option<Instant>,
    /// Reason why it did not answer the last time.
    fault: Option<QueryFailure>,
}

#[derive(Debug)]
struct Found {
    group: String,
    address: Option<String>,
    /// Its name in deliveries is its own. Else others at that host may have credds of that name.
    has_name: bool,
    /// The ad that gave the address, if one did.
    ad: ScheddAd,
}

/// Credd that was found for a schedd.
#[derive(Debug)]
struct Wanted {
    /// Its ad. Without an address after nobody answered there.
    credd: CreddAd,
    /// The last answer has it.
    is_listed: bool,
    used: Instant,
}

impl Wanted {
    fn update(&mut self, schedd: &str, credds: &[CreddAd]) {
        let ad = credd_named(credds, schedd).or_else(|| same(credds, &self.credd));
        self.is_listed = ad.is_some();
        if let Some(ad) = ad {
            self.credd = ad.clone();
        }
    }
}

fn same<'a>(credds: &'a [CreddAd], credd: &CreddAd) -> Option<&'a CreddAd> {
    let is_same = |ad: &&CreddAd| ad.name == credd.name && ad.machine == credd.machine;
    credds.iter().find(is_same)
}

impl KnownCredds {
    pub(super) fn forget(&mut self, group: &str) {
        self.found.retain(|_, found| found.group != group);
    }

    pub(super) fn learn(&mut self, group: &str, name: &str, schedd: &FoundSchedd) {
        let Some(first) = schedd.ads.first() else {
            return;
        };
        let ad = schedd.ads.iter().find(|ad| ad.credd.is_some());
        let ad = ad.unwrap_or(first);
        let found = Found {
            group: group.to_owned(),
            address: ad.credd.clone(),
            has_name: first.name == name,
            ad: ad.clone(),
        };
        self.found.insert(name.to_owned(), found);
    }

    /// Takes over the answer with all credds to a question of that time.
    pub(super) fn take(&mut self, asked: Instant, answer: Result<Vec<CreddAd>, QueryFailure>) {
        let now = Instant::now();
        self.asked = Some(asked);
        match answer {
            Ok(credds) => {
                self.wanted
                    .retain(|_, wanted| now < wanted.used + FORGOTTEN);
                for (schedd, wanted) in &mut self.wanted {
                    wanted.update(schedd, &credds);
                }
                self.credds = credds;
                self.fault = None;
                self.ask_again = Some(now + FRESH);
            }
            Err(fault) => {
                self.fault = Some(fault);
                self.ask_again = Some(now + AFTER_SILENCE);
            }
        }
    }

    /// Returns `true` while what is known of a schedd counts, or the pause after a collector gave no answer.
    pub(super) fn is_fresh(&self, schedd: &str) -> bool {
        self.found.contains_key(schedd) || self.is_answer_fresh()
    }

    fn is_answer_fresh(&self) -> bool {
        self.ask_again.is_some_and(|at| Instant::now() < at)
    }

    /// Returns `true` when the collector is not asked, even by who lacks an address `since` then: it was asked later, or it
    /// gave no answer a while ago.
    pub(super) fn is_final(&self, since: Instant) -> bool {
        self.asked >= Some(since) || (self.fault.is_some() && self.is_answer_fresh())
    }

    pub(super) fn location(&mut self, schedd: &str) -> Location {
        let (address, has_name) = match self.found.get(schedd) {
            Some(found) => (found.address.clone(), found.has_name),
            None => (self.address(schedd), true),
        };
        Location {
            address,
            has_name,
            fault: self.fault.clone(),
        }
    }

    /// The credd of the last answer that has an address.
    pub(super) fn credd_at(&self, address: &str) -> Option<CreddAd> {
        let has_it = |ad: &&CreddAd| ad.address.as_deref() == Some(address);
        self.credds.iter().find(has_it).cloned()
    }

    /// Address of a schedd's credd after nobody answered at `failed`. `before` is the credd that had that address.
    pub(super) fn location_after(
        &mut self,
        schedd: &str,
        failed: Option<&str>,
        before: Option<CreddAd>,
    ) -> Location {
        let before = before.or_else(|| self.credd_at(failed?));
        let Some(Found { has_name, ad, .. }) = self.found.get(schedd) else {
            if let Some(failed) = failed {
                self.failed(schedd, failed);
            }
            return self.location(schedd);
        };
        let credd = match before {
            Some(before) => same(&self.credds, &before),
            // It named its credd itself: the only one of its host may be another.
            None if ad.credd.is_some() && !ad.is_of_host => credd_named(&self.credds, &ad.name),
            // Its own name is not that of a credd, and others at that host may have credds of their own.
            None if !has_name => credd_of_host(&self.credds, &ad.machine),
            None => {
                self.address(schedd);
                self.wanted.get(schedd).map(|wanted| &wanted.credd)
            }
        };
        let address = credd.and_then(|credd| credd.address.clone());
        if let (Some(found), Some(address)) = (self.found.get_mut(schedd), &address) {
            found.address = Some(address.clone());
        }
        Location {
            address,
            ..self.location(schedd)
        }
    }

    /// Address of the credd that was found for a name.
    fn address(&mut self, schedd: &str) -> Option<String> {
        let used = Instant::now();
        if let Some(wanted) = self.wanted.get_mut(schedd) {
            wanted.used = used;
            return wanted.credd.address.clone();
        }
        let credd = find_credd(&self.credds, schedd)?.clone();
        let address = credd.address.clone();
        let wanted = Wanted {
            credd,
            is_listed: true,
            used,
        };
        self.wanted.insert(schedd.to_owned(), wanted);
        address
    }

    /// Forgets an address where nobody answered, unless the last answer has it, or the collector is silent.
    fn failed(&mut self, schedd: &str, address: &str) {
        if self.fault.is_none()
            && let Some(wanted) = self.wanted.get_mut(schedd)
            && !wanted.is_listed
        {
            wanted.credd.address.take_if(|known| known == address);
        }
    }
}
