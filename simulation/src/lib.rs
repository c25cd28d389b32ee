//! A simulated year: the real engine of the bastion and the real scheduler and renewals of the credmons, on simulated
//! time, with models of everything outside: Vault, issuer, KDC, credds, hosts and their clocks, people.
//!
//! | module | what it is |
//! |---|---|
//! | [`plan`] | the faults of the year, drawn from distributions by a seed |
//! | `world`, `vault` | the state of everything outside; Vault with its issuer and KDC |
//! | `bastion`, `schedd` | hosts that run our programs |
//! | `year` | what happens when |
//! | `judge` | what jobs have, minute by minute, seen from outside |
//! | [`reference`](mod@reference) | a model of HTCondor's own credmon with an hourly storer, in the same year |
//! | [`report`], [`plots`] | the figures, and pictures of them |
//! | [`outages`] | what is lost by one outage of a given length |
//!
//! Always true: whatever is drawn comes from the seed, and time passes only when nothing is left to do. So a year with
//! the same seed is the same year.

mod bastion;
mod judge;
pub mod outages;
pub mod plan;
pub mod plots;
pub mod reference;
pub mod report;
mod schedd;
mod vault;
mod world;
mod year;

pub use year::simulate;

/// Seconds of a minute.
pub(crate) const MINUTE: u64 = 60;
/// Seconds of an hour.
pub(crate) const HOUR: u64 = 60 * MINUTE;
/// Seconds of a day.
pub(crate) const DAY: u64 = 24 * HOUR;

/// Size of the simulated site, and length of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Days that are simulated.
    pub days: u64,
    /// Accounts. Every other one has access tokens that live six hours, the rest one hour.
    pub accounts: usize,
    /// Schedds; each account is delivered to all of them.
    pub schedds: usize,
}

/// Lives of access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LifeClass {
    /// One hour.
    Short,
    /// Six hours.
    Long,
}

impl LifeClass {
    /// Life of an account's access tokens.
    pub(crate) fn of_account(account: usize) -> Self {
        if account.is_multiple_of(2) {
            Self::Short
        } else {
            Self::Long
        }
    }

    /// Seconds.
    pub(crate) fn seconds(self) -> u64 {
        match self {
            Self::Short => HOUR,
            Self::Long => 6 * HOUR,
        }
    }

    /// Seconds that a token has left at least, by the credmon's law with its default settings: outages that are
    /// shorter than this leave no gap.
    pub(crate) fn carried(self) -> u64 {
        self.seconds() / 3 * 2
    }

    /// The figure of this class.
    pub(crate) fn of<T>(self, [short, long]: &[T; 2]) -> &T {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }

    /// The same, to be changed.
    pub(crate) fn of_mut<T>(self, [short, long]: &mut [T; 2]) -> &mut T {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }
}

/// Name of an account.
pub(crate) fn account_name(account: usize) -> String {
    format!("acct{account:02}")
}

/// Number of an account, from its name.
pub(crate) fn account_number(name: &str) -> Option<usize> {
    name.strip_prefix("acct")?.parse().ok()
}

/// Name of a schedd.
pub(crate) fn schedd_name(schedd: usize) -> String {
    format!("ap{schedd:02}.example.org")
}

/// Number of a schedd, from its name.
pub(crate) fn schedd_number(name: &str) -> Option<usize> {
    name.strip_prefix("ap")?
        .strip_suffix(".example.org")?
        .parse()
        .ok()
}
