//! Our `token-bastion`, beside a shell loop with htgettoken and `condor_store_cred`, and beside the
//! bare requests to Vault that its work takes.
//!
//! All is done for accounts that have a principal, a keytab and a stored credential each, at the
//! same KDC, the same `htvault-dev` and the same pools, in one run. What always holds: processor
//! time of HTCondor's own tools is apart from that of whoever runs them; the server's is in no
//! figure.

pub(crate) mod accounts;
pub(crate) mod directory;
pub(super) mod push;
pub(super) mod raw;

use clap::ValueEnum;

use super::parts;
use super::progress::Progress;
use super::report::Report;

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// 50 accounts at four schedds, pushed and verified, beside the shell loop
    Push,
    /// 2,000 deliveries into a credential directory: time, memory, and the processor afterwards
    Directory,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Principals, each with a keytab and a stored credential.
    accounts: usize,
    /// The hosts that they are pushed to; the first one is the pool's manager.
    schedds: &'static [&'static str],
    /// Accounts in the directory that each of them logs in for.
    robots: usize,
    /// How long a bastion with nothing but good deliveries is watched, in seconds.
    idle: u64,
}

const FULL: Sizes = Sizes {
    accounts: 50,
    schedds: &["ap.test", "ap2.test", "ap3.test", "ap4.test"],
    robots: 40,
    idle: 120,
};

const QUICK: Sizes = Sizes {
    accounts: 5,
    schedds: &["ap.test"],
    robots: 20,
    idle: 3,
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
        Part::Push => push::measure(&sizes, progress).await,
        Part::Directory => directory::measure(&sizes, progress).await,
    };
    parts::measure(wanted, progress, report, figures).await
}
