//! Laws of the plan, and a year simulated.

mod spread;

use htvault::RequestLimit;
use proptest::prelude::*;

use super::pause::{FIRST_PAUSE, OUTAGE_CAP, PERSON_CAP};
use super::*;
use crate::fixtures::id;
use crate::model::problem::Cause;
use crate::model::problem::Kind;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn policy(id: &DeliveryId, renew_below: Duration) -> Policy<'_> {
    Policy {
        id,
        lifetime: 7 * DAY,
        renew_below,
        spread: 5 * MINUTE,
        prove_every: HOUR,
        started: None,
    }
}

fn at(second: u64) -> Timestamp {
    after(Timestamp::UNIX_EPOCH, Duration::from_secs(second))
}

fn problem(kind: Kind) -> Problem {
    Problem::new(Cause::Account("a".to_owned()), kind, "broken")
}

/// A record of a delivery that is good since second 0.
fn good(life: Duration) -> Record {
    Record {
        life: Some(Life {
            issued: at(0),
            expires: after(at(0), life),
        }),
        good_since: Some(at(0)),
        observed: Some(at(0)),
        proved: Some(at(0)),
        safe_until: Some(Timestamp::MAX),
        ..Record::default()
    }
}

#[test]
fn what_is_next_follows_from_what_is_known() {
    let id = id("a");
    let policy = policy(&id, 3 * DAY);
    let never = Timestamp::MAX;
    let plan_of =
        |record: &Record, policy: &Policy<'_>, now| next(now, policy, record, at(0), never);

    assert_eq!(
        plan_of(&Record::default(), &policy, at(0)),
        Next::Do(PlanStep::Observe)
    );
    let observed = Record {
        observed: Some(at(0)),
        ..Record::default()
    };
    assert_eq!(
        plan_of(&observed, &policy, at(0)),
        Next::Do(PlanStep::Push(PushReason::First))
    );

    let mut record = good(7 * DAY);
    let renewal = renew_at(&policy, record.life.unwrap());
    assert_eq!(
        plan_of(&record, &policy, renewal),
        Next::Do(PlanStep::Push(PushReason::Renewal))
    );
    assert!(matches!(
        plan_of(&record, &policy, before(renewal, MINUTE)),
        Next::Wait(_) | Next::Do(PlanStep::Observe | PlanStep::Prove)
    ));
    record.good_since = None;
    assert_eq!(record.state(at(1)), State::Pending);
    assert_eq!(
        plan_of(&record, &policy, at(1)),
        Next::Do(PlanStep::Observe)
    );
    record.changed = true;
    assert_eq!(
        plan_of(&record, &policy, at(1)),
        Next::Do(PlanStep::Push(PushReason::Changed))
    );
    record.fail(&id, problem(Kind::CreddDown), at(1));
    assert_eq!(record.state(at(1)), State::Failed);
    let again = record.failure.as_ref().unwrap().next_try;
    assert_eq!(plan_of(&record, &policy, at(1)), Next::Wait(again));
    assert_eq!(
        plan_of(&record, &policy, again),
        Next::Do(PlanStep::Push(PushReason::Changed))
    );
}

#[test]
fn what_this_host_lacks_for_now_is_tried_again_as_soon_as_an_outage() {
    let longest = |kind| pause(&id("a"), kind, 30, None);
    assert!(longest(Kind::Local) <= OUTAGE_CAP);
    assert!(longest(Kind::Transport) > OUTAGE_CAP);
}

#[test]
fn a_token_is_proved_ten_times_in_an_access_tokens_life_and_what_failed_is_examined() {
    let id = id("a");
    let never = Timestamp::MAX;
    for (life, least, earliest, latest) in [
        (Some(HOUR), Duration::ZERO, 270, 360),
        (None, Duration::ZERO, 270, 360),
        (Some(Duration::from_secs(90)), Duration::ZERO, 6, 9),
        (Some(HOUR), HOUR, 2700, 3600),
    ] {
        let policy = Policy {
            prove_every: least,
            ..policy(&id, 3 * DAY)
        };
        let plan_of = |record: &Record, now| next(now, &policy, record, at(0), never);
        let mut record = good(7 * DAY);
        record.access_life = life;
        record.observed = Some(at(600));
        record.proved = Some(at(600));
        let Next::Wait(proof) = plan_of(&record, at(600)) else {
            panic!("it was proved just now");
        };
        assert!(
            (at(600 + earliest)..=at(600 + latest)).contains(&proof),
            "{proof}"
        );
        assert_eq!(plan_of(&record, proof), Next::Do(PlanStep::Prove));
        record.proved = None;
        assert_eq!(
            plan_of(&record, at(600)),
            Next::Do(PlanStep::Prove),
            "the first"
        );
        record.fail(&id, problem(Kind::IssuerDown), proof);
        let again = record.failure.as_ref().unwrap().next_try;
        record.proved = Some(again);
        assert_eq!(plan_of(&record, again), Next::Do(PlanStep::Examine));
    }
}

