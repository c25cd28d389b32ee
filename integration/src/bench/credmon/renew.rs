//! Processor time for each renewal: all access tokens are taken away, and each monitor gets them
//! anew. Vault has the tokens, so neither waits for the issuer.
//!
//! What a renewal has a monitor do later, at its next look, belongs to the renewal. Looking after
//! credentials that are not due costs something, too. It is measured by leaving both alone for some
//! minutes more, and shared out among renewals as they come with one-hour tokens: what is spent over
//! whole cycles of renewals, through the renewals in them.

use std::time::{Duration, Instant};

use super::Sizes;
use super::monitored::Monitored;
use super::stage::Stage;
use crate::bench::figures::{Bound, Figure};
use crate::bench::progress::Progress;
use crate::chain::Lives;
use crate::differential::rig::Side;
use crate::wait;

/// Renewals of one credential in an hour: REFRESH is 1200 s by default. Ours does one more every
/// second hour, since it renews a little before the time; both are counted alike.
const RENEWALS_AN_HOUR: f64 = 3.0;

/// Tokens of ten thousand hours: in the minutes in which both are left alone no token is renewed, and no vault
/// token is looked up (ours asks once for the expiry of each, spread over the time between two renewals: in a
/// week, that is one request beside 500 renewals).
const LIVES: Lives = Lives {
    access_token: 36_000_000,
    access_minimum: 24_000_000,
    ..Lives::HOUR
};

/// Seconds after which neither has anything to do any more that follows from its renewals: both scan
/// each minute, and ours lists a folder again when its last change was less than half a minute old.
const FOLLOWS: u64 = 125;

/// Processor time that a monitor uses.
#[derive(Clone, Copy, Debug)]
struct Used {
    /// For a renewal among many at once, with what follows of it, in milliseconds.
    renewal: f64,
    /// In an hour without renewals, in seconds.
    idle_hour: f64,
}

impl Used {
    /// For a renewal with its share of looking after all, in milliseconds.
    fn whole(self, credentials: f64) -> f64 {
        self.renewal + self.idle_hour * 1000.0 / (RENEWALS_AN_HOUR * credentials)
    }
}

pub(super) async fn measure(sizes: &Sizes, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let stage = Stage::set(LIVES, sizes.some).await?;
    let (theirs, renewal_theirs) = renewals(&stage, Side::Theirs, sizes, progress).await?;
    let (ours, renewal_ours) = renewals(&stage, Side::Ours, sizes, progress).await?;

    let both = || anyhow::Ok([theirs.processor()?, ours.processor()?]);
    // Ours renewed just now; what theirs had to do later is past, if there is such a thing.
    let follows = Duration::from_secs(sizes.idle.saturating_mul(2).min(FOLLOWS));
    progress.say(format!("both: {} s after renewals", follows.as_secs()));
    let before = both()?;
    wait::pass(follows).await;
    let after = both()?;
    progress.say(format!("both: {} s without renewals", sizes.idle));
    let began = Instant::now();
    wait::pass(Duration::from_secs(sizes.idle)).await;
    let (rested, end) = (began.elapsed().as_secs_f64(), both()?);
    let some = sizes.some;
    let credentials = f64::from(u32::try_from(some)?);
    let used = |side: usize, renewal: f64| {
        let spent = |from: &[Duration; 2], to: &[Duration; 2]| {
            let at = |all: &[Duration; 2]| all.get(side).map_or(f64::NAN, Duration::as_secs_f64);
            at(to) - at(from)
        };
        let idle = spent(&after, &end) / rested;
        let later = spent(&before, &after) - idle * follows.as_secs_f64();
        Used {
            renewal: renewal + later.max(0.0) * 1000.0 / credentials,
            idle_hour: idle * 3600.0,
        }
    };
    let (theirs_used, ours_used) = (used(0, renewal_theirs), used(1, renewal_ours));
    theirs.finish().await?;
    ours.finish().await?;

    let figure = |name: &str, words: &str, unit, pick: &dyn Fn(Used) -> f64| {
        let what = format!("processor time {words}");
        Figure::new(name, what, unit, pick(ours_used)).beside(pick(theirs_used))
    };
    Ok(vec![
        figure(
            "processor_all",
            &format!("for each renewal, of all that is used over whole cycles with {some}"),
            "ms",
            &|used| used.whole(credentials),
        )
        .bound(Bound::Ratio(0.25)),
        figure(
            "processor_renewal",
            &format!("of that for the renewal itself, {some} at once"),
            "ms",
            &|used| used.renewal,
        ),
        figure(
            "processor_idle",
            &format!("in an hour for looking after {some}, without renewals"),
            "s",
            &|used| used.idle_hour,
        ),
    ])
}

/// Lets a monitor renew all, some times; what one renewal took, in milliseconds.
async fn renewals<'s>(
    stage: &'s Stage,
    side: Side,
    sizes: &Sizes,
    progress: &Progress,
) -> anyhow::Result<(Monitored<'s>, f64)> {
    let mut monitored = Monitored::prepare(stage, "renew", side, 0..sizes.some)?;
    monitored.start(LIVES)?;
    monitored.complete().await?;
    let mut used = Duration::ZERO;
    for round in 1..=sizes.rounds {
        progress.say(format!(
            "renewals of {}: round {round} of {}",
            side.word(),
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
    Ok((monitored, used.as_secs_f64() * 1000.0 / renewals))
}
