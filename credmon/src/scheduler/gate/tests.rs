//! Bounds and fairness of the admission gate.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;

fn route(account: &str, host: &str, issuer: &str) -> Route {
    Route {
        account: account.into(),
        host: host.into(),
        issuer: issuer.into(),
    }
}

thread_local! {
    /// Questions of this thread for the room of an issuer so far.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

/// Notes that the room of an issuer is asked for.
pub(super) fn count_question() {
    ASKED.set(ASKED.get() + 1);
}

/// Questions for the room of issuers so far.
pub(in super::super) fn questions() -> usize {
    ASKED.get()
}

/// Enters as often as it is admitted.
fn fill(gate: &Gate, route: &Route, now: Instant) -> Vec<Permit> {
    let enter = || {
        gate.admits(route, now)
            .then(|| gate.enter(route.clone(), None))
    };
    std::iter::from_fn(enter).take(10_000).collect()
}

#[test]
fn requests_are_bounded_for_each_issuer_and_host_and_in_total() {
    let (gate, now) = (Gate::new(1_000_000), Instant::now());
    let mut permits = Vec::new();
    for account in 0..100 {
        for host in ["a", "b", "c", "d", "e", "f"] {
            for issuer in ["cms", "dune"] {
                let route = route(&account.to_string(), host, issuer);
                permits.extend(fill(&gate, &route, now));
            }
        }
    }
    let state = lock(&gate.0);
    assert_eq!(state.under_way.all, 64);
    for there in state.hosts.values() {
        assert!(there.under_way.all <= PER_HOST);
        for of_issuer in there.of_issuers.values() {
            assert!(of_issuer.all <= PER_HOST / 2);
        }
    }
}

#[test]
fn few_descriptors_mean_few_requests() {
    for (descriptors, total) in [(0, 4), (20, 5), (100, 25), (1024, 64), (u64::MAX, 64)] {
        assert_eq!(lock(&Gate::new(descriptors).0).most, total);
    }
}

#[test]
fn an_account_never_takes_more_than_is_free_and_greedy_ones_leave_room() {
    let (gate, now) = (Gate::new(1024), Instant::now());
    let mut permits = Vec::new();
    // Each names a host of its own, or thousands.
    for greedy in 1..=6_usize {
        for n in 0..100 {
            let host = format!("host{greedy}-{n}");
            permits.extend(fill(
                &gate,
                &route(&format!("greedy{greedy}"), &host, "x"),
                now,
            ));
        }
        let free = 64 - lock(&gate.0).under_way.all;
        assert_eq!(free, 64 >> greedy, "{greedy} that come one after the other");
        assert!(gate.admits(&route("other", "a", "cms"), now));
        assert!(gate.has_room(&"other".into(), &"b".into(), now));
    }
}

#[test]
fn k_greedy_accounts_that_ask_in_turns_leave_one_part_in_k_and_one() {
    for greedy in 1..=10_usize {
        let (gate, now) = (Gate::new(1024), Instant::now());
        let mut permits = Vec::new();
        let mut before = usize::MAX;
        while before != permits.len() {
            before = permits.len();
            for account in 0..greedy {
                let route = route(&account.to_string(), &format!("h{before}"), "x");
                if gate.admits(&route, now) {
                    permits.push(gate.enter(route, None));
                }
            }
        }
        let free = 64 - permits.len();
        assert!(free >= 64 / (greedy + 1), "{greedy} leave {free}");
    }
}

#[test]
fn at_a_host_that_hangs_an_account_leaves_room_for_another() {
    let (gate, now) = (Gate::new(1024), Instant::now());
    let own = fill(&gate, &route("greedy", "a", "cms"), now);
    assert_eq!(own.len(), PER_HOST / 4);
    let more = fill(&gate, &route("greedy", "a", "dune"), now);
    assert!(own.len() + more.len() <= PER_HOST / 2);
    assert!(gate.admits(&route("other", "a", "cms"), now));
    drop(own);
    let again = fill(&gate, &route("greedy", "a", "cms"), now);
    assert!(!again.is_empty(), "a permit that is dropped makes room");
}

#[test]
fn issuers_that_hang_leave_room_for_others_at_their_host() {
    let (gate, now) = (Gate::new(1024), Instant::now());
    let mut permits = Vec::new();
    for (hangs, most) in [("i0", 12), ("i1", 6), ("i2", 3), ("i3", 2)] {
        let before = permits.len();
        for account in 0..100 {
            let route = route(&account.to_string(), "a", hangs);
            permits.extend(fill(&gate, &route, now));
        }
        assert!(gate.is_full(&("a".into(), hangs.into())));
        assert!(permits.len() - before <= most, "{hangs}");
        assert!(gate.admits(&route("other", "a", "works"), now));
        assert!(!gate.is_full(&("a".into(), "works".into())));
    }
}

#[test]
fn a_permit_makes_room_however_its_work_ends() {
    let (gate, now) = (Gate::new(1024), Instant::now());
    let enter = || gate.enter(route("u", "a", "cms"), None);
    let finished = enter();
    finished.finish(1, now);
    drop(enter());
    let of_thread = enter();
    let ended = std::thread::spawn(move || {
        let _permit = of_thread;
        panic!("as the test wants");
    });
    assert!(ended.join().is_err());
    let state = lock(&gate.0);
    assert_eq!(state.under_way.all, 0);
    assert!(state.hosts.is_empty());
}

#[test]
fn a_permit_keeps_its_probe_as_long_as_it_lives() {
    let gate = Gate::new(1024);
    let probe = Arc::new(());
    let permit = gate.enter(route("u", "a", "cms"), Some(probe.clone()));
    assert_eq!(Arc::strong_count(&probe), 2);
    drop(permit);
    assert_eq!(Arc::strong_count(&probe), 1);
}

#[test]
fn of_the_request_limit_an_account_gets_as_much_as_it_leaves_to_others() {
    let (gate, now) = (Gate::new(1024), Instant::now());
    gate.set_limit(Some((40, 60)));
    let ask = |account: &str, host: &str, now: Instant| {
        let own = route(account, host, "cms");
        let mut sent = 0;
        while gate.admits(&own, now) {
            gate.enter(own.clone(), None).finish(1, now);
            sent += 1;
        }
        sent
    };
    assert_eq!(ask("greedy", "a", now), 20, "half");
    assert_eq!(ask("second", "a", now), 10, "half of the rest");
    assert!(gate.admits(&route("new", "a", "cms"), now));
    assert_eq!(ask("greedy", "b", now), 20, "at another host");
    assert_eq!(ask("greedy", "a", now + Duration::from_mins(1)), 20);
}

#[test]
fn room_comes_again_when_the_oldest_request_leaves_the_span() {
    let (gate, now) = (Gate::new(1024), Instant::now());
    let own = route("u", "a", "cms");
    assert_eq!(gate.next_room(now), None);
    gate.set_limit(Some((3, 60)));
    assert_eq!(gate.next_room(now), None);
    gate.enter(own.clone(), None).finish(3, now);
    assert!(!gate.admits(&own, now + Duration::from_secs(59)));
    assert_eq!(gate.next_room(now), Some(now + Duration::from_mins(1)));
    assert!(gate.admits(&own, now + Duration::from_mins(1)));
    gate.forget_idle(now + Duration::from_mins(1));
    assert!(
        lock(&gate.0).hosts.is_empty(),
        "hosts without requests are forgotten"
    );
}

#[test]
fn each_request_to_each_address_counts() {
    let (gate, now) = (Gate::new(1024), Instant::now());
    let own = route("u", "a", "cms");
    gate.set_limit(Some((10, 60)));
    gate.enter(own.clone(), None).finish(8, now);
    assert!(!gate.admits(&own, now));
}

#[test]
fn hosts_that_somebody_only_named_are_forgotten() {
    let (gate, now) = (Gate::new(1024), Instant::now());
    gate.set_limit(Some((300, 300)));
    for n in 0..1000 {
        gate.admits(&route("u", &format!("h{n}"), "x"), now);
    }
    gate.forget_idle(now);
    assert!(lock(&gate.0).hosts.is_empty());
    gate.set_limit(None);
    gate.enter(route("u", "a", "x"), None).finish(1, now);
    assert!(
        lock(&gate.0).hosts.is_empty(),
        "nothing is counted without a limit"
    );
}

/// What may happen to the gate.
#[derive(Clone, Debug)]
enum Act {
    Ask {
        account: u8,
        host: u8,
    },
    /// A request of a task is sent.
    Send(usize),
    Finish(usize),
    Wait(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0u8..4, 0u8..2).prop_map(|(account, host)| Act::Ask { account, host }),
        4 => any::<usize>().prop_map(Act::Send),
        3 => any::<usize>().prop_map(Act::Finish),
        1 => (0u64..30).prop_map(Act::Wait),
    ];
    proptest::collection::vec(act, 0..300)
}

