//! Processor time for each renewal: all access tokens are taken away, and each monitor gets them
//! anew. Vault has the tokens, so neither waits for the issuer.

use std::time::Duration;

use super::Sizes;
use super::monitored::Monitored;
use super::stage::Stage;
use crate::bench::figures::{Bound, Figure};
use crate::bench::progress::Progress;
use crate::differential::rig::{HOUR, Side};

pub(super) async fn measure(sizes: &Sizes, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let stage = Stage::set(HOUR, sizes.some).await?;
    let theirs = one(&stage, Side::Theirs, sizes, progress).await?;
    let ours = one(&stage, Side::Ours, sizes, progress).await?;
    let what = format!("processor time for each renewal, {} at once", sizes.some);
    let figure = Figure::new("processor_renewal", what, "ms", ours)
        .beside(theirs)
        .bound(Bound::Ratio(0.25));
    Ok(vec![figure])
}

/// Milliseconds for each renewal.
async fn one(stage: &Stage, side: Side, sizes: &Sizes, progress: &Progress) -> anyhow::Result<f64> {
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
    monitored.finish().await?;
    let renewals = u32::try_from(sizes.some * sizes.rounds)?;
    Ok(used.as_secs_f64() * 1000.0 / f64::from(renewals))
}
