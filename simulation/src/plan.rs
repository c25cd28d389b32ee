//! The faults of a year, drawn by a seed.
//!
//! What is drawn: how many of each in a month (fixed), when (evenly), how long (evenly between the given bounds).

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

use crate::{DAY, HOUR, MINUTE, Site};

/// Days of a month.
const MONTH: u64 = 30;

/// Something that goes wrong, or that a person orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One of the three servers of the Vault is down; if it was the leader, another one is elected.
    Server(usize),
    /// No server of the Vault answers.
    Cluster,
    /// The issuer gives nothing; `true`: it does not answer at all, which takes Vault 30 s to find out.
    Issuer(bool),
    /// No KDC answers.
    Kdc,
    /// The bastion's host is down; `true`: without having been stopped in order.
    BastionHost(bool),
    /// A schedd's host is down.
    Schedd(usize),
    /// A credd crashes in the middle of the next push; `true`: after it has stored the credential.
    CreddCrash(usize, bool),
    /// Vault answers 429 to the bastion (`None`) or to a schedd.
    RateLimit(Option<usize>),
    /// A host's clock is set: the bastion's (`None`) or a schedd's is wrong by so many seconds from now on.
    Clock(Option<usize>, i64),
    /// Vault wrongly refuses (403) the next read of an account by the bastion (`None`) or by a schedd.
    Wrongful403(usize, Option<usize>),
    /// The issuer takes the refresh token of an account for invalid, until a person has logged in anew.
    GrantLost(usize),
    /// A person revokes a delivery, and at the end has it delivered again.
    Revoke(usize, usize),
    /// A person has the configuration read again.
    Reload,
    /// A person has new vault tokens pushed for an account.
    Push(usize),
}

/// A fault with its time, in seconds from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its kind.
    pub kind: Kind,
    /// Its begin.
    pub begin: u64,
    /// Its end. For a lost refresh token: the time that a person takes to log in once it is noticed, after `begin`.
    pub end: u64,
}

/// Lengths of single outages, in minutes: each is drawn evenly between half and one and a half of these.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lengths {
    /// Of the issuer; as many as make an hour a month.
    pub issuer: u64,
    /// Of the whole Vault; as many as make half an hour a quarter.
    pub cluster: u64,
}

impl Default for Lengths {
    fn default() -> Self {
        Self {
            issuer: 20,
            cluster: 15,
        }
    }
}

/// The faults of a year, in the order of their times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The faults.
    pub faults: Vec<Fault>,
}

struct Drawer {
    random: StdRng,
    end: u64,
    faults: Vec<Fault>,
}

impl Drawer {
    /// Adds `number` faults for each span of `days`; `minutes`: how long each lasts.
    fn each(
        &mut self,
        days: u64,
        number: u64,
        minutes: (u64, u64),
        mut kind: impl FnMut(&mut StdRng) -> Kind,
    ) {
        let span = days * DAY;
        for from in (0..self.end).step_by(usize::try_from(span).unwrap_or(usize::MAX)) {
            for _ in 0..number {
                let begin = from + self.random.random_range(0..span);
                let length = self
                    .random
                    .random_range(minutes.0 * MINUTE..=minutes.1 * MINUTE);
                let kind = kind(&mut self.random);
                // The first hours are for the start, the last one for the end.
                if begin > 3 * HOUR && begin + length + HOUR < self.end {
                    let end = begin + length;
                    self.faults.push(Fault { kind, begin, end });
                }
            }
        }
    }
}

/// Bounds of lengths with this mean.
fn around(mean: u64) -> (u64, u64) {
    (mean / 2, mean + mean / 2)
}

