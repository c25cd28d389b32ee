//! A delivery and what is known of it.
//!
//! What holds: what is known of a token's end and of the job's end belongs to the token that is at
//! the schedd now; another token begins anew.

use std::sync::Arc;

use jiff::Timestamp;

use crate::delivery::Delivery;
use crate::plan::{Record, State, Step};
use crate::problem::{Cause, Problem};
use crate::push::{AccessFacts, Outcome, Tokens};

/// A delivery and what is known of it.
pub(crate) struct Entry {
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) record: Record,
    pub(crate) access: AccessFacts,
    pub(crate) tokens: Tokens,
    pub(super) running: bool,
    /// Since when the collector does not know its schedd any more.
    pub(crate) gone: Option<Timestamp>,
    /// Jobs of the account that the schedd holds for want of credentials, where that is known.
    pub(crate) held_jobs: Option<u64>,
}

impl Entry {
    /// Where it stands.
    pub(crate) fn state(&self) -> State {
        if self.gone.is_some() {
            State::Gone
        } else {
            self.record.state()
        }
    }
}

impl Entry {
    pub(super) fn new(delivery: Arc<Delivery>) -> Self {
        Self {
            delivery,
            record: Record::default(),
            access: AccessFacts::default(),
            tokens: Tokens::default(),
            running: false,
            gone: None,
            held_jobs: None,
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
