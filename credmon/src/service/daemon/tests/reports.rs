//! What the loop reports, and copies for others.

use std::path::PathBuf;

use jiff::Timestamp;

use super::super::super::reporting::daemon_status;
use super::*;
use crate::model::TEXT_LIMIT;

#[tokio::test(start_paused = true)]
async fn the_status_has_each_credential_without_a_secret() {
    let run = Run::start(|c, v| {
        c.store("good", "cms", "a", "s.good");
        c.store("dead", "cms", "a", "s.dead");
        c.store("other", "scitokens", "a", "s.other");
        c.store("slow", "cms", "slow", "s.slow");
        c.put("odd", "cms.top", "{");
        v.dead.insert("s.dead".to_owned());
        v.slow.insert("slow".to_owned(), 100_000);
    });
    run.pass(2400).await;
    let (daemon, credentials) = run.status();
    assert!(daemon.running && daemon.problem.is_none());
    let states: Vec<_> = credentials.iter().map(|c| (&*c.user, c.state)).collect();
    assert_eq!(
        states,
        [
            ("dead", State::Dead),
            ("good", State::Fresh),
            ("odd", State::Dead),
            ("other", State::Ignored),
            ("slow", State::Renewing),
        ]
    );
    let good = &credentials[1];
    let token = good.access_token.as_ref().unwrap();
    let claims = run.credentials.claims("good", "cms").unwrap();
    assert_eq!(token.id.as_deref(), claims.id.as_deref());
    let vault_expiry = good.vault_token.as_ref().unwrap().expires.unwrap();
    assert!(vault_expiry > token.expires.unwrap());
    assert!(good.next_renewal.unwrap() < token.expires.unwrap());
    assert!(credentials[0].why.contains("lookup-self"));
    assert!(credentials[0].advice.contains("store the credential again"));
    let text = format!("{:?}", run.publisher.latest().unwrap());
    let token = std::fs::read_to_string(run.credentials.file("good", "cms.use")).unwrap();
    assert!(!text.contains(token.trim()) && !text.contains("s.good"));
    assert!(!run.stop().await);
}

#[tokio::test(start_paused = true)]
async fn at_rest_the_status_is_published_every_two_minutes_and_at_most_every_five_seconds() {
    let run = Run::start(|c, v| {
        v.life = 1_000_000;
        (0..10).for_each(|n| c.store(&format!("u{n}"), "cms", "a", "s.1"));
    });
    // Until all look-ups are done.
    run.pass(1200).await;
    let mut written = BTreeSet::new();
    for second in 0..600 {
        if second < 60 {
            // Something happens all the time.
            run.store("u1", "cms", "a", &format!("s.{second}"));
        }
        run.pass(1).await;
        written.insert(run.status().0.written.as_second());
    }
    let times: Vec<_> = written.into_iter().collect();
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] >= 5),
        "{times:?}"
    );
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] <= 121),
        "{times:?}"
    );
    assert!(times.len() <= 30, "{times:?}");
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn problems_of_configuration_and_authorities_are_reported_until_they_are_over() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(6).await;
    assert_eq!(run.status().0.problem, None);
    let reread = |problem: Option<&str>| Command::ConfigurationProblem(problem.map(str::to_owned));
    run.send(reread(Some("it cannot be read"))).await;
    run.send(Command::Trust(Some("no authority".to_owned())))
        .await;
    run.pass(6).await;
    let problem = run.status().0.problem.unwrap();
    assert_eq!(problem, "it cannot be read; no authority");
    run.send(reread(None)).await;
    run.send(Command::Trust(None)).await;
    run.pass(6).await;
    assert_eq!(run.status().0.problem, None);
    assert!(run.stop().await);
}

#[tokio::test(start_paused = true)]
async fn before_the_first_scan_is_over_nothing_is_published_but_that_it_hangs() {
    let setup = Setup::new(|c, _| c.store("u", "cms", "a", "s.1"));
    let (to_scanner, _wakes) = wakes().unwrap();
    let (_observations, observed) = unbounded_channel();
    let publisher = Publisher::default();
    let parts = setup.parts(to_scanner, observed, publisher.clone());
    let scanning = parts.scanning.clone();
    let mut daemon = Daemon::new(parts, setup.settings.clone(), None);
    let path = setup.credentials.path();
    let _working = scanning.start_before(path, Duration::from_secs(10));
    daemon.step();
    assert!(
        publisher.latest().is_none(),
        "how many credentials there are is not known"
    );
    let _working = scanning.start_before(path, HANGING);
    daemon.step();
    let problem = || publisher.latest().unwrap().daemon.problem;
    assert!(problem().unwrap().ends_with("does not answer"));
    // It goes on, and is not over.
    scanning.beat();
    tokio::time::advance(Duration::from_mins(10)).await;
    daemon.step();
    assert!(problem().is_some() && daemon.wake_at() > Instant::now());
    daemon.stop();
    assert!(!publisher.latest().unwrap().daemon.running);
}

