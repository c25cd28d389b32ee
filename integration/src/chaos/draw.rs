//! What is done to the parts, drawn by a seed.
//!
//! What always holds: the same seed is the same sequence of rounds; a round is one action alone, or some that concern
//! different things, so that none undoes another one; it is over within [`LONGEST`], if the parts start in time.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::action::{Action, Part, Planned, Target};

/// Longest action.
pub const LONGEST: Duration = Duration::from_secs(30);
/// Shortest one that lasts.
const SHORTEST: Duration = Duration::from_secs(3);
/// Overlapping actions of a round begin within this time.
const SPREAD: Duration = Duration::from_secs(8);

/// Draws rounds.
pub struct Drawer {
    random: StdRng,
    sizes: Sizes,
    /// Kinds that were not drawn yet: each comes once before any comes twice.
    left: Vec<usize>,
}

/// How many there are of what can be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Accounts.
    pub accounts: usize,
    /// Credentials.
    pub credentials: usize,
    /// Schedds.
    pub schedds: usize,
    /// Whether these have credds; then their disks and clocks are left alone.
    pub are_pools: bool,
}

/// Number of kinds in [`Drawer::action`].
const KINDS: usize = 34;

impl Drawer {
    /// One for a seed.
    #[must_use]
    pub fn new(seed: u64, sizes: Sizes) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            sizes,
            left: Vec::new(),
        }
    }

    /// The next round: every other one is a single action.
    pub fn round(&mut self) -> Vec<Planned> {
        let count = if self.random.random() {
            1
        } else {
            self.random.random_range(2..=3)
        };
        let mut round: Vec<Planned> = Vec::new();
        while round.len() < count {
            let action = self.action();
            let is_new = |one: &Planned| one.action.concern() != action.concern();
            if !round.iter().all(is_new) {
                continue;
            }
            let begin = if round.is_empty() {
                Duration::ZERO
            } else {
                self.length(Duration::ZERO, SPREAD)
            };
            let lasts = if action.lasts() {
                self.length(SHORTEST, LONGEST)
            } else {
                Duration::ZERO
            };
            round.push(Planned {
                action,
                begin: milliseconds(begin),
                end: milliseconds(begin + lasts),
            });
        }
        round
    }

    fn length(&mut self, least: Duration, most: Duration) -> Duration {
        self.random.random_range(least..=most)
    }

    fn schedd(&mut self) -> usize {
        self.random.random_range(0..self.sizes.schedds)
    }

    fn account(&mut self) -> usize {
        self.random.random_range(0..self.sizes.accounts)
    }

    fn target(&mut self) -> Target {
        Target {
            credential: self.random.random_range(0..self.sizes.credentials),
            schedd: self.schedd(),
        }
    }

    fn part(&mut self, number: usize) -> Part {
        match number % 5 {
            0 => Part::Vault,
            1 => Part::Kdc,
            2 => Part::Issuer,
            3 => Part::Bastion,
            _ => Part::Credmon(self.schedd()),
        }
    }

    /// Seconds by which a clock is set: less than what a token has left.
    fn step(&mut self) -> i8 {
        let seconds = self.random.random_range(5..=20);
        if self.random.random() {
            seconds
        } else {
            -seconds
        }
    }

    fn action(&mut self) -> Action {
        if self.left.is_empty() {
            self.left = (0..KINDS).collect();
        }
        let kind = self.left.choose(&mut self.random).copied().unwrap_or(0);
        self.left.retain(|one| *one != kind);
        let credd = |drawer: &mut Self| Part::Credd(drawer.schedd());
        match kind {
            21 if self.sizes.are_pools => Action::Kill(credd(self)),
            22 if self.sizes.are_pools => Action::Terminate(credd(self)),
            24 if self.sizes.are_pools => Action::Suspend(credd(self)),
            0..5 => Action::Kill(self.part(kind)),
            5..10 => Action::Terminate(self.part(kind)),
            10..15 => Action::Suspend(self.part(kind)),
            15 => self.one_of(Action::LdapDown, Action::LdapHangs),
            16 => Action::Seal,
            17 => Action::Quota,
            18 => Action::Cut,
            19 => Action::Delay(self.random.random_range(20..=400)),
            20 => Action::FullState,
            21 => Action::FullCredentials(self.schedd()),
            22 => Action::ReadOnly(self.schedd()),
            23 => Action::BastionClock(self.step()),
            24 => Action::CredmonClock(self.schedd(), self.step()),
            25 => Action::Certificate,
            26 => Action::Keytab(self.account()),
            27 => Action::RevokedToken(self.target()),
            28 => Action::Push,
            29 => self.one_of(Action::Retry, Action::Reload),
            30 => Action::Revoke(self.target()),
            31 => Action::RevokeWithoutVault(self.target()),
            32 => {
                let dropped = Action::DroppedAccount(self.account());
                self.one_of(Action::BrokenConfiguration, dropped)
            }
            _ => {
                let later = self.random.random_range(0..600);
                self.one_of(Action::StopInPush(later), Action::KillInPush(later))
            }
        }
    }

    fn one_of(&mut self, one: Action, other: Action) -> Action {
        if self.random.random() { one } else { other }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::action::Concern;
    use super::*;

    const SIZES: Sizes = Sizes {
        accounts: 2,
        credentials: 3,
        schedds: 3,
        are_pools: false,
    };

    #[test]
    fn the_same_seed_draws_the_same_rounds_and_others_draw_others() {
        let rounds = |seed| {
            let mut drawer = Drawer::new(seed, SIZES);
            (0..20).map(|_| drawer.round()).collect::<Vec<_>>()
        };
        assert_eq!(rounds(7), rounds(7));
        assert_ne!(rounds(7), rounds(8));
    }

    #[test]
    fn every_kind_is_drawn_and_rounds_end_in_time() {
        let mut drawer = Drawer::new(1, SIZES);
        let mut kinds = BTreeSet::new();
        for _ in 0..200 {
            let round = drawer.round();
            for planned in &round {
                kinds.insert(planned.action.kind());
                assert!(planned.end <= milliseconds(SPREAD + LONGEST));
            }
            let mut concerns: Vec<Concern> = Vec::new();
            for planned in &round {
                assert!(!concerns.contains(&planned.action.concern()), "{round:?}");
                concerns.push(planned.action.concern());
            }
        }
        // Four numbers are two kinds each.
        assert_eq!(kinds.len(), KINDS + 4, "{kinds:#?}");
    }
}
