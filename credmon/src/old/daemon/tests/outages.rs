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
        v.with(|v| {
            v.down.insert("dead".to_owned(), ErrorKind::Unreachable);
            v.slow.insert("slow".to_owned(), 30);
        });
    });
    run.pass(1).await;
    for n in 0..50 {
        assert!(run.left(&format!("u{n}"), "good").is_some(), "{n}");
    }
    assert!(run.vault.with(|v| v.most_under_way) <= 3 * crate::old::hosts::PER_HOST);
    assert!(!run.exists("CREDMON_COMPLETE"));
    run.pass(20).await;
    assert!(run.exists("CREDMON_COMPLETE"));
    run.pass(600).await;
    let dead =
        |v: &mut crate::old::fake::Vault| v.asked.iter().filter(|a| a.host == "dead").count();
    let before = run.vault.with(dead);
    assert!(before < 40, "{before}");
    assert!(run.left("u49", "slow").is_some());
    run.vault.with(|v| v.down.clear());
    run.pass(120).await;
    assert!(run.left("u49", "dead").is_some());
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_obeyed_for_all_credentials_of_the_host() {
    let run = Run::start(|c, v| {
        for n in 0..100 {
            c.store(&format!("u{n}"), "cms", "a", "s.1");
        }
        v.with(|v| v.down.insert("a".to_owned(), ErrorKind::RateLimited));
    });
    run.pass(600).await;
    assert!(run.requests() < 20, "{}", run.requests());
    run.vault.with(|v| v.down.clear());
    run.pass(400).await;
    assert!((0..100).all(|n| run.left(&format!("u{n}"), "cms").is_some()));
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_those_nearest_to_their_end_go_first_within_the_bound() {
    let run = Run::start(|c, v| {
        v.with(|v| {
            v.down.insert("a".to_owned(), ErrorKind::Unreachable);
            v.limit = Some((10, 60));
        });
        for n in 0..60 {
            let name = format!("u{n:02}");
            c.store(&name, "cms", "a", "s.1");
            let now = htvault::clock::SystemClock.now().as_second();
            let ends = now + 900 + i64::from(n * 37 % 60) * 30;
            let claims = serde_json::json!({"iat": ends - 3600, "exp": ends});
            c.put(&name, "cms.use", &crate::old::fake::jwt(&claims));
        }
    });
    run.pass(600).await;
    let ends: Vec<_> = (0..60)
        .map(|n| {
            run.credentials
                .used(&format!("u{n:02}"), "cms")
                .unwrap()
                .expires
        })
        .collect();
    run.vault.with(|v| {
        v.down.clear();
        v.asked.clear();
    });
    run.pass(600).await;
    let asked = run.vault.with(|v| v.asked.clone());
    for a in &asked {
        let minute = a.at.as_second()..a.at.as_second() + 59;
        let count = asked.iter().filter(|b| minute.contains(&b.at.as_second()));
        assert!(count.count() <= 10);
    }
    let mut order = Vec::new();
    for a in asked.iter().filter(|a| a.path.contains("/u")) {
        let user = a
            .path
            .rsplit('/')
            .next()
            .unwrap()
            .split(':')
            .next()
            .unwrap();
        let n: usize = user.trim_start_matches('u').parse().unwrap();
        if !order.contains(&ends[n]) {
            order.push(ends[n]);
        }
    }
    assert_eq!(order.len(), 60, "all are served in ten minutes");
    // Requests that are under way together may change places.
    for (n, end) in order.iter().enumerate() {
        let before = order.iter().filter(|other| *other < end).count();
        assert!(
            before.abs_diff(n) <= crate::old::hosts::PER_HOST,
            "{order:?}"
        );
    }
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_site_may_have_dead_credentials_deleted_but_never_those_that_a_policy_refuses() {
    let run = Run::start_with(
        |c, v| {
            for user in ["dead", "forbidden", "good"] {
                c.store(user, "cms", "a", &format!("s.{user}"));
                c.put(user, "cms.use", "opaque\n");
                c.store(user, "cms", "a", &format!("s.{user}"));
            }
            v.with(|v| {
                v.dead.push("s.dead".to_owned());
                v.forbidden.push("s.forbidden".to_owned());
            });
        },
        |c| c.rules.delete_dead = true,
    );
    run.pass(3600).await;
    let left =
        |user: &str| ["cms.top", "cms.use"].map(|name| run.credentials.file(user, name).exists());
    assert_eq!(left("dead"), [false, false]);
    assert_eq!(left("forbidden"), [true, true]);
    assert_eq!(left("good"), [true, true]);
    run.stop().await;
}
