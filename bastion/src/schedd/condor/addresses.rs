//! Addresses of credds. Those of schedds that a search found come with its answer. For listed schedds
//! (`credds: [HOST, …]`) a collector is asked once for all credds that it knows, where each run of a tool would
//! ask it anew for one. Addresses change while names stay: a credd that is started anew has another one.
//!
//! Always true: an address where nobody answers is not used again before the collector was asked again; where
//! no address is known, or the collector does not answer, the credd is asked for by name.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Search;
use crate::schedd::discovery::{CreddAd, FoundSchedds, find_credd};
use crate::system::keyed::Keyed;

/// Time for which the answer of a collector counts: as often it is asked for schedds.
const FRESH: Duration = Duration::from_mins(5);
/// Pause after a collector gave no answer.
const AFTER_SILENCE: Duration = Duration::from_mins(1);
/// Pause after nobody answered at an address that a collector gave.
const AFTER_DOUBT: Duration = Duration::from_secs(15);

/// Known addresses of credds.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Of schedds that searches found, by collector and by name in deliveries.
    found: Mutex<HashMap<(Option<String>, String), Found>>,
    /// Of all credds of a collector. Locked while it is asked: others wait for the same answer.
    listed: Keyed<Option<String>, Listed>,
}

#[derive(Debug)]
struct Found {
    group: String,
    location: Location,
}

/// Answer of a collector.
#[derive(Debug, Default)]
struct Listed {
    credds: Vec<CreddAd>,
    ask_again: Option<Instant>,
}

/// Place of one credd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Location {
    /// In angle brackets; `None` when it is not known.
    pub(super) address: Option<String>,
    /// HTCondor's tools find the credd by the schedd's name in deliveries as well.
    pub(super) has_name: bool,
}

impl Addresses {
    fn found(&self) -> MutexGuard<'_, HashMap<(Option<String>, String), Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the answer of a search, in place of its last one.
    pub(super) fn learn(&self, search: &Search, schedds: &FoundSchedds) {
        let mut found = self.found();
        found.retain(|_, found| found.group != search.group);
        for (name, schedd) in &schedds.0 {
            let Some(first) = schedd.ads.first() else {
                continue;
            };
            let address = schedd.ads.iter().find_map(|ad| ad.credd.clone());
            let location = Location {
                address,
                // Others at that host may have credds of their own.
                has_name: first.name == *name,
            };
            let group = search.group.clone();
            let key = (search.collector.clone(), name.clone());
            found.insert(key, Found { group, location });
        }
    }

    /// Address of a schedd's credd: as its search found it, else as its collector knows a credd of that name.
    /// `ask` asks the collector for all credds, if that is to be done.
    pub(super) async fn get(
        &self,
        collector: Option<&str>,
        schedd: &str,
        ask: impl Future<Output = Option<Vec<CreddAd>>>,
    ) -> Location {
        // A name in angle brackets is an address.
        if schedd.starts_with('<') {
            return Location {
                address: Some(schedd.to_owned()),
                has_name: false,
            };
        }
        let key = (collector.map(str::to_owned), schedd.to_owned());
        if let Some(found) = self.found().get(&key) {
            return found.location.clone();
        }
        let (collector, _) = key;
        let mut listed = self.listed.lock(collector).await;
        if listed.ask_again.is_none_or(|at| Instant::now() >= at) {
            let credds = ask.await;
            let pause = credds.as_ref().map_or(AFTER_SILENCE, |_| FRESH);
            *listed = Listed {
                credds: credds.unwrap_or_default(),
                ask_again: Some(Instant::now() + pause),
            };
        }
        let credd = find_credd(&mut listed.credds, schedd);
        Location {
            address: credd.and_then(|credd| credd.address.clone()),
            has_name: true,
        }
    }

