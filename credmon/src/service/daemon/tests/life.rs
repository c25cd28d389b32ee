//! The life of credentials: renewals in time, tokens that are dead, refused or short-lived.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_at_once_and_renewed_in_time_for_a_day() {
    let run = Run::start(|c, _| c.store("u", "cms_crab", "a", "s.1"));
    run.pass(2).await;
    assert!(run.credentials.path().join("pid").exists() && run.was_completed());
    for _ in 0..24 * 12 {
        assert!(run.left("u", "cms_crab").unwrap() >= 2395);
        run.pass(300).await;
    }
    let requests = run.requests();
    assert!((72..=91).contains(&requests), "{requests}");
    assert!(run.stop().await);
}

#[tokio::test(start_paused = true)]
async fn a_dead_vault_token_costs_no_file_and_few_requests() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(2).await;
    run.vault.with(|v| v.dead.insert("s.1".to_owned()));
    run.pass(4 * 3600).await;
    assert!(run.left("u", "cms").unwrap() < 0);
    assert!(run.credentials.file("u", "cms.top").exists());
    assert!(run.requests() < 13, "{}", run.requests());
    assert_eq!(run.states(), [State::Dead]);
    run.store("u", "cms", "a", "s.2");
    run.pass(1).await;
    assert!(run.left("u", "cms").unwrap() > 3590);
    assert!(run.stop().await);
}

#[tokio::test(start_paused = true)]
async fn a_policys_refusal_costs_no_file_and_is_asked_again() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(2).await;
    run.vault.with(|v| v.forbidden.insert("s.1".to_owned()));
    run.pass(2 * 3600).await;
    assert!(run.left("u", "cms").unwrap() < 0);
    let requests = run.requests();
    assert!((5..80).contains(&requests), "{requests}");
    run.vault.with(|v| v.forbidden.clear());
    run.pass(125).await;
    assert!(run.left("u", "cms").unwrap() > 2400);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_is_outlived_by_the_cached_token() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(2).await;
    run.vault.with(|v| v.issuers_down.insert("cms".to_owned()));
    run.pass(1800).await;
    // A new schedd job's credential gets the cached token, though it lives less than asked for.
    run.credentials.remove("u", "cms.use");
    run.scan("u");
    run.pass(35).await;
    let left = run.left("u", "cms").unwrap();
    assert!((1740..1810).contains(&left), "{left}");
    run.pass(1500).await;
    assert!(run.left("u", "cms").unwrap() > 0);
    // A probe each 24 s or so, by chance, with three requests at most.
    assert!(run.requests() < 500, "{}", run.requests());
    run.vault.with(|v| v.issuers_down.clear());
    run.pass(60).await;
    assert!(run.left("u", "cms").unwrap() > 3400);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn tokens_that_live_less_than_the_minimum_are_renewed_in_time_with_few_requests() {
    let run = Run::start(|c, v| {
        v.life = 60;
        c.store("u", "cms", "a", "s.1");
    });
    run.pass(2).await;
    for _ in 0..600 {
        assert!(run.left("u", "cms").unwrap() >= 38);
        run.pass(1).await;
    }
    assert!(run.requests() < 90, "{}", run.requests());
    assert!(run.stop().await);
}

#[tokio::test(start_paused = true)]
async fn what_a_user_wrote_stops_nothing_and_a_vanished_folder_is_no_error() {
    let run = Run::start(|c, v| {
        c.put("bad", "cms.top", "{");
        c.put("bad", "dune.top", &"x".repeat(100_000));
        std::fs::create_dir(c.file("bad", "dir.top")).unwrap();
        c.store("good", "cms", "a", "s.1");
        c.store("gone", "cms", "slow", "s.1");
        std::fs::create_dir(c.file("good", "blocked.use")).unwrap();
        c.store("good", "blocked", "a", "s.1");
        v.slow.insert("slow".to_owned(), 10);
    });
    run.pass(2).await;
    assert!(run.left("good", "cms").is_some());
    std::fs::remove_dir_all(run.credentials.path().join("gone")).unwrap();
    run.pass(60).await;
    assert!(!run.credentials.path().join("gone").exists());
    std::fs::remove_dir(run.credentials.file("good", "blocked.use")).unwrap();
    run.pass(600).await;
    assert!(run.left("good", "blocked").is_some());
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_panics_harms_no_other_and_is_tried_again() {
    let run = Run::start(|c, v| {
        c.store("bad", "cms", "a", "s.1");
        c.store("good", "cms", "a", "s.1");
        v.panics.insert("bad".to_owned());
    });
    run.pass(1300).await;
    assert!(run.left("good", "cms").unwrap() > 2000);
    assert_eq!(run.vault.with(|v| v.under_way), 0);
    let bad = &run.status().1[0];
    assert_eq!(bad.state, State::Degraded);
    assert!(bad.why.contains("broke off"), "{}", bad.why);
    // The lock of the fake is poisoned no more than that of a program is.
    run.vault.with(|v| v.panics.clear());
    run.pass(400).await;
    assert!(run.left("bad", "cms").is_some());
    assert!(run.stop().await);
}

#[tokio::test(start_paused = true)]
async fn many_credentials_are_renewed_evenly_from_the_first_hour_on() {
    let run = Run::start(|c, _| {
        for n in 0..400 {
            c.store(&format!("u{n}"), "cms", "a", "s.1");
        }
    });
    run.pass(60).await;
    let from = run.clock.now();
    run.vault.with(|v| v.asked.clear());
    run.pass(3600).await;
    let mut minutes = [0usize; 61];
    let asked = run.vault.with(|v| std::mem::take(&mut v.asked));
    for a in &asked {
        let minute = (a.at.as_second() - from.as_second()) / 60;
        minutes[usize::try_from(minute).unwrap()] += 1;
    }
    let mean = asked.len() / 60;
    let busiest = minutes.iter().max().unwrap();
    assert!(*busiest <= 2 * mean + 5, "{minutes:?}");
    assert!((400 * 3..400 * 4).contains(&asked.len()), "{}", asked.len());
    assert!(run.stop().await);
}

#[tokio::test(start_paused = true)]
async fn a_first_start_costs_one_request_for_each_credential_and_the_look_ups_come_later() {
    let run = Run::start(|c, _| {
        for n in 0..300 {
            c.store(&format!("u{n}"), "cms", "a", "s.1");
        }
    });
    run.pass(10).await;
    assert_eq!(run.requests(), 300);
    assert!(run.vault.with(|v| v.looked_up.len()) < 10);
    assert!(run.vault.with(|v| v.most_under_way) <= 16);
    run.pass(2400).await;
    assert_eq!(run.vault.with(|v| v.looked_up.len()), 300);
    assert!(run.status().1.iter().all(|c| c.vault_token.is_some()));
    assert!(run.stop().await);
}
