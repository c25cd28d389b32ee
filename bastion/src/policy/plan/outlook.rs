//! Next step of a delivery, for people: action, reason and time. Pure; the same decision that the engine follows.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Next, PlanStep, Policy, PushReason, Record, next};

/// Next action, as reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlannedAction {
    /// Observe the schedd.
    #[serde(rename = "look")]
    Observe,
    /// Read an access token with the vault token that is there.
    Prove,
    /// Push a new vault token.
    Push,
}

/// Reason of the next action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The delivery was not observed yet.
    Start,
    /// Retry after a failure.
    Retry,
    /// The credmon has not served the last push yet.
    Unserved,
    /// The schedule.
    Schedule,
    /// The reason of a push.
    #[serde(untagged)]
    Push(PushReason),
}

/// The next step of one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// Action.
    pub step: PlannedAction,
    /// Reason.
    pub why: Reason,
    /// Time; a past or present one means: now, or as soon as a permit is free.
    pub at: Timestamp,
}

/// Returns the next step, if nothing happens before. `ticks` are the last scheduled time of an observation of all
/// deliveries, the next one, and the one after that.
#[must_use]
pub fn outlook(
    now: Timestamp,
    policy: &Policy<'_>,
    record: &Record,
    ticks: [Timestamp; 3],
) -> PlannedStep {
    let [tick, next_tick, later_tick] = ticks;
    let mut at = now;
    loop {
        let (tick, next_tick) = if at < next_tick {
            (tick, next_tick)
        } else {
            (next_tick, later_tick)
        };
        match next(at, policy, record, tick, next_tick) {
            Next::Do(step) => return planned(record, step, at),
            // The plan never waits for a past time; should it ever, the loop ends here.
            Next::Wait(later) if later <= at => {
                return planned(record, PlanStep::Observe, at);
            }
            Next::Wait(later) => at = later,
        }
    }
}

fn planned(record: &Record, step: PlanStep, at: Timestamp) -> PlannedStep {
    let (step, why) = match step {
        PlanStep::Push(why) => (PlannedAction::Push, Reason::Push(why)),
        PlanStep::Prove | PlanStep::Examine => (PlannedAction::Prove, reason(record)),
        PlanStep::Observe => (PlannedAction::Observe, reason(record)),
    };
    PlannedStep { step, why, at }
}

fn reason(record: &Record) -> Reason {
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
    use crate::model::delivery::DeliveryId;
    use crate::model::moment::after;
    use crate::model::problem::{Cause, Kind, Problem};
    use crate::model::records::Life;

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
            started: None,
        };
        let ticks = [at(0), at(600), at(1200)];
        let next_step = |record: &Record| outlook(at(300), &policy, record, ticks);

        let mut record = Record::default();
        let new = next_step(&record);
        assert_eq!(
            (new.step, new.why, new.at),
            (PlannedAction::Observe, Reason::Start, at(300))
        );

        let life = Life {
            issued: at(0),
            expires: after(at(0), 7 * day),
        };
        record.life = Some(life);
        record.observed = Some(at(299));
        record.good_since = Some(at(299));
        record.proved = Some(at(299));
        let good = next_step(&record);
        assert_eq!(
            (good.step, good.why),
            (PlannedAction::Observe, Reason::Schedule)
        );
        assert!((at(600)..at(900)).contains(&good.at), "{}", good.at);

        let problem = Problem::new(Cause::Account("a".to_owned()), Kind::CreddDown, "down");
        record.fail(&id, problem, at(300));
        let failed = next_step(&record);
        assert_eq!(
            (failed.step, failed.why),
            (PlannedAction::Prove, Reason::Retry)
        );
        assert!(failed.at > at(300));

        record.failure = None;
        record.asked = true;
        let asked = next_step(&record);
        assert_eq!((asked.step, asked.at), (PlannedAction::Push, at(300)));
        assert_eq!(serde_json::to_value(asked.why).unwrap(), "asked");
    }
}
