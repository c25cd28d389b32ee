//! Changes in the directory are served at once.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_replaced_top_is_served_at_once_though_a_token_is_in_place() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(30).await;
    assert_eq!(run.requests(), 1);
    run.credentials.store("u", "cms", "a", "s.2");
    run.pass(1).await;
    assert_eq!(run.requests(), 2);
    assert_eq!(run.vault.with(|v| v.asked[1].token.clone()), "s.2");
    run.credentials.store("new", "cms", "a", "s.3");
    run.pass(1).await;
    assert!(run.left("new", "cms").is_some());
    std::fs::remove_file(run.credentials.file("new", "cms.use")).unwrap();
    run.pass(1).await;
    assert!(run.left("new", "cms").is_some());
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_is_served_without_a_look_at_everything() {
    let credentials = Credentials::new();
    let clock = TestClock::new();
    let vault = FakeSource::new(clock);
    for n in 0..200 {
        credentials.store(&format!("u{n}"), "cms", "a", "s.1");
    }
    let looks = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    let count = move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    };
    let configuration = configuration(&credentials, &vault);
    let (commands, received) = mpsc::channel(4);
    let task = tokio::spawn(Daemon::new(configuration, Arc::new(clock), count).run(received));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let asked = || vault.with(|v| v.asked.len());
    assert_eq!(asked(), 200);
    credentials.store("u7", "cms", "a", "s.2");
    credentials.store("new", "cms", "a", "s.3");
    std::fs::remove_dir_all(credentials.path().join("u8")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(asked(), 202);
    assert!(credentials.used("new", "cms").is_some());
    assert_eq!(looks.load(std::sync::atomic::Ordering::Relaxed), 1);
    commands.send(Command::Stop).await.unwrap();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn folders_beyond_the_limit_of_watches_are_served_within_a_minute() {
    let credentials = Credentials::new();
    let clock = TestClock::new();
    let vault = FakeSource::new(clock);
    for n in 0..5 {
        credentials.store(&format!("u{n}"), "cms", "a", "s.1");
    }
    let configuration = configuration(&credentials, &vault);
    let mut daemon = Daemon::new(configuration, Arc::new(clock), || ());
    daemon.watch = Watch::limited(2);
    let (commands, received) = mpsc::channel(4);
    let task = tokio::spawn(daemon.run(received));
    tokio::time::sleep(Duration::from_secs(5)).await;
    for n in 0..5 {
        credentials.store(&format!("u{n}"), "cms", "a", "s.2");
    }
    let asked = || vault.with(|v| v.asked.len());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(asked(), 5 + 2);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(asked(), 5 + 5);
    commands.send(Command::Stop).await.unwrap();
    task.await.unwrap();
}
