//! An error of this host's system is no verdict on a credential, and none lasts for ever.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::Duration;

use integration::hostile::{Answer, FileSystem, Site};
use integration::wait;

use super::{FAR, HOUR, MINUTES, Test};

/// `nobody`.
const NOBODY: u32 = 65534;

/// How long the cause lasts: long enough for the credmon to meet it.
const CAUSE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn no_descriptors_left_for_a_moment() -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    let url = vault.creds("cmsprod");
    site.directory.store("cmsprod", "cms", "s.first", &url)?;
    let credmon = site.credmon().start()?;
    let first = site.directory.served("cmsprod", "cms", FAR).await?;

    // None at all, then so few that it fails a little later on its way to a `.top`.
    for more in 0..5 {
        let limit = credmon.limit_for(more)?;
        credmon.prlimit(&format!("--nofile={limit}:20000")).await?;
        site.directory.store("cmsprod", "cms", "s.second", &url)?;
        let late = format!("late{more}");
        site.directory.store("cmsprod", &late, "s.late", &url)?;
        site.directory.store("newcomer", &late, "s.new", &url)?;
        wait::pass(CAUSE).await;
    }
    credmon.prlimit("--nofile=20000:20000").await?;

    for user in ["cmsprod", "newcomer"] {
        for more in 0..5 {
            let late = format!("late{more}");
            let served = site.directory.served(user, &late, MINUTES).await;
            served.map_err(|error| error.context(credmon.tail()))?;
            credmon.state(user, &late, &["fresh"], FAR).await?;
        }
    }
    site.directory
        .renewed("cmsprod", "cms", &first, MINUTES)
        .await?;
    credmon.state("cmsprod", "cms", &["fresh"], FAR).await?;
    assert!(!credmon.log().contains("dead:"), "{}", credmon.tail());
    Ok(())
}

#[tokio::test]
async fn a_top_that_may_not_be_read_for_a_while() -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    let url = vault.creds("cmsprod");
    for service in ["open", "closed"] {
        site.directory.store("cmsprod", service, "s.t", &url)?;
    }
    for folder in [
        "log",
        "run",
        "creds",
        "creds/oauth_credentials",
        "creds/oauth_credentials/cmsprod",
    ] {
        chown(site.path(folder), Some(NOBODY), Some(NOBODY))?;
    }
    site.directory.chmod(0o2770)?;
    for service in ["open", "closed"] {
        chown(
            site.directory.top("cmsprod", service),
            Some(NOBODY),
            Some(NOBODY),
        )?;
    }
    let top = site.directory.top("cmsprod", "closed");
    fs::set_permissions(&top, fs::Permissions::from_mode(0o000))?;
    let credmon = site.credmon().as_user(NOBODY)?.start()?;
    let served = site.directory.served("cmsprod", "open", FAR).await;
    served.map_err(|error| error.context(credmon.tail()))?;
    let one = credmon
        .state("cmsprod", "closed", &["degraded"], FAR)
        .await?;
    let why = one["why"].to_string().to_lowercase();
    assert!(why.contains("permission"), "the reason in words: {why}");

    // A change of the mode: no name in the folder changes.
    fs::set_permissions(&top, fs::Permissions::from_mode(0o600))?;
    let served = site.directory.served("cmsprod", "closed", MINUTES).await;
    served.map_err(|error| error.context(credmon.tail()))?;
    credmon.state("cmsprod", "closed", &["fresh"], FAR).await?;
    Ok(())
}

#[tokio::test]
async fn a_file_system_that_fails_for_a_while() -> Test {
    let mut site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, 30)).await?;
    let (disk, at) = (site.path("disk"), site.path("creds/mounted"));
    let mut file_system = FileSystem::mount(&disk, &at).await?;
    site.directory = integration::hostile::CredentialDirectory::create(&at)?;
    let url = vault.creds("cmsprod");
    site.directory.store("cmsprod", "cms", "s.t", &url)?;
    let mut credmon = site.credmon().for_life(30).start()?;
    let first = site.directory.served("cmsprod", "cms", FAR).await?;

    file_system.fail().await?;
    wait::until("the status to say it", MINUTES, async || -> Test {
        let status = credmon.status(&[]).await?;
        anyhow::ensure!(status.code == Some(1), "{status:?}");
        Ok(())
    })
    .await
    .map_err(|error| error.context(credmon.tail()))?;
    file_system.mend().await?;
    site.directory.store("cmsprod", "late", "s.u", &url)?;
    site.directory
        .renewed("cmsprod", "cms", &first, MINUTES)
        .await?;
    site.directory.served("cmsprod", "late", MINUTES).await?;
    assert!(!credmon.log().contains("dead:"), "{}", credmon.tail());
    credmon.terminate().await?;
    Ok(())
}
