//! Credentials stored at credds: by the crate htcondor-cedar and by the bastion with it, beside HTCondor's own
//! `condor_store_cred` and the bastion with that.
//!
//! What always holds: all of it goes to the same pools, in one run; the credd's own processor time is in no figure.

mod fleet;
mod operations;

use clap::ValueEnum;

use super::parts;
use super::progress::Progress;
use super::report::Report;

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Single operations at one credd, and four connections at once
    Operations,
    /// Deliveries to one credd and to four, made and verified by a bastion with either transport
    Fleet,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Operations of each kind, one after the other.
    operations: u32,
    /// Pushes of each of the connections at once.
    each: u32,
    /// Deliveries of a fleet with either transport.
    few: usize,
    /// Deliveries of a large fleet.
    many: usize,
    /// Hosts of these; the first one is the pool's manager.
    schedds: &'static [&'static str],
}

const FULL: Sizes = Sizes {
    operations: 200,
    each: 2000,
    few: 200,
    many: 2000,
    schedds: &["ap.test", "ap2.test", "ap3.test", "ap4.test"],
};

const QUICK: Sizes = Sizes {
    operations: 3,
    each: 10,
    few: 4,
    many: 6,
    schedds: &["ap.test", "ap2.test"],
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
        Part::Operations => operations::measure(&sizes, progress).await,
        Part::Fleet => fleet::measure(&sizes, progress).await,
    };
    parts::measure(wanted, progress, report, figures).await
}
