//! HTCondor's own `condor_credmon_vault` and our `condor_credmon_htvault`: what each needs for the
//! same work.
//!
//! Both run as they are in the same pool's root against the same `htvault-dev`, one after the
//! other, each on a credential directory of its own. Each credential is an account with a vault
//! token and a stored refresh token of its own. What always holds: processor time and memory are
//! those of a monitor's own processes, all of them; the server's are never in a figure.

mod load;
mod memory;
pub(crate) mod monitored;
mod renew;
mod replace;
pub(crate) mod stage;
mod start;
pub(crate) mod status;
pub(crate) mod steady;

pub(crate) use memory::megabytes;

use clap::ValueEnum;

use super::parts;
use super::progress::Progress;
use super::report::Report;
use crate::chain::Lives;

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Resident memory with 1,000 and with 10,000 credentials
    Memory,
    /// Processor time for each renewal
    Renew,
    /// From a start without access tokens to the last of 1,000
    Start,
    /// From a replaced vault token to a fresh access token
    Replace,
    /// The processor with 10,000 credentials, and requests in each minute
    Steady,
    /// 200,000 renewals an hour
    Load,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Credentials of a site.
    some: usize,
    /// Credentials of a very large one.
    many: usize,
    /// How often all are renewed for a figure of processor time.
    rounds: usize,
    /// How long a monitor without renewals is watched, in seconds.
    idle: u64,
    /// How often a start is measured.
    starts: usize,
    /// How many `.top` are replaced for ours.
    replaced: usize,
    /// The same for the reference, spread over a minute; 0 leaves it out.
    replaced_theirs: usize,
    /// How long the steady state is measured, in seconds.
    steady: u64,
    /// Lives of tokens in the steady state.
    steady_lives: Lives,
    /// How long the load is held, in seconds.
    load: u64,
    /// Lives of tokens under load.
    load_lives: Lives,
    /// Credentials under load.
    load_credentials: usize,
    /// How late a renewal is that counts as missed, in seconds.
    missed: i64,
}

/// Tokens of ten minutes: each is renewed every 176 s, so that 10,000 make 205,000 an hour.
const TEN_MINUTES: Lives = Lives {
    access_token: 600,
    access_minimum: 400,
    ..Lives::HOUR
};

const FULL: Sizes = Sizes {
    some: 1000,
    many: 10_000,
    rounds: 4,
    idle: 120,
    starts: 9,
    replaced: 500,
    replaced_theirs: 24,
    steady: 180,
    steady_lives: Lives::HOUR,
    load: 600,
    load_lives: TEN_MINUTES,
    load_credentials: 10_000,
    missed: 30,
};

const QUICK: Sizes = Sizes {
    some: 100,
    many: 300,
    rounds: 2,
    idle: 3,
    starts: 1,
    replaced: 20,
    replaced_theirs: 0,
    steady: 20,
    steady_lives: Lives::SHORT,
    load: 20,
    load_lives: Lives::SHORT,
    load_credentials: 300,
    missed: 5,
};

/// Measures these parts, or all.
pub async fn run(
    wanted: &[Part],
    quick: bool,
    progress: &Progress,
    report: &mut Report,
) -> anyhow::Result<()> {
    let sizes = if quick { QUICK } else { FULL };
    let figures = async |part| match part {
        Part::Memory => memory::measure(&sizes, progress).await,
        Part::Renew => renew::measure(&sizes, progress).await,
        Part::Start => start::measure(&sizes, progress).await,
        Part::Replace => replace::measure(&sizes, progress).await,
        Part::Steady => steady::measure(&sizes, progress).await,
        Part::Load => load::measure(&sizes, progress).await,
    };
    parts::measure(wanted, progress, report, figures).await
}
