//! Next action for a delivery, and its time: pure decisions, so that a year can be simulated.
//!
//! Always true:
//! - One action at a time: nothing is planned for a delivery while an action runs for it.
//! - A time of the past that lies in the future is of before this host's clock was set back, and says nothing: what depends
//!   on it is done within the time over which observations are spread. So nothing stands still, and nothing comes at once.
//! - A token is renewed before its margin begins, well before it expires. The time depends on the delivery's name, so
//!   that deliveries do not renew together.
//! - After each failure the back-off grows, up to a cap, and never so long that the token expires between two attempts.
//! - The lifetime of a token is known from its issue, not from a look-up: a standby may answer old values.
//! - After a start the schedd is observed before anything is pushed; [`inherit`] decides about the tokens there.
//! - A token is proved ten times in the lifetime of an access token, by reading one with it, so that a revoked one is
//!   replaced long before jobs are affected. The access token must be so new that its issuer gave it since the last
//!   proof, so that a grant that is refused is reported as early.
//!
//! [`outlook`] reports the next action to people.

pub mod inherit;
pub mod outlook;
mod pause;
mod proof;

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use pause::{PERSON_CAP, after_start, first_look};
pub use pause::{after_recovery, pause};
pub use proof::{at_least, granted, prove_every, requests_of_proof};
use proof::{observe_early, prove_at};

use crate::model::delivery::{Delivery, DeliveryId};
use crate::model::moment::{after, before, until, whole_second};
use crate::model::problem::Problem;
use crate::model::records::Life;

/// Salt of the renewal's jitter, so that it differs from other jitters of the same delivery.
const RENEWAL: u64 = 1;
/// Salt of the observation's jitter.
const OBSERVATION: u64 = 2;
/// Tolerated difference between clocks. What lies further in the future is of before this host's clock was set back.
const SKEW: Duration = Duration::from_mins(1);

/// Source of a token's known lifetime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// This process has the token; Vault stated its lifetime.
    #[default]
    #[serde(rename = "held")]
    Owned,
    /// Recorded at its issue, before a restart.
    #[serde(rename = "noted")]
    Recorded,
    /// Estimated: the token was at the schedd at a start, without a record. An upper bound.
    Estimated,
}

/// Observed state of one delivery: token, access token, last failure, requests by people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Lifetime of the vault token at the schedd, if known.
    pub life: Option<Life>,
    /// Source of that.
    pub basis: Basis,
    /// Latest time of its replacement, whatever its lifetime.
    pub renew_by: Option<Timestamp>,
    /// Time when an access token was last read with it.
    pub proved: Option<Timestamp>,
    /// Time when the issuer gave that one.
    pub granted: Option<Timestamp>,
    /// Lifetime of that access token.
    pub access_life: Option<Duration>,
    /// Time until which jobs surely have a valid access token.
    pub safe_until: Option<Timestamp>,
    /// Time since which jobs are known to have an access token from that vault token.
    pub good_since: Option<Timestamp>,
    /// Time of the last observation of the schedd.
    pub observed: Option<Timestamp>,
    /// The configuration asks for other content than the schedd has.
    pub changed: bool,
    /// A person asked for a new token.
    pub asked: bool,
    /// Time of the revocation by a person: nothing is delivered since.
    pub revoked: Option<Timestamp>,
    /// Failure of the last attempt.
    pub failure: Option<Box<Failure>>,
}

/// A failure after which nothing has succeeded yet, with its retry state.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Latest problem.
    pub problem: Problem,
    /// Time of the first failed attempt.
    pub since: Timestamp,
    /// Number of failed attempts since then.
    pub attempts: u32,
    /// Time of the next attempt.
    pub next_try: Timestamp,
}

/// State of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not attempted yet.
    New,
    /// Pushed; jobs are not known to have an access token from it yet.
    Pending,
    /// Jobs have a valid access token.
    Good,
    /// The last attempt failed.
    Failed,
    /// Revoked by a person; nothing is delivered until a person asks for it again.
    // Programs that read reports know this value.
    #[serde(rename = "cut_off")]
    Revoked,
    /// Its schedd is missing from the collector.
    Gone,
}

