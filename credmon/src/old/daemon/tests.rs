//! The loop with real files, a Vault that behaves, and time that is advanced by hand: nothing here
//! waits for real time.

use std::time::Duration;

use htvault::ErrorKind;

use super::*;
use crate::old::fake::{Credentials, FakeSource, TestClock};
use crate::old::schedule::Limits;
use crate::old::status::{CredentialStatus, DaemonStatus};
use crate::old::status_file;

mod at_once;
mod clocks;
mod outages;
mod safety_net;
mod telling;

struct Run {
    credentials: Credentials,
    vault: FakeSource,
    clock: TestClock,
    commands: mpsc::Sender<Command<FakeSource>>,
    task: tokio::task::JoinHandle<()>,
}

fn configuration(credentials: &Credentials, vault: &FakeSource) -> Configuration<FakeSource> {
    Configuration {
        directory: Some(credentials.path().to_owned()),
        rules: Rules {
            here: "ap.test".to_owned(),
            ..Rules::default()
        },
        source: Arc::new(vault.clone()),
        views: ViewSettings::default(),
        copies: Vec::new(),
    }
}

impl Run {
    fn start(prepare: impl FnOnce(&Credentials, &FakeSource)) -> Self {
        Self::start_with(prepare, |_| ())
    }

    /// With a status file.
    fn start_telling(prepare: impl FnOnce(&Credentials, &FakeSource)) -> Self {
        Self::start_with(prepare, |c| {
            let directory = c.directory.clone().unwrap();
            c.views.status_file = Some(directory.join(".status"));
        })
    }

    fn start_with(
        prepare: impl FnOnce(&Credentials, &FakeSource),
        configure: impl FnOnce(&mut Configuration<FakeSource>),
    ) -> Self {
        let credentials = Credentials::new();
        let clock = TestClock::new();
        let vault = FakeSource::new(clock);
        prepare(&credentials, &vault);
        let mut configuration = configuration(&credentials, &vault);
        configure(&mut configuration);
        let (commands, received) = mpsc::channel(4);
        let task = tokio::spawn(Daemon::new(configuration, Arc::new(clock), || ()).run(received));
        Self {
            credentials,
            vault,
            clock,
            commands,
            task,
        }
    }

    /// Lets time pass; tokio moves it only when all else waits.
    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    fn left(&self, user: &str, service: &str) -> Option<i64> {
        let ends = self.credentials.used(user, service)?.expires?;
        Some(ends.as_second() - self.clock.now().as_second())
    }

    fn requests(&self) -> usize {
        self.vault.with(|v| v.asked.len())
    }

    /// What the status file tells.
    fn status(&self) -> (DaemonStatus, Vec<CredentialStatus>) {
        status_file::read(&self.credentials.path().join(".status"), |_| true).unwrap()
    }

    fn exists(&self, name: &str) -> bool {
        self.credentials.path().join(name).exists()
    }

