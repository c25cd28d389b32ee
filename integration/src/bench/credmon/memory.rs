//! Memory of all processes of a monitor that has served all its credentials and rests.

use super::Sizes;
use super::monitored::Monitored;
use super::stage::Stage;
use crate::bench::figures::{Bound, Figure};
use crate::bench::progress::Progress;
use crate::chain::Lives;
use crate::differential::rig::Side;
use crate::process::Memory;

const MEGABYTE: f64 = 1_000_000.0;

pub(super) async fn measure(sizes: &Sizes, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let stage = Stage::set(Lives::HOUR, sizes.many).await?;
    let mut figures = Vec::new();
    for count in [sizes.some, sizes.many] {
        let theirs = at_rest(&stage, Side::Theirs, count, progress).await?;
        let ours = at_rest(&stage, Side::Ours, count, progress).await?;
        let figure = |name: &str, word: &str, pick: fn(&Memory) -> u64| {
            let what = format!("memory with {count} credentials, {word}");
            Figure::new(
                &format!("memory_{name}_{count}"),
                what,
                "MB",
                megabytes(pick(&ours)),
            )
            .beside(megabytes(pick(&theirs)))
        };
        let resident = figure("rss", "RSS", |memory| memory.resident);
        // What a site has, and ten times as much.
        let bound = if count > sizes.some { 1.0 / 6.0 } else { 0.1 };
        figures.push(resident.bound(Bound::Ratio(bound)));
        figures.push(figure("pss", "PSS", |memory| memory.proportional));
    }
    Ok(figures)
}

async fn at_rest(
    stage: &Stage,
    side: Side,
    count: usize,
    progress: &Progress,
) -> anyhow::Result<Memory> {
    progress.say(format!(
        "memory of {} with {count} credentials",
        side.word()
    ));
    let name = format!("memory-{count}");
    let mut monitored = Monitored::prepare(stage, &name, side, 0..count)?;
    monitored.start(Lives::HOUR)?;
    monitored.complete().await?;
    monitored.idle().await?;
    let memory = monitored.memory()?;
    monitored.finish().await?;
    Ok(memory)
}

/// Megabytes (10^6 bytes), rounded to a hundredth.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    let hundredths = u32::try_from(bytes / 10_000).unwrap_or(u32::MAX);
    f64::from(hundredths) * 10_000.0 / MEGABYTE
}
