//! Addresses of credds. Those of schedds that a search found come with its answer. For listed schedds
//! (`credds: [HOST, …]`) a collector is asked once for all credds that it knows. Addresses change while names stay: a
//! credd that is started anew may have another one.
//!
//! Always true: an address where nobody answers is not used again before the collector was asked again, unless it
//! does not answer either; a collector that does not answer, or lacks a credd, takes nothing away that is known. An
//! address that is known and fresh is read without waiting for a question that is under way.

mod known;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Search;
use crate::model::delivery::CreddTarget;
use crate::schedd::discovery::{CreddAd, FoundSchedds, QueryFailure};
use crate::system::keyed::Keyed;
use crate::system::locked::locked;
use known::KnownCredds;

/// Time for which the answer of a collector counts: as often it is asked for schedds.
const FRESH: Duration = Duration::from_mins(5);
/// Pause after a collector gave no answer.
const AFTER_SILENCE: Duration = Duration::from_mins(1);
/// Time after which a credd is forgotten that nobody asked for.
const FORGOTTEN: Duration = Duration::from_hours(24);

#[derive(Debug, Default)]
pub(super) struct Addresses {
    known: Mutex<HashMap<Option<String>, KnownCredds>>,
    /// Locked while a collector is asked: who needs the answer waits for it.
    asking: Keyed<Option<String>, ()>,
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

impl Addresses {
    /// Acts on what is known by a credd's collector.
    fn with<T>(&self, credd: &CreddTarget, act: impl FnOnce(&mut KnownCredds) -> T) -> T {
        let mut all = locked(&self.known);
        act(all.entry(credd.collector.clone()).or_default())
    }

    /// Takes over the answer of a search, in place of its last one.
    pub(super) fn learn(&self, search: &Search, schedds: &FoundSchedds) {
        let group = search.group.as_str();
        let mut all = locked(&self.known);
        // It may have asked another collector.
        for known in all.values_mut() {
            known.forget(group);
        }
        let known = all.entry(search.collector.clone()).or_default();
        for (name, schedd) in &schedds.0 {
            known.learn(group, name, schedd);
        }
    }

    /// Address of a credd: as a search found it, else as its collector knows a credd of that name.
    /// `ask` asks the collector for all credds, if that is to be done.
    pub(super) async fn get(
        &self,
        credd: &CreddTarget,
        ask: impl Future<Output = Result<Vec<CreddAd>, QueryFailure>>,
    ) -> Location {
        let schedd = credd.host.as_str();
        if let Some(given) = given(schedd) {
            return given;
        }
        let is_fresh = |known: &mut KnownCredds| known.is_fresh(schedd);
        self.ask_unless(credd, is_fresh, ask).await;
        self.with(credd, |known| known.location(schedd))
    }

    /// Address of a credd after nobody answered at `failed`, or when none is known. `since` then it is needed: the
    /// collector is asked, unless it was asked later, or gave no answer a while ago.
    pub(super) async fn again(
        &self,
        credd: &CreddTarget,
        failed: Option<&str>,
        since: Instant,
        ask: impl Future<Output = Result<Vec<CreddAd>, QueryFailure>>,
    ) -> Location {
        let schedd = credd.host.as_str();
        if let Some(given) = given(schedd) {
            return given;
        }
        let other = |known: &mut KnownCredds| {
            let location = known.location(schedd);
            let address = location.address.as_deref();
            (address.is_some() && address != failed).then_some(location)
        };
        let before = self.with(credd, |known| known.credd_at(failed?));
        let is_known = |known: &mut KnownCredds| known.is_final(since) || other(known).is_some();
        self.ask_unless(credd, is_known, ask).await;
        self.with(credd, |known| {
            other(known).unwrap_or_else(|| known.location_after(schedd, failed, before))
        })
    }

    /// Asks a credd's collector, unless what is known is enough: at once, or after others have asked it.
    async fn ask_unless(
        &self,
        credd: &CreddTarget,
        is_enough: impl Fn(&mut KnownCredds) -> bool,
        ask: impl Future<Output = Result<Vec<CreddAd>, QueryFailure>>,
    ) {
        if self.with(credd, &is_enough) {
            return;
        }
        let _asking = self.asking.lock(credd.collector.clone()).await;
        if self.with(credd, &is_enough) {
            return;
        }
        let asked = Instant::now();
        let answer = ask.await;
        self.with(credd, |known| known.take(asked, answer));
    }
}

#[cfg(test)]
mod tests;