impl Plan {
    /// Draws the faults of a site by a seed.
    #[must_use]
    pub fn draw(seed: u64, site: Site, lengths: Lengths) -> Self {
        let mut drawer = Drawer {
            random: StdRng::seed_from_u64(seed),
            end: site.days * DAY,
            faults: Vec::new(),
        };
        let at = &mut drawer;
        let (accounts, schedds) = (site.accounts, site.schedds);
        // Each server is down for 2 hours a month.
        for server in 0..3 {
            at.each(MONTH, 4, around(30), |_| Kind::Server(server));
        }
        at.each(
            3 * MONTH,
            30 / lengths.cluster.clamp(1, 30),
            around(lengths.cluster),
            |_| Kind::Cluster,
        );
        at.each(
            MONTH,
            60 / lengths.issuer.clamp(1, 60),
            around(lengths.issuer),
            |random| Kind::Issuer(random.random()),
        );
        at.each(MONTH, 2, around(30), |_| Kind::Kdc);
        // Two days a year.
        at.each(3 * MONTH, 1, around(12 * 60), |random| {
            Kind::BastionHost(random.random())
        });
        for schedd in 0..schedds {
            at.each(7, 1, (3, 15), |_| Kind::Schedd(schedd));
        }
        at.each(MONTH, 1, (0, 0), |random| {
            Kind::CreddCrash(random.random_range(0..schedds), random.random())
        });
        at.each(MONTH, 1, (5, 5), |random| {
            Kind::RateLimit(host(random, schedds))
        });
        for one in (0..schedds).map(Some).chain([None]) {
            at.each(MONTH, 1, (0, 0), |random| {
                Kind::Clock(one, random.random_range(-120..=120))
            });
        }
        at.each(MONTH, 1, (0, 0), |random| {
            Kind::Wrongful403(
                random.random_range(0..accounts),
                Some(random.random_range(0..schedds)),
            )
        });
        at.each(MONTH, 1, (0, 0), |random| {
            Kind::Wrongful403(random.random_range(0..accounts), None)
        });
        at.each(365, 1, (10, 30), |random| {
            Kind::GrantLost(random.random_range(0..accounts))
        });
        at.orders(site);
        drawer.faults.sort_by_key(|fault| fault.begin);
        Self {
            faults: drawer.faults,
        }
    }

    /// Faults of a sort, with their times.
    pub fn of(&self, is_meant: impl Fn(Kind) -> bool) -> impl Iterator<Item = Fault> {
        self.faults
            .iter()
            .filter(move |fault| is_meant(fault.kind))
            .copied()
    }
}

impl Drawer {
    /// Orders of people: each monthly, every other one in the middle of another fault.
    fn orders(&mut self, site: Site) {
        let outages: Vec<Fault> = self
            .faults
            .iter()
            .filter(|fault| fault.end > fault.begin)
            .copied()
            .collect();
        let first = self.faults.len();
        self.each(MONTH, 1, (60, 60), |random| {
            Kind::Revoke(
                random.random_range(0..site.accounts),
                random.random_range(0..site.schedds),
            )
        });
        self.each(MONTH, 1, (0, 0), |_| Kind::Reload);
        self.each(MONTH, 1, (0, 0), |random| {
            Kind::Push(random.random_range(0..site.accounts))
        });
        for order in self.faults.iter_mut().skip(first).step_by(2) {
            if let Some(outage) = outages.choose(&mut self.random) {
                let length = order.end - order.begin;
                order.begin = outage.begin.midpoint(outage.end);
                order.end = order.begin + length;
            }
        }
        // A person has a delivery made again once all that it needs works.
        let is_needed = |fault: &&Fault| {
            matches!(
                fault.kind,
                Kind::Cluster
                    | Kind::Issuer(_)
                    | Kind::Kdc
                    | Kind::BastionHost(_)
                    | Kind::Schedd(_)
            )
        };
        let mut needed: Vec<Fault> = outages.iter().filter(is_needed).copied().collect();
        needed.sort_by_key(|fault| fault.begin);
        for order in self
            .faults
            .iter_mut()
            .skip(first)
            .filter(|order| order.end > order.begin)
        {
            for outage in &needed {
                if outage.begin <= order.end && order.end < outage.end + MINUTE {
                    order.end = outage.end + MINUTE;
                }
            }
        }
    }
}

/// The bastion's host, or a schedd's.
fn host(random: &mut StdRng, schedds: usize) -> Option<usize> {
    random
        .random::<bool>()
        .then(|| random.random_range(0..schedds))
}
