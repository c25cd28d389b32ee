//! Clocks that are wrong or stepped: renewals go on by monotonic time.

use super::site::token_of;
use super::world::id;
use super::*;
use crate::model::State;

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Token lifetimes of sites, each with a MINIMUM.
const LIVES: [(i64, i64); 2] = [(90, 60), (HOUR, 40 * MINUTE)];

fn with_account(life: i64, minimum: i64) -> World {
    let mut world = World::of_life(life, minimum);
    world.store("u", "cms");
    world.pass(life / 3);
    world
}

#[test]
fn a_clock_that_is_set_back_costs_no_token() {
    for (life, minimum) in LIVES {
        for step in [-10 * MINUTE, -HOUR, -DAY, -30 * DAY] {
            let mut world = with_account(life, minimum);
            world.step_clock(step);
            world.pass_with(4 * life, |world| {
                let left = world.left("u", "cms");
                assert!(left >= life / 5, "{life}, {step}: {left}");
            });
            // And forward again.
            world.step_clock(-step);
            world.pass_with(4 * life, |world| {
                let left = world.left("u", "cms");
                assert!(left >= life / 5, "{life}, {step} and back: {left}");
            });
            let requests = world.sent.len();
            assert!(requests <= 60, "{life}, {step}: {requests}");
        }
    }
}

#[test]
fn a_clock_that_is_ahead_costs_no_token_and_all_is_well_soon_after_its_correction() {
    for (life, minimum) in LIVES {
        for step in [10 * MINUTE, HOUR, DAY, 30 * DAY] {
            let mut world = with_account(life, minimum);
            world.step_clock(step);
            // Vault gives its cached token while it lives longer than this clock says.
            world.pass_with(4 * life, |world| {
                let left = world.left("u", "cms");
                assert!(
                    left >= (life / 5).min(step * 9 / 10),
                    "{life}, {step}: {left}"
                );
            });
            world.step_clock(-step);
            world.pass(30);
            let status = world.status("u", "cms");
            assert_eq!(status.state, State::Fresh, "{life}, {step}: {}", status.why);
            world.pass_with(4 * life, |world| {
                let left = world.left("u", "cms");
                assert!(left >= life / 5, "{life}, {step} and back: {left}");
                assert_eq!(world.status("u", "cms").state, State::Fresh);
            });
        }
    }
}

#[test]
fn a_clock_that_is_ahead_by_more_than_a_life_is_named() {
    let mut world = with_account(HOUR, 40 * MINUTE);
    world.step_clock(3 * HOUR);
    world.pass(30);
    let status = world.status("u", "cms");
    assert_eq!(status.state, State::Degraded);
    assert!(
        status.why.contains("expired by this host's clock"),
        "{}",
        status.why
    );
    assert_eq!(&*status.advice, "check this host's clock");
    let before = world.elapsed();
    world.pass(4 * HOUR);
    let requests = world.sent_by("u", before);
    assert!(requests <= 200, "{requests}");
}

#[test]
fn a_clock_that_is_behind_is_named_when_fresh_tokens_come_from_the_future() {
    let mut world = with_account(90, 60);
    world.store("v", "cms");
    world.pass(60);
    assert_eq!(world.scheduler.clock_problem(), None);
    world.step_clock(-10 * MINUTE);
    world.pass(90);
    let problem = world.scheduler.clock_problem().unwrap().to_owned();
    assert!(
        problem.contains("clock is behind") && problem.contains("10 min"),
        "{problem}"
    );
    // Differences of seconds are no other problem.
    let second = world.right_second();
    for (user, ahead) in [("u", 3), ("v", -3)] {
        let token = token_of(second + ahead, second + ahead + 90, 1_000_000);
        let shorter = None;
        let outcome = crate::model::Outcome::Renewed { token, shorter };
        world.site.accounts.insert(user, outcome);
        world.put_token(&id(user, "cms"), None);
        world.pass(1);
        assert_eq!(world.scheduler.clock_problem(), Some(&*problem));
    }
    world.site.accounts.clear();
    world.step_clock(10 * MINUTE);
    world.pass(90);
    assert_eq!(world.scheduler.clock_problem(), None);
}

#[test]
fn a_server_of_one_account_that_lies_about_the_time_says_nothing_of_this_hosts_clock() {
    let mut world = World::of_life(90, 60);
    for user in ["u", "v", "w"] {
        world.store(user, "cms");
    }
    world.store_at("evil", "cms", "liar", "cms");
    world.pass(30);
    for _ in 0..20 {
        let second = world.right_second();
        let token = token_of(second + HOUR, second + 2 * HOUR, 1_000_000);
        let outcome = crate::model::Outcome::Renewed {
            token,
            shorter: None,
        };
        world.site.accounts.insert("evil", outcome);
        world.put_token(&id("evil", "cms"), None);
        world.pass_with(30, |world| {
            assert_eq!(world.scheduler.clock_problem(), None);
        });
    }
    assert!(world.sent_by("evil", 0) > 10);
}

#[test]
fn each_step_of_the_clock_is_reported_once_and_a_slow_drift_is_not() {
    let mut world = with_account(HOUR, 40 * MINUTE);
    world.events.clear();
    world.step_clock(-DAY);
    world.pass(60);
    let steps = |world: &World| {
        let is_step = |event: &&crate::model::Event| event.text.contains("clock was set by");
        world.events.iter().filter(is_step).count()
    };
    assert_eq!(steps(&world), 1);
    for _ in 0..100 {
        world.step_clock(1);
        world.pass(20);
    }
    assert_eq!(steps(&world), 1);
}

#[test]
fn after_a_suspend_what_has_expired_is_renewed_at_once() {
    let mut world = with_account(HOUR, 40 * MINUTE);
    // Monotonic time stands still while a machine sleeps: everybody else's clock goes on.
    world.sleep(6 * HOUR);
    assert!(world.left("u", "cms") < 0);
    let status = world.status("u", "cms");
    assert_eq!(status.state, State::Degraded, "it is not fresh any more");
    world.pass(2);
    assert!(world.left("u", "cms") > 3500);
}

#[test]
fn a_token_that_is_over_at_receipt_and_does_not_say_since_when_it_lives_costs_no_storm() {
    for issued in [DAY, -3] {
        let mut world = with_account(HOUR, 40 * MINUTE);
        let expires = world.right_second() - 1;
        let outcome = crate::model::Outcome::Renewed {
            token: token_of(expires + issued, expires, 1_000_000),
            shorter: None,
        };
        world.site.accounts.insert("u", outcome);
        world.put_token(&id("u", "cms"), None);
        let before = world.elapsed();
        world.pass(HOUR);
        let requests = world.sent_by("u", before);
        assert!((10..=100).contains(&requests), "{requests}");
    }
}
