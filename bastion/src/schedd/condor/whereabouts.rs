//! Where credds are: those of schedds that a search found, and those of listed ones. Addresses change
//! while names stay: a credd that is started anew has another one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::listed::Listed;
use crate::schedd::discovery::{CreddAd, Known};

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    /// Of searches, by collector and by the schedd's name in deliveries.
    found: Mutex<Places>,
    listed: Listed,
}

type Places = HashMap<(Option<String>, String), Place>;

/// Where one schedd and its credd are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Address of the credd, if it is known.
    pub(super) credd: Option<String>,
    /// The schedd's whole name, as the collector knows it.
    pub(super) schedd: String,
}

impl Whereabouts {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a collector told.
    pub(super) fn note(&self, collector: Option<&str>, known: &Known) {
        let mut all = self.lock();
        for (name, schedd) in &known.0 {
            if schedd.gone_since().is_some() {
                continue;
            }
            let Some(first) = schedd.ads.first() else {
                continue;
            };
            let place = Place {
                credd: schedd.ads.iter().find_map(|ad| ad.credd.clone()),
                schedd: first.name.clone(),
            };
            all.insert((collector.map(str::to_owned), name.clone()), place);
        }
    }

    /// Where a schedd and its credd are: as its search found it, else as its collector knows a credd
    /// of that name. `ask` asks the collector for all credds, if that is to be done.
    pub(super) async fn of(
        &self,
        collector: Option<&str>,
        schedd: &str,
        ask: impl Future<Output = Option<Vec<CreddAd>>>,
    ) -> Option<Place> {
        let key = (collector.map(str::to_owned), schedd.to_owned());
        let found = self.lock().get(&key).cloned();
        // A name in angle brackets is an address.
        if found.is_some() || schedd.starts_with('<') {
            return found;
        }
        self.listed.place(collector, schedd, ask).await
    }

    /// Forgets the address of a credd that does not answer there: it is asked for by name, until
    /// the collector is asked again.
    pub(super) async fn doubt(&self, collector: Option<&str>, schedd: &str) {
        let key = (collector.map(str::to_owned), schedd.to_owned());
        if let Some(place) = self.lock().get_mut(&key) {
            place.credd = None;
        }
        self.listed.doubt(collector, schedd).await;
    }
}
