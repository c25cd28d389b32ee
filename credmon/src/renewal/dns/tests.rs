//! Look-ups that hang, fail or come late, with a resolver of our own.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use htvault::{FailureScope, Resolve as _};
use tokio::time::{advance, pause};

use super::*;

/// Answers, or hangs, as the name says.
fn names() -> NameCache {
    NameCache {
        resolve: |host| match host.split('.').next() {
            Some("hangs") => loop {
                std::thread::park();
            },
            Some("unknown") => Err(io::Error::other("no such name")),
            Some("empty") => Ok(Vec::new()),
            Some("crowded") => Err(io::Error::from_raw_os_error(24)),
            Some("many") => Ok((0..10_000).map(|n: u32| Ipv4Addr::from(n).into()).collect()),
            _ => Ok(vec![[10, 0, 0, 1].into(), [10, 0, 0, 1].into()]),
        },
        ..NameCache::default()
    }
}

/// The first answer of a name comes; then its server is down.
fn names_of_a_server_that_goes_down() -> NameCache {
    static ASKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    NameCache {
        resolve: |host| {
            while !lock(&ASKED).insert(host.to_owned()) {
                std::thread::park();
            }
            Ok(vec![[10, 0, 0, 1].into()])
        },
        ..NameCache::default()
    }
}

fn account(name: &str) -> Arc<str> {
    name.into()
}

async fn addresses(names: &NameCache, host: &str) -> Vec<SocketAddr> {
    names.resolve(host, 8200).await.unwrap_or_default()
}

#[tokio::test]
async fn a_name_that_was_looked_up_is_remembered_with_each_address_once() {
    let names = names();
    assert!(addresses(&names, "good.test").await.is_empty());
    names.look_up(&account("u"), "good.test").await.unwrap();
    let found = addresses(&names, "good.test").await;
    assert_eq!(found, ["10.0.0.1:8200".parse().unwrap()]);
    assert!(lock(&names.state).under_way.is_empty());
}

#[tokio::test]
async fn of_a_name_with_very_many_addresses_few_are_remembered() {
    let names = names();
    names.look_up(&account("u"), "many.test").await.unwrap();
    assert_eq!(addresses(&names, "many.test").await.len(), ADDRESSES);
}

#[tokio::test(start_paused = true)]
async fn an_address_needs_no_look_up() {
    let names = NameCache {
        resolve: |host| panic!("{host} was looked up"),
        ..NameCache::default()
    };
    for host in ["10.1.2.3", "[::1]", "::1"] {
        names.look_up(&account("u"), host).await.unwrap();
        assert_eq!(addresses(&names, host).await.len(), 1);
    }
}

#[tokio::test]
async fn a_name_that_is_not_found_says_nothing_but_of_its_host() {
    let names = names();
    let failure = names.look_up(&account("u"), "unknown.test").await;
    let failure = failure.unwrap_err();
    assert_eq!(failure.scope, FailureScope::Host);
    assert!(failure.text.contains("unknown.test") && failure.text.contains("no such name"));
    names.look_up(&account("u"), "empty.test").await.unwrap();
    let refused = names.resolve("empty.test", 8200).await;
    assert!(refused.is_err(), "no address to connect to");
}

