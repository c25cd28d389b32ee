//! Outages of the issuer or of Vault that outlast the tokens.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use integration::dev::node::Condition;
use integration::dev::parts::IssuerState;
use integration::hostile::{Site, Vault};
use integration::wait;

use super::{FAR, Test};

/// The life of tokens, in seconds.
const LIFE: u64 = 30;
const MANY: usize = 200;
/// How long the issuer is away: several lives.
const OUTAGE: Duration = Duration::from_secs(110);
/// All must be back within a minute of its return.
const BACK: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_are_back_within_a_minute_of_the_issuer() -> Test {
    let site = Site::new()?;
    let vault = Vault::start(&site, Duration::from_secs(LIFE), MANY).await?;
    let token = vault.vault_token()?;
    let user = |number: usize| format!("u{}", number % 50);
    let service = |number: usize| format!("cms{number}");
    for number in 0..MANY {
        site.directory.store(
            &user(number),
            &service(number),
            &token,
            &vault.creds(number),
        )?;
    }
    let credmon = site.credmon().for_life(LIFE).start()?;
    for number in 0..MANY {
        site.directory
            .served(&user(number), &service(number), FAR)
            .await?;
    }
    vault.issuer(IssuerState::Down).await?;
    wait::pass(OUTAGE).await;
    let status = credmon.status(&[]).await?;
    assert_eq!(status.code, Some(1));

    vault.issuer(IssuerState::Up).await?;
    let began = Instant::now();
    let mut missing = 0..MANY;
    let back = wait::until("all to be back", BACK, async || -> Test {
        while let Some(number) = missing.clone().next() {
            let token = site.directory.token(&user(number), &service(number));
            let left = token.and_then(|token| token.left()).context("no token")?;
            ensure!(left > 0, "number {number} is not back");
            missing.next();
        }
        Ok(())
    });
    back.await.with_context(|| credmon.tail())?;
    println!("all were back {:?} after the issuer", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_sealed_vault_is_no_fresh_token() -> Test {
    const LIFE: u64 = 90;
    let site = Site::new()?;
    let vault = Vault::start(&site, Duration::from_secs(LIFE), 1).await?;
    site.directory
        .store("cmsprod", "cms", &vault.vault_token()?, &vault.creds(0))?;
    let credmon = site.credmon().for_life(LIFE).start()?;
    site.directory.served("cmsprod", "cms", FAR).await?;
    vault.server.nodes()[0].set_condition(Condition::Sealed);

    let overdue = wait::until("the renewal to be overdue", FAR * 2, async || -> Test {
        let left = site
            .directory
            .token("cmsprod", "cms")
            .and_then(|token| token.left());
        ensure!(left.is_some_and(|left| left < 20), "{left:?} s left");
        Ok(())
    });
    overdue.await?;
    let one = credmon.credential("cmsprod", "cms").await?;
    assert_eq!(one["state"], "degraded", "{one}");
    // Nor is it enough for jobs that are submitted now.
    let asked = credmon.status(&["--min-life", "20m"]).await?;
    assert_eq!(asked.code, Some(1));
    let ended = wait::until("the status to say it", FAR, async || -> Test {
        let status = credmon.status(&[]).await?;
        ensure!(status.code == Some(1), "{:?}", status.code);
        Ok(())
    });
    ended.await?;

    vault.server.nodes()[0].set_condition(Condition::Active);
    site.directory.served("cmsprod", "cms", BACK).await?;
    credmon.state("cmsprod", "cms", &["fresh"], FAR).await?;
    Ok(())
}
