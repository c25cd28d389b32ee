//! The wall clock of the host steps: renewals go on, and the clock's trouble is said.

use std::time::Duration;

use anyhow::ensure;
use integration::hostile::{Answer, Credmon, FalseClock, Site};
use integration::wait;

use super::{FAR, MINUTES, Test};

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;
/// The life of the tokens, in seconds; three renewals in each.
const LIFE: u64 = 36;

/// It is said somewhere that the clock is wrong.
async fn clock_is_named(credmon: &Credmon) -> Test {
    wait::until("a word on the clock", FAR, async || -> Test {
        let status = credmon.status(&[]).await?;
        let all = credmon.log() + &status.text;
        ensure!(all.contains("clock"), "{}", credmon.tail());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn days_ahead_at_the_start_while_vault_is_away() -> Test {
    let site = Site::new()?;
    let mut vault = site.server("vault", |r| Answer::good(r, LIFE)).await?;
    vault.down().await;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let mut setup = site.credmon();
    let clock = FalseClock::of(&mut setup, site.folder())?;
    clock.set(3 * DAY)?;
    let credmon = setup.for_life(LIFE).start()?;
    credmon.state("cmsprod", "cms", &["degraded"], FAR).await?;

    clock.set(0)?;
    vault.up().await?;
    let first = site.directory.served("cmsprod", "cms", MINUTES).await;
    let first = first.map_err(|error| error.context(credmon.tail()))?;
    site.directory
        .renewed("cmsprod", "cms", &first, FAR)
        .await?;
    Ok(())
}

/// Steps while everything works: the next renewals come in time.
async fn step(seconds: i64, back_after: Option<Duration>, is_named: bool) -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, LIFE)).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let mut setup = site.credmon();
    let clock = FalseClock::of(&mut setup, site.folder())?;
    let credmon = setup.for_life(LIFE).start()?;
    let first = site.directory.served("cmsprod", "cms", FAR).await?;
    let mut last = site
        .directory
        .renewed("cmsprod", "cms", &first, FAR)
        .await?;

    clock.set(seconds)?;
    if is_named {
        clock_is_named(&credmon).await?;
    }
    if let Some(time) = back_after {
        wait::pass(time).await;
        clock.set(0)?;
    }
    for _ in 0..3 {
        let next = site.directory.renewed("cmsprod", "cms", &last, FAR).await;
        last = next.map_err(|error| error.context(credmon.tail()))?;
        ensure!(last.left() > Some(0), "what is in place has ended");
    }
    Ok(())
}

#[tokio::test]
async fn minutes_and_a_day_back_for_ever_and_for_a_minute() -> Test {
    let minute = Duration::from_mins(1);
    tokio::try_join!(
        step(-10 * MINUTE, None, true),
        step(-DAY, None, true),
        step(-DAY, Some(minute), true),
    )?;
    Ok(())
}

#[tokio::test]
async fn an_hour_ahead_for_half_a_minute() -> Test {
    step(60 * MINUTE, Some(Duration::from_secs(30)), false).await
}
