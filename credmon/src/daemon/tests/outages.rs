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
    assert!(run.vault.with(|v| v.most_under_way) <= 3 * crate::hosts::PER_HOST);
    assert!(!run.exists("CREDMON_COMPLETE"));
    run.pass(20).await;
    assert!(run.exists("CREDMON_COMPLETE"));
    run.pass(600).await;
    let dead = |v: &mut crate::fake::Vault| v.asked.iter().filter(|a| a.host == "dead").count();
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
