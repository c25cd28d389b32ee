//! Where the credds of listed schedds are (`credds: [HOST, …]`): a collector is asked once for all
//! credds that it knows, where each run of a tool would ask it anew for one.
//!
//! What holds: an address that nobody answers at is not used again before the collector was asked
//! again; where no address is known, or the collector is silent, the credd is asked for by name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::whereabouts::Place;
use crate::schedd::discovery::{CreddAd, address_of};

/// An answer counts for so long: as often a collector is asked for schedds.
const FRESH: Duration = Duration::from_mins(5);
/// A collector that gave none is left alone for this time,
const AFTER_SILENCE: Duration = Duration::from_mins(1);
/// and one that told an address where nobody answers for this.
const AFTER_DOUBT: Duration = Duration::from_secs(15);

/// What collectors told, by collector.
#[derive(Debug, Default)]
pub(super) struct Listed(Mutex<HashMap<Option<String>, Slot>>);

type Slot = Arc<Mutex<Told>>;

/// What one collector told.
#[derive(Debug, Default)]
struct Told {
    credds: Vec<CreddAd>,
    /// Hosts whose credd is not where it was told.
    doubted: HashSet<String>,
    /// When it is asked again.
    until: Option<Instant>,
}

impl Listed {
    /// Where a host's credd is. `ask` asks the collector for all credds, if that is to be done.
    pub(super) async fn place(
        &self,
        collector: Option<&str>,
        host: &str,
        ask: impl Future<Output = Option<Vec<CreddAd>>>,
    ) -> Option<Place> {
        let slot = self.slot(collector).await;
        // Held while the collector is asked: others wait for the same answer.
        let mut told = slot.lock().await;
        if told.until.is_none_or(|until| Instant::now() >= until) {
            let credds = ask.await;
            let pause = credds.as_ref().map_or(AFTER_SILENCE, |_| FRESH);
            *told = Told {
                credds: credds.unwrap_or_default(),
                doubted: HashSet::new(),
                until: Some(Instant::now() + pause),
            };
        }
        if told.doubted.contains(host) {
            return None;
        }
        let address = address_of(&told.credds, host)?;
        Some(Place {
            credd: Some(address.to_owned()),
            schedd: host.to_owned(),
        })
    }

    /// Nobody answers at the address that was told.
    pub(super) async fn doubt(&self, collector: Option<&str>, host: &str) {
        let slot = self.slot(collector).await;
        let mut told = slot.lock().await;
        if address_of(&told.credds, host).is_some() && told.doubted.insert(host.to_owned()) {
            let soon = Instant::now() + AFTER_DOUBT;
            told.until = told.until.map(|until| until.min(soon));
        }
    }

    async fn slot(&self, collector: Option<&str>) -> Slot {
        let key = collector.map(str::to_owned);
        Arc::clone(self.0.lock().await.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::schedd::discovery;

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
            Some(discovery::credds(self.ads.get()?).unwrap())
        }

        async fn address(&self, listed: &Listed, host: &str) -> Option<String> {
            listed.place(None, host, self.answer()).await?.credd
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_is_asked_once_for_all() {
        let (listed, collector) = (Listed::default(), Collector::that_says(Some(BEFORE)));
        let ask = |host| collector.address(&listed, host);
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
        let (listed, collector) = (Listed::default(), Collector::that_says(Some(BEFORE)));
        let ask = |host| collector.address(&listed, host);
        assert!(ask("ap1.test").await.is_some());
        collector.ads.set(Some(MOVED));
        listed.doubt(None, "ap1.test").await;
        assert_eq!(ask("ap1.test").await, None);
        assert!(
            ask("ap2.test").await.is_some(),
            "others are where they were"
        );
        // Whoever else finds out puts nothing off.
        tokio::time::sleep(AFTER_DOUBT / 2).await;
        listed.doubt(None, "ap1.test").await;
        tokio::time::sleep(AFTER_DOUBT / 2).await;
        let new = Some("<10.0.0.1:9618?sock=new>".to_owned());
        assert_eq!(ask("ap1.test").await, new);
        assert_eq!(collector.asked.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_collector_is_left_alone_for_a_while() {
        let (listed, collector) = (Listed::default(), Collector::that_says(None));
        let ask = |host| collector.address(&listed, host);
        assert_eq!(tokio::join!(ask("ap1.test"), ask("ap2.test")), (None, None));
        listed.doubt(None, "ap1.test").await;
        assert_eq!(ask("ap1.test").await, None);
        assert_eq!(collector.asked.get(), 1);
        collector.ads.set(Some(BEFORE));
        tokio::time::sleep(AFTER_SILENCE).await;
        assert!(ask("ap1.test").await.is_some());
    }
}