#[tokio::test]
async fn a_look_up_without_descriptors_says_nothing_of_the_host() {
    let failure = names().look_up(&account("u"), "crowded.test").await;
    let failure = failure.unwrap_err();
    assert_eq!(failure.scope, FailureScope::Local, "{failure:?}");
    assert!(failure.text.contains("Too many open files"), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_hangs_has_a_deadline() {
    let names = names();
    let start = Instant::now();
    let failure = names.look_up(&account("u"), "hangs.test").await;
    assert!(failure.unwrap_err().text.contains("no answer for 10 s"));
    assert_eq!(start.elapsed(), DEADLINE);
    assert_eq!(
        lock(&names.state).under_way.len(),
        1,
        "the thread has its slot"
    );
}

#[tokio::test(start_paused = true)]
async fn an_account_whose_names_hang_leaves_slots_for_others() {
    let names = names();
    let fill = async |account: &Arc<str>| {
        for n in 0..THREADS {
            let failure = names.look_up(account, &format!("hangs.{n}.test")).await;
            let text = failure.unwrap_err().text;
            if text.contains("too many look-ups") {
                return n;
            }
        }
        THREADS
    };
    assert_eq!(fill(&account("first")).await, THREADS / 2);
    assert_eq!(fill(&account("second")).await, THREADS / 4);
    assert!(names.slot(&account("third"), "hangs.test").is_some());
    let under_way = lock(&names.state).under_way.clone();
    assert!(
        !under_way.contains_key("third"),
        "a slot is released: {under_way:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_account_without_a_slot_is_told_so_and_its_host_is_not_blamed() {
    let names = names();
    let account = account("u");
    let slots: Vec<_> = std::iter::from_fn(|| names.slot(&account, "hangs.test")).collect();
    assert_eq!(slots.len(), THREADS / 2);
    let failure = names.look_up(&account, "good.test").await.unwrap_err();
    assert_eq!(failure.scope, FailureScope::Local);
    assert_eq!(lock(&names.state).under_way.len(), 1);
    drop(slots);
    assert!(lock(&names.state).under_way.is_empty());
}

#[tokio::test]
async fn known_addresses_are_used_while_they_are_looked_up_again() {
    let names = names_of_a_server_that_goes_down();
    let account = account("u");
    names.look_up(&account, "good.test").await.unwrap();
    pause();
    names.look_up(&account, "good.test").await.unwrap();
    assert!(lock(&names.state).under_way.is_empty(), "it is fresh");
    advance(FRESH).await;
    names.look_up(&account, "good.test").await.unwrap();
    assert_eq!(
        lock(&names.state).under_way.len(),
        1,
        "it is looked up again"
    );
    assert_eq!(addresses(&names, "good.test").await.len(), 1);
    advance(10 * FRESH).await;
    names.look_up(&account, "good.test").await.unwrap();
    assert_eq!(addresses(&names, "good.test").await.len(), 1);
}

#[tokio::test]
async fn addresses_that_do_not_answer_are_looked_up_again_at_once() {
    let names = names();
    let account = account("u");
    names.look_up(&account, "good.test").await.unwrap();
    pause();
    advance(Duration::from_secs(1)).await;
    let clear = |known: &mut Known| known.addresses.clear();
    lock(&names.state).known.peek("good.test").map(clear);
    names.distrust("good.test");
    names.distrust("never.seen.test");
    let looked_up = lock(&names.state)
        .known
        .peek("good.test")
        .unwrap()
        .looked_up;
    let is_fresh = looked_up.elapsed() < FRESH;
    assert!(!is_fresh);
}

#[tokio::test]
async fn a_known_name_whose_name_server_hangs_takes_one_slot_however_many_ask() {
    let names = names_of_a_server_that_goes_down();
    names.look_up(&account("u"), "known.test").await.unwrap();
    pause();
    advance(FRESH).await;
    for n in 0..THREADS {
        let account = account(&format!("u{n}"));
        names.look_up(&account, "known.test").await.unwrap();
    }
    let under_way: usize = lock(&names.state).under_way.values().sum();
    assert_eq!(under_way, 1, "there is room for other names");
}

#[tokio::test(start_paused = true)]
async fn names_that_are_remembered_are_bounded() {
    let names = names();
    for n in 0..2 * HOSTS {
        let slot = names.slot(&account("u"), &format!("h{n}.test")).unwrap();
        slot.remember(&[[10, 0, 0, 1].into()]);
    }
    assert_eq!(lock(&names.state).known.len(), HOSTS);
    assert!(lock(&names.state).under_way.is_empty());
}
