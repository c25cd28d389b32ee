//! Held jobs: asked for when credentials are good, told to people, released where that is wanted.
//!
//! What holds: jobs are released only while every delivery of their account at that schedd is
//! good; a schedd is asked rarely, whatever the deliveries do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tracing::{info, warn};

use super::Reconciler;
use super::aside::News;
use crate::delivery::{Delivery, DeliveryId};
use crate::held::is_due;
use crate::plan::State;
use crate::problem::Problem;
use crate::push::Parts;
use crate::transport::{Held, Transport};
use crate::vault::Vault;

/// What is known of queues, by account and schedd.
#[derive(Default)]
pub(super) struct Queues(BTreeMap<(String, String), Queue>);

#[derive(Default)]
struct Queue {
    asked: Option<Timestamp>,
    running: bool,
    count: u64,
    problem: Option<Problem>,
}

impl Queues {
    /// How many are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets what is of no account and schedd that this says yes to.
    pub(super) fn keep(&mut self, wanted: impl Fn(&str, &str) -> bool) {
        self.0
            .retain(|(account, schedd), queue| queue.running || wanted(account, schedd));
    }

    pub(super) fn is_busy(&self) -> bool {
        self.0.values().any(|queue| queue.running)
    }
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// A delivery is good: its schedd may be asked.
    pub(super) fn look_for_held(&mut self, id: &DeliveryId, turned_good: bool) {
        let Some(entry) = self.entries.get(id) else {
            return;
        };
        let delivery = Arc::clone(&entry.delivery);
        let whose = (id.account.clone(), id.schedd.clone());
        let now = self.now();
        let queue = self.held.0.entry(whose.clone()).or_default();
        if queue.running || !is_due(queue.asked, turned_good, now) {
            return;
        }
        queue.asked = Some(now);
        queue.running = true;
        let release = self.releasable(id);
        let (parts, tell) = (Arc::clone(&self.parts), self.tell.clone());
        tokio::spawn(async move {
            let answer = ask(&parts, &delivery, release).await;
            // Nobody listens when the service ends.
            let _ = tell.send(News::Held(whose, answer));
        });
    }

    /// The services whose jobs may run again: all of the account there, when all are good and the
    /// configuration says so.
    fn releasable(&self, id: &DeliveryId) -> Option<BTreeSet<String>> {
        let of_account =
            |other: &&DeliveryId| other.account == id.account && other.schedd == id.schedd;
        let all = self.entries.iter().filter(|(other, _)| of_account(other));
        let mut services = BTreeSet::new();
        for (other, entry) in all {
            if !entry.delivery.release_held || entry.record.state() != State::Good {
                return None;
            }
            services.insert(other.service.clone());
        }
        Some(services)
    }

    /// Notes what a schedd answered.
    pub(super) fn note_held(
        &mut self,
        (account, schedd): &(String, String),
        answer: Result<Option<Held>, Problem>,
    ) {
        let whose = (account.clone(), schedd.clone());
        let queue = self.held.0.entry(whose).or_default();
        queue.running = false;
        let count = match answer {
            Ok(None) => None,
            Ok(Some(held)) => {
                queue.problem = None;
                if held.released > 0 {
                    info!(
                        account,
                        schedd,
                        jobs = held.released,
                        "released held jobs: they have credentials again"
                    );
                }
                if held.left > 0 && queue.count == 0 {
                    warn!(
                        account,
                        schedd,
                        jobs = held.left,
                        "jobs are held for want of credentials; release them (condor_release), or set `release_held`"
                    );
                }
                queue.count = held.left;
                Some(held.left)
            }
            Err(problem) => {
                if queue.problem.as_ref() != Some(&problem) {
                    warn!("{problem}");
                }
                queue.problem = Some(problem);
                None
            }
        };
        for (id, entry) in &mut self.entries {
            if id.account == *account && id.schedd == *schedd {
                entry.held_jobs = count;
            }
        }
    }
}

async fn ask<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    delivery: &Delivery,
    release: Option<BTreeSet<String>>,
) -> Result<Option<Held>, Problem> {
    let opener = parts.opener(delivery).await?;
    let held = parts
        .transport
        .held_jobs(delivery, opener.as_ref(), release.as_ref());
    held.await
}