    /// Forgets the address of a credd that does not answer there: it is asked for by name, until the collector
    /// is asked again.
    pub(super) async fn doubt(&self, collector: Option<&str>, schedd: &str) {
        let key = (collector.map(str::to_owned), schedd.to_owned());
        if let Some(found) = self.found().get_mut(&key) {
            found.location.address = None;
            return;
        }
        let (collector, _) = key;
        let mut listed = self.listed.lock(collector).await;
        let credd = find_credd(&mut listed.credds, schedd);
        if credd.is_some_and(|credd| credd.address.take().is_some()) {
            let soon = Instant::now() + AFTER_DOUBT;
            listed.ask_again = listed.ask_again.map(|at| at.min(soon));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A collector that knows these credds, and counts how often it was asked.
    struct Collector {
        ads: Cell<Option<&'static str>>,
        asked: Cell<u32>,
    }

    const BEFORE: &str = r#"[
        {"Name": "ap1.test", "Machine": "ap1.test", "MyAddress": "<10.0.0.1:9618?sock=one>"},
        {"Name": "two@ap2.test", "Machine": "ap2.test", "MyAddress": "<10.0.0.2:9618?sock=a>"},
        {"Name": "three@ap3.test", "Machine": "ap3.test", "MyAddress": "<10.0.0.3:9618?sock=a>"},
        {"Name": "four@ap3.test", "Machine": "ap3.test", "MyAddress": "<10.0.0.3:9618?sock=b>"}]"#;
    const MOVED: &str = r#"[
        {"Name": "ap1.test", "Machine": "ap1.test", "MyAddress": "<10.0.0.1:9618?sock=new>"}]"#;

    impl Collector {
        fn that_says(ads: Option<&'static str>) -> Self {
            Self {
                ads: Cell::new(ads),
                asked: Cell::new(0),
            }
        }

        async fn answer(&self) -> Option<Vec<CreddAd>> {
            self.asked.set(self.asked.get() + 1);
            tokio::time::sleep(Duration::from_millis(30)).await;
            Some(serde_json::from_str(self.ads.get()?).unwrap())
        }

        async fn address(&self, addresses: &Addresses, host: &str) -> Option<String> {
            addresses.get(None, host, self.answer()).await.address
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_is_asked_once_for_all() {
        let (addresses, collector) = (Addresses::default(), Collector::that_says(Some(BEFORE)));
        let ask = |host| collector.address(&addresses, host);
        let all = tokio::join!(ask("ap1.test"), ask("AP2.test"), ask("ap3.test"), ask("ap"));
        let told = |address: &str| Some(address.to_owned());
        let one = told("<10.0.0.1:9618?sock=one>");
        // Which of the two of ap3.test is meant, and what a short name stands for, the tool knows.
        assert_eq!(
            all,
            (one.clone(), told("<10.0.0.2:9618?sock=a>"), None, None)
        );
        tokio::time::sleep(FRESH / 2).await;
        assert_eq!(ask("ap1.test").await, one);
        assert_eq!(collector.asked.get(), 1);
        tokio::time::sleep(FRESH / 2).await;
        assert_eq!(ask("ap1.test").await, one);
        assert_eq!(collector.asked.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_credd_that_moved_is_asked_for_by_name_until_the_collector_was_asked_again() {
        let (addresses, collector) = (Addresses::default(), Collector::that_says(Some(BEFORE)));
        let ask = |host| collector.address(&addresses, host);
        assert!(ask("ap1.test").await.is_some());
        collector.ads.set(Some(MOVED));
        addresses.doubt(None, "ap1.test").await;
        assert_eq!(ask("ap1.test").await, None);
        assert!(
            ask("ap2.test").await.is_some(),
            "others are where they were"
        );
        // Whoever else finds out puts nothing off.
        tokio::time::sleep(AFTER_DOUBT / 2).await;
        addresses.doubt(None, "ap1.test").await;
        tokio::time::sleep(AFTER_DOUBT / 2).await;
        let new = Some("<10.0.0.1:9618?sock=new>".to_owned());
        assert_eq!(ask("ap1.test").await, new);
        assert_eq!(collector.asked.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_collector_is_left_alone_for_a_while() {
        let (addresses, collector) = (Addresses::default(), Collector::that_says(None));
        let ask = |host| collector.address(&addresses, host);
        assert_eq!(tokio::join!(ask("ap1.test"), ask("ap2.test")), (None, None));
        addresses.doubt(None, "ap1.test").await;
        assert_eq!(ask("ap1.test").await, None);
        assert_eq!(collector.asked.get(), 1);
        collector.ads.set(Some(BEFORE));
        tokio::time::sleep(AFTER_SILENCE).await;
        assert!(ask("ap1.test").await.is_some());
    }
}
