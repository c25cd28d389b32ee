//! The start: signals that come early, and a configuration that is not there yet or malformed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use integration::hostile::{Answer, FileSystem, Setup, Site};
use integration::wait;
use nix::sys::signal::{Signal, kill};

use super::{FAR, HOUR, MINUTES, Test};

/// A `condor_config_val` of our own, which does what a script says.
struct Tool {
    file: PathBuf,
    dump: String,
}

impl Tool {
    /// Takes the settings out of the environment.
    fn of(setup: &mut Setup, site: &Site) -> anyhow::Result<Self> {
        let folder = site.path("bin");
        fs::create_dir(&folder)?;
        let mut dump = String::from("CONDOR_VERSION = $CondorVersion: 25.14.1 2026-09-01 $\n");
        for (name, value) in setup.take_settings() {
            dump += &[&name, " = ", &value, "\n"].concat();
        }
        setup.env(
            "PATH",
            format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display()),
        );
        Ok(Self {
            file: folder.join("condor_config_val"),
            dump,
        })
    }

    fn write(&self, script: &str, mode: u32) -> Test {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
        Ok(fs::rename(new, &self.file)?)
    }

    /// It tells the configuration.
    fn works(&self, before: &str) -> Test {
        self.write(&format!("{before}\ncat <<'END'\n{}END", self.dump), 0o755)
    }
}

#[tokio::test]
async fn sighup_never_kills_it() -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let mut setup = site.credmon();
    let tool = Tool::of(&mut setup, &site)?;
    // As soon as the configuration is read, signals are expected.
    let started = site.path("bin/started");
    tool.works(&format!("touch {}\nsleep 1", started.display()))?;
    let mut credmon = setup.start()?;
    wait::until("the configuration to be read", FAR, async || {
        started.exists().then_some(())
    })
    .await?;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        credmon.daemon.signal(Signal::SIGHUP)?;
        let ended = credmon.daemon.try_ended()?;
        ensure!(
            ended.is_none(),
            "it ended: {ended:?} after {:?}",
            began.elapsed()
        );
        wait::pass(Duration::from_millis(10)).await;
    }
    site.directory.served("cmsprod", "cms", FAR).await?;
    credmon.terminate().await?;
    Ok(())
}

/// A configuration that cannot be read at the start, and is mended later.
async fn mended(script: &str, mode: u32, by_signal: bool) -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let mut setup = site.credmon();
    let tool = Tool::of(&mut setup, &site)?;
    tool.write(script, mode)?;
    // Without a configuration its log is on the terminal.
    let mut credmon = setup.arg("-v").start()?;
    let failed = wait::until("a word on it", FAR, async || -> Test {
        let said = credmon.daemon.tail(100);
        let names = ["condor_config_val", "SEC_CREDENTIAL_DIRECTORY"];
        ensure!(names.iter().any(|name| said.contains(name)), "{said}");
        Ok(())
    });
    failed.await?;
    assert_ne!(credmon.status(&[]).await?.code, Some(0));
    ensure!(
        credmon.daemon.try_ended()?.is_none(),
        "it ended: {}",
        credmon.tail()
    );

    tool.works("")?;
    if by_signal {
        credmon.daemon.signal(Signal::SIGHUP)?;
    }
    let served = site.directory.served("cmsprod", "cms", MINUTES).await;
    served.with_context(|| format!("{script}: {}", credmon.tail()))?;
    wait::until("a good status", MINUTES, async || -> Test {
        let status = credmon.status(&[]).await?;
        ensure!(status.code == Some(0), "{status:?}");
        Ok(())
    })
    .await?;
    assert!(!credmon.log().is_empty(), "its configured log is written");
    credmon.terminate().await?;
    Ok(())
}

#[tokio::test]
async fn a_configuration_that_fails_once_is_read_again() -> Test {
    tokio::try_join!(
        mended("echo broken >&2; exit 1", 0o755, false),
        mended("kill -KILL $$", 0o755, true),
        mended("exit 0", 0o644, false),
        mended("echo 'CONDOR_HOST = no.directory.test'", 0o755, false),
        mended(
            "printf '\\001\\002 <html> no = configuration\\n'",
            0o755,
            true
        ),
    )?;
    Ok(())
}

/// The authorities' file is missing at the start, or is none.
async fn authorities_come_late(by_signal: bool, at_first: Option<&str>) -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    for number in 0..10 {
        site.directory.store(
            "cmsprod",
            &format!("s{number}"),
            "s.t",
            &vault.creds("cmsprod"),
        )?;
    }
    let file = site.path("ca/late.pem");
    if let Some(content) = at_first {
        fs::write(&file, content)?;
    }
    let mut setup = site.credmon();
    setup.set("AUTH_SSL_CLIENT_CAFILE", file.display());
    let mut credmon = setup.start()?;
    let text = file.to_str().context("a text")?;
    let said = wait::until("the file to be named", FAR, async || -> Test {
        ensure!(credmon.log().contains(text), "{}", credmon.tail());
        let status = credmon.status(&[]).await?;
        ensure!(status.code == Some(1), "{status:?}");
        Ok(())
    });
    said.await?;
    wait::pass(Duration::from_secs(5)).await;

    fs::copy(site.ca.file(), &file)?;
    if by_signal {
        credmon.daemon.signal(Signal::SIGHUP)?;
    }
    for number in 0..10 {
        let served = site
            .directory
            .served("cmsprod", &format!("s{number}"), MINUTES)
            .await;
        served.with_context(|| credmon.tail())?;
    }
    // Not once for each renewal.
    let log = credmon.log();
    let lines = log.lines().filter(|line| line.contains(text)).count();
    assert!(lines <= 10, "{lines} lines of\n{log}");
    Ok(())
}