proptest! {
    #[test]
    fn the_request_limit_is_never_exceeded_in_any_span(
        acts in acts(), limit in 3u32..20, span in 1u64..60,
    ) {
        let (gate, begin) = (Gate::new(1024), Instant::now());
        gate.set_limit(Some((limit, span)));
        let mut second = 0;
        let mut tasks: Vec<(Permit, u8, u32)> = Vec::new();
        let mut sent: Vec<(u64, u8)> = Vec::new();
        for act in acts {
            let now = begin + Duration::from_secs(second);
            match act {
                Act::Ask { account, host } => {
                    let route = route(&account.to_string(), &host.to_string(), "x");
                    if gate.admits(&route, now) {
                        tasks.push((gate.enter(route, None), host, 0));
                    }
                }
                Act::Send(place) if !tasks.is_empty() => {
                    let place = place % tasks.len();
                    let (_, host, requests) = &mut tasks[place];
                    if *requests < u32::try_from(RenewalTask::MOST_REQUESTS).unwrap() {
                        *requests += 1;
                        sent.push((second, *host));
                    }
                }
                Act::Finish(place) if !tasks.is_empty() => {
                    let (permit, _, requests) = tasks.swap_remove(place % tasks.len());
                    permit.finish(requests, now);
                }
                Act::Wait(seconds) => second += seconds,
                Act::Send(_) | Act::Finish(_) => {}
            }
        }
        for (from, host) in &sent {
            let in_span = |other: &&(u64, u8)| {
                other.1 == *host && (*from..from + span).contains(&other.0)
            };
            let count = sent.iter().filter(in_span).count();
            prop_assert!(count <= usize::try_from(limit).unwrap(), "{count} of {limit}");
        }
    }

    #[test]
    fn an_account_has_never_more_under_way_than_were_free(acts in acts()) {
        let (gate, now) = (Gate::new(64), Instant::now());
        let total = lock(&gate.0).most;
        let mut tasks = Vec::new();
        for act in acts {
            match act {
                Act::Ask { account, host } => {
                    let account = account.to_string();
                    let own = |tasks: &[(Permit, String)]| {
                        tasks.iter().filter(|(_, other)| *other == account).count()
                    };
                    let route = route(&account, &host.to_string(), "x");
                    let (before, free) = (own(&tasks), total - tasks.len());
                    if gate.admits(&route, now) {
                        prop_assert!(before < free);
                        tasks.push((gate.enter(route, None), account));
                    }
                    prop_assert!(tasks.len() < total, "there is always room for a newcomer");
                }
                Act::Finish(place) if !tasks.is_empty() => {
                    tasks.swap_remove(place % tasks.len());
                }
                _ => {}
            }
            prop_assert_eq!(lock(&gate.0).under_way.all, tasks.len());
        }
    }
}
