//! The steady state: very many credentials, each renewed when its token says.
//!
//! All are served at once first, as after an installation; their first renewals are spread already.
//! Time is the real one: once each vault token was looked up, renewals at their true rate are all that
//! happens, and are measured for some minutes.

use htvault::clock::{Clock as _, SystemClock};
use std::time::{Duration, Instant};

use super::Sizes;
use super::monitored::Monitored;
use super::stage::Stage;
use crate::bench::figures::{Bound, Figure};
use crate::bench::progress::Progress;
use crate::bench::requests;
use crate::chain::Lives;
use crate::differential::rig::Side;
use crate::wait;

/// Seconds after the first token, from which on renewals come at their steady rate: the usual time
/// between two renewals (the default of REFRESH, half of MINIMUM) without the period over which
/// they are spread, which is at least four fifths of it.
pub(crate) fn before_first_renewal(lives: Lives) -> Duration {
    Duration::from_secs((lives.access_minimum / 2).div_ceil(5))
}

/// Time after the first token, from which on no vault token is looked up any more: each is looked up
/// once, within three quarters of the usual time between two renewals.
fn before_steady_state(lives: Lives) -> Duration {
    Duration::from_secs((lives.access_minimum / 2 * 3).div_ceil(4))
}

pub(super) async fn measure(sizes: &Sizes, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let (count, lives) = (sizes.many, sizes.steady_lives);
    let stage = Stage::set(lives, count).await?;
    let mut ours = Monitored::prepare(&stage, "steady", Side::Ours, 0..count)?;
    ours.start(lives)?;
    ours.complete().await?;
    let start_up = before_steady_state(lives);
    progress.say(format!(
        "steady state: begins in {} s, when each vault token was looked up",
        start_up.as_secs()
    ));
    wait::pass(start_up).await;
    progress.say(format!("steady state: measures for {} s", sizes.steady));
    let (from, began, before) = (SystemClock.now(), Instant::now(), ours.processor()?);
    wait::pass(Duration::from_secs(sizes.steady)).await;
    let used = ours.processor()?.saturating_sub(before);
    let (until, took) = (SystemClock.now(), began.elapsed());
    ours.finish().await?;

    let asked = requests::for_access_tokens(&stage.rig.chain.requests(), from)?;
    let period = if sizes.steady >= 60 { 60 } else { 5 };
    let minutes = requests::in_each(&asked, from, until, period);
    let number = |count: usize| u32::try_from(count).map(f64::from);
    let total = number(minutes.iter().sum())?;
    let mean = total / number(minutes.len())?;
    let busiest = number(minutes.iter().copied().max().unwrap_or(0))?;
    let all = number(asked.len())?;
    let life = lives.access_token;
    Ok(vec![
        Figure::new(
            "steady_processor",
            format!("{count} credentials with tokens of {life} s: share of one core"),
            "%",
            100.0 * used.as_secs_f64() / took.as_secs_f64(),
        )
        .bound(Bound::Below(2.0)),
        Figure::new(
            "steady_busiest",
            format!("requests at Vault in the busiest {period} s, as a multiple of the mean"),
            "",
            busiest / mean,
        )
        .bound(Bound::AtMost(2.0)),
        Figure::new(
            "steady_rate",
            "renewals an hour",
            "",
            all * 3600.0 / took.as_secs_f64(),
        ),
        Figure::new(
            "steady_processor_renewal",
            "processor time for each renewal, looking after all the others included",
            "ms",
            used.as_secs_f64() * 1000.0 / all,
        ),
    ])
}
