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
    const SOME: usize = 6;
    let site = Site::new()?;
    let vault = Vault::start(&site, Duration::from_secs(LIFE), SOME).await?;
    let token = vault.vault_token()?;
    let user = |number: usize| format!("u{number}");
    for number in 0..SOME {
        (site.directory).store(&user(number), "cms", &token, &vault.creds(number))?;
    }
    let credmon = site.credmon().for_life(LIFE).start()?;
    for number in 0..SOME {
        site.directory.served(&user(number), "cms", FAR).await?;
    }
    vault.server.nodes()[0].set_condition(Condition::Sealed);

    let left = |number| {
        let token = site.directory.token(&user(number), "cms");
        token.and_then(|token| token.left()).unwrap_or_default()
    };
    let overdue = wait::until("renewals to be overdue", FAR * 2, async || -> Test {
        let most = (0..SOME).map(left).max();
        ensure!(most < Some(25), "{most:?} s left");
        Ok(())
    });
    overdue.await?;
    let report = credmon.status(&[]).await?;
    for number in 0..SOME {
        let one = report.credential(&user(number), "cms")?;
        ensure!(one["state"] == "degraded", "{one}; {}", credmon.tail());
    }
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
    for number in 0..SOME {
        let user = user(number);
        site.directory.served(&user, "cms", BACK).await?;
        credmon.state(&user, "cms", &["fresh"], FAR).await?;
    }
    Ok(())
}
