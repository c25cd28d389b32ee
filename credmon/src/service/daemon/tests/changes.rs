//! Changes in the directory and of the configuration: served at once where a watch tells of them,
//! within a minute where none does.

use std::os::unix::fs::FileExt as _;

use super::*;
use crate::fakes::set_mode;
use crate::model::Limits;

#[tokio::test(start_paused = true)]
async fn a_replaced_top_is_served_at_once_though_a_token_is_in_place() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(30).await;
    assert_eq!(run.requests(), 1);
    run.store("u", "cms", "a", "s.2");
    run.pass(1).await;
    assert_eq!(run.requests(), 2);
    assert_eq!(run.vault.with(|v| v.asked[1].token.clone()), "s.2");
    run.store("new", "cms", "a", "s.3");
    run.pass(1).await;
    assert!(run.left("new", "cms").is_some());
    run.credentials.remove("new", "cms.use");
    run.scan("new");
    run.pass(1).await;
    assert!(run.left("new", "cms").is_some());
    assert!(run.stop().await);
}

#[tokio::test(start_paused = true)]
async fn what_is_replaced_taken_away_or_new_is_found_within_a_minute_without_any_event() {
    let run = Run::start(|c, v| {
        v.life = 1_000_000;
        (0..25).for_each(|n| c.store(&format!("u{n}"), "cms", "a", "s.1"));
    });
    run.pass(70).await;
    assert_eq!(run.requests(), 25);
    let c = &run.credentials;
    for n in 0..5 {
        c.store(&format!("u{n}"), "cms", "a", "s.2");
        c.store(&format!("new{n}"), "cms", "a", "s.1");
    }
    for n in 5..10 {
        c.remove(&format!("u{n}"), "cms.use");
    }
    for n in 10..15 {
        std::fs::remove_dir_all(c.path().join(format!("u{n}"))).unwrap();
        c.store(&format!("u{n}"), "cms", "a", "s.2");
    }
    for n in 15..20 {
        // In its place: the folder shows nothing.
        let top = c.file(&format!("u{n}"), "cms.top");
        let text = std::fs::read_to_string(&top).unwrap();
        let at = u64::try_from(text.find("s.1").unwrap()).unwrap();
        let file = std::fs::File::options().write(true).open(&top).unwrap();
        file.write_all_at(b"s.2", at).unwrap();
    }
    for n in 20..25 {
        std::fs::remove_dir_all(c.path().join(format!("u{n}"))).unwrap();
    }
    run.pass(61).await;
    assert_eq!(run.requests(), 25 + 25);
    let asked = run.vault.with(|v| v.asked.split_off(25));
    assert_eq!(
        asked.iter().filter(|asked| asked.token == "s.2").count(),
        15
    );
    assert_eq!(run.states().len(), 25);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn sighup_scans_everything_at_once() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(10).await;
    run.credentials.store("u", "cms", "a", "s.2");
    run.send(Command::Rescan).await;
    run.pass(2).await;
    assert_eq!(run.requests(), 2);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_came_for_a_top_that_was_replaced_meanwhile_is_thrown_away() {
    let run = Run::start(|c, v| {
        v.slow.insert("slow".to_owned(), 10);
        c.store("u", "cms", "slow", "s.old");
    });
    run.pass(5).await;
    run.store("u", "cms", "fast", "s.new");
    run.pass(8).await;
    assert!(run.left("u", "cms").is_some());
    let last = run.vault.with(|v| v.asked.last().unwrap().token.clone());
    assert_eq!(last, "s.new");
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_open_to_others_at_the_start_is_waited_for() {
    let run = Run::start(|c, _| {
        c.store("u", "cms", "a", "s.1");
        set_mode(c.path(), 0o2775);
    });
    run.pass(30).await;
    assert!(!run.credentials.path().join("pid").exists() && !run.was_completed());
    let problem = run.status().0.problem.unwrap();
    assert!(problem.contains("open to others"), "{problem}");
    set_mode(run.credentials.path(), 0o2770);
    run.pass(60).await;
    assert!(run.credentials.path().join("pid").exists() && run.was_completed());
    assert!(run.left("u", "cms").is_some());
    assert!(run.stop().await);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_opened_to_others_later_is_a_problem_and_stops_nothing() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(10).await;
    set_mode(run.credentials.path(), 0o2771);
    run.pass(3600).await;
    assert!(run.left("u", "cms").unwrap() > 2395);
    assert!(run.status().0.problem.unwrap().contains("2771"));
    assert!(!run.stop().await);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_vanishes_is_a_problem_and_all_is_served_again_when_it_is_back() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(10).await;
    let path = run.credentials.path().to_owned();
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    run.pass(2000).await;
    assert!(!path.exists(), "it is not made anew");
    let (daemon, credentials) = run.status();
    assert!(daemon.problem.unwrap().contains("is gone"));
    assert_eq!(credentials.len(), 1, "nothing is forgotten");
    assert_ne!(credentials[0].state, State::Fresh, "its renewal is overdue");
    std::fs::rename(&aside, &path).unwrap();
    run.pass(70).await;
    assert!(run.left("u", "cms").unwrap() > 3000);
    assert_eq!(run.states(), [State::Fresh]);
    assert!(run.stop().await);
}

#[tokio::test(start_paused = true)]
async fn a_new_configuration_is_followed() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(1).await;
    let new = Settings {
        directory: Some(run.credentials.path().to_owned()),
        rules: Rules {
            limits: Limits {
                minimum: 3000,
                refresh: 300,
            },
            trusted_hosts: Some(vec!["a".to_owned()]),
            ..Rules::default()
        },
        ..Settings::default()
    };
    run.send(Command::Configure(Box::new(new))).await;
    run.store("u", "other", "b", "s.1");
    run.pass(3600).await;
    let at_b = |v: &mut Server| v.asked.iter().filter(|a| a.host == "b").count();
    assert_eq!(run.vault.with(at_b), 0);
    assert!((8..25).contains(&run.requests()), "{}", run.requests());
    let uses = |wake: &Wake| matches!(wake, Wake::Use(Some(_)));
    assert!(run.wakes.lock().unwrap().iter().any(uses));
    run.stop().await;
}
