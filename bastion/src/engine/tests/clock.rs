//! Clocks that are set, on paused time.

use super::super::*;
use super::service::{HOUR, Service, at};
use super::{DAY, deliveries, engine, run_for};
use crate::fakes::Outside;
use crate::fixtures::config;
use crate::policy::plan::State;

const SECOND: Duration = Duration::from_secs(1);

/// The clock jumps; tokens live on by everybody else's clock.
async fn jump(seconds: i64, most_stores: u32) {
    let outside = Outside::new();
    outside.lock().access_life = 2 * HOUR;
    let config = config(deliveries());
    let mut engine = engine(&config, &outside);
    run_for(&mut engine, DAY).await;
    for wrong_by in [seconds, 0] {
        outside.lock().clock_wrong_by = wrong_by;
        for _ in 0..5 {
            run_for(&mut engine, DAY).await;
            let report = engine.report();
            // While this clock runs ahead, credmons seem to have stopped.
            assert!(
                wrong_by > 0 || report.is_good(),
                "{wrong_by}: {:?}",
                report.problems
            );
            let world = outside.lock();
            assert!(world.dark.is_empty(), "{wrong_by}: {:?}", world.dark);
            for delivery in deliveries() {
                assert!(
                    world.is_alive(&world.token_at(&delivery.id).unwrap()),
                    "{wrong_by}"
                );
            }
        }
    }
    let stores = outside.lock().stores;
    assert!(stores <= most_stores, "{stores} stores");
}

// Eleven days are three pushes of each delivery; each jump may cost one more.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_by_hours_or_a_year_is_survived() {
    jump(-5 * 3600, 6 * 5).await;
    jump(-365 * 86_400, 6 * 5).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_by_hours_or_a_year_is_survived() {
    jump(5 * 3600, 6 * 5).await;
    jump(365 * 86_400, 6 * 5).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_while_a_push_runs_is_followed_by_another_one() {
    let outside = Outside::new();
    outside.lock().clock_wrong_by = 7200;
    outside.lock().credmon_takes = 10 * SECOND;
    let service = Service::start(&outside, vec![at("a", "ap1")]);
    tokio::time::sleep(2 * SECOND).await;
    outside.lock().clock_wrong_by = 0;
    tokio::time::sleep(HOUR).await;
    assert_eq!(service.state("a", "ap1"), State::Good);
    assert_eq!(outside.lock().stores, 2);
}

#[tokio::test(start_paused = true)]
async fn a_start_with_a_clock_in_the_future_puts_no_renewal_off() {
    let outside = Outside::new();
    outside.lock().clock_wrong_by = 365 * 86_400;
    let service = Service::good(&outside, vec![at("a", "ap1")]).await;
    outside.lock().clock_wrong_by = 0;
    tokio::time::sleep(HOUR).await;
    let replaced = outside.lock().stores;
    tokio::time::sleep(5 * 24 * HOUR).await;
    assert_eq!(outside.lock().stores, replaced + 1, "renewed in time");
    assert!(service.has("a", "ap1"));
}

#[tokio::test(start_paused = true)]
async fn nothing_stands_still_when_the_clock_is_set_back_however_seldom_is_checked() {
    let outside = Outside::new();
    tokio::time::sleep(4 * HOUR).await;
    outside.lock().clock_wrong_by = 8 * 3600;
    let config = Config {
        check: Cron::parse("0 3 * * *").unwrap(),
        ..config(vec![at("a", "ap1")])
    };
    let mut engine = Engine::new(&config, outside.parts(), TimeZone::UTC);
    let set_back = async {
        tokio::time::sleep(HOUR / 2).await;
        // The next check has the same time as before.
        outside.lock().clock_wrong_by = 0;
        outside.lock().stores
    };
    let ((), before) = tokio::join!(run_for(&mut engine, HOUR), set_back);
    assert_eq!(
        outside.lock().stores,
        before + 1,
        "its age was not known any more"
    );
}
