//! Who is delivered where: accounts, credentials and schedds by their numbers and names.

use anyhow::Context as _;

use super::action::Target;
use super::draw::Sizes;
use crate::chain::ACCOUNTS;

/// The schedds of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Their names, as the bastion's report has them.
    pub schedds: &'static [&'static str],
    /// Whether each is a real HTCondor pool; else a directory with a credmon.
    pub are_pools: bool,
}

/// Account, service and schedd of a delivery.
type Names = (&'static str, &'static str, &'static str);

impl Layout {
    /// Three credential directories.
    pub const DIRECTORIES: Self = Self {
        schedds: &["ap1", "ap2", "ap3"],
        are_pools: false,
    };
    /// Two pools, by their hosts in the sandbox.
    pub const POOLS: Self = Self {
        schedds: &["ap.test", "ap2.test"],
        are_pools: true,
    };

    /// Its sizes.
    #[must_use]
    pub fn sizes(self) -> Sizes {
        Sizes {
            accounts: ACCOUNTS.len(),
            credentials: credentials().count(),
            schedds: self.schedds.len(),
            are_pools: self.are_pools,
        }
    }

    /// Every delivery.
    pub fn targets(self) -> impl Iterator<Item = Target> {
        (0..credentials().count()).flat_map(move |credential| {
            (0..self.schedds.len()).map(move |schedd| Target { credential, schedd })
        })
    }

    /// Account, service and schedd of a delivery.
    pub fn names(self, target: Target) -> anyhow::Result<Names> {
        let (account, service) =
            (credentials().nth(target.credential)).context("a credential's number")?;
        let schedd = self
            .schedds
            .get(target.schedd)
            .context("a schedd's number")?;
        Ok((account, service, schedd))
    }

    /// The options that name a delivery.
    pub fn selection(self, target: Target) -> anyhow::Result<[&'static str; 6]> {
        let (account, service, schedd) = self.names(target)?;
        Ok([
            "--account",
            account,
            "--service",
            service,
            "--schedd",
            schedd,
        ])
    }

    /// The delivery with these names.
    #[must_use]
    pub fn target(self, account: &str, service: &str, schedd: &str) -> Option<Target> {
        let is_it = |target: &Target| {
            self.names(*target)
                .is_ok_and(|names| names == (account, service, schedd))
        };
        self.targets().find(is_it)
    }
}

/// Account and service of each credential, in the order of their numbers.
fn credentials() -> impl Iterator<Item = (&'static str, &'static str)> {
    ACCOUNTS.into_iter().flat_map(|account| {
        account
            .services
            .iter()
            .map(move |service| (account.name, *service))
    })
}
