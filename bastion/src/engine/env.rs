//! Surroundings that all deliveries share.

use std::sync::Arc;
use std::time::Duration;

use htvault::ServerUrl;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::problem_log::ProblemLog;
use crate::engine::attempt::Parts;
use crate::model::delivery::Delivery;
use crate::policy::plan::Policy;

/// Surroundings that all deliveries share; replaced as a whole.
pub(super) struct Env<V, T> {
    pub(super) parts: Arc<Parts<V, T>>,
    /// Addresses of the Vault that the parts ask: tokens of any other are shown to none.
    pub(super) vaults: Vec<ServerUrl>,
    pub(super) pace: Pace,
    /// The last time at which every delivery was to be checked.
    pub(super) tick: Timestamp,
    /// The next such time.
    pub(super) next_tick: Timestamp,
    pub(super) problems: ProblemLog,
    pub(super) stop: Stop,
    /// Number of changes of published states, for whoever waits for one.
    pub(super) changed: Arc<watch::Sender<u64>>,
}

/// Pace that all deliveries share.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Checks, and renewals after a start, are spread over this time.
    pub(super) spread: Duration,
    /// Least time between two proofs of one delivery.
    pub(super) prove_every: Duration,
    /// Start of the service; `None` for a single run.
    pub(super) started: Option<Timestamp>,
}

/// The two steps of a stop.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop {
    /// No attempt begins any more.
    pub(super) begin_nothing: CancellationToken,
    /// Attempts that run end with the tokens that they have.
    pub(super) end_attempts: CancellationToken,
}

impl<V, T> Clone for Env<V, T> {
    fn clone(&self) -> Self {
        Self {
            parts: Arc::clone(&self.parts),
            vaults: self.vaults.clone(),
            problems: self.problems.clone(),
            stop: self.stop.clone(),
            changed: Arc::clone(&self.changed),
            ..*self
        }
    }
}

impl<V, T> Env<V, T> {
    pub(super) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }
}

impl Pace {
    pub(super) fn policy(self, delivery: &Delivery) -> Policy<'_> {
        Policy {
            id: &delivery.id,
            lifetime: delivery.lifetime,
            renew_below: delivery.renew_below,
            spread: self.spread,
            prove_every: self.prove_every,
            started: self.started,
        }
    }
}
