//! 20,000 credentials in one credmon, with tokens that make it renew at the rate of 200,000 an hour.

use std::time::{Duration, Instant};

use htvault::clock::{Clock as _, SystemClock};

use super::command::Loaded;
use super::sample;
use super::samples::{figures, number};
use super::tokens::{End, Tokens};
use crate::bench::credmon::monitored::Monitored;
use crate::bench::credmon::stage::Stage;
use crate::bench::credmon::status::Status;
use crate::bench::figures::Figure;
use crate::bench::progress::Progress;
use crate::bench::requests;
use crate::chain::Lives;
use crate::differential::rig::Side;

/// Extent of the load.
struct Extent {
    credentials: usize,
    lives: Lives,
    /// Steps between two questions to the credmon for its status.
    ask_every: u32,
}

/// Tokens of 20 minutes: each is renewed every 352 s.
const FULL: Extent = Extent {
    credentials: 20_000,
    lives: Lives {
        access_token: 1200,
        access_minimum: 800,
        ..Lives::HOUR
    },
    ask_every: 30,
};

const QUICK: Extent = Extent {
    credentials: 200,
    lives: Lives {
        access_token: 90,
        access_minimum: 60,
        ..Lives::HOUR
    },
    ask_every: 5,
};

/// Holds it for so long.
pub(super) async fn hold(
    quick: bool,
    lasts: Duration,
    progress: &Progress,
) -> anyhow::Result<Loaded> {
    let Extent {
        credentials,
        lives,
        ask_every,
    } = if quick { QUICK } else { FULL };
    progress.say(format!("load: {credentials} vault tokens are made"));
    let stage = Stage::set(lives, credentials).await?;
    let mut ours = Monitored::prepare(&stage, "load", Side::Ours, 0..credentials)?;
    ours.start(lives)?;
    progress.say("load: each credential gets its first access token");
    ours.complete().await?;
    let paths = (0..credentials).map(|number| ours.use_file(number));
    let mut tokens = [Tokens::new(paths, End::InToken, lives.access_minimum)?];
    let (from, began, before) = (SystemClock.now(), Instant::now(), ours.processor()?);
    let status_file = ours.status_file();
    let samples = sample(ours.pid()?, &mut tokens, lasts, progress, async |step| {
        if step % ask_every == ask_every - 1 {
            Ok(Status::ask(&status_file).await?.not_good())
        } else {
            Ok(0)
        }
    })
    .await?;
    let (took, used) = (began.elapsed(), ours.processor()?.saturating_sub(before));
    ours.finish().await?;

    let asked = requests::for_access_tokens(&stage.rig.chain.requests(), from)?;
    let errors = asked.iter().filter(|request| request.status != 200).count();
    let mut all = vec![
        Figure::new("credentials", "credentials", "", number(credentials)?),
        Figure::new(
            "minutes",
            format!("held, with access tokens of {} s", lives.access_token),
            "min",
            took.as_secs_f64() / 60.0,
        ),
        Figure::new(
            "rate",
            "renewals an hour",
            "",
            number(asked.len())? * 3600.0 / took.as_secs_f64(),
        ),
        Figure::new(
            "errors",
            "answers of Vault that were errors",
            "",
            number(errors)?,
        ),
        Figure::new(
            "processor",
            "share of one core",
            "%",
            100.0 * used.as_secs_f64() / took.as_secs_f64(),
        ),
    ];
    all.extend(figures(&samples, &["access token"])?);
    Ok(Loaded {
        figures: all,
        samples,
    })
}
