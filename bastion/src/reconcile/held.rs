//! Held jobs: asked for when credentials are good, told to people, released where that is wanted.
//!
//! What holds: jobs are released only while every delivery of their account at that schedd is
//! good; a schedd is asked rarely, whatever the deliveries do, and once for all accounts whose
//! credentials turned good within a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Reconciler;
use super::aside::News;
use crate::delivery::{Delivery, DeliveryId, Target};
use crate::held::is_due;
use crate::plan::State;
use crate::problem::Problem;
use crate::push::Parts;
use crate::transport::{Held, Transport};
use crate::vault::Vault;

/// Accounts whose credentials turn good within this time are asked for together.
const GATHER: Duration = Duration::from_secs(2);
/// No more of them: each is named in an argument.
const TOGETHER: usize = 200;

/// What is known of queues.
#[derive(Default)]
pub(super) struct Queues {
    /// By account and schedd.
    known: BTreeMap<(String, String), Queue>,
    /// Those that are asked for together, and when.
    gathering: BTreeMap<Target, (Instant, Vec<Arc<Delivery>>)>,
}

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
        self.known.len()
    }

    /// Forgets what is of no account and schedd that this says yes to.
    pub(super) fn keep(&mut self, wanted: impl Fn(&str, &str) -> bool) {
        self.known
            .retain(|(account, schedd), queue| queue.running || wanted(account, schedd));
    }

    pub(super) fn is_busy(&self) -> bool {
        self.known.values().any(|queue| queue.running)
    }
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// A delivery is good: its schedd may be asked.
    pub(super) fn look_for_held(&mut self, id: &DeliveryId, turned_good: bool) {
        let Some(entry) = self.entries.get(id) else {
            return;
        };
        let delivery = Arc::clone(&entry.delivery);
        if let Target::Directory(_) = delivery.target {
            // There is no schedd to ask.
            return;
        }
        let whose = (id.account.clone(), id.schedd.clone());
        let now = self.now();
        let queue = self.held.known.entry(whose).or_default();
        if queue.running || !is_due(queue.asked, turned_good, now) {
            return;
        }
        queue.asked = Some(now);
        queue.running = true;
        let soon = Instant::now() + GATHER;
        let target = delivery.target.clone();
        let (_, all) = (self.held.gathering.entry(target)).or_insert_with(|| (soon, Vec::new()));
        all.push(delivery);
    }

    /// Asks schedds for those that were gathered long enough, or for everybody. How long until it is
    /// to be called again.
    pub(super) fn ask_gathered(&mut self, everybody: bool) -> Duration {
        let begin = Instant::now();
        let due = |at: &Instant| everybody || *at <= begin;
        let gathering = std::mem::take(&mut self.held.gathering);
        let (due, later) = gathering.into_iter().partition(|(_, (at, _))| due(at));
        self.held.gathering = later;
        let due: BTreeMap<_, _> = due;
        for (_, (_, deliveries)) in due {
            for some in deliveries.chunks(TOGETHER) {
                let some = some.iter().map(|delivery| Asked {
                    release: self.releasable(&delivery.id),
                    delivery: Arc::clone(delivery),
                });
                let (parts, tell) = (Arc::clone(&self.parts), self.tell.clone());
                tokio::spawn(ask_together(parts, some.collect(), tell));
            }
        }
        let next = self.held.gathering.values().map(|(at, _)| *at).min();
        next.map_or(Duration::MAX, |at| at.saturating_duration_since(begin))
    }

    /// The services whose jobs may run again: all of the account there, when all are good and the
    /// configuration says so.
    fn releasable(&self, id: &DeliveryId) -> Option<BTreeSet<String>> {
        let of_account =
            |other: &&DeliveryId| other.account == id.account && other.schedd == id.schedd;
        let all = self.entries.iter().filter(|(other, _)| of_account(other));
        let mut services = BTreeSet::new();
        for (other, entry) in all {
            if !entry.delivery.release_held || entry.record.state(self.now()) != State::Good {
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
        let queue = self.held.known.entry(whose).or_default();
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

/// Whose queue is asked for, and what is to be released then.
struct Asked {
    delivery: Arc<Delivery>,
    release: Option<BTreeSet<String>>,
}

/// Asks one schedd: for the few that have held jobs one by one, each in its own name.
async fn ask_together<V: Vault, T: Transport>(
    parts: Arc<Parts<V, T>>,
    all: Vec<Asked>,
    tell: UnboundedSender<News>,
) {
    let holders = holders(&parts, &all).await;
    for Asked { delivery, release } in all {
        let whose = (delivery.id.account.clone(), delivery.id.schedd.clone());
        // Nobody listens when the service ends, here and below.
        if holders
            .as_ref()
            .is_some_and(|some| !some.contains(&whose.0))
        {
            let _ = tell.send(News::Held(whose, Ok(Some(Held::default()))));
            continue;
        }
        let (parts, tell) = (Arc::clone(&parts), tell.clone());
        tokio::spawn(async move {
            let answer = ask(&parts, &delivery, release).await;
            let _ = tell.send(News::Held(whose, answer));
        });
    }
}

/// Who of several has held jobs, asked in the name of the first; `None` when that is to be asked for
/// each: why it cannot be told is of one account perhaps.
async fn holders<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    all: &[Asked],
) -> Option<BTreeSet<String>> {
    let [Asked { delivery, .. }, _, ..] = all else {
        return None;
    };
    let opener = parts.opener(delivery).await.ok()?;
    let accounts = all.iter().map(|asked| asked.delivery.id.account.clone());
    let accounts = accounts.collect();
    let holders = (parts.transport).holders(delivery, opener.as_ref(), &accounts);
    holders.await.ok().flatten()
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
