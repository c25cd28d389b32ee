//! Vaults that are down, slow, or want fewer requests.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_dead_host_and_a_slow_one_delay_nobody_else() {
    let run = Run::start(|c, v| {
        for n in 0..50 {
            c.store(&format!("u{n}"), "dead", "dead", "s.1");
            c.store(&format!("u{n}"), "slow", "slow", "s.1");
            c.store(&format!("u{n}"), "good", "good", "s.1");
        }
        v.down.insert("dead".to_owned(), ErrorKind::Unreachable);
        v.slow.insert("slow".to_owned(), 30);
    });
    run.pass(1).await;
    for n in 0..50 {
        assert!(run.left(&format!("u{n}"), "good").is_some(), "{n}");
    }
    assert!(run.vault.with(|v| v.most_under_way) <= 3 * 16);
    assert!(!run.was_completed(), "the slow ones are still under way");
    run.pass(25).await;
    assert!(run.was_completed(), "but nobody waits for them for ever");
    run.pass(600).await;
    assert!(run.left("u49", "slow").is_some());
    run.vault.with(|v| v.down.clear());
    run.pass(380).await;
    assert!(run.left("u49", "dead").is_some());
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn bad_credentials_of_one_account_delay_nobody_at_the_same_vault() {
    let run = Run::start(|c, v| {
        v.life = 90;
        for n in 0..5 {
            c.store(&format!("good{n}"), "cms", "a", "s.1");
        }
        for n in 0..3 {
            c.store("evil", &format!("s{n}"), "a", "s.2");
        }
        let refused = (ErrorKind::BadAnswer, None);
        v.refused.insert("evil".to_owned(), refused);
    });
    run.pass(2).await;
    for _ in 0..600 {
        for n in 0..5 {
            assert!(run.left(&format!("good{n}"), "cms").unwrap() > 25);
        }
        run.pass(1).await;
    }
    let (daemon, credentials) = run.status();
    assert_eq!(daemon.troubled_vaults, []);
    for credential in credentials.iter().filter(|c| &*c.user != "evil") {
        assert_eq!((credential.state, &*credential.why), (State::Fresh, ""));
    }
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_of_the_server_is_obeyed_and_all_are_served_in_the_end() {
    let run = Run::start(|c, v| {
        for n in 0..100 {
            c.store(&format!("u{n}"), "cms", "a", "s.1");
        }
        v.limit = Some((20, 60));
    });
    run.pass(900).await;
    assert!((0..100).all(|n| run.left(&format!("u{n}"), "cms").is_some()));
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_those_nearest_to_their_end_go_first_within_the_bound() {
    let mut setup = Setup::new(|c, v| {
        v.down.insert("a".to_owned(), ErrorKind::Unreachable);
        for n in 0..60 {
            let name = format!("u{n:02}");
            c.store(&name, "cms", "a", "s.1");
        }
    });
    let begin = setup.clock.now().as_second();
    let expiry = |n: i64| begin + 900 + n * 37 % 60 * 30;
    for n in 0..60 {
        let name = format!("u{n:02}");
        let claims = serde_json::json!({"iat": expiry(n) - 3600, "exp": expiry(n)});
        setup
            .credentials
            .put(&name, "cms.use", &crate::fakes::jwt(&claims));
    }
    setup.settings.rules.request_limit = Some((10, 60));
    let run = setup.start();
    run.pass(600).await;
    run.vault.with(|v| {
        v.down.clear();
        v.asked.clear();
    });
    run.pass(1500).await;
    let asked = run.vault.with(|v| v.asked.clone());
    for a in &asked {
        let minute = a.at.as_second()..a.at.as_second() + 59;
        let count = asked.iter().filter(|b| minute.contains(&b.at.as_second()));
        assert!(count.count() <= 10);
    }
    let mut order = Vec::new();
    for a in &asked {
        let user = a
            .path
            .rsplit('/')
            .next()
            .unwrap()
            .split(':')
            .next()
            .unwrap();
        let n: i64 = user.trim_start_matches('u').parse().unwrap();
        if !order.contains(&expiry(n)) {
            order.push(expiry(n));
        }
    }
    assert_eq!(order.len(), 60, "all are served");
    // Requests that are under way together may change places; the probe before goes out of turn.
    for (place, end) in order.iter().enumerate().skip(1) {
        let before = order.iter().filter(|other| *other < end).count();
        assert!(before.abs_diff(place) <= 16, "{order:?}");
    }
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_longer_than_the_tokens_all_are_back_within_a_minute() {
    for outage in ["host", "issuer"] {
        let run = Run::start(|c, v| {
            v.life = 90;
            (0..50).for_each(|n| c.store(&format!("u{n}"), "cms", "a", "s.1"));
        });
        run.pass(60).await;
        run.vault.with(|v| match outage {
            "host" => _ = v.down.insert("a".to_owned(), ErrorKind::Unreachable),
            _ => _ = v.issuers_down.insert("cms".to_owned()),
        });
        run.pass(3600).await;
        let before = run.requests();
        run.pass(600).await;
        assert!(run.requests() - before < 90, "one probe for all");
        let (daemon, credentials) = run.status();
        assert_eq!(daemon.troubled_vaults[0].host, "a");
        assert!(credentials.iter().all(|c| c.state == State::Degraded));
        assert!(
            credentials
                .iter()
                .all(|c| !c.why.is_empty() && !c.advice.is_empty())
        );
        run.vault.with(|v| {
            v.down.clear();
            v.issuers_down.clear();
        });
        run.pass(60).await;
        assert_eq!(run.states(), [State::Fresh; 50], "{outage}");
        assert!(run.stop().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_site_may_have_dead_credentials_deleted_but_never_those_that_a_policy_refuses() {
    let mut setup = Setup::new(|c, v| {
        for user in ["dead", "forbidden", "good"] {
            c.put(user, "cms.use", "opaque\n");
            c.store(user, "cms", "a", &format!("s.{user}"));
        }
        v.dead.insert("s.dead".to_owned());
        v.forbidden.insert("s.forbidden".to_owned());
    });
    setup.settings.rules.delete_dead = true;
    let run = setup.start();
    run.pass(3600).await;
    let exist =
        |user: &str| ["cms.top", "cms.use"].map(|name| run.credentials.file(user, name).exists());
    assert_eq!(exist("dead"), [false, false]);
    assert_eq!(exist("forbidden"), [true, true]);
    assert_eq!(exist("good"), [true, true]);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_shortens_its_tokens_is_not_down() {
    let run = Run::start(|c, v| {
        v.life = 3600;
        (0..10).for_each(|n| c.store(&format!("u{n}"), "cms", "a", "s.1"));
    });
    run.pass(1500).await;
    run.vault.with(|v| v.life = 1800);
    for n in 0..120 {
        run.pass(30).await;
        if n == 10 {
            run.store("new", "cms", "a", "s.1");
            run.pass(5).await;
            assert!(run.left("new", "cms").is_some(), "it waits for nothing");
        }
        assert_eq!(run.status().0.troubled_vaults, []);
        for n in 0..10 {
            assert!(run.left(&format!("u{n}"), "cms").unwrap() > 600);
        }
    }
    assert_eq!(run.states(), [State::Fresh; 11]);
    assert!(run.stop().await);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_ended_is_heard_before_there_is_another() {
    let setup = Setup::new(|c, v| {
        v.life = 90;
        c.store("u", "cms", "a", "s.1");
        c.store("v", "cms", "a", "s.1");
    });
    let (observations, observed) = unbounded_channel();
    let (to_scanner, _wakes) = wakes().unwrap();
    let parts = setup.parts(to_scanner, observed, Publisher::default());
    let mut scanner = Scanner::new(
        setup.settings.directory.clone(),
        false,
        observations,
        Arc::new(setup.clock.clone()),
    );
    let mut daemon = Daemon::new(parts, setup.settings.clone(), None);
    scanner.scan_all(|_| true);
    while let Ok(observation) = daemon.parts.observed.try_recv() {
        daemon.observe(observation);
    }
    let work = async |daemon: &mut Daemon<FakeVault>| {
        daemon.start_tasks();
        while let Some(ended) = daemon.running.join_next_with_id().await {
            daemon.ended(ended);
            daemon.start_tasks();
        }
    };
    work(&mut daemon).await;
    let sealed = ("a".to_owned(), ErrorKind::Sealed);
    setup.vault.with(|v| v.down.extend([sealed]));
    tokio::time::advance(Duration::from_mins(1)).await;
    work(&mut daemon).await;
    tokio::time::advance(Duration::from_mins(1)).await;
    daemon.start_tasks();
    assert_eq!(daemon.tasks.len(), 1, "one finds out for both");
    // It ends, and the loop has something else to do first.
    tokio::time::sleep(Duration::from_secs(1)).await;
    daemon.start_tasks();
    assert_eq!(daemon.tasks.len(), 1);
}
