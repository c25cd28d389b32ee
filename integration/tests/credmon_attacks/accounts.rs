//! A few bad credentials of one account at the Vault that all others use: nobody else waits.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use integration::hostile::{Answer, Credmon, Request, Site, Vault};
use integration::wait;

use super::{FAR, Test};

/// The life of real tokens, in seconds; three renewals in each.
const LIFE: u64 = 30;
/// How long the others are watched: more than two lives.
const WATCH: Duration = Duration::from_secs(75);

const OTHERS: [&str; 4] = ["ann", "bob", "cleo", "dan"];

/// All others have living tokens for a while, and hear nothing of what is not theirs.
async fn others_are_served(site: &Site, credmon: &Credmon) -> Test {
    let began = Instant::now();
    while began.elapsed() < WATCH {
        for user in OTHERS {
            let token = site.directory.token(user, "cms").context("no token")?;
            let left = token.left().context("no end")?;
            ensure!(
                left > 0,
                "the token of {user} ended {} s ago, after {:?}; {}",
                -left,
                began.elapsed(),
                credmon.tail()
            );
        }
        wait::pass(Duration::from_millis(200)).await;
    }
    for user in OTHERS {
        let one = credmon.credential(user, "cms").await?;
        ensure!(one["state"] == "fresh", "{one}");
        let log = credmon.log();
        let is_told =
            |line: &&str| line.contains(&format!("{user}/cms")) && line.contains("degraded");
        let told = log.lines().find(is_told);
        ensure!(told.is_none(), "{told:?}");
    }
    Ok(())
}

#[tokio::test]
async fn three_paths_of_a_real_vault_that_give_no_token() -> Test {
    let site = Site::new()?;
    let vault = Vault::start(&site, Duration::from_secs(LIFE), OTHERS.len()).await?;
    let token = vault.vault_token()?;
    for (number, user) in OTHERS.iter().enumerate() {
        site.directory
            .store(user, "cms", &token, &vault.creds(number))?;
    }
    let credmon = site.credmon().for_life(LIFE).start()?;
    for user in OTHERS {
        site.directory.served(user, "cms", FAR).await?;
    }
    for (number, path) in ["sys/health", "sys/seal-status", "sys/health"]
        .iter()
        .enumerate()
    {
        let service = format!("s{number}");
        site.directory
            .store("mallory", &service, "s.any", &vault.url(path))?;
    }
    others_are_served(&site, &credmon).await
}

/// Three credentials of one account get this answer, all others good ones.
async fn bad_answers(bad: impl Fn() -> Answer + Clone + Send + Sync + 'static) -> Test {
    let site = Site::new()?;
    let rule = move |request: &Request| {
        if request.path.contains("mallory") {
            bad()
        } else {
            Answer::good(request, LIFE)
        }
    };
    let vault = site.server("vault", rule).await?;
    for user in OTHERS {
        site.directory
            .store(user, "cms", "s.good", &vault.creds(user))?;
    }
    let credmon = site.credmon().for_life(LIFE).start()?;
    for user in OTHERS {
        site.directory.served(user, "cms", FAR).await?;
    }
    for number in 0..3 {
        let url = vault.creds(&format!("mallory/{number}"));
        site.directory
            .store("mallory", &format!("s{number}"), "s.bad", &url)?;
    }
    others_are_served(&site, &credmon).await?;
    // A new one of somebody else is served at once beside them.
    site.directory
        .store("eve", "cms", "s.good", &vault.creds("eve"))?;
    let served = site
        .directory
        .served("eve", "cms", Duration::from_secs(15))
        .await;
    served.with_context(|| credmon.tail())?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_that_refuse_lie_hang_close_or_drip() -> Test {
    let quota = || Answer::error(429, "quota").header("Retry-After", "99999");
    let page = || Answer::of(200, "text/html", "<html><title>Login</title></html>");
    tokio::try_join!(
        bad_answers(quota),
        bad_answers(|| Answer::error(500, "internal error")),
        bad_answers(page),
        bad_answers(|| Answer::Silence),
        bad_answers(|| Answer::Close),
        bad_answers(|| Answer::Drip(Duration::from_secs(1))),
    )?;
    Ok(())
}

/// Each head costs processor time, and nothing of it counts as an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announcements_without_end_delay_nobody_else() -> Test {
    bad_answers(|| Answer::Announcements).await
}
