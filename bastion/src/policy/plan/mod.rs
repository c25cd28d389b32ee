//! What to do next with a delivery, and when: pure decisions, so that a year can be simulated.
//!
//! What holds:
//! - One thing at a time: nothing is planned for a delivery while something runs for it.
//! - A token is renewed before its margin begins, and that well before it ends; the moment is
//!   drawn once from the delivery's name, so that many do not renew together.
//! - After a failure the next try waits longer each time, up to a cap, and never so long that the
//!   time left runs out between two tries.
//! - The life of a token is known from its issue, not from a look-up: a standby may answer old values.
//! - A start looks before it pushes; what it makes of what it finds is law of its own ([`inherit`]).
//! - A token is proved ten times in the life of an access token, by reading one with it, so that one that
//!   died before its time is replaced long before jobs feel it.
//!
//! What comes next for a person to see is [`outlook`].

pub mod inherit;
pub mod outlook;
mod proof;

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use proof::prove_every;
use proof::{look_early, prove_at};

use crate::model::delivery::{Delivery, DeliveryId};
use crate::model::moment::{after, before, until};
use crate::model::problem::{Kind, Problem, Remedy};

/// First pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// First pause after Vault asked for fewer requests; its block lasts minutes.
const SLOW_PAUSE: Duration = Duration::from_mins(1);
/// Longest pause while something is down: an outage is not to last longer than it does.
const OUTAGE_CAP: Duration = Duration::from_mins(2);
/// Longest pause while somebody has to act.
const PERSON_CAP: Duration = Duration::from_mins(10);
/// Salt of the renewal's share, so that it differs from other shares of the same delivery.
const RENEWAL: u64 = 1;
/// Salt of the look's share.
const LOOK: u64 = 2;

/// Begin and end of a vault token's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it was issued.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// How the life of a token is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// This process has the token and knows it from Vault.
    #[default]
    Held,
    /// It was noted at its issue, before a restart.
    Noted,
    /// It was there at a start and nothing is noted: at most this long.
    Estimated,
}

/// What is known of a delivery.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The life of the vault token that is at the schedd, as far as known.
    pub life: Option<Life>,
    /// How that is known.
    pub basis: Basis,
    /// When it is replaced at the latest, however long it may live.
    pub renew_by: Option<Timestamp>,
    /// When an access token was last read with it.
    pub proved: Option<Timestamp>,
    /// Lifetime of that access token.
    pub access_life: Option<Duration>,
    /// Jobs surely have a living access token until then.
    pub safe_until: Option<Timestamp>,
    /// Since when the job's end is known to be good with that token.
    pub good_since: Option<Timestamp>,
    /// When the schedd was last looked at.
    pub looked: Option<Timestamp>,
    /// The configuration asks for another content than the schedd has.
    pub changed: bool,
    /// This host's clock was set back: no time that was noted before can be compared.
    pub clock_set: bool,
    /// A person asked for a new token.
    pub asked: bool,
    /// Since when nothing is delivered, because a person revoked it.
    pub cut_off: Option<Timestamp>,
    /// What went wrong at the last try.
    pub failure: Option<Failure>,
}

/// A failure that has not been made good yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What is wrong.
    pub problem: Problem,
    /// Since when it fails.
    pub since: Timestamp,
    /// How many tries failed since then.
    pub attempts: u32,
    /// When it is tried again.
    pub next_try: Timestamp,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not tried yet.
    New,
    /// Pushed, and the job's end is not known to be good yet.
    Pending,
    /// The job's end is good.
    Good,
    /// The last try failed.
    Failed,
    /// A person revoked it; nothing is delivered until one asks for it again.
    CutOff,
    /// Its schedd is gone from the collector and is waited for.
    Gone,
}

impl State {
    /// Whether nothing is wrong with a delivery: it is good, or its schedd is not there, so that
    /// nobody can lack a token. The one rule of exit codes, `/readyz` and what systemd is told.
    #[must_use]
    pub fn is_in_order(self) -> bool {
        matches!(self, Self::Good | Self::Gone)
    }
}

/// How often and with which margin a delivery is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy<'a> {
    /// The delivery's name, from which shares are drawn.
    pub id: &'a DeliveryId,
    /// The life that tokens are asked for with.
    pub lifetime: Duration,
    /// Less life than this is too little.
    pub renew_below: Duration,
    /// Renewals and looks are spread over this.
    pub spread: Duration,
    /// A token is proved no oftener than this.
    pub prove_every: Duration,
}

/// Why a token is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Nothing is known to be there.
    First,
    /// The schedd has none any more.
    Missing,
    /// The schedd has another one.
    Replaced,
    /// The credmon makes no access tokens of it any more, and it cannot be asked whether it lives.
    Stale,
    /// It died before its time.
    Dead,
    /// The configuration changed.
    Changed,
    /// This host's clock was set back.
    ClockSet,
    /// The margin begins.
    Renewal,
    /// A person asked for it.
    Asked,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// See what the schedd has; push only if that is not right.
    Look,
    /// Read an access token with the vault token that is there.
    Prove,
    /// Both.
    Examine,
    /// Push a new token.
    Push(Why),
}

/// What to do, or until when nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This, now.
    Do(Step),
    /// Nothing before this moment.
    Wait(Timestamp),
}

