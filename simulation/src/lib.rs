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
//! | [`report`] | the figures |
//!
//! Always true: whatever is drawn comes from the seed, and time passes only when nothing is left to do. So a year with
//! the same seed is the same year.

mod bastion;
mod judge;
pub mod plan;
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

impl Site {
    /// Seconds that an access token of an account lives.
    #[must_use]
    pub fn access_life(&self, account: usize) -> u64 {
        if account.is_multiple_of(2) {
            HOUR
        } else {
            6 * HOUR
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
