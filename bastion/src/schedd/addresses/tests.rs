//! Addresses of credds, and collectors that change their answers.

use std::cell::Cell;

use tokio::time::Instant;

use super::*;
use crate::fixtures::{credd, search};
use crate::model::problem::Kind;
use crate::schedd::discovery::ScheddAd;

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

fn to(host: &str) -> CreddTarget {
    credd(host).credd().unwrap().clone()
}

fn silence() -> QueryFailure {
    (Kind::CollectorDown, "silence".to_owned())
}

impl Collector {
    fn that_says(ads: Option<&'static str>) -> Self {
        Self {
            ads: Cell::new(ads),
            asked: Cell::new(0),
        }
    }

    async fn answer(&self) -> Result<Vec<CreddAd>, QueryFailure> {
        self.asked.set(self.asked.get() + 1);
        tokio::time::sleep(Duration::from_millis(30)).await;
        let ads = self.ads.get().ok_or_else(silence)?;
        Ok(serde_json::from_str(ads).unwrap())
    }

    async fn address(&self, addresses: &Addresses, host: &str) -> Option<String> {
        addresses.get(&to(host), self.answer()).await.address
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
async fn a_silent_collector_is_left_alone_for_a_while() {
    let (addresses, collector) = (Addresses::default(), Collector::that_says(None));
    let ask = |host| collector.address(&addresses, host);
    assert_eq!(tokio::join!(ask("ap1.test"), ask("ap2.test")), (None, None));
    assert_eq!(ask("ap1.test").await, None);
    assert_eq!(collector.asked.get(), 1);
    collector.ads.set(Some(BEFORE));
    tokio::time::sleep(AFTER_SILENCE).await;
    assert!(ask("ap1.test").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn who_meets_nobody_has_the_collector_asked_again_once_for_all() {
    let (addresses, collector) = (Addresses::default(), Collector::that_says(Some(BEFORE)));
    let old = collector.address(&addresses, "ap1.test").await.unwrap();
    collector.ads.set(Some(MOVED));
    let again = async |failed: &str| {
        let ask = collector.answer();
        addresses
            .again(&to("ap1.test"), Some(failed), Instant::now(), ask)
            .await
            .address
    };
    let new = Some("<10.0.0.1:9618?sock=new>".to_owned());
    let both = tokio::join!(again(&old), again(&old));
    assert_eq!(both, (new.clone(), new.clone()));
    assert_eq!(collector.asked.get(), 2);
    assert_eq!(collector.address(&addresses, "ap1.test").await, new);
    // Nobody answers at the new one either: an answer of before says nothing of now.
    assert_eq!(again(new.as_deref().unwrap()).await, new);
    assert_eq!(collector.asked.get(), 3);
    // A collector that does not answer takes nothing away.
    collector.ads.set(None);
    assert_eq!(again(new.as_deref().unwrap()).await, new);
    tokio::time::sleep(AFTER_SILENCE).await;
    assert_eq!(collector.address(&addresses, "ap1.test").await, new);
    assert_eq!(collector.asked.get(), 5);
}

/// Ad of a schedd that gives its credd's address itself.
fn found_at(name: &str, machine: &str, credd: &str) -> ScheddAd {
    ScheddAd {
        name: name.to_owned(),
        machine: machine.to_owned(),
        credd: Some(credd.to_owned()),
        is_of_host: false,
        jobs: 0,
        matches: true,
    }
}

/// Has a search find schedds.
fn learn(addresses: &Addresses, ads: Vec<ScheddAd>) {
    let mut found = FoundSchedds::default();
    found.take(ads, jiff::Timestamp::UNIX_EPOCH, Duration::from_hours(1));
    addresses.learn(&search(Vec::new()), &found);
}

#[tokio::test(start_paused = true)]
async fn a_found_schedd_by_another_name_gets_the_address_of_the_only_credd_of_its_host() {
    let (addresses, collector) = (Addresses::default(), Collector::that_says(Some(BEFORE)));
    let ad = |name: &str, machine: &str, credd: &str| ScheddAd {
        is_of_host: true,
        ..found_at(name, machine, credd)
    };
    let ads = vec![
        ad("crab3@ap1.test", "ap1.test", "<10.0.0.1:9618?sock=old>"),
        ad("crab3@ap3.test", "ap3.test", "<10.0.0.3:9618?sock=old>"),
    ];
    learn(&addresses, ads);
    let again = async |host: &str, failed: Option<&str>| {
        let ask = collector.answer();
        addresses
            .again(&to(host), failed, Instant::now(), ask)
            .await
            .address
    };
    let (old, one) = ("<10.0.0.1:9618?sock=old>", "<10.0.0.1:9618?sock=one>");
    assert_eq!(again("ap1.test", None).await.as_deref(), Some(old));
    assert_eq!(again("ap1.test", Some(old)).await.as_deref(), Some(one));
    let known = collector.address(&addresses, "ap1.test").await;
    assert_eq!(known.as_deref(), Some(one));
    // Which of two credds is its own nobody says.
    let two = again("ap3.test", Some("<10.0.0.3:9618?sock=old>")).await;
    assert_eq!(two, None);
}

/// A credd that is started anew registers with the collector a while after it went.
#[tokio::test(start_paused = true)]
async fn an_answer_of_before_says_nothing_of_a_credd_that_has_come_since() {
    let (addresses, collector) = (Addresses::default(), Collector::that_says(Some("[]")));
    let order = async || {
        let since = Instant::now();
        let known = collector.address(&addresses, "ap1.test").await;
        assert_eq!(known, None);
        addresses
            .again(&to("ap1.test"), None, since, collector.answer())
            .await
            .address
    };
    assert_eq!(order().await, None);
    assert_eq!(collector.asked.get(), 1, "asked once for one need");
    collector.ads.set(Some(MOVED));
    assert!(order().await.is_some());
}

const TWO_OF_AP2: &str = r#"[
    {"Name": "ap2.test", "Machine": "ap2.test", "MyAddress": "<10.0.0.2:9618?sock=host>"},
    {"Name": "crab3@ap2.test", "Machine": "ap2.test", "MyAddress": "<10.0.0.2:9618?sock=crab>"}]"#;
const OTHER_OF_AP2: &str = r#"[
    {"Name": "crab3@ap2.test", "Machine": "ap2.test", "MyAddress": "<10.0.0.2:9618?sock=crab>"}]"#;

/// Another credd of a host than the one that was found for the name is never taken in its place.
#[tokio::test(start_paused = true)]
async fn a_collector_that_was_started_anew_takes_no_address_away_and_exchanges_none() {
    let (addresses, collector) = (Addresses::default(), Collector::that_says(Some(TWO_OF_AP2)));
    let ask = |host| collector.address(&addresses, host);
    let host = Some("<10.0.0.2:9618?sock=host>".to_owned());
    assert_eq!(ask("ap2.test").await, host);
    for answer in ["[]", OTHER_OF_AP2] {
        collector.ads.set(Some(answer));
        tokio::time::sleep(FRESH).await;
        assert_eq!(ask("ap2.test").await, host, "{answer}");
        assert_eq!(ask("ap1.test").await, None, "nobody asked for it before");
    }
    let again = async |failed: Option<&str>| {
        let ask = collector.answer();
        addresses
            .again(&to("ap2.test"), failed, Instant::now(), ask)
            .await
            .address
    };
    assert_eq!(again(host.as_deref()).await, None);
    assert_eq!(ask("ap2.test").await, None);
    tokio::time::sleep(FRESH).await;
    assert_eq!(
        ask("ap2.test").await,
        None,
        "nor is the other one taken now"
    );
    collector.ads.set(Some(TWO_OF_AP2));
    assert_eq!(again(None).await, host);
}

#[tokio::test(start_paused = true)]
async fn the_only_credd_of_a_host_gives_way_to_the_one_that_has_its_name() {
    let (addresses, collector) = (
        Addresses::default(),
        Collector::that_says(Some(OTHER_OF_AP2)),
    );
    let ask = |host| collector.address(&addresses, host);
    assert!(ask("ap2.test").await.unwrap().ends_with("crab>"));
    collector.ads.set(Some(TWO_OF_AP2));
    tokio::time::sleep(FRESH).await;
    assert!(ask("ap2.test").await.unwrap().ends_with("host>"));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_is_not_kept() {
    let (addresses, collector) = (Addresses::default(), Collector::that_says(Some(BEFORE)));
    let ask = |host| collector.address(&addresses, host);
    assert!(ask("ap1.test").await.is_some());
    collector.ads.set(Some("[]"));
    tokio::time::sleep(FRESH).await;
    assert_eq!(ask("ap2.test").await, None);
    tokio::time::sleep(FORGOTTEN).await;
    assert_eq!(ask("ap2.test").await, None);
    assert_eq!(ask("ap1.test").await, None);
}

#[tokio::test(start_paused = true)]
async fn one_dead_credd_and_a_silent_collector_hold_up_no_other_credd() {
    let (addresses, collector) = (Addresses::default(), Collector::that_says(Some(BEFORE)));
    let old = collector.address(&addresses, "ap1.test").await.unwrap();
    let silence = async || {
        collector.asked.set(collector.asked.get() + 1);
        tokio::time::sleep(Duration::from_secs(5)).await;
        Err(silence())
    };
    let again = async || {
        addresses
            .again(&to("ap1.test"), Some(&old), Instant::now(), silence())
            .await
            .address
    };
    let begun = Instant::now();
    let others = async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let address = collector.address(&addresses, "two@ap2.test").await;
        (address, begun.elapsed())
    };
    let (first, second, (other, took)) = tokio::join!(again(), again(), others());
    assert_eq!((first.as_ref(), second.as_ref()), (Some(&old), Some(&old)));
    assert_eq!(other.as_deref(), Some("<10.0.0.2:9618?sock=a>"));
    assert_eq!(took, Duration::from_secs(1), "it waits for no question");
    // A collector that gave no answer is not asked again before its time.
    let begun = Instant::now();
    assert_eq!(again().await, Some(old.clone()));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(collector.asked.get(), 2);
    tokio::time::sleep(AFTER_SILENCE).await;
    again().await;
    assert_eq!(collector.asked.get(), 3);
}

const CRAB_BEFORE: &str = r#"[
    {"Name": "crab@ap1.test", "Machine": "ap1.test", "MyAddress": "<10.0.0.1:9618?sock=crab>"},
    {"Name": "ap1.test", "Machine": "ap1.test", "MyAddress": "<10.0.0.1:9618?sock=host>"}]"#;
const CRAB_MOVED: &str = r#"[
    {"Name": "crab@ap1.test", "Machine": "ap1.test", "MyAddress": "<10.0.0.1:9618?sock=crab2>"},
    {"Name": "ap1.test", "Machine": "ap1.test", "MyAddress": "<10.0.0.1:9618?sock=host>"}]"#;

