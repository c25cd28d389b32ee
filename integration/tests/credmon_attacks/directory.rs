//! The credential directory changes its mode, or vanishes, while the credmon runs.

use std::fs;

use anyhow::ensure;
use integration::hostile::{Answer, CredentialDirectory, Credmon, Site};
use integration::wait;

use super::{FAR, MINUTES, Test};

/// The life of tokens, in seconds; three renewals in each.
const LIFE: u64 = 36;

/// The daemon's problem has one of these words, and `status` answers 1.
async fn problem(credmon: &Credmon, words: &[&str]) -> Test {
    let seen = wait::until("the problem to be said", MINUTES, async || -> Test {
        let status = credmon.status(&[]).await?;
        let problems = status.problems();
        let is_said = words.iter().any(|word| problems.contains(word));
        ensure!(
            status.code == Some(1) && is_said,
            "{:?}: {problems}",
            status.code
        );
        Ok(())
    });
    seen.await.map_err(|error| error.context(credmon.tail()))
}

async fn no_problem(credmon: &Credmon) -> Test {
    wait::until("all to be good again", MINUTES, async || -> Test {
        let status = credmon.status(&[]).await?;
        ensure!(
            status.code == Some(0),
            "{:?}: {}",
            status.code,
            status.problems()
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_mode_that_is_too_open_stops_no_renewal() -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, LIFE)).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let credmon = site.credmon().for_life(LIFE).start()?;
    site.directory.served("cmsprod", "cms", FAR).await?;
    for mode in [0o2771, 0o777] {
        site.directory.chmod(mode)?;
        problem(&credmon, &["open", "mode", "other"]).await?;
        let last = site.directory.served("cmsprod", "cms", FAR).await?;
        let next = site.directory.renewed("cmsprod", "cms", &last, FAR).await;
        next.map_err(|error| error.context(credmon.tail()))?;
        let path = site.directory.path().to_str().unwrap();
        assert!(
            !credmon.complaints(&[path]).is_empty(),
            "{}",
            credmon.tail()
        );
        site.directory.chmod(0o2770)?;
        no_problem(&credmon).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_directory_that_vanishes_is_missed_and_found_again() -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, LIFE)).await?;
    for user in ["ann", "bob"] {
        site.directory
            .store(user, "cms", "s.t", &vault.creds(user))?;
    }
    let credmon = site.credmon().for_life(LIFE).start()?;
    for user in ["ann", "bob"] {
        site.directory.served(user, "cms", FAR).await?;
    }
    let away = site.path("creds/away");
    fs::rename(site.directory.path(), &away)?;
    problem(&credmon, &["oauth_credentials", "directory"]).await?;
    // Credentials are not forgotten, and nothing is made in its place.
    for user in ["ann", "bob"] {
        credmon.credential(user, "cms").await?;
    }
    assert!(!site.directory.path().exists(), "it was made again");
    let path = site.directory.path().to_str().unwrap();
    assert!(
        !credmon.complaints(&[path]).is_empty(),
        "{}",
        credmon.tail()
    );

    fs::rename(&away, site.directory.path())?;
    let late = CredentialDirectory::create(site.directory.path())?;
    late.store("late", "cms", "s.t", &vault.creds("late"))?;
    for user in ["ann", "bob", "late"] {
        site.directory.served(user, "cms", MINUTES).await?;
    }
    no_problem(&credmon).await
}

#[tokio::test]
async fn an_account_is_renamed_while_its_token_is_renewed() -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, LIFE)).await?;
    for user in ["ann", "bob"] {
        site.directory
            .store(user, "cms", "s.t", &vault.creds(user))?;
    }
    let credmon = site.credmon().for_life(LIFE).start()?;
    let first = site.directory.served("bob", "cms", FAR).await?;
    fs::rename(
        site.directory.folder("ann"),
        site.directory.folder("ann-was-here"),
    )?;
    site.directory.renewed("bob", "cms", &first, FAR).await?;
    let gone = wait::until("ann to be forgotten", MINUTES, async || -> Test {
        let status = credmon.status(&[]).await?;
        ensure!(status.credential("ann", "cms").is_err(), "{}", status.text);
        Ok(())
    });
    gone.await?;
    assert!(!site.directory.folder("ann").exists());
    Ok(())
}
