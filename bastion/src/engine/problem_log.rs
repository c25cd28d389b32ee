//! Log of problems: each is logged once, however many deliveries suffer from it and however often it is
//! tried.
//!
//! Always true: a problem is known as long as a delivery holds a [`Raised`] of it, so one that has ended, in
//! whatever way, is new when it comes again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tracing::{debug, info, warn};

use crate::model::delivery::DeliveryId;
use crate::model::problem::{Cause, Kind, Problem};
use crate::system::locked::locked;

/// Problems that deliveries have now. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct ProblemLog(Arc<Mutex<Known>>);

/// Number of deliveries that have a problem, by its message.
type Known = BTreeMap<(Cause, Kind), BTreeMap<String, usize>>;

/// A problem that a delivery has.
#[derive(Debug)]
#[must_use = "the problem counts as long as this is kept"]
pub(super) struct Raised {
    log: ProblemLog,
    problem: Problem,
}

impl ProblemLog {
    fn known(&self) -> MutexGuard<'_, Known> {
        locked(&self.0)
    }

    /// Notes that a delivery has a problem, and logs it when it is new and `is_logged`.
    pub(super) fn raise(&self, id: &DeliveryId, problem: Problem, is_logged: bool) -> Raised {
        // Words of a shared cause, and of a clock, differ from one attempt to the next and mean the same.
        let means_the_same = problem.cause.is_shared() || problem.kind == Kind::Clock;
        let key = (problem.cause.clone(), problem.kind);
        let mut known = self.known();
        let messages = known.entry(key).or_default();
        let is_new = if means_the_same {
            messages.is_empty()
        } else {
            !messages.contains_key(&problem.message)
        };
        *messages.entry(problem.message.clone()).or_default() += 1;
        drop(known);
        if is_logged && is_new {
            warn!(
                account = id.account,
                service = id.service,
                schedd = id.schedd,
                remedy = problem.kind.remedy().words(),
                "{problem}"
            );
        } else {
            debug!(delivery = %id, %problem, "failed");
        }
        let log = self.clone();
        Raised { log, problem }
    }
}

impl Raised {
    /// Ends the problem for its delivery, and logs the recovery (when `is_logged`) if no other delivery has
    /// it.
    pub(super) fn recovered(self, is_logged: bool) {
        let problem = self.problem.clone();
        let log = self.log.clone();
        drop(self);
        let key = (problem.cause.clone(), problem.kind);
        if is_logged && !log.known().contains_key(&key) {
            info!("recovered: {problem}");
        }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        let key = (self.problem.cause.clone(), self.problem.kind);
        let mut known = self.log.known();
        let Some(messages) = known.get_mut(&key) else {
            return;
        };
        if let Some(count) = messages.get_mut(&self.problem.message) {
            *count -= 1;
            if *count == 0 {
                messages.remove(&self.problem.message);
            }
        }
        if messages.is_empty() {
            known.remove(&key);
        }
    }
}