    async fn stop(self) {
        self.commands.send(Command::Stop).await.unwrap();
        self.task.await.unwrap();
        let status = self.credentials.path().join(".status");
        if status.exists() {
            assert!(!status_file::read(&status, |_| true).unwrap().0.running);
        }
        assert!(!self.credentials.path().join("pid").exists());
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_got_at_once_and_renewed_in_time_for_a_day() {
    let run = Run::start(|c, _| c.store("u", "cms_crab", "a", "s.1"));
    run.pass(1).await;
    assert!(run.exists("pid") && run.exists("CREDMON_COMPLETE"));
    for _ in 0..24 * 12 {
        assert!(run.left("u", "cms_crab").unwrap() >= 2395);
        run.pass(300).await;
    }
    let requests = run.requests();
    assert!((72..=91).contains(&requests), "{requests}");
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_vault_token_costs_no_file_and_few_requests() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(1).await;
    run.vault.with(|v| v.dead.push("s.1".to_owned()));
    run.pass(4 * 3600).await;
    assert!(run.left("u", "cms").unwrap() < 0);
    assert!(run.credentials.file("u", "cms.top").exists());
    assert!(run.requests() < 12, "{}", run.requests());
    run.credentials.store("u", "cms", "a", "s.2");
    run.pass(1).await;
    assert!(run.left("u", "cms").unwrap() > 3590);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_policys_refusal_costs_no_file_and_is_tried_again() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(1).await;
    run.vault.with(|v| v.forbidden.push("s.1".to_owned()));
    run.pass(2 * 3600).await;
    assert!(run.left("u", "cms").unwrap() < 0);
    assert!((5..40).contains(&run.requests()), "{}", run.requests());
    run.vault.with(|v| v.forbidden.clear());
    run.pass(900).await;
    assert!(run.left("u", "cms").unwrap() > 2400);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_is_outlived_by_the_cached_token() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(1).await;
    run.vault.with(|v| v.issuer_up = false);
    run.pass(1800).await;
    // A new schedd job's credential gets the cached token, though it lives less than asked for.
    std::fs::remove_file(run.credentials.file("u", "cms.use")).unwrap();
    run.pass(2).await;
    let left = run.left("u", "cms").unwrap();
    assert!((1780..1810).contains(&left), "{left}");
    run.pass(1500).await;
    assert!(run.left("u", "cms").unwrap() > 0);
    assert!(run.requests() < 60, "{}", run.requests());
    run.vault.with(|v| v.issuer_up = true);
    run.pass(120).await;
    assert!(run.left("u", "cms").unwrap() > 3400);
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn tokens_that_live_less_than_the_minimum_are_renewed_in_time_with_few_requests() {
    let run = Run::start(|c, v| {
        v.with(|v| v.life = 60);
        c.store("u", "cms", "a", "s.1");
    });
    run.pass(2).await;
    for _ in 0..600 {
        assert!(run.left("u", "cms").unwrap() >= 38);
        run.pass(1).await;
    }
    assert!(run.requests() < 45, "{}", run.requests());
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_user_wrote_stops_nothing_and_a_vanished_folder_is_no_error() {
    let run = Run::start(|c, _| {
        c.put("bad", "cms.top", "{");
        c.put("bad", "dune.top", &"x".repeat(100_000));
        std::fs::create_dir(c.file("bad", "dir.top")).unwrap();
        c.store("good", "cms", "a", "s.1");
        c.store("gone", "cms", "slow", "s.1");
        std::fs::create_dir(c.file("good", "blocked.use")).unwrap();
        c.store("good", "blocked", "a", "s.1");
    });
    run.vault.with(|v| v.slow.insert("slow".to_owned(), 10));
    run.pass(2).await;
    assert!(run.left("good", "cms").is_some());
    std::fs::remove_dir_all(run.credentials.path().join("gone")).unwrap();
    run.pass(60).await;
    assert!(!run.exists("gone"));
    std::fs::remove_dir(run.credentials.file("good", "blocked.use")).unwrap();
    run.pass(600).await;
    assert!(run.left("good", "blocked").is_some());
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_came_for_a_top_that_was_replaced_meanwhile_is_thrown_away() {
    let run = Run::start(|c, v| {
        v.with(|v| v.slow.insert("slow".to_owned(), 10));
        c.store("u", "cms", "slow", "s.old");
    });
    run.pass(5).await;
    run.credentials.store("u", "cms", "fast", "s.new");
    run.pass(6).await;
    assert!(run.left("u", "cms").is_some());
    assert_eq!(
        run.vault.with(|v| v.asked.last().unwrap().token.clone()),
        "s.new"
    );
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_missing_or_open_is_waited_for() {
    let run = Run::start(|c, _| {
        c.store("u", "cms", "a", "s.1");
        set_mode(c.path(), 0o2775);
    });
    run.pass(30).await;
    assert!(!run.exists("pid"));
    set_mode(run.credentials.path(), 0o2770);
    run.pass(60).await;
    assert!(run.exists("pid"));
    assert!(run.left("u", "cms").is_some());
    run.stop().await;
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_configuration_is_followed() {
    let run = Run::start(|c, _| c.store("u", "cms", "a", "s.1"));
    run.pass(1).await;
    let mut new = configuration(&run.credentials, &run.vault);
    new.rules.limits = Limits {
        minimum: 3000,
        refresh: 300,
    };
    new.rules.trusted_hosts = Some(vec!["a".to_owned()]);
    run.commands
        .send(Command::Configure(Box::new(new)))
        .await
        .unwrap();
    run.credentials.store("u", "other", "b", "s.1");
    run.pass(3600).await;
    let hosts = run
        .vault
        .with(|v| v.asked.iter().filter(|a| a.host == "b").count());
    assert_eq!(hosts, 0);
    assert!((8..20).contains(&run.requests()), "{}", run.requests());
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_what_is_in_place_and_serves_what_came_meanwhile() {
    let run = Run::start(|c, _| {
        c.store("u", "kept", "a", "s.1");
        c.store("u", "replaced", "a", "s.1");
    });
    run.pass(1).await;
    let Run {
        credentials,
        vault,
        clock,
        commands,
        task,
    } = run;
    commands.send(Command::Stop).await.unwrap();
    task.await.unwrap();
    // The kernel's clock for files ticks every few milliseconds; a second file shows that it did.
    let ticked = |name: &str| {
        use std::os::unix::fs::MetadataExt as _;
        let meta = std::fs::metadata(credentials.file("u", name)).unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    loop {
        credentials.store("u", "replaced", "a", "s.2");
        if ticked("replaced.top") > ticked("replaced.use") {
            break;
        }
    }
    vault.with(|v| v.asked.clear());
    let good = Daemon::new(configuration(&credentials, &vault), Arc::new(clock), || ())
        .run_once()
        .await;
    assert!(good);
    let asked = vault.with(|v| v.asked.clone());
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].token, "s.2");
}

#[tokio::test(start_paused = true)]
async fn one_pass_says_whether_all_is_good() {
    let once = |prepare: fn(&Credentials, &FakeSource)| async move {
        let credentials = Credentials::new();
        let clock = TestClock::new();
        let vault = FakeSource::new(clock);
        prepare(&credentials, &vault);
        let daemon = Daemon::new(configuration(&credentials, &vault), Arc::new(clock), || ());
        let good = daemon.run_once().await;
        assert!(!credentials.path().join("pid").exists());
        assert!(!credentials.path().join("status").exists());
        (good, vault.with(|v| v.asked.len()))
    };
    assert_eq!(once(|_, _| ()).await, (true, 0));
    let many = once(|c, _| (0..100).for_each(|n| c.store(&n.to_string(), "cms", "a", "s")));
    assert_eq!(many.await, (true, 100));
    let (good, _) = once(|c, v| {
        c.store("u", "cms", "a", "s.1");
        v.with(|v| v.down.insert("a".to_owned(), ErrorKind::Sealed));
    })
    .await;
    assert!(!good);
    assert_eq!(once(|c, _| c.put("u", "cms.top", "x")).await, (false, 0));
    assert_eq!(
        once(|c, _| c.store("u", "scitokens", "a", "s")).await,
        (true, 0)
    );
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
    run.stop().await;
}
