//! What came of a try is noted: for its delivery, for what it shares with others, for the store, for
//! people.
//!
//! What holds: a try that breaks off by a fault of this program counts as failed; one whose delivery
//! was configured away meanwhile is noted, and nothing more.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::{Id, JoinError};
use tracing::{debug, error, info, warn};

use super::{Ended, Reconciler};
use crate::announce;
use crate::delivery::DeliveryId;
use crate::engine::resources::{Resource, blamed};
use crate::problem::Problem;
use crate::transport::Transport;
use crate::vault::Vault;

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// Waits for a try to end and notes what came of it. Cancelled, it loses nothing.
    pub(super) async fn finish_one(&mut self) {
        if let Some(ended) = self.tries.join_next_with_id().await {
            self.finish(ended);
        }
    }

    /// Notes what came of all tries that have ended by now.
    pub(super) fn finish_more(&mut self) {
        while let Some(ended) = self.tries.try_join_next_with_id() {
            self.finish(ended);
        }
    }

    fn finish(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (task, outcome) = match ended {
            Ok((task, outcome)) => (task, Some(outcome)),
            Err(error) => {
                error!(%error, "a try ended by a fault of this program; please report it");
                (error.id(), None)
            }
        };
        let outcome = match outcome {
            Some(Ended::Forgotten(steps, answer)) => return self.note_forgotten(steps, answer),
            outcome => outcome,
        };
        let Some(id) = self.owners.remove(&task) else {
            return;
        };
        if let Some(entry) = self.entries.get(&id) {
            self.agenda.changed(Arc::clone(&entry.delivery));
        }
        let outcome = match outcome {
            Some(Ended::Cut(tokens, cut)) => return self.note_cut(&id, *tokens, &cut),
            Some(Ended::Try(outcome, permit)) => Some((outcome, permit)),
            Some(Ended::Forgotten(..)) => return,
            None if self.is_being_cut(&id) => {
                return self.not_cut(&id);
            }
            None => None,
        };
        let now = self.now();
        let Some(entry) = self.entries.get_mut(&id) else {
            return self.finish_away(&id, outcome.map(|(outcome, _)| *outcome));
        };
        entry.running = false;
        entry.tries += 1;
        entry.waits_until = None;
        let failure = entry.record.failure.as_ref();
        let refused = failure.map(|failure| (failure.problem.kind, failure.since));
        let before = entry
            .record
            .failure
            .as_ref()
            .map(|failure| failure.problem.clone());
        let result = if let Some((outcome, permit)) = outcome {
            let result = entry.note(*outcome, now);
            match &result {
                Some(Ok(())) => permit.succeeded(),
                Some(Err(problem)) => permit.failed(&entry.delivery, problem),
                None => {}
            }
            result
        } else {
            let problem = Problem::internal(&entry.delivery, "the try broke off");
            Some(Err(problem))
        };
        let note = entry.to_note();
        entry.stop = None;
        if entry.to_cut.is_some() {
            self.parts.store.note(&id, note, now);
            return self.begin_cuts();
        }
        let Some(result) = result else {
            return self.parts.store.note(&id, note, now);
        };
        if let Err(problem) = &result {
            self.log(&id, problem);
        }
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        match &result {
            Ok(()) => {
                entry.record.good_since = entry.record.good_since.or(Some(now));
                entry.record.changed = false;
                // What was asked for while something else ran is still to be done.
                entry.record.asked &= !entry.pushing;
                entry.succeeded = Some(now);
                entry.record.failure = None;
                self.grant_worked(&id, refused, now);
            }
            Err(problem) => {
                entry.record.fail(&id, problem.clone(), now);
            }
        }
        self.parts.store.note(&id, note, now);
        for resource in self.parts.limits.take_closed() {
            self.wake(&resource, now);
        }
        self.await_keytab(&id);
        if let Some(before) = before
            && self.logs_problems
            && announce::is_over(&before, self.problems())
        {
            info!("over: {before}");
        }
    }

    /// Logs a failure, if it is new.
    fn log(&self, id: &DeliveryId, problem: &Problem) {
        if !self.logs_problems || !announce::is_new(problem, self.problems()) {
            debug!(delivery = %id, %problem, "failed");
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

    /// Problems of all deliveries.
    fn problems(&self) -> impl Iterator<Item = &Problem> {
        let failures = self
            .entries
            .values()
            .filter_map(|e| e.record.failure.as_ref());
        failures.map(|failure| &failure.problem)
    }

    /// Deliveries that waited for what works again are tried at once.
    fn wake(&mut self, resource: &Resource, now: Timestamp) {
        for entry in self.entries.values_mut() {
            if let Some(failure) = &mut entry.record.failure
                && blamed(&entry.delivery, &failure.problem).as_ref() == Some(resource)
            {
                failure.next_try = failure.next_try.min(now);
                self.agenda.again(entry);
            }
        }
    }
}
