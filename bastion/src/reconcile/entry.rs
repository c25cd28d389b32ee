//! A delivery and what is known of it.
//!
//! What holds: what is known of a token's end and of the job's end belongs to the token that is at
//! the schedd now; another token begins anew.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::cut::CutPlan;
use crate::delivery::Delivery;
use crate::plan::{Record, Step};
use crate::problem::{Cause, Problem};
use crate::push::{AccessFacts, Outcome, Tokens};

/// A delivery and what is known of it.
pub(crate) struct Entry {
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) record: Record,
    pub(crate) access: AccessFacts,
    pub(crate) tokens: Tokens,
    /// Ends the try that runs.
    pub(super) stop: Option<oneshot::Sender<()>>,
    /// It is to be cut off as soon as nothing runs for it.
    pub(super) to_cut: Option<CutPlan>,
    /// A try runs, or it is being cut off.
    pub(crate) running: bool,
    /// The try that runs makes a new token.
    pub(super) pushing: bool,
    /// How many tries have ended, those included that a shared cause did not let begin.
    pub(crate) tries: u64,
    /// When a try last ended well.
    pub(crate) succeeded: Option<Timestamp>,
}

impl Entry {
    pub(crate) fn new(delivery: Arc<Delivery>) -> Self {
        Self {
            delivery,
            record: Record::default(),
            access: AccessFacts::default(),
            tokens: Tokens::default(),
            running: false,
            stop: None,
            to_cut: None,
            pushing: false,
            tries: 0,
            succeeded: None,
        }
    }

    /// Notes what was seen and what is at the schedd now.
    pub(super) fn note(&mut self, outcome: Outcome, now: Timestamp) -> Result<(), Problem> {
        let life = outcome.tokens.life();
        if life != self.record.life {
            self.record.good_since = None;
            self.record.life = life;
        }
        if outcome.looked {
            self.record.looked = Some(now);
        }
        if let Some(access) = outcome.access {
            self.access = access;
        }
        self.tokens = outcome.tokens;
        outcome.result
    }
}

/// The shared causes that a step depends on.
pub(super) fn needs(entry: &Entry, step: Step) -> Vec<Cause> {
    let local =
        step == Step::Look && entry.delivery.target.is_readable() && entry.record.life.is_some();
    if local {
        return Vec::new();
    }
    let credential = &entry.delivery.credential;
    vec![
        Cause::vault(&credential.url.server()),
        Cause::realm(&credential.identity),
    ]
}