impl State {
    /// Returns true when nothing is wrong: the delivery is good, or its schedd is gone, so that no job can lack a
    /// token. The one rule for exit codes, `/readyz` and the status for systemd.
    #[must_use]
    pub fn is_in_order(self) -> bool {
        matches!(self, Self::Good | Self::Gone)
    }
}

/// Timing parameters of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy<'a> {
    /// Name of the delivery, from which jitter is derived.
    pub id: &'a DeliveryId,
    /// Requested lifetime of vault tokens.
    pub lifetime: Duration,
    /// Renewal margin: less remaining lifetime than this is too little.
    pub renew_below: Duration,
    /// Span over which observations, and renewals after a start, are spread.
    pub spread: Duration,
    /// Least time between two proofs of a token.
    pub prove_every: Duration,
    /// Start of the service: first looks at what was there before, and renewals that became due while it did not run, are
    /// spread from then on. `None` for a single run, which does all at once.
    pub started: Option<Timestamp>,
}

/// Reason of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PushReason {
    /// No token is known to be at the schedd.
    First,
    /// The token is missing from the schedd.
    Missing,
    /// Another token is at the schedd.
    Replaced,
    /// The credmon makes no access tokens from it any more, and its validity cannot be checked.
    Stale,
    /// It became invalid before its expiry.
    Dead,
    /// The configuration changed.
    Changed,
    /// The renewal margin begins.
    Renewal,
    /// A person asked for it.
    Asked,
}

/// Action for a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanStep {
    /// Observe the schedd; push only if its token is not right.
    Observe,
    /// Prove the vault token: read an access token with it.
    Prove,
    /// Observe and prove.
    Examine,
    /// Push a new token.
    Push(PushReason),
}

/// Decision about a delivery: an action now, or a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Start this action now.
    Do(PlanStep),
    /// Nothing before this time.
    Wait(Timestamp),
}

impl State {
    /// Returns the state in one or two words.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Good => "good",
            Self::Failed => "failed",
            Self::Revoked => "revoked",
            Self::Gone => "gone",
        }
    }
}

impl Failure {
    /// Returns the time until which nothing is attempted; `None` when the next attempt is due. No pause is longer than
    /// `PERSON_CAP`, whatever was done to the clock.
    #[must_use]
    pub fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        let is_pause = now < self.next_try && self.next_try <= after(now, PERSON_CAP);
        is_pause.then_some(self.next_try)
    }
}

impl Record {
    /// State of the delivery: good only while jobs surely have a valid access token.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        if self.revoked.is_some() {
            State::Revoked
        } else if self.failure.is_some() {
            State::Failed
        } else if self.life.is_none() {
            State::New
        } else if self.good_since.is_some() && self.safe_until.is_some_and(|end| now < end) {
            State::Good
        } else {
            State::Pending
        }
    }

    /// Records a failed attempt and plans the next one.
    pub fn fail(&mut self, id: &DeliveryId, problem: Problem, now: Timestamp) {
        let (since, attempts) = match &self.failure {
            Some(before) => (before.since, before.attempts.saturating_add(1)),
            None => (now, 1),
        };
        let ends = [self.life.map(|life| life.expires), self.safe_until];
        let left = ends.into_iter().flatten().min();
        let left = left.map(|end| until(now, end));
        let wait = problem.rate_limit_wait();
        let wait = wait.unwrap_or_else(|| pause(id, problem.kind, attempts, left));
        let next_try = after(now, wait);
        self.failure = Some(Box::new(Failure {
            problem,
            since,
            attempts,
            next_try,
        }));
    }
}

/// Returns the renewal time of a token: a margin before its expiry, and earlier by a jitter.
#[must_use]
pub fn renew_at(policy: &Policy<'_>, life: Life) -> Timestamp {
    let margin = margin(policy.lifetime, policy.renew_below, life.length());
    before(
        life.expires,
        margin + policy.id.share_of(room(policy, life), RENEWAL),
    )
}

/// Time over which renewals of tokens with this lifetime are spread: an eighth of the time before the margin, so that
/// what was delivered in one moment is not renewed in one, ever again.
fn room(policy: &Policy<'_>, life: Life) -> Duration {
    let whole = life.length();
    let margin = margin(policy.lifetime, policy.renew_below, whole);
    whole.saturating_sub(margin) / 8
}

