//! Everything that is derived from the records is what it would be if it were computed anew.

use super::super::*;

/// Panics when queues, look-ups, breakers or counts do not follow from the records.
pub(super) fn assert_consistent(scheduler: &Scheduler) {
    let mut proven: BTreeMap<Dependency, BTreeMap<Arc<str>, usize>> = BTreeMap::new();
    let mut failing: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut queued = 0;
    let mut look_ups = BTreeSet::new();
    for (id, record) in &scheduler.records {
        assert_eq!(*id, record.observed.id);
        let is_idle = record.activity == Activity::Idle;
        if record.route().is_none() {
            assert_eq!(record.due, None, "{id} is not to be served");
        }
        if let (Some(due), true) = (record.due, is_idle) {
            queued += 1;
            let waits = scheduler.waiting.contains(&(due, id.clone()));
            let is_ready = record
                .route()
                .and_then(|route| scheduler.ready.get(id.user())?.get(route))
                .is_some_and(|queue| queue.contains(&(record.urgency(), id.clone())));
            assert!(waits != is_ready, "{id}: waits {waits}, ready {is_ready}");
        }
        if let (Some(at), true) = (record.look_up_at, is_idle) {
            look_ups.insert((at, id.clone()));
        }
        if let (Some(route), true) = (record.route(), record.proven) {
            for dependency in dependencies(route) {
                let accounts = proven.entry(dependency).or_default();
                *accounts.entry(id.user().clone()).or_default() += 1;
            }
        }
        if record.failures > 0 {
            *failing.entry(id.user().clone()).or_default() += 1;
        }
    }
    let in_queues = scheduler.ready.values().flat_map(BTreeMap::values);
    let in_queues: usize = in_queues.map(BTreeSet::len).sum();
    assert_eq!(
        scheduler.waiting.len() + in_queues,
        queued,
        "nothing is left in a queue"
    );
    let is_empty = |routes: &BTreeMap<Route, Queue>| {
        routes.is_empty() || routes.values().any(BTreeSet::is_empty)
    };
    assert!(!scheduler.ready.values().any(is_empty), "no queue is empty");
    assert_eq!(scheduler.look_ups, look_ups);
    assert_eq!(scheduler.failing, failing);
    for (dependency, breaker) in &scheduler.breakers {
        let expected = proven.remove(dependency).unwrap_or_default();
        assert_eq!(*breaker.proven(), expected, "{dependency:?}");
    }
    assert!(proven.is_empty(), "no breaker for {proven:?}");
}