#[test]
fn good_is_only_what_jobs_surely_have() {
    let mut record = good(7 * DAY);
    record.safe_until = Some(at(100));
    assert_eq!(record.state(at(99)), State::Good);
    assert_eq!(record.state(at(100)), State::Pending);
    record.safe_until = None;
    assert_eq!(record.state(at(99)), State::Pending);
}

#[test]
fn proofs_take_a_part_of_the_requests_that_are_allowed() {
    let limit = RequestLimit {
        limit: 300,
        per: 5 * MINUTE,
    };
    assert!(prove_every(2000, None) <= 6 * MINUTE);
    let every = prove_every(2000, Some(limit));
    // With a quarter taken off each pause at most.
    let in_five_minutes = 2000.0 * 300.0 / (every.as_secs_f64() * 0.75);
    assert!(in_five_minutes <= 75.0, "{in_five_minutes}");
}

#[test]
fn every_tick_brings_one_look_after_the_share() {
    let id = id("a");
    let policy = policy(&id, 3 * DAY);
    let mut record = good(7 * DAY);
    let (tick, next_tick) = (at(600), at(1200));
    let plan_of = |record: &Record, now| next(now, &policy, record, tick, next_tick);
    let Next::Wait(look) = plan_of(&record, at(600)) else {
        panic!("not at once");
    };
    assert!((at(600)..at(900)).contains(&look));
    assert_eq!(look.subsec_nanosecond(), 0, "with others of that second");
    assert_eq!(plan_of(&record, look), Next::Do(PlanStep::Observe));
    record.observed = Some(look);
    let Next::Wait(later) = plan_of(&record, look) else {
        panic!("one look is enough");
    };
    assert!((at(1200)..at(1500)).contains(&later));
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::VaultDown,
        Kind::RateLimited,
        Kind::Keytab,
        Kind::CreddRefused,
    ])
}

proptest! {
    #[test]
    fn renewal_is_in_time_and_not_all_the_time(
        account in "[a-z]{1,8}", lifetime in 2_u64..3_000_000, margin in 1_u64..3_000_000, cut in 1_u64..3_000_000,
    ) {
        prop_assume!(margin < lifetime);
        let id = id(&account);
        let policy = Policy {
            lifetime: Duration::from_secs(lifetime),
            ..policy(&id, Duration::from_secs(margin))
        };
        // What the server gave may be less than was asked for.
        let life = Life { issued: at(0), expires: at(cut.min(lifetime)) };
        let renewal = renew_at(&policy, life);
        let whole = until(life.issued, life.expires);
        let part = whole.as_secs_f64() / policy.lifetime.as_secs_f64();
        let margin = policy.renew_below.mul_f64(part);
        let slack = Duration::from_micros(1);
        prop_assert!(renewal <= after(before(life.expires, margin), slack));
        prop_assert!(after(renewal, slack) >= after(life.issued, whole.saturating_sub(margin) * 7 / 8));
    }

    #[test]
    fn pauses_grow_and_are_capped(account in "[a-z]{1,8}", kind in kinds(), attempts in 1_u32..60) {
        let id = id(&account);
        let pause = |attempts| pause(&id, kind, attempts, None);
        prop_assert!(pause(1) >= Duration::from_secs(4));
        prop_assert!(pause(attempts) <= PERSON_CAP);
        // The share that is taken off is smaller than a doubling, so that only at the cap it may shrink.
        prop_assert!(pause(attempts + 1) > pause(attempts) || pause(attempts + 1) >= OUTAGE_CAP * 4 / 5);
    }

    #[test]
    fn a_pause_leaves_time_for_more_tries(attempts in 1_u32..60, left in 60_u64..1_000_000, kind in kinds()) {
        let left = Duration::from_secs(left);
        let pause = pause(&id("a"), kind, attempts, Some(left));
        prop_assert!(pause <= (left / 4).max(FIRST_PAUSE));
    }
}