impl State {
    /// One word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Good => "good",
            Self::Failed => "failed",
            Self::CutOff => "cut off",
            Self::Gone => "gone",
        }
    }
}

impl Record {
    /// State of the delivery: good only while jobs surely have a living access token.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        if self.cut_off.is_some() {
            State::CutOff
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

    /// Notes a failed try.
    pub fn fail(&mut self, id: &DeliveryId, problem: Problem, now: Timestamp) {
        let (since, attempts) = match &self.failure {
            Some(before) => (before.since, before.attempts.saturating_add(1)),
            None => (now, 1),
        };
        let ends = [self.life.map(|life| life.expires), self.safe_until];
        let left = ends.into_iter().flatten().min();
        let left = left.map(|end| until(now, end));
        let next_try = after(now, pause(id, problem.kind, attempts, left));
        self.failure = Some(Failure {
            problem,
            since,
            attempts,
            next_try,
        });
    }
}

/// When a token is renewed: a margin before its end, less a share of what comes before.
#[must_use]
pub fn renew_at(policy: &Policy<'_>, life: Life) -> Timestamp {
    let whole = until(life.issued, life.expires);
    let margin = margin(policy.lifetime, policy.renew_below, whole);
    let room = (whole.saturating_sub(margin) / 4).min(policy.spread);
    before(life.expires, margin + policy.id.share_of(room, RENEWAL))
}

/// The margin of a token that lives `whole`: as configured, and shorter in proportion where the
/// server gave a shorter life than was asked for, so that not every moment is due.
fn margin(lifetime: Duration, renew_below: Duration, whole: Duration) -> Duration {
    let part = whole.as_secs_f64() / lifetime.as_secs_f64();
    if part < 1.0 {
        renew_below.mul_f64(part)
    } else {
        renew_below
    }
}

/// Whether a token that was made at an earlier try is still worth pushing: more than half of the
/// time until its renewal is left.
#[must_use]
pub fn is_fresh(delivery: &Delivery, life: Life, now: Timestamp) -> bool {
    let whole = until(life.issued, life.expires);
    let margin = margin(delivery.lifetime, delivery.renew_below, whole);
    until(now, life.expires) > margin + whole.saturating_sub(margin) / 2
}

/// The pause after `attempts` failed tries: doubled each time, with a share taken off that belongs
/// to delivery and try, capped, and at most a quarter of the life that is left.
#[must_use]
pub fn pause(id: &DeliveryId, kind: Kind, attempts: u32, left: Option<Duration>) -> Duration {
    let first = match kind {
        Kind::RateLimited => SLOW_PAUSE,
        _ => FIRST_PAUSE,
    };
    let cap = match kind.remedy() {
        Remedy::Wait => OUTAGE_CAP,
        _ => PERSON_CAP,
    };
    let cap = match left {
        Some(left) if !left.is_zero() => cap.min(left / 4),
        _ => cap,
    };
    let doubled = first.saturating_mul(
        1_u32
            .checked_shl(attempts.saturating_sub(1))
            .unwrap_or(u32::MAX),
    );
    let whole = doubled.min(cap).max(first);
    whole.saturating_sub(id.share_of(whole / 5, u64::from(attempts)))
}

/// What to do next.
///
/// `tick` is the last moment at which every delivery was to be looked at, `next_tick` the next.
#[must_use]
pub fn next(
    now: Timestamp,
    policy: &Policy<'_>,
    record: &Record,
    tick: Timestamp,
    next_tick: Timestamp,
) -> Next {
    if record.cut_off.is_some() {
        return Next::Wait(Timestamp::MAX);
    }
    if let Some(failure) = &record.failure
        && now < failure.next_try
    {
        return Next::Wait(failure.next_try);
    }
    let Some(life) = record.life else {
        return Next::Do(if record.looked.is_none() {
            Step::Look
        } else {
            Step::Push(Why::First)
        });
    };
    if record.asked {
        return Next::Do(Step::Push(Why::Asked));
    }
    if record.changed {
        return Next::Do(Step::Push(Why::Changed));
    }
    if record.clock_set {
        return Next::Do(Step::Push(Why::ClockSet));
    }
    let renewal = renew_at(policy, life).min(record.renew_by.unwrap_or(Timestamp::MAX));
    if now >= renewal {
        return Next::Do(Step::Push(Why::Renewal));
    }
    if record.failure.is_some() {
        // Whatever failed, only what works from end to end is good.
        return Next::Do(Step::Examine);
    }
    if record.good_since.is_none() {
        return Next::Do(Step::Look);
    }
    let proof = prove_at(policy, record);
    if now >= proof {
        return Next::Do(Step::Prove);
    }
    let room = policy.spread.min(until(tick, next_tick));
    let look_after = |tick| after(tick, policy.id.share_of(room, LOOK));
    let look = look_after(tick);
    if record.looked.is_none_or(|looked| looked < look) && now >= look {
        return Next::Do(Step::Look);
    }
    let look = if now < look {
        look
    } else {
        look_after(next_tick)
    };
    let early = look_early(record);
    if now >= early {
        return Next::Do(Step::Look);
    }
    Next::Wait(renewal.min(look).min(early).min(proof))
}

#[cfg(test)]
mod tests;
