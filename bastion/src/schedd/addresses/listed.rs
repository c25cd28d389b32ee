//! Credds that a collector knows, with those of its earlier answers that are in use. Pure, but for the time.
//!
//! Always true: the credd that was found for a schedd stays that of the schedd, though a later answer lacks it: a
//! collector that was started anew knows few credds at first. It gives way to nobody but a credd that has the schedd's
//! own name.

use std::collections::HashMap;

use tokio::time::Instant;

use super::{AFTER_SILENCE, FORGOTTEN, FRESH, JUST_NOW, Location};
use crate::schedd::discovery::{CreddAd, QueryFailure, credd_named, find_credd};

/// Answers of a collector.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// The last answer.
    pub(super) credds: Vec<CreddAd>,
    /// Credds that were found for schedds, by the names of these.
    wanted: HashMap<String, Wanted>,
    asked: Option<Instant>,
    ask_again: Option<Instant>,
    /// Reason why it did not answer the last time.
    pub(super) fault: Option<QueryFailure>,
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
    /// Takes over the credd's ad from a new answer.
    fn update(&mut self, schedd: &str, credds: &[CreddAd]) {
        let ad = credd_named(credds, schedd).or_else(|| same(credds, &self.credd));
        self.is_listed = ad.is_some();
        if let Some(ad) = ad {
            self.credd = ad.clone();
        }
    }
}

/// The ad of the same credd.
pub(super) fn same<'a>(credds: &'a [CreddAd], credd: &CreddAd) -> Option<&'a CreddAd> {
    let is_same = |ad: &&CreddAd| ad.name == credd.name && ad.machine == credd.machine;
    credds.iter().find(is_same)
}

impl Listed {
    /// Takes over an answer.
    pub(super) fn take(&mut self, answer: Result<Vec<CreddAd>, QueryFailure>) {
        let now = Instant::now();
        self.asked = Some(now);
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

    /// Returns `true` while the last answer counts, or the pause after a collector gave none.
    pub(super) fn is_fresh(&self) -> bool {
        self.ask_again.is_some_and(|at| Instant::now() < at)
    }

    /// Returns `true` when the collector is not asked, even after nobody answered at an address that it gave: it was asked
    /// just now, or it gave no answer a while ago.
    pub(super) fn is_final(&self) -> bool {
        let is_new = |asked: Instant| Instant::now() < asked + JUST_NOW;
        self.asked.is_some_and(is_new) || (self.fault.is_some() && self.is_fresh())
    }

    pub(super) fn location(&mut self, schedd: &str) -> Location {
        Location {
            address: self.address(schedd),
            has_name: true,
            fault: self.fault.clone(),
        }
    }

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
    pub(super) fn failed(&mut self, schedd: &str, address: &str) {
        if self.fault.is_none()
            && let Some(wanted) = self.wanted.get_mut(schedd)
            && !wanted.is_listed
        {
            wanted.credd.address.take_if(|known| known == address);
        }
    }
}