#[tokio::test]
async fn authorities_that_are_missing_at_the_start_are_read_when_they_come() -> Test {
    tokio::try_join!(
        authorities_come_late(false, None),
        authorities_come_late(true, None),
        authorities_come_late(false, Some("no certificate\n")),
    )?;
    Ok(())
}

/// Trusted hosts as people write them, which are no host names.
async fn malformed_hosts(form: &str) -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let mut setup = site.credmon();
    setup.set("TRUSTED_VAULT_HOSTS", form.replace("HOST", vault.host()));
    let credmon = setup.start()?;
    let said = wait::until("the setting to be named", FAR, async || -> Test {
        let status = credmon.status(&[]).await?;
        let problems = status.problems();
        ensure!(
            status.code == Some(1) && problems.contains("TRUSTED_VAULT_HOSTS"),
            "{problems}"
        );
        Ok(())
    });
    said.await.with_context(|| credmon.tail())?;
    assert!(
        credmon.log().contains("TRUSTED_VAULT_HOSTS"),
        "{}",
        credmon.tail()
    );
    Ok(())
}

#[tokio::test]
async fn malformed_trusted_hosts_are_a_fault_of_the_configuration() -> Test {
    tokio::try_join!(
        malformed_hosts("HOST:8200"),
        malformed_hosts("https://HOST"),
        malformed_hosts("other.test;HOST"),
    )?;
    Ok(())
}

#[tokio::test]
async fn a_second_one_on_the_same_directory_is_noticed() -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let first = site.credmon().start()?;
    site.directory.served("cmsprod", "cms", FAR).await?;
    let mut setup = site.credmon();
    setup
        .log_in(&site.path("log/second"))
        .status_in(&site.path("run/second"));
    let second = setup.start()?;
    wait::until("one to name the other", MINUTES, async || -> Test {
        // Not what each says of itself at its start.
        let names = |text: &str, pid: nix::unistd::Pid| {
            let is_word = |line: &str| {
                let mut words = line.split(|c: char| !c.is_ascii_digit());
                words.any(|word| word == pid.to_string())
            };
            let is_about = |line: &str| line.contains("process") || line.contains("pid");
            text.lines().any(|line| is_about(line) && is_word(line))
        };
        let another = [&first, &second].map(|one| one.complaints(&["another"]));
        if another.iter().any(|said| !said.is_empty()) {
            return Ok(());
        }
        let all = second.log() + &second.status(&[]).await?.problems();
        let told = names(&all, first.pid()) || names(&first.log(), second.pid());
        ensure!(told, "{}\n{}", first.tail(), second.tail());
        Ok(())
    })
    .await
}

/// Temporary files in the folders of accounts, as the disk below has them.
fn temporary(disk: &Path, users: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for number in 0..users {
        let Ok(entries) = fs::read_dir(disk.join(format!("u{number}"))) else {
            continue;
        };
        for entry in entries.flatten() {
            let is_of = |end: &str| entry.path().extension().is_some_and(|is| is == end);
            if !is_of("top") && !is_of("use") {
                found.push(entry.path());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_one_left_is_removed_at_the_next_start() -> Test {
    const USERS: usize = 40;
    let mut site = Site::new()?;
    // A slow file system, in which a kill meets a write.
    let (disk, at) = (site.path("disk"), site.path("creds/mounted"));
    let _file_system = FileSystem::mount(&disk, &at).await?;
    site.directory = integration::hostile::CredentialDirectory::create(&at)?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    for number in 0..USERS {
        let user = format!("u{number}");
        site.directory
            .store(&user, "cms", "s.t", &vault.creds(&user))?;
    }
    let mut left = Vec::new();
    for _ in 0..20 {
        let mut credmon = site.credmon().start()?;
        let began = Instant::now();
        // Without a pause: the moment is short.
        while temporary(&disk, USERS).is_empty() && began.elapsed() < FAR / 4 {}
        kill(credmon.pid(), Signal::SIGKILL)?;
        credmon.daemon.wait(FAR).await?;
        left = temporary(&disk, USERS);
        if !left.is_empty() {
            break;
        }
        for number in 0..USERS {
            let _ = fs::remove_file(site.directory.used(&format!("u{number}"), "cms"));
        }
    }
    ensure!(!left.is_empty(), "no kill met a write");
    let credmon = site.credmon().start()?;
    let removed = wait::until(
        "it to be removed",
        Duration::from_secs(30),
        async || -> Test {
            let left = temporary(&disk, USERS);
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        },
    );
    removed.await.with_context(|| credmon.tail())?;
    Ok(())
}
