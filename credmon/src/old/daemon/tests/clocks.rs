//! Clocks that jump, and a machine that slept.

use super::*;

/// A run whose daemon has a clock of its own; the Vault's stays right.
fn with_own_clock() -> (Run, TestClock) {
    let credentials = Credentials::new();
    let clock = TestClock::new();
    let own = clock.apart();
    let vault = FakeSource::new(clock);
    credentials.store("u", "cms", "a", "s.1");
    let mut configuration = configuration(&credentials, &vault);
    configuration.views.status_file = Some(credentials.path().join(".status"));
    let (commands, received) = mpsc::channel(4);
    let task = tokio::spawn(Daemon::new(configuration, Arc::new(own), || ()).run(received));
    let run = Run {
        credentials,
        vault,
        clock,
        commands,
        task,
    };
    (run, own)
}

#[tokio::test(start_paused = true)]
async fn after_a_suspend_what_has_ended_is_renewed_within_a_minute() {
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
    let (run, own) = with_own_clock();
    run.pass(60).await;
    own.jump(-2 * 3600);
    for _ in 0..240 {
        run.pass(60).await;
        assert!(
            run.left("u", "cms").unwrap() > 1000,
            "{:?}",
            run.left("u", "cms")
        );
    }
    // And forward again.
    own.jump(2 * 3600);
    for _ in 0..240 {
        run.pass(60).await;
        assert!(run.left("u", "cms").unwrap() > 1000);
    }
    assert!(run.requests() < 60, "{}", run.requests());
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_by_half_a_life_costs_no_token_and_few_requests() {
    let (run, own) = with_own_clock();
    run.pass(60).await;
    own.jump(1800);
    for _ in 0..120 {
        run.pass(60).await;
        assert!(run.left("u", "cms").unwrap() > 0);
    }
    assert!(run.requests() < 120, "{}", run.requests());
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_by_more_than_a_life_is_named_and_jobs_elsewhere_are_served() {
    let (run, own) = with_own_clock();
    own.jump(3 * 3600);
    for _ in 0..240 {
        run.pass(60).await;
        // By the right clock, which Vault and other hosts have.
        assert!(run.left("u", "cms").unwrap() > 1000);
        let (_, credentials) = run.status();
        assert_eq!(credentials[0].state, crate::old::state::State::Degraded);
        let (why, advice) = (&credentials[0].why, &credentials[0].advice);
        assert_eq!(advice, "check this host's clock");
        assert!(why.contains("ended at"), "{why}");
    }
    assert!(run.requests() < 60, "{}", run.requests());
    own.jump(-3 * 3600);
    run.pass(1800).await;
    assert_eq!(run.status().1[0].state, crate::old::state::State::Fresh);
    run.stop().await;
}
