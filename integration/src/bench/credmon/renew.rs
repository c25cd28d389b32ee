//! Processor time for each renewal: all access tokens are taken away, and each monitor gets them
//! anew. Vault has the tokens, so neither waits for the issuer.
//!
//! Looking after credentials that are not due costs something, too. It is measured by leaving both
//! alone for some minutes, and shared out among renewals as they come with one-hour tokens.

use std::time::{Duration, Instant};

use super::Sizes;
use super::monitored::Monitored;
use super::stage::Stage;
use crate::bench::figures::{Bound, Figure};
use crate::bench::progress::Progress;
use crate::differential::rig::{HOUR, Side};
use crate::wait;

pub(super) async fn measure(sizes: &Sizes, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let stage = Stage::set(HOUR, sizes.some).await?;
    let theirs = one(&stage, Side::Theirs, sizes, progress).await?;
    let ours = one(&stage, Side::Ours, sizes, progress).await?;
    let figure = |name: &str, words: &str, unit, pick: fn(&Used) -> f64| {
        let what = format!("processor time {words}");
        Figure::new(name, what, unit, pick(&ours)).beside(pick(&theirs))
    };
    let at_once = format!("for each renewal, {} at once", sizes.some);
    let idle = format!(
        "in an hour for looking after {}, without renewals",
        sizes.some
    );
    Ok(vec![
        figure("processor_renewal", &at_once, "ms", |used| used.renewal).bound(Bound::Ratio(0.25)),
        figure("processor_idle", &idle, "s", |used| used.idle_hour),
        figure(
            "processor_all",
            "for each renewal, looking after all the others included",
            "ms",
            |used| used.whole,
        )
        .bound(Bound::Ratio(0.25)),
    ])
}

/// Processor time that a monitor uses.
#[derive(Clone, Copy, Debug)]
struct Used {
    /// For a renewal, in milliseconds.
    renewal: f64,
    /// In an hour without renewals, in seconds.
    idle_hour: f64,
    /// For a renewal with its share of looking after all, in milliseconds.
    whole: f64,
}

/// Renewals of one credential in an hour: REFRESH is 1200 s by default.
const RENEWALS_AN_HOUR: f64 = 3.0;

async fn one(
    stage: &Stage,
    side: Side,
    sizes: &Sizes,
    progress: &Progress,
) -> anyhow::Result<Used> {
    let mut monitored = Monitored::prepare(stage, "renew", side, 0..sizes.some)?;
    monitored.start(HOUR)?;
    monitored.complete().await?;
    let mut used = Duration::ZERO;
    for round in 1..=sizes.rounds {
        let word = side.word();
        progress.say(format!(
            "renewals of {word}: round {round} of {}",
            sizes.rounds
        ));
        monitored.idle().await?;
        let before = monitored.processor()?;
        monitored.remove_tokens()?;
        // Ours sees it by itself; the reference would look within a minute.
        if side == Side::Theirs {
            monitored.hang_up()?;
        }
        monitored.complete().await?;
        monitored.idle().await?;
        used += monitored.processor()?.saturating_sub(before);
    }
    let renewals = f64::from(u32::try_from(sizes.some * sizes.rounds)?);
    let renewal = used.as_secs_f64() * 1000.0 / renewals;

    progress.say(format!(
        "{}: {} s without renewals",
        side.word(),
        sizes.idle
    ));
    let (began, before) = (Instant::now(), monitored.processor()?);
    wait::pass(Duration::from_secs(sizes.idle)).await;
    let used = monitored.processor()?.saturating_sub(before).as_secs_f64();
    let idle_hour = used * 3600.0 / began.elapsed().as_secs_f64();
    monitored.finish().await?;
    let renewals_an_hour = RENEWALS_AN_HOUR * f64::from(u32::try_from(sizes.some)?);
    Ok(Used {
        renewal,
        idle_hour,
        whole: renewal + idle_hour * 1000.0 / renewals_an_hour,
    })
}
