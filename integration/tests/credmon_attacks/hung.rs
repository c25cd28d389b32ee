//! File systems that hang or are full: they stop only what needs them, and it is said elsewhere.
//!
//! A program that has a file open where it hangs (it was just writing it) leaves, but the kernel keeps its process until
//! that file is closed, which asks the file system.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use integration::hostile::{
    AccessToken, Answer, CredentialDirectory, Credmon, FileSystem, Server, Site,
};
use integration::wait;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{FAR, MINUTES, Test};

/// The life of tokens, in seconds; three renewals in each.
const LIFE: u64 = 36;

async fn vault(site: &Site) -> anyhow::Result<Server> {
    let vault = site.server("vault", |r| Answer::good(r, LIFE)).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    Ok(vault)
}

/// Renewals go on, and a new credential is served.
async fn work_goes_on(site: &Site, credmon: &Credmon, vault: &Server) -> Test {
    let mut last: AccessToken = site.directory.served("cmsprod", "cms", FAR).await?;
    for _ in 0..2 {
        let next = site.directory.renewed("cmsprod", "cms", &last, FAR).await;
        last = next.with_context(|| credmon.tail())?;
    }
    site.directory
        .store("newcomer", "cms", "s.t", &vault.creds("newcomer"))?;
    let served = site.directory.served("newcomer", "cms", FAR).await;
    served.with_context(|| credmon.tail())?;
    Ok(())
}

/// A warning or an error of the log names this file, or this kind of file.
async fn log_says(credmon: &Credmon, file: &Path, kind: &str) -> Test {
    let path = file.to_str().context("a text")?;
    let what = format!("a warning about the {kind}");
    wait::until(&what, MINUTES, async || -> Test {
        let said = [path, kind].map(|word| credmon.complaints(&[word]).len());
        ensure!(said != [0, 0], "{}", credmon.tail());
        Ok(())
    })
    .await
}

/// The status names this problem, and its exit code is 1.
async fn status_says(credmon: &Credmon, word: &str) -> Test {
    wait::until("the problem to be said", MINUTES, async || -> Test {
        let status = credmon.status(&[]).await?;
        let problems = status.problems();
        ensure!(
            status.code == Some(1) && problems.contains(word),
            "{:?}: {problems}",
            status.code
        );
        Ok(())
    })
    .await
}

async fn view_hangs(setting: &str, kind: &str) -> Test {
    let site = Site::new()?;
    let vault = vault(&site).await?;
    let at = site.path("views");
    let file_system = FileSystem::mount(&site.path("disk"), &at).await?;
    let mut setup = site.credmon();
    setup.set(setting, at.join("file").display()).for_life(LIFE);
    let mut credmon = setup.start()?;
    site.directory.served("cmsprod", "cms", FAR).await?;
    file_system.hang().await?;
    work_goes_on(&site, &credmon, &vault).await?;
    log_says(&credmon, &at, kind).await?;
    credmon.leaves().await?;
    Ok(())
}

#[tokio::test]
async fn the_file_systems_of_status_and_metrics_hang() -> Test {
    tokio::try_join!(
        view_hangs("CREDMON_HTVAULT_STATUS_FILE", "status"),
        view_hangs("CREDMON_HTVAULT_METRICS_FILE", "metrics"),
    )?;
    Ok(())
}

#[tokio::test]
async fn the_file_system_of_the_log_hangs() -> Test {
    let site = Site::new()?;
    let vault = vault(&site).await?;
    let at = site.path("logs");
    let file_system = FileSystem::mount(&site.path("disk"), &at).await?;
    let mut setup = site.credmon();
    setup.set("CREDMON_OAUTH_LOG", at.join("log").display());
    // It writes much.
    let mut credmon = setup.for_life(LIFE).arg("-d").start()?;
    site.directory.served("cmsprod", "cms", FAR).await?;
    file_system.hang().await?;
    work_goes_on(&site, &credmon, &vault).await?;
    status_says(&credmon, "log").await?;
    credmon.leaves().await?;
    Ok(())
}

#[tokio::test]
async fn the_file_system_of_a_copy_hangs() -> Test {
    let site = Site::new()?;
    let vault = vault(&site).await?;
    let at = site.path("copies");
    let file_system = FileSystem::mount(&site.path("disk"), &at).await?;
    let mut setup = site.credmon();
    let copy = at.join("token");
    setup.set(
        "CREDMON_HTVAULT_COPIES",
        format!("cmsprod/cms {} root", copy.display()),
    );
    let mut credmon = setup.for_life(LIFE).start()?;
    site.directory.served("cmsprod", "cms", FAR).await?;
    wait::until("the copy", FAR, async || copy.exists().then_some(())).await?;
    file_system.hang().await?;
    work_goes_on(&site, &credmon, &vault).await?;
    log_says(&credmon, &copy, "copy").await?;
    credmon.leaves().await?;
    Ok(())
}

#[tokio::test]
async fn the_credential_directory_hangs_and_comes_back() -> Test {
    let mut site = Site::new()?;
    let (disk, at) = (site.path("disk"), site.path("creds/mounted"));
    let file_system = FileSystem::mount(&disk, &at).await?;
    site.directory = CredentialDirectory::create(&at)?;
    let vault = vault(&site).await?;
    let mut credmon = site.credmon().for_life(LIFE).start()?;
    let first = site.directory.served("cmsprod", "cms", FAR).await?;
    file_system.hang().await?;
    wait::until("the status to say it", MINUTES, async || -> Test {
        let status = credmon.status(&[]).await?;
        ensure!(status.code == Some(1), "{status:?}");
        Ok(())
    })
    .await?;
    file_system.go_on()?;
    site.directory
        .renewed("cmsprod", "cms", &first, MINUTES)
        .await?;
    work_goes_on(&site, &credmon, &vault).await?;
    // It ends even while the file system hangs.
    file_system.hang().await?;
    credmon.leaves().await?;
    Ok(())
}

/// A file system without room.
struct Full(PathBuf);

impl Full {
    fn mount(at: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(at)?;
        let none = MsFlags::empty();
        mount(
            Some("tmpfs"),
            at,
            Some("tmpfs"),
            none,
            Some("size=64k,mode=755"),
        )?;
        Ok(Self(at.to_owned()))
    }

    fn fill(&self) {
        // The last of these writes fails.
        let _ = fs::write(self.0.join("filler"), vec![b'x'; 1 << 20]);
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

async fn is_full(setting: &str) -> Test {
    let site = Site::new()?;
    let vault = vault(&site).await?;
    let at = site.path("full");
    let full = Full::mount(&at)?;
    let mut setup = site.credmon();
    setup.set(setting, at.join("file").display());
    let mut credmon = setup.for_life(LIFE).arg("-d").start()?;
    site.directory.served("cmsprod", "cms", FAR).await?;
    full.fill();
    work_goes_on(&site, &credmon, &vault).await?;
    if setting == "CREDMON_OAUTH_LOG" {
        status_says(&credmon, "log").await?;
    } else {
        log_says(&credmon, &at, "status").await?;
    }
    credmon.terminate().await?;
    Ok(())
}

#[tokio::test]
async fn full_file_systems_of_log_and_status() -> Test {
    tokio::try_join!(
        is_full("CREDMON_OAUTH_LOG"),
        is_full("CREDMON_HTVAULT_STATUS_FILE"),
    )?;
    Ok(())
}
