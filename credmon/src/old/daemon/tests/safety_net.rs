//! What the look each minute finds though no event told of it, and what it costs.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use super::*;
use crate::old::folder::FileId;
use crate::old::looks::TURNS;

/// Lets so many minutes pass, and a little.
async fn minutes(count: u64) {
    tokio::time::sleep(Duration::from_secs(60 * count + 5)).await;
}

struct Deaf {
    credentials: Credentials,
    vault: FakeSource,
    commands: mpsc::Sender<Command<FakeSource>>,
    task: tokio::task::JoinHandle<()>,
}

impl Deaf {
    /// A daemon whose watches tell nothing. It has served these credentials, and has looked at them
    /// since they changed last.
    async fn start(users: usize) -> Self {
        let credentials = Credentials::new();
        let clock = TestClock::new();
        let vault = FakeSource::new(clock);
        // Nothing is renewed meanwhile.
        vault.with(|v| v.life = 1_000_000);
        for n in 0..users {
            credentials.store(&format!("u{n}"), "cms", "a", "s.1");
        }
        let mut configuration = configuration(&credentials, &vault);
        configuration.rules.limits.refresh = 1_000_000;
        let mut daemon = Daemon::new(configuration, Arc::new(clock), || ());
        daemon.watch.is_deaf = true;
        let (commands, received) = mpsc::channel(4);
        let task = tokio::spawn(daemon.run(received));
        minutes(3).await;
        assert_eq!(vault.with(|v| v.asked.len()), users);
        Self {
            credentials,
            vault,
            commands,
            task,
        }
    }

    fn requests(&self) -> usize {
        self.vault.with(|v| v.asked.len())
    }

    async fn stop(self) {
        self.commands.send(Command::Stop).await.unwrap();
        self.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_put_in_place_taken_away_or_new_is_found_within_a_minute() {
    let deaf = Deaf::start(20).await;
    for n in 0..5 {
        deaf.credentials.store(&format!("u{n}"), "cms", "a", "s.2");
        deaf.credentials
            .store(&format!("new{n}"), "cms", "a", "s.1");
    }
    for n in 5..10 {
        std::fs::remove_file(deaf.credentials.file(&format!("u{n}"), "cms.use")).unwrap();
    }
    for n in 10..15 {
        let folder = deaf.credentials.path().join(format!("u{n}"));
        std::fs::remove_dir_all(folder).unwrap();
        deaf.credentials.store(&format!("u{n}"), "cms", "a", "s.2");
    }
    minutes(1).await;
    assert_eq!(deaf.requests(), 20 + 20);
    deaf.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_written_to_in_its_place_is_found_in_its_turn() {
    let deaf = Deaf::start(20).await;
    let folder = |n: usize| {
        let meta = std::fs::metadata(deaf.credentials.path().join(format!("u{n}"))).unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    let before: Vec<_> = (0..20).map(folder).collect();
    for n in 0..20 {
        let top = deaf.credentials.file(&format!("u{n}"), "cms.top");
        let text = std::fs::read_to_string(&top).unwrap();
        let at = text.find("s.1").unwrap();
        let file = std::fs::File::options().write(true).open(&top).unwrap();
        file.write_all_at(b"s.2", u64::try_from(at).unwrap())
            .unwrap();
    }
    let after: Vec<_> = (0..20).map(folder).collect();
    assert_eq!(before, after, "the folders show nothing");
    minutes(1).await;
    assert!(deaf.requests() < 20 + 20, "a glance is not a full look");
    minutes(TURNS).await;
    assert_eq!(deaf.requests(), 20 + 20);
    let tokens = deaf.vault.with(|v| v.asked.clone());
    assert!(tokens.iter().skip(20).all(|asked| asked.token == "s.2"));
    deaf.stop().await;
}

#[tokio::test(start_paused = true)]
async fn sighup_looks_at_every_file() {
    let deaf = Deaf::start(20).await;
    for n in 0..20 {
        let top = deaf.credentials.file(&format!("u{n}"), "cms.top");
        let text = std::fs::read_to_string(&top).unwrap().replace("s.1", "s.2");
        std::fs::write(&top, text).unwrap();
    }
    deaf.commands.send(Command::Look).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(deaf.requests(), 20 + 20);
    deaf.stop().await;
}

#[tokio::test(start_paused = true)]
async fn only_what_is_watched_unchanged_and_here_is_glanced_at() {
    let credentials = Credentials::new();
    credentials.store("u", "cms", "a", "s.1");
    credentials.put("plain", "file", "");
    std::fs::write(credentials.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("u", credentials.path().join("link")).unwrap();
    let directory = Directory::open(credentials.path()).unwrap();
    let folder = directory.root().folder("u").unwrap();
    let is = FileId::from(&folder.stat().unwrap());
    assert_eq!(directory.glance_at("u"), Some(is));
    for other in ["file", "link", "none"] {
        assert_eq!(directory.glance_at(other), None, "{other}");
    }
    // /proc changes without events.
    let elsewhere = Directory::open(std::path::Path::new("/proc/self"));
    assert!(elsewhere.is_err() || elsewhere.unwrap().glance_at("fd").is_none());
}

#[tokio::test(start_paused = true)]
async fn at_rest_the_status_is_written_once_a_minute() {
    let run = Run::start_with(
        |c, v| {
            v.with(|v| v.life = 1_000_000);
            (0..200).for_each(|n| c.store(&format!("u{n}"), "cms", "a", "s.1"));
        },
        |c| {
            c.rules.limits.refresh = 1_000_000;
            c.views.status_file = Some(c.directory.clone().unwrap().join(".status"));
        },
    );
    run.pass(90).await;
    let mut written = std::collections::BTreeSet::new();
    for _ in 0..300 {
        run.pass(1).await;
        written.insert(run.status().0.written);
    }
    assert!((5..=6).contains(&written.len()), "{written:?}");
    run.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_renewal_a_folder_is_known_without_another_look() {
    let credentials = Credentials::new();
    credentials.store("u", "cms", "a", "s.1");
    let clock = TestClock::new();
    let vault = FakeSource::new(clock);
    let mut daemon = Daemon::new(configuration(&credentials, &vault), Arc::new(clock), || ());
    daemon.step();
    while daemon.looks.is_under_way() {
        daemon.step();
    }
    let ended = daemon.running.join_next().await.unwrap();
    daemon.report(ended);
    assert!(credentials.file("u", "cms.use").exists());
    let directory = Directory::open(credentials.path()).unwrap();
    let folder = directory.glance_at("u").unwrap();
    assert!(daemon.folders.is_unchanged("u", folder));
}