#[tokio::test(start_paused = true)]
async fn a_scan_that_could_not_open_the_directory_is_reported_and_counts_as_none() {
    let setup = Setup::new(|c, _| c.store("u", "cms", "a", "s.1"));
    let path = setup.credentials.path().to_owned();
    let aside = path.with_extension("aside");
    let hinder = || {
        std::fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
    };
    let clear = || {
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    };
    hinder();
    let run = setup.start();
    run.pass(6).await;
    let latest = || run.publisher.latest().unwrap();
    assert!(latest().daemon.problem.is_some());
    assert_eq!(latest().scanned, None);
    clear();
    run.pass(66).await;
    assert!(latest().daemon.problem.is_none() && latest().scanned.is_some());
    let hindered_at = run.clock.now();
    hinder();
    run.pass(200).await;
    assert!(latest().daemon.problem.is_some());
    assert!(latest().scanned.unwrap() <= hindered_at);
    clear();
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn results_are_counted_from_zero() {
    let run = Run::start(|c, v| {
        c.store("u", "cms", "a", "s.1");
        c.store("v", "cms", "down", "s.1");
        v.down.insert("down".to_owned(), ErrorKind::Sealed);
    });
    run.pass(6).await;
    let snapshot = run.publisher.latest().unwrap();
    let count = |result| snapshot.renewals[result];
    assert_eq!(count("renewed"), 1);
    assert!(count("refused") >= 1);
    assert_eq!((count("dead"), count("gone"), count("kept")), (0, 0, 0));
    assert_eq!(snapshot.watched_folders, 2);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_follows_each_renewal() {
    let mut setup = Setup::new(|c, _| c.store("u", "cms", "a", "s.1"));
    let target = tempfile::tempdir().unwrap();
    let path = target.path().canonicalize().unwrap().join("copy");
    setup.settings.copies.push(TokenCopy {
        id: CredentialId::new(&"u".into(), "cms").unwrap(),
        path: path.clone(),
        owner: None,
        mode: 0o400,
    });
    let run = setup.start();
    // The copies' thread has no paused time: it is waited for.
    let wait_for_copy = |run: &Run| {
        let token = std::fs::read(run.credentials.file("u", "cms.use")).unwrap();
        let begin = std::time::Instant::now();
        while std::fs::read(&path).unwrap_or_default() != token {
            assert!(begin.elapsed() < Duration::from_mins(1), "it does not come");
            std::thread::yield_now();
        }
    };
    run.pass(1).await;
    wait_for_copy(&run);
    run.vault.with(|v| v.life = 7200);
    run.store("u", "cms", "b", "s.2");
    run.pass(1).await;
    wait_for_copy(&run);
    std::fs::remove_file(&path).unwrap();
    run.pass(60).await;
    wait_for_copy(&run);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_cannot_be_written_is_a_problem_until_it_can_or_is_not_configured_any_more() {
    let mut setup = Setup::new(|c, _| c.store("u", "cms", "a", "s.1"));
    let target = tempfile::tempdir().unwrap();
    let missing = target.path().canonicalize().unwrap().join("missing");
    let copy_to = |path: PathBuf| TokenCopy {
        id: CredentialId::new(&"u".into(), "cms").unwrap(),
        path,
        owner: None,
        mode: 0o400,
    };
    let (mended, removed) = (missing.join("token"), missing.join("below/token"));
    setup.settings.copies = vec![copy_to(mended.clone()), copy_to(removed)];
    let other = Settings {
        copies: vec![copy_to(mended)],
        ..setup.settings.clone()
    };
    let run = setup.start();
    // The copies' thread has no paused time: it is waited for.
    let wait_for = async |wanted: &dyn Fn(&str) -> bool| {
        let begin = std::time::Instant::now();
        loop {
            run.pass(10).await;
            let problem = run.status().0.problem.unwrap_or_default();
            if wanted(&problem) {
                break;
            }
            assert!(begin.elapsed() < Duration::from_mins(1), "{problem}");
            std::thread::yield_now();
        }
    };
    let number = |problem: &str| problem.matches("the copy of u/cms at ").count();
    wait_for(&|problem| number(problem) == 2).await;
    std::fs::create_dir(&missing).unwrap();
    wait_for(&|problem| number(problem) == 1 && problem.contains("/below/token")).await;
    run.send(Command::Configure(Box::new(other))).await;
    wait_for(&str::is_empty).await;
    assert!(run.stop().await);
}

#[test]
fn the_longest_line_of_the_daemon_can_be_read_back_by_far() {
    let long = "\u{1}\u{10ffff}".repeat(TEXT_LIMIT);
    let path = PathBuf::from("/\u{1}".repeat(2048));
    let now = Timestamp::UNIX_EPOCH;
    let mut daemon = daemon_status(Some(&path), &vec![long; 1000], now);
    let trouble = crate::model::VaultStatus {
        host: "h".repeat(300),
        rests_until: Some(now),
        why: "\u{10ffff}".repeat(TEXT_LIMIT),
    };
    daemon.troubled_vaults = vec![trouble; Scheduler::MOST_TROUBLES];
    let line = serde_json::to_vec(&daemon).unwrap();
    assert!(line.len() < 128 * 1024, "{}", line.len());
}