#[tokio::test(start_paused = true)]
async fn a_schedd_that_names_its_credd_gets_no_other_one_of_its_host() {
    let old = "<10.0.0.1:9618?sock=crab>";
    for name in ["crab3@ap1.test", "ap1.test"] {
        let (addresses, collector) = (Addresses::default(), Collector::that_says(None));
        learn(&addresses, vec![found_at(name, "ap1.test", old)]);
        let again = async |failed: &str| {
            let ask = collector.answer();
            addresses
                .again(&to("ap1.test"), Some(failed), Instant::now(), ask)
                .await
                .address
        };
        // Which credd that was nobody knows.
        collector.ads.set(Some(r#"[{"Name": "x@ap1.test", "Machine": "ap1.test", "MyAddress": "<10.0.0.1:9618?sock=x>"}]"#));
        assert_eq!(again(old).await, None, "{name}");
        let known = collector.address(&addresses, "ap1.test").await;
        assert_eq!(known.as_deref(), Some(old), "until the next search");
        // Once the collector has shown which one it is, that one is taken wherever it goes.
        collector.ads.set(Some(CRAB_BEFORE));
        again(old).await;
        collector.ads.set(Some(CRAB_MOVED));
        let new = again(old).await;
        assert_eq!(new.as_deref(), Some("<10.0.0.1:9618?sock=crab2>"), "{name}");
        let known = collector.address(&addresses, "ap1.test").await;
        assert_eq!(known, new);
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedd_that_names_its_credd_gets_the_one_of_its_own_name() {
    let (addresses, collector) = (Addresses::default(), Collector::that_says(Some(MOVED)));
    let old = "<10.0.0.1:9618?sock=old>";
    learn(&addresses, vec![found_at("ap1.test", "ap1.test", old)]);
    let ask = collector.answer();
    let again = addresses
        .again(&to("ap1.test"), Some(old), Instant::now(), ask)
        .await;
    assert_eq!(again.address.as_deref(), Some("<10.0.0.1:9618?sock=new>"));
}
