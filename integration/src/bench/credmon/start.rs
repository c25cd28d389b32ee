//! From the start of a monitor that finds no access token to the last one in place.
//!
//! Both start with the same credentials. First Vault has to ask the issuer for each token, which
//! takes the same time for both; then it has them, and only the monitor and the way to Vault count;
//! at last the same with a Vault that answers as from another site.

use std::ops::Range;

use htvault::clock::{Clock as _, SystemClock};

use super::Sizes;
use super::monitored::Monitored;
use super::stage::Stage;
use crate::bench::figures::{Bound, Figure, percentile};
use crate::bench::progress::Progress;
use crate::bench::{VAULT_IS_LATER, vault_far_away};
use crate::chain::Lives;
use crate::differential::rig::Side;

/// Seconds of a start.
#[derive(Clone, Copy, Debug)]
struct Took {
    /// From the start of the process to the last token.
    whole: f64,
    /// From the first token to the last.
    tokens: f64,
}

pub(super) async fn measure(sizes: &Sizes, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let stage = Stage::set(Lives::HOUR, 2 * sizes.some).await?;
    let some = sizes.some;
    // Credentials of their own, so that for both Vault has no token at first.
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for round in 0..=sizes.starts {
        progress.say(format!(
            "starts: round {} of {}",
            round + 1,
            sizes.starts + 1
        ));
        theirs.push(one(&stage, Side::Theirs, 0..some).await?);
        ours.push(one(&stage, Side::Ours, some..2 * some).await?);
    }
    progress.say("starts: a Vault that is far away");
    vault_far_away(&stage.rig.admin, "secret/").await?;
    let far_theirs = one(&stage, Side::Theirs, 0..some).await?;
    let far_ours = one(&stage, Side::Ours, some..2 * some).await?;
    let figure = |name: &str, words: &str, theirs: f64, ours: f64| {
        let what = format!("{some} access tokens after a start, {words}");
        Figure::new(name, what, "s", ours).beside(theirs)
    };
    let first = |all: &[Took]| all.first().map_or(f64::NAN, |took| took.whole);
    let median = |all: &[Took], pick: fn(&Took) -> f64| {
        let values: Vec<f64> = all.iter().skip(1).map(pick).collect();
        percentile(&values, 50).unwrap_or(f64::NAN)
    };
    let whole = |took: &Took| took.whole;
    let tokens = |took: &Took| took.tokens;
    Ok(vec![
        figure(
            "start",
            "Vault has the tokens",
            median(&theirs, whole),
            median(&ours, whole),
        )
        .bound(Bound::Ratio(0.2)),
        figure(
            "start_tokens",
            "the same from the first to the last",
            median(&theirs, tokens),
            median(&ours, tokens),
        ),
        figure(
            "start_issuer",
            "Vault asks the issuer for each",
            first(&theirs),
            first(&ours),
        ),
        figure(
            "start_far",
            &format!("Vault has the tokens, and takes {VAULT_IS_LATER} longer to answer"),
            far_theirs.whole,
            far_ours.whole,
        ),
    ])
}

async fn one(stage: &Stage, side: Side, credentials: Range<usize>) -> anyhow::Result<Took> {
    let mut monitored = Monitored::prepare(stage, "start", side, credentials)?;
    let began = SystemClock.now().as_nanosecond();
    monitored.start(Lives::HOUR)?;
    monitored.complete().await?;
    let (first, last) = monitored.last_token()?;
    monitored.finish().await?;
    Ok(Took {
        whole: seconds(last - began)?,
        tokens: seconds(last - first)?,
    })
}

fn seconds(nanoseconds: i128) -> anyhow::Result<f64> {
    let microseconds = i32::try_from(nanoseconds / 1000)?;
    Ok(f64::from(microseconds) / 1_000_000.0)
}
