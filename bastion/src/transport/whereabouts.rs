//! Where the credds of schedds are that a collector told of. Addresses change while names stay: a
//! credd that is started anew has another one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::discovery::Known;

/// What is known, by collector and by the schedd's name in deliveries.
#[derive(Debug, Default)]
pub(super) struct Whereabouts(Mutex<Places>);

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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Where a schedd is.
    pub(super) fn of(&self, collector: Option<&str>, schedd: &str) -> Option<Place> {
        let key = (collector.map(str::to_owned), schedd.to_owned());
        self.lock().get(&key).cloned()
    }

    /// Forgets the address of a credd that does not answer there: it is asked for by name, until
    /// the collector tells another one.
    pub(super) fn doubt(&self, collector: Option<&str>, schedd: &str) {
        let key = (collector.map(str::to_owned), schedd.to_owned());
        if let Some(place) = self.lock().get_mut(&key) {
            place.credd = None;
        }
    }
}
