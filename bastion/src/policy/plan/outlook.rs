//! What comes next for a delivery, for people: the step, why, and when. Pure, and from the very
//! decision that the loop follows.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Next, Policy, Record, Step, Why, next};
use crate::model::delivery::DeliveryId;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// See what the schedd has.
    Look,
    /// Read an access token with the vault token that is there.
    Prove,
    /// Push a new vault token.
    Push,
}

/// Why it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nothing is known yet.
    Start,
    /// It failed, and is tried again.
    Retry,
    /// The credmon has not served the last push yet.
    Unserved,
    /// The schedule says so.
    Schedule,
    /// The reason of a push.
    #[serde(untagged)]
    Push(Why),
}

/// The next step of one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Whose.
    #[serde(flatten)]
    pub id: DeliveryId,
    /// What is done.
    pub step: What,
    /// Why.
    pub why: Reason,
    /// When; a moment that is past or present means: now, or as soon as there is room.
    pub at: Timestamp,
}

/// What is next, if nothing happens before. `ticks` are the last moment at which every delivery
/// was to be looked at, the next one, and the one after that.
#[must_use]
pub fn outlook(
    now: Timestamp,
    policy: &Policy<'_>,
    record: &Record,
    ticks: [Timestamp; 3],
) -> Planned {
    let [tick, next_tick, later_tick] = ticks;
    let mut at = now;
    loop {
        let (tick, next_tick) = if at < next_tick {
            (tick, next_tick)
        } else {
            (next_tick, later_tick)
        };
        match next(at, policy, record, tick, next_tick) {
            Next::Do(step) => return planned(policy.id, record, step, at),
            // The plan never waits for the past; should it ever, this ends all the same.
            Next::Wait(later) if later <= at => return planned(policy.id, record, Step::Look, at),
            Next::Wait(later) => at = later,
        }
    }
}

fn planned(id: &DeliveryId, record: &Record, step: Step, at: Timestamp) -> Planned {
    let (step, why) = match step {
        Step::Push(why) => (What::Push, Reason::Push(why)),
        Step::Prove | Step::Examine => (What::Prove, seeing(record)),
        Step::Look => (What::Look, seeing(record)),
    };
    Planned {
        id: id.clone(),
        step,
        why,
        at,
    }
}

fn seeing(record: &Record) -> Reason {
    if record.failure.is_some() {
        Reason::Retry
    } else if record.life.is_none() {
        Reason::Start
    } else if record.good_since.is_none() {
        Reason::Unserved
    } else {
        Reason::Schedule
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::moment::after;
    use crate::model::problem::{Cause, Kind, Problem};
    use crate::policy::plan::Life;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn each_delivery_has_a_next_step_a_reason_and_a_time() {
        let id = DeliveryId {
            account: "cmsprod".to_owned(),
            service: "cms".to_owned(),
            schedd: "ap1".to_owned(),
        };
        let day = Duration::from_hours(24);
        let policy = Policy {
            id: &id,
            lifetime: 7 * day,
            renew_below: 3 * day,
            spread: Duration::from_mins(5),
            prove_every: Duration::from_hours(1),
        };
        let ticks = [at(0), at(600), at(1200)];
        let told = |record: &Record| outlook(at(300), &policy, record, ticks);

        let mut record = Record::default();
        let new = told(&record);
        assert_eq!(
            (new.step, new.why, new.at),
            (What::Look, Reason::Start, at(300))
        );

        let life = Life {
            issued: at(0),
            expires: after(at(0), 7 * day),
        };
        record.life = Some(life);
        record.looked = Some(at(299));
        record.good_since = Some(at(299));
        record.proved = Some(at(299));
        let good = told(&record);
        assert_eq!((good.step, good.why), (What::Look, Reason::Schedule));
        assert!((at(600)..at(900)).contains(&good.at), "{}", good.at);

        let problem = Problem::new(Cause::Account("a".to_owned()), Kind::CreddDown, "down");
        record.fail(&id, problem, at(300));
        let failed = told(&record);
        assert_eq!((failed.step, failed.why), (What::Prove, Reason::Retry));
        assert!(failed.at > at(300));

        record.failure = None;
        record.asked = true;
        let json = serde_json::to_value(told(&record)).unwrap();
        let wanted = serde_json::json!({
            "account": "cmsprod", "service": "cms", "schedd": "ap1",
            "step": "push", "why": "asked", "at": "1970-01-01T00:05:00Z",
        });
        assert_eq!(json, wanted);
    }
}