/// A schedd, a Vault and a loop that follows the plan.
struct World<'a> {
    policy: Policy<'a>,
    life: Duration,
    /// How long a push takes.
    takes: Duration,
    /// When nothing works.
    outages: Vec<(Timestamp, Timestamp)>,
    now: Timestamp,
    record: Record,
    pushes: u32,
    tries: u32,
    /// For how long jobs had no living token, after the first push.
    dark: Duration,
}

impl World<'_> {
    fn down(&self) -> bool {
        self.outages
            .iter()
            .any(|(from, to)| (*from..*to).contains(&self.now))
    }

    fn pass(&mut self, to: Timestamp) {
        if let Some(life) = self.record.life {
            let dead_from = life.expires.max(self.now);
            self.dark += until(dead_from, to);
        }
        self.now = to;
    }

    fn live(&mut self, end: Timestamp) {
        let period = 10 * MINUTE;
        while self.now < end {
            let ticks = until(at(0), self.now).as_secs() / period.as_secs();
            let tick = after(at(0), Duration::from_secs(ticks * period.as_secs()));
            let next_tick = after(tick, period);
            match next(self.now, &self.policy, &self.record, tick, next_tick) {
                Next::Wait(until) => {
                    assert!(until > self.now, "the plan waits for the past");
                    self.pass(until.min(next_tick));
                }
                Next::Do(step) => {
                    let begun = self.now;
                    self.pass(after(begun, self.takes));
                    self.tries += 1;
                    if self.down() {
                        self.record
                            .fail(self.policy.id, problem(Kind::VaultDown), self.now);
                        continue;
                    }
                    if matches!(step, PlanStep::Push(_)) {
                        self.pushes += 1;
                        self.record.life = Some(Life {
                            issued: begun,
                            expires: after(begun, self.life),
                        });
                        self.record.good_since = Some(self.now);
                    }
                    self.record.observed = Some(self.now);
                    self.record.proved = Some(self.now);
                    self.record.failure = None;
                }
            }
        }
    }
}

fn world(id: &DeliveryId, life: Duration, renew_below: Duration) -> World<'_> {
    World {
        policy: Policy {
            lifetime: life,
            ..policy(id, renew_below)
        },
        life,
        takes: 2 * MINUTE,
        outages: Vec::new(),
        now: at(0),
        record: Record::default(),
        pushes: 0,
        tries: 0,
        dark: Duration::ZERO,
    }
}

#[test]
fn a_year_without_failure_has_no_dark_moment_and_no_needless_push() {
    let id = id("cmsprod");
    let mut world = world(&id, 7 * DAY, 3 * DAY);
    world.live(after(at(0), 365 * DAY));
    assert_eq!(world.dark, Duration::ZERO);
    assert!((91..=93).contains(&world.pushes), "{}", world.pushes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn outages_shorter_than_the_margin_are_never_felt(
        account in "[a-z]{1,8}",
        begins in prop::collection::vec(1_u64..180, 0..8),
        hours in 1_u64..70,
    ) {
        let id = id(&account);
        let mut world = world(&id, 7 * DAY, 3 * DAY);
        // One outage every four days at most, so that two do not make a longer one.
        world.outages = begins
            .iter()
            .map(|n| (n / 4 * 4 * DAY.as_secs(), hours))
            .filter(|(begin, _)| *begin > 0)
            .map(|(begin, hours)| (at(begin), after(at(begin), Duration::from_secs(hours * HOUR.as_secs()))))
            .collect();
        world.live(after(at(0), 200 * DAY));
        prop_assert_eq!(world.dark, Duration::ZERO);
        // Two minutes between attempts in an outage, and an observation every ten minutes.
        prop_assert!(world.tries < 200 * 144 + 8 * 70 * 32);
    }

    #[test]
    fn short_lives_are_renewed_in_time_too(account in "[a-z]{1,8}", life in 60_u64..600, takes in 1_u64..5) {
        let id = id(&account);
        let life = Duration::from_secs(life);
        let mut world = world(&id, life, life / 3);
        world.takes = Duration::from_secs(takes);
        world.policy.spread = Duration::from_secs(5);
        world.live(at(86_400));
        prop_assert_eq!(world.dark, Duration::ZERO);
        let least = u128::from(world.pushes) * life.as_millis() / 3;
        prop_assert!(least < 86_400_000 * 2, "{} pushes", world.pushes);
    }
}
