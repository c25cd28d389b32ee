//! One breaker alone.

use std::time::Duration;

use super::*;

const WHY: &str = "Vault a does not answer: no route";

struct Fixture {
    breaker: Breaker,
    proven: BTreeSet<Arc<str>>,
    begin: Instant,
}

impl Fixture {
    /// Whose accounts have one working credential each.
    fn new(accounts: &[&str]) -> Self {
        Self {
            breaker: Breaker::default(),
            proven: accounts.iter().copied().map(Arc::from).collect(),
            begin: Instant::now(),
        }
    }

    fn at(&self, second: u64) -> Instant {
        self.begin + Duration::from_secs(second)
    }

    /// A failure; the probe after it comes ten seconds later for each failure in a row.
    fn fail(&mut self, account: &str, second: u64) -> Charge {
        let now = (self.at(second), Timestamp::UNIX_EPOCH);
        let delay = |failures: u32| Duration::from_secs(10 * u64::from(failures));
        let account = account.into();
        self.breaker.failed(&account, &self.proven, WHY, now, delay)
    }
}

const JUST_OPENED: Charge = Charge::Open { just_opened: true };
const STILL_OPEN: Charge = Charge::Open { just_opened: false };

#[test]
fn one_account_among_others_opens_nothing_however_often_it_fails() {
    let mut f = Fixture::new(&["u", "v"]);
    for second in 0..100 {
        assert_eq!(f.fail("u", second), Charge::Credential);
    }
    assert!(f.breaker.open().is_none() && !f.breaker.wants_probe(f.at(1000)));
    assert_eq!(f.fail("v", 100), JUST_OPENED);
}

#[test]
fn the_only_account_opens_it_and_a_success_between_clears_the_suspicion() {
    assert_eq!(Fixture::new(&["u"]).fail("u", 0), JUST_OPENED);
    let mut f = Fixture::new(&["u", "v"]);
    f.fail("u", 0);
    assert!(!f.breaker.succeeded());
    assert_eq!(f.fail("v", 1), Charge::Credential);
    assert_eq!(f.fail("u", 2), JUST_OPENED);
    assert!(f.breaker.succeeded() && f.breaker.open().is_none());
}

#[test]
fn one_that_a_single_account_opened_holds_up_nobody_else() {
    let mut f = Fixture::new(&["u"]);
    f.fail("u", 0);
    assert!(f.breaker.open_for(&"u".into()).is_some());
    assert!(f.breaker.open_for(&"v".into()).is_none());
    f.proven.insert("v".into());
    f.fail("v", 1);
    assert!(f.breaker.open_for(&"w".into()).is_some());
}

#[test]
fn a_suspect_that_is_gone_counts_no_more() {
    let mut f = Fixture::new(&["u", "v", "w"]);
    f.fail("u", 0);
    f.proven.remove("u");
    assert_eq!(f.fail("v", 1), Charge::Credential);
    assert_eq!(f.fail("w", 2), JUST_OPENED);
}

#[test]
fn it_waits_longer_after_each_failed_probe_and_what_was_under_way_counts_once() {
    let mut f = Fixture::new(&["u"]);
    f.fail("u", 0);
    assert_eq!(f.fail("u", 5), STILL_OPEN);
    assert!(!f.breaker.wants_probe(f.at(9)) && f.breaker.wants_probe(f.at(10)));
    assert_eq!(f.fail("u", 10), STILL_OPEN);
    assert!(!f.breaker.wants_probe(f.at(29)) && f.breaker.wants_probe(f.at(30)));
}

#[test]
fn there_is_one_probe_at_a_time_and_a_dropped_one_makes_room_for_another() {
    let mut f = Fixture::new(&["u", "v"]);
    f.fail("u", 0);
    f.fail("v", 0);
    assert_eq!(f.breaker.open().unwrap().prober.as_deref(), Some("v"));
    let probe = f.breaker.probe(&"u".into()).unwrap();
    assert!(!f.breaker.wants_probe(f.at(10)));
    drop(probe);
    assert!(f.breaker.wants_probe(f.at(10)));
    assert_eq!(f.breaker.open().unwrap().prober.as_deref(), Some("u"));
    f.breaker.inconclusive(f.at(12));
    assert!(!f.breaker.wants_probe(f.at(11)) && f.breaker.wants_probe(f.at(12)));
    f.breaker.inconclusive(f.at(5));
    assert!(
        !f.breaker.wants_probe(f.at(11)),
        "never earlier than before"
    );
}

#[test]
fn a_person_gets_a_probe_at_once() {
    let mut f = Fixture::new(&["u"]);
    f.fail("u", 0);
    f.breaker.retry_now(f.at(1));
    assert!(f.breaker.wants_probe(f.at(1)));
    assert!(
        Breaker::default().probe(&"u".into()).is_none(),
        "it is not open"
    );
}
