//! From a replaced `.top` to the access token that was got with it, where `.use` exists: then the
//! credd sends no signal.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::Sizes;
use super::monitored::{Identity, Monitored};
use super::stage::Stage;
use crate::bench::figures::{Bound, Figure, percentile};
use crate::bench::progress::Progress;
use crate::chain::Lives;
use crate::differential::rig::Side;
use crate::wait;

/// How often it is looked whether an access token is new: the figure is that much too long at most.
const LOOK: Duration = Duration::from_millis(1);

/// Between two replacements of ours.
const GAP: Duration = Duration::from_millis(40);

/// The reference looks at its directory so often.
const MINUTE: Duration = Duration::from_mins(1);

/// No answer takes longer, unless something hangs.
const FAR: Duration = Duration::from_mins(5);

pub(super) async fn measure(sizes: &Sizes, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let stage = Stage::set(Lives::HOUR, sizes.some).await?;
    progress.say(format!("{} replaced .top of ours", sizes.replaced));
    let ours = one(&stage, Side::Ours, sizes.some, sizes.replaced, GAP).await?;
    let count = sizes.replaced_theirs;
    let theirs = if count == 0 {
        Vec::new()
    } else {
        progress.say(format!(
            "{count} replaced .top of theirs: takes two minutes"
        ));
        let gap = MINUTE / u32::try_from(count)?;
        one(&stage, Side::Theirs, sizes.some, count, gap).await?
    };
    let mut figures = Vec::new();
    for percent in [50, 99] {
        let what = format!(
            "replaced .top to fresh .use with {} credentials, p{percent}",
            sizes.some
        );
        let value = |all: &[f64]| percentile(all, percent);
        let ours = value(&ours).context("some were replaced")?;
        let mut figure = Figure::new(&format!("replaced_p{percent}"), what, "ms", ours);
        if let Some(theirs) = value(&theirs) {
            figure = figure.beside(theirs);
        }
        figures.push(if percent == 99 {
            figure.bound(Bound::Below(100.0))
        } else {
            figure
        });
    }
    Ok(figures)
}

/// Milliseconds of each of so many replacements, one each `gap`.
async fn one(
    stage: &Stage,
    side: Side,
    credentials: usize,
    count: usize,
    gap: Duration,
) -> anyhow::Result<Vec<f64>> {
    let mut monitored = Monitored::prepare(stage, "replace", side, 0..credentials)?;
    monitored.start(Lives::HOUR)?;
    monitored.complete().await?;
    monitored.idle().await?;
    let began = Instant::now();
    let mut waiting: Vec<(usize, Identity, Instant)> = Vec::new();
    let mut took = Vec::new();
    let mut replaced = 0_u32;
    let all = u32::try_from(count)?;
    while took.len() < count {
        let now = Instant::now();
        if replaced < all && now >= began + gap * replaced {
            // All over the directory, no account twice in a row.
            let credential = usize::try_from(replaced)? * 7919 % credentials;
            let before = monitored.token(credential).context("it has a token")?;
            monitored.store(credential, credential + 1 + usize::try_from(replaced)?)?;
            waiting.push((credential, before, Instant::now()));
            replaced += 1;
        }
        waiting.retain(|(credential, before, since)| {
            let is_new = monitored.token(*credential).is_some_and(|is| is != *before);
            if is_new {
                took.push(since.elapsed().as_secs_f64() * 1000.0);
            }
            !is_new
        });
        let oldest = waiting
            .first()
            .map_or(Duration::ZERO, |(.., since)| since.elapsed());
        ensure!(oldest < FAR, "a replaced .top was not noticed");
        wait::pass(LOOK).await;
    }
    monitored.finish().await?;
    Ok(took)
}
