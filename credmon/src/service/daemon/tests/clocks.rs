//! Clocks that jump, and a machine that slept.

use super::*;

fn with_own_clock() -> Run {
    Setup::new(|c, _| c.store("u", "cms", "a", "s.1"))
        .with_own_clock()
        .start()
}

#[tokio::test(start_paused = true)]
async fn after_a_suspend_what_has_expired_is_renewed_within_a_minute() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(60).await;
    // Timers stand still while a machine sleeps; only the wall clock goes on.
    run.clock.jump(6 * 3600);
    assert!(run.left("u", "cms").unwrap() < 0);
    run.pass(62).await;
    assert!(run.left("u", "cms").unwrap() > 3500);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_costs_no_token() {
    for step in [-600, -7200, -86_400] {
        let run = with_own_clock();
        run.pass(60).await;
        run.clock.jump(step);
        for _ in 0..120 {
            run.pass(60).await;
            assert!(run.left("u", "cms").unwrap() > 1000, "{step}");
        }
        // And forward again.
        run.clock.jump(-step);
        for _ in 0..120 {
            run.pass(60).await;
            assert!(run.left("u", "cms").unwrap() > 1000, "{step} and back");
        }
        assert!(run.requests() < 60, "{step}: {}", run.requests());
        assert_eq!(run.states(), [State::Fresh]);
        run.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_by_half_a_life_costs_no_token_and_few_requests() {
    let run = with_own_clock();
    run.pass(60).await;
    run.clock.jump(1800);
    for _ in 0..120 {
        run.pass(60).await;
        assert!(run.left("u", "cms").unwrap() > 0);
    }
    assert!(run.requests() < 120, "{}", run.requests());
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_by_more_than_a_life_is_named_and_jobs_elsewhere_are_served() {
    let run = with_own_clock();
    run.clock.jump(3 * 3600);
    for _ in 0..240 {
        run.pass(60).await;
        // By the right clock, which Vault and other hosts have.
        assert!(run.left("u", "cms").unwrap() > 1000);
        let (_, credentials) = run.status();
        assert_eq!(credentials[0].state, State::Degraded);
        let (why, advice) = (&credentials[0].why, &credentials[0].advice);
        assert_eq!(&**advice, "check this host's clock");
        assert!(why.contains("has expired by this host's clock"), "{why}");
    }
    assert!(run.requests() < 60, "{}", run.requests());
    run.clock.jump(-3 * 3600);
    run.pass(65).await;
    assert_eq!(run.states(), [State::Fresh]);
    run.stop().await;
}
