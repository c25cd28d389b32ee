//! The loop with real files, a Vault that behaves, and time that is advanced by hand: nothing here
//! waits for real time.

use std::collections::BTreeSet;
use std::sync::Mutex;

use htvault::ErrorKind;
use tokio::sync::mpsc::{self, unbounded_channel};
use tokio::task::JoinHandle;

use super::*;
use crate::fakes::{Credentials, FakeVault, Server, TestClock};
use crate::model::{CredentialStatus, DaemonStatus, Rules, State};
use crate::store::{Scanner, Wakes, wakes};

mod changes;
mod clocks;
mod life;
mod once;
mod outages;
mod reports;

/// A daemon that runs. Its scanner is driven by a task: each minute of paused time, and when the
/// daemon asks for it. The kernel's watches tell it nothing: who changes a file scans, or waits.
struct Run {
    credentials: Credentials,
    vault: FakeVault,
    /// The daemon's clock.
    clock: TestClock,
    commands: mpsc::Sender<Command>,
    publisher: Publisher,
    scanner: Arc<Mutex<Scanner>>,
    daemon: JoinHandle<bool>,
    scanning: JoinHandle<()>,
    /// What the daemon asked the scanner for.
    wakes: Arc<Mutex<Vec<Wake>>>,
}

/// What a daemon is made of.
struct Setup {
    credentials: Credentials,
    vault: FakeVault,
    clock: TestClock,
    settings: Settings,
}

impl Setup {
    fn new(prepare: impl FnOnce(&Credentials, &mut Server)) -> Self {
        let credentials = Credentials::new();
        let clock = TestClock::new();
        let vault = FakeVault::new(clock.clone());
        vault.with(|server| prepare(&credentials, server));
        let settings = Settings {
            directory: Some(credentials.path().to_owned()),
            rules: Rules {
                hostname: "ap.test".to_owned(),
                ..Rules::default()
            },
            ..Settings::default()
        };
        Self {
            credentials,
            vault,
            clock,
            settings,
        }
    }

    /// The daemon has a clock of its own from now on; the Vault's stays right.
    fn with_own_clock(mut self) -> Self {
        self.clock = self.clock.apart();
        self
    }

    fn start(self) -> Run {
        let (to_scanner, wakes) = wakes().unwrap();
        let (observations, observed) = unbounded_channel();
        let scanner = Scanner::new(
            self.settings.directory.clone(),
            false,
            observations,
            Arc::new(self.clock.clone()),
        );
        let publisher = Publisher::default();
        let parts = Parts {
            installed: scanner.installed.clone(),
            ..self.parts(to_scanner, observed, publisher.clone())
        };
        let scanner = Arc::new(Mutex::new(scanner));
        let (commands, received) = mpsc::channel(4);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let daemon = tokio::spawn(Daemon::new(parts, self.settings, None).run(received));
        let scanning = tokio::spawn(drive(scanner.clone(), wakes, seen.clone()));
        Run {
            credentials: self.credentials,
            vault: self.vault,
            clock: self.clock,
            commands,
            publisher,
            scanner,
            daemon,
            scanning,
            wakes: seen,
        }
    }

    fn parts(
        &self,
        to_scanner: Waker,
        observed: UnboundedReceiver<Observation>,
        publisher: Publisher,
    ) -> Parts<FakeVault> {
        Parts {
            vault: Arc::new(self.vault.clone()),
            clock: Arc::new(self.clock.clone()),
            gate: Gate::new(1024),
            scanner: to_scanner,
            installed: Installed::default(),
            scanning: Heartbeat::default(),
            observed,
            publisher,
            log: None,
        }
    }
}

/// Scans each minute, and when asked for.
async fn drive(scanner: Arc<Mutex<Scanner>>, wakes: Wakes, seen: Arc<Mutex<Vec<Wake>>>) {
    let mut seconds = 0_u64;
    loop {
        let mut asked: Vec<Wake> = wakes.take().collect();
        // The last one, if it is there, is that to stop.
        if seconds.is_multiple_of(60) {
            asked.insert(0, Wake::ScanAll);
        }
        for wake in &asked {
            scanner.lock().unwrap().obey(wake.clone());
        }
        seen.lock().unwrap().extend(asked.iter().cloned());
        if asked.contains(&Wake::Stop) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        seconds += 1;
    }
}

impl Run {
    fn start(prepare: impl FnOnce(&Credentials, &mut Server)) -> Self {
        Setup::new(prepare).start()
    }

    /// Lets time pass; tokio moves it only when all else waits.
    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// A folder changed, and its watch tells so.
    fn scan(&self, user: &str) {
        self.scanner.lock().unwrap().scan_account(user);
    }

    /// Stores a `.top` as the credd does; its watch tells so.
    fn store(&self, user: &str, service: &str, host: &str, token: &str) {
        self.credentials.store(user, service, host, token);
        self.scan(user);
    }

    /// Seconds that an access token in place lives, by the right clock.
    fn left(&self, user: &str, service: &str) -> Option<i64> {
        let expires = self.credentials.claims(user, service)?.expires?;
        Some(expires.as_second() - self.vault.now().as_second())
    }

    fn requests(&self) -> usize {
        self.vault.with(|v| v.asked.len())
    }

    /// What is published.
    fn status(&self) -> (DaemonStatus, Vec<CredentialStatus>) {
        let snapshot = self.publisher.latest().unwrap();
        (snapshot.daemon, snapshot.credentials.statuses().collect())
    }

    fn states(&self) -> Vec<State> {
        self.status().1.iter().map(|c| c.state).collect()
    }

    fn was_completed(&self) -> bool {
        self.credentials.path().join("CREDMON_COMPLETE").exists()
    }

    async fn send(&self, command: Command) {
        self.commands.send(command).await.unwrap();
    }

    /// Stops; `true` when all was good.
    async fn stop(self) -> bool {
        self.send(Command::Stop).await;
        let good = self.daemon.await.unwrap();
        self.scanning.await.unwrap();
        if let Some(snapshot) = self.publisher.latest() {
            assert!(!snapshot.daemon.running);
        }
        assert!(!self.credentials.path().join("pid").exists());
        good
    }
}
