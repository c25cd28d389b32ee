//! A delivery and what is known of it.
//!
//! What holds: what is known of a token's end and of the job's end belongs to the token that is at
//! the schedd now; another token begins anew.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;

use super::cut::CutPlan;
use crate::delivery::Delivery;
use crate::engine::limits::{Claims, Extent};
use crate::jobs;
use crate::moment::before;
use crate::plan::{Record, State, Step};
use crate::problem::Problem;
use crate::push::{AccessFacts, Known, Outcome, Tokens};
use crate::store::Note;

/// A delivery and what is known of it.
pub(crate) struct Entry {
    pub(crate) delivery: Arc<Delivery>,
    /// Those of the delivery.
    pub(super) claims: Arc<Claims>,
    pub(crate) record: Record,
    pub(crate) access: AccessFacts,
    /// When the credmon last made an access token, and when that ends where it can be read.
    pub(crate) served: (Option<Timestamp>, Option<Timestamp>),
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
    /// Since when the collector does not know its schedd any more.
    pub(crate) gone: Option<Timestamp>,
    /// Nothing is to do before, as long as nothing changes.
    pub(super) waits_until: Option<Timestamp>,
    /// By how much the clock was set back while a try runs.
    behind: Duration,
}

impl Entry {
    /// Where it stands.
    pub(crate) fn state(&self, now: Timestamp) -> State {
        if self.gone.is_some() {
            State::Gone
        } else {
            self.record.state(now)
        }
    }

    /// Extent of a step.
    pub(super) fn extent(&self, step: Step) -> Extent {
        match step {
            Step::Push(_) => Extent::Login,
            Step::Look if self.delivery.target.is_readable() && self.tokens.current.is_some() => {
                Extent::Schedd
            }
            Step::Look | Step::Prove | Step::Examine => Extent::Vault,
        }
    }

    /// A delivery of which this process knows nothing but what was noted before a restart.
    pub(crate) fn new(delivery: Arc<Delivery>, note: Option<&Note>) -> Self {
        let placed = note.and_then(|note| note.current.as_ref());
        let access = placed.map(|placed| AccessFacts {
            jti: None,
            expires: placed.access_reads.last().map(|read| read.expires),
            life: placed.access_seconds.map(Duration::from_secs),
            bearer: placed.bearer.clone(),
            reads: placed.access_reads.clone(),
        });
        let tokens = note.map(Tokens::noted).unwrap_or_default();
        Self {
            claims: Arc::new(Claims::of(&delivery)),
            delivery,
            record: Record {
                life: tokens.life(),
                basis: tokens.basis(),
                access_life: placed
                    .and_then(|placed| placed.access_seconds)
                    .map(Duration::from_secs),
                safe_until: placed.and_then(|placed| placed.jobs_safe_until),
                ..Record::default()
            },
            access: access.unwrap_or_default(),
            served: placed.map_or((None, None), |placed| (placed.served, placed.serves_until)),
            tokens,
            running: false,
            stop: None,
            to_cut: None,
            pushing: false,
            tries: 0,
            succeeded: None,
            gone: None,
            waits_until: None,
            behind: Duration::ZERO,
        }
    }

    /// Notes what was seen and what is at the schedd now.
    pub(super) fn note(
        &mut self,
        mut outcome: Outcome,
        now: Timestamp,
    ) -> Option<Result<(), Problem>> {
        let behind = std::mem::take(&mut self.behind);
        if !behind.is_zero() {
            outcome.tokens.set_back(behind);
        }
        let life = outcome.tokens.life();
        if life != self.record.life {
            self.record.good_since = None;
            self.record.life = life;
            self.record.proved = None;
        }
        let inherited = outcome.tokens.inherited.as_ref();
        self.record.renew_by = inherited.and_then(|inherited| inherited.renew_by);
        self.record.basis = outcome.tokens.basis();
        if let Some(access) = outcome.access {
            self.record.proved = Some(now);
            self.record.access_life = access.life;
            self.access = access;
        }
        if let Some(seen) = outcome.seen {
            self.record.looked = Some(now);
            self.served = (seen.served, seen.serves_until);
            let seen = jobs::Seen {
                stored: seen.stored,
                served: seen.served,
                serves_until: seen.serves_until,
                reads: &self.access.reads,
                ahead: ahead(outcome.tokens.sent, seen.stored),
            };
            self.record.safe_until = jobs::safe_until(self.record.safe_until, &seen);
        }
        self.tokens = outcome.tokens;
        self.tokens.lost.retain(|token| token.expires > now);
        outcome.result
    }

    /// It was cut off; these tokens may live still.
    pub(super) fn note_cut(&mut self, tokens: Tokens) {
        self.behind = Duration::ZERO;
        self.running = false;
        // Whoever waits for a try of it waits no longer.
        self.tries += 1;
        self.tokens = tokens;
        self.served = (None, None);
        self.access = AccessFacts::default();
        self.record = Record {
            cut_off: self.record.cut_off,
            asked: self.record.asked,
            ..Record::default()
        };
    }

    /// What outlives a restart.
    pub(super) fn to_note(&self) -> Note {
        let (served, serves_until) = self.served;
        let known = Known {
            access: &self.access,
            served,
            serves_until,
            jobs_safe_until: self.record.safe_until,
        };
        self.tokens.to_note(&self.delivery.credential, known)
    }

    /// The clock was set back by `by`: what is known by it moves along. What schedds say stays, they
    /// have clocks of their own.
    pub(super) fn set_back(&mut self, by: Duration) {
        let moved = |moment: &mut Timestamp| *moment = before(*moment, by);
        let record = &mut self.record;
        let moments = [
            &mut record.renew_by,
            &mut record.proved,
            &mut record.good_since,
            &mut record.looked,
            &mut record.safe_until,
        ];
        moments.into_iter().flatten().for_each(moved);
        for read in &mut self.access.reads {
            moved(&mut read.at);
            moved(&mut read.expires);
        }
        if let Some(failure) = &mut record.failure {
            moved(&mut failure.since);
            moved(&mut failure.next_try);
        }
        record.life = record.life.map(|life| life.set_back(by));
        if self.running {
            // Its tokens are with the try.
            self.behind += by;
        } else {
            self.tokens.set_back(by);
        }
    }
}

/// Bound on how far a schedd's clock is ahead, from a store that was sent and the time that the schedd gave
/// it, in whole seconds.
fn ahead(sent: Option<Timestamp>, stored: Option<Timestamp>) -> Option<SignedDuration> {
    let ahead = stored?.duration_since(sent?);
    ahead.checked_add(SignedDuration::from_secs(1))
}
