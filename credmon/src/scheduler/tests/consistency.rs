//! The queues are what they would be if they were computed anew from the records.

use super::super::*;

/// Panics when queues or look-ups do not follow from the records.
pub(super) fn assert_consistent(scheduler: &Scheduler) {
    let queues = &scheduler.queues;
    let mut in_one = 0;
    let mut look_ups = BTreeSet::new();
    let mut proven: BTreeMap<Dependency, BTreeSet<CredentialId>> = BTreeMap::new();
    for (id, record) in &scheduler.records {
        assert_eq!(*id, record.top.id);
        if let Some(route) = record.route().filter(|_| record.proven) {
            for dependency in dependencies(&route.host, &route.issuer) {
                proven.entry(dependency).or_default().insert(id.clone());
            }
        }
        let is_idle = !queues.running.contains(id);
        if record.route().is_none() {
            assert_eq!(record.due, None, "{id} is not to be served");
        }
        if let (Some(due), true) = (record.due, is_idle) {
            in_one += 1;
            let waits = queues.waiting.contains(&(due, id.clone()));
            let is_ready = record
                .route()
                .and_then(|route| queues.ready.get(&route.target()))
                .is_some_and(|queue| queue.contains(&(record.urgency(), id.clone())));
            assert!(waits != is_ready, "{id}: waits {waits}, ready {is_ready}");
        }
        if let (Some(at), true) = (record.look_up_at, is_idle) {
            look_ups.insert((at, id.clone()));
        }
    }
    let in_queues: usize = queues.ready.values().map(BTreeSet::len).sum();
    assert_eq!(
        queues.waiting.len() + in_queues,
        in_one,
        "nothing is left in a queue"
    );
    let is_empty = queues.ready.values().any(BTreeSet::is_empty);
    assert!(!is_empty, "no queue is empty");
    assert_eq!(queues.look_ups, look_ups);
    assert_eq!(queues.proven, proven);
}
