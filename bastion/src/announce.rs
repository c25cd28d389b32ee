//! Says each problem once, however many deliveries suffer from it and however often it is tried.

use std::collections::BTreeMap;

use tracing::{debug, info, warn};

use crate::delivery::DeliveryId;
use crate::problem::{Cause, Kind, Problem};
use crate::reconcile::Entry;

/// What was said and is not over.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    said: BTreeMap<(Cause, Kind), String>,
    /// A report comes at once and says all: nothing is said here.
    pub(crate) silent: bool,
}

impl Announcer {
    /// How much was said and is not over.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.said.len()
    }

    /// A delivery failed: said when it is new.
    pub(crate) fn failed(&mut self, id: &DeliveryId, problem: &Problem) {
        let key = (problem.cause.clone(), problem.kind);
        let said = self.said.get(&key);
        // Words of a shared cause may differ from try to try, and mean the same.
        if said.is_some_and(|words| problem.cause.is_shared() || *words == problem.message) {
            debug!(account = id.account, service = id.service, schedd = id.schedd, %problem, "still failing");
            return;
        }
        self.said.insert(key, problem.message.clone());
        if self.silent {
            return;
        }
        warn!(
            account = id.account,
            service = id.service,
            schedd = id.schedd,
            remedy = problem.kind.remedy().words(),
            "{problem}"
        );
    }

    /// A delivery no longer fails: said when it was the last one.
    pub(crate) fn over<'a>(
        &mut self,
        problem: &Problem,
        mut entries: impl Iterator<Item = &'a Entry>,
    ) {
        let same = |other: &Problem| other.cause == problem.cause && other.kind == problem.kind;
        let others = entries.any(|entry| {
            let failure = entry.record.failure.as_ref();
            failure.is_some_and(|failure| same(&failure.problem))
        });
        if !others
            && self
                .said
                .remove(&(problem.cause.clone(), problem.kind))
                .is_some()
        {
            info!("over: {problem}");
        }
    }
}