/// Renewal margin of a token with lifetime `whole`: as configured, or shorter in proportion where the server granted
/// a shorter lifetime than requested, so that the token is not due at once.
fn margin(lifetime: Duration, renew_below: Duration, whole: Duration) -> Duration {
    let part = whole.as_secs_f64() / lifetime.as_secs_f64();
    if part < 1.0 {
        renew_below.mul_f64(part)
    } else {
        renew_below
    }
}

/// Returns true when a token from an earlier attempt is still worth pushing: more than half of the time until its
/// renewal is left, as far as its age is known.
#[must_use]
pub fn is_fresh(delivery: &Delivery, life: Life, now: Timestamp) -> bool {
    if is_void(life.issued, now) {
        return false;
    }
    let whole = life.length();
    let margin = margin(delivery.lifetime, delivery.renew_below, whole);
    until(now, life.expires) > margin + whole.saturating_sub(margin) / 2
}

/// Returns true for a time of the past that lies in the future.
pub(crate) fn is_void(time: Timestamp, now: Timestamp) -> bool {
    time > after(now, SKEW)
}

/// Decides the next action.
///
/// `tick` is the last scheduled time of an observation of all deliveries, `next_tick` the next one.
#[must_use]
pub fn next(
    now: Timestamp,
    policy: &Policy<'_>,
    record: &Record,
    tick: Timestamp,
    next_tick: Timestamp,
) -> Next {
    if record.revoked.is_some() {
        return Next::Wait(Timestamp::MAX);
    }
    let failure = record.failure.as_ref();
    if let Some(until) = failure.and_then(|failure| failure.paused_until(now)) {
        return Next::Wait(until);
    }
    let policy = &Policy {
        // A tick is never of before the clock was set back.
        started: (policy.started).map(|started| if is_void(started, now) { tick } else { started }),
        ..*policy
    };
    let observed = record.observed.filter(|observed| !is_void(*observed, now));
    if record.asked {
        return Next::Do(PlanStep::Push(PushReason::Asked));
    }
    if record.changed {
        return Next::Do(PlanStep::Push(PushReason::Changed));
    }
    let Some(life) = record.life else {
        return Next::Do(match observed {
            Some(_) => PlanStep::Push(PushReason::First),
            None => PlanStep::Observe,
        });
    };
    let spread = policy.spread.min(until(tick, next_tick));
    let renewal = if is_void(life.issued, now) {
        // Its end is not known any more.
        let soon = spread.min(room(policy, life));
        after(tick, policy.id.share_of(soon, RENEWAL))
    } else {
        let renewal = renew_at(policy, life).min(record.renew_by.unwrap_or(Timestamp::MAX));
        renewal.max(after_start(policy, life))
    };
    if now >= renewal {
        return Next::Do(PlanStep::Push(PushReason::Renewal));
    }
    if record.failure.is_some() {
        // Whatever failed, only a check from end to end shows that the delivery is good.
        return Next::Do(PlanStep::Examine);
    }
    if record.good_since.is_none() {
        let look = first_look(policy);
        return if observed.is_none() && now < look {
            Next::Wait(renewal.min(look))
        } else {
            Next::Do(PlanStep::Observe)
        };
    }
    let observe_after = |tick| whole_second(after(tick, policy.id.share_of(spread, OBSERVATION)));
    let scan = observe_after(tick);
    let proof = match record.proved {
        Some(proved) if is_void(proved, now) => scan,
        _ => prove_at(policy, record),
    };
    if now >= proof {
        return Next::Do(PlanStep::Prove);
    }
    if observed.is_none_or(|observed| observed < scan) && now >= scan {
        return Next::Do(PlanStep::Observe);
    }
    // When both are past by a clock that was set forward, that is noticed soon, and the plan is made anew then.
    let mut scans = [scan, observe_after(next_tick)].into_iter();
    let scan = scans.find(|scan| now < *scan).unwrap_or(Timestamp::MAX);
    let early = observe_early(record);
    if now >= early {
        return Next::Do(PlanStep::Observe);
    }
    Next::Wait(renewal.min(scan).min(early).min(proof))
}

#[cfg(test)]
mod tests;
