//! What is done to the parts, drawn by a seed.
//!
//! What always holds: the same seed is the same sequence of rounds; a round is one action alone, or some that concern
//! different things, so that none undoes another one; it is over within [`LONGEST`], if the parts start in time.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

/// Longest action.
pub const LONGEST: Duration = Duration::from_secs(30);
/// Shortest one that lasts.
const SHORTEST: Duration = Duration::from_secs(3);
/// Overlapping actions of a round begin within this time.
const SPREAD: Duration = Duration::from_secs(8);

/// A program of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// OpenBao.
    Vault,
    /// The KDC.
    Kdc,
    /// The token issuer.
    Issuer,
    /// The bastion.
    Bastion,
    /// A schedd's credmon.
    Credmon(usize),
    /// A schedd's credd.
    Credd(usize),
}

/// A delivery, by the numbers of credential and schedd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Target {
    /// Number of the credential.
    pub credential: usize,
    /// Number of the schedd.
    pub schedd: usize,
}

/// A fault or an order. What lasts is undone at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// SIGKILL; started again at the end.
    Kill(Part),
    /// SIGTERM; started again at the end.
    Terminate(Part),
    /// SIGSTOP; SIGCONT at the end.
    Suspend(Part),
    /// The LDAP server that logins ask is away.
    LdapDown,
    /// Vault is sealed.
    Seal,
    /// Vault answers 429 to bastion and credmons.
    Quota,
    /// Nothing passes between Vault and its clients, and no connection is closed.
    Cut,
    /// Each piece of data takes so many milliseconds more to or from Vault.
    Delay(u16),
    /// The file system of the bastion's state is full.
    FullState,
    /// The file system of a schedd's credentials is full.
    FullCredentials(usize),
    /// The file system of a schedd's credentials can only be read.
    ReadOnly(usize),
    /// The clock of the bastion's host is set so many seconds ahead, or behind.
    BastionClock(i8),
    /// The clock of a schedd's host.
    CredmonClock(usize, i8),
    /// Vault has another certificate from now on.
    Certificate,
    /// An account has a new key at the KDC, and its keytab here only at the end.
    Keytab(usize),
    /// Vault's admin revokes the vault token that a delivery has.
    RevokedToken(Target),
    /// `token-bastion push`.
    Push,
    /// `token-bastion retry`.
    Retry,
    /// `token-bastion reload`.
    Reload,
    /// `token-bastion revoke` for one delivery; pushed again when a later round is over.
    Revoke(Target),
    /// The same while Vault does not answer.
    RevokeWithoutVault(Target),
    /// A configuration that is no YAML; mended at the end.
    BrokenConfiguration,
    /// An account is not in the configuration; back at the end.
    DroppedAccount(usize),
    /// A push of everything, and a SIGTERM so many milliseconds later; started again at the end.
    StopInPush(u16),
    /// The same with SIGKILL.
    KillInPush(u16),
}

/// What an action concerns. In one round each is drawn once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concern {
    Part(Part),
    Ldap,
    Network,
    Configuration,
    Keytab,
    Order,
}

impl Action {
    fn concern(self) -> Concern {
        match self {
            Self::Kill(part) | Self::Terminate(part) | Self::Suspend(part) => Concern::Part(part),
            Self::LdapDown => Concern::Ldap,
            Self::Seal | Self::Quota | Self::Certificate | Self::RevokeWithoutVault(_) => {
                Concern::Part(Part::Vault)
            }
            Self::Cut | Self::Delay(_) => Concern::Network,
            Self::FullState | Self::BastionClock(_) | Self::StopInPush(_) | Self::KillInPush(_) => {
                Concern::Part(Part::Bastion)
            }
            Self::FullCredentials(schedd)
            | Self::ReadOnly(schedd)
            | Self::CredmonClock(schedd, _) => Concern::Part(Part::Credmon(schedd)),
            Self::Keytab(_) => Concern::Keytab,
            Self::RevokedToken(_) | Self::Push | Self::Retry | Self::Revoke(_) => Concern::Order,
            Self::Reload | Self::BrokenConfiguration | Self::DroppedAccount(_) => {
                Concern::Configuration
            }
        }
    }

    /// Whether something is to be undone at its end.
    fn lasts(self) -> bool {
        !matches!(
            self,
            Self::RevokedToken(_)
                | Self::Push
                | Self::Retry
                | Self::Reload
                | Self::Revoke(_)
                | Self::Certificate
        )
    }

    /// Whether the bastion may lose what it was told in the last moment.
    #[must_use]
    pub fn kills_bastion(self) -> bool {
        matches!(self, Self::Kill(Part::Bastion) | Self::KillInPush(_))
    }

    /// Its kind, without what was drawn for it: by this figures are gathered.
    #[must_use]
    pub fn kind(self) -> String {
        let part = |what: &str, part: Part| match part {
            Part::Credmon(_) => format!("{what} credmon"),
            Part::Credd(_) => format!("{what} credd"),
            part => format!("{what} {part:?}").to_lowercase(),
        };
        match self {
            Self::Kill(one) => part("kill", one),
            Self::Terminate(one) => part("stop", one),
            Self::Suspend(one) => part("suspend", one),
            Self::LdapDown => "LDAP down".to_owned(),
            Self::Seal => "seal".to_owned(),
            Self::Quota => "quota".to_owned(),
            Self::Cut => "network cut".to_owned(),
            Self::Delay(_) => "network delay".to_owned(),
            Self::FullState => "full disk, state".to_owned(),
            Self::FullCredentials(_) => "full disk, credentials".to_owned(),
            Self::ReadOnly(_) => "read-only credentials".to_owned(),
            Self::BastionClock(_) => "clock of the bastion".to_owned(),
            Self::CredmonClock(..) => "clock of a credmon".to_owned(),
            Self::Certificate => "new certificate".to_owned(),
            Self::Keytab(_) => "new key of a principal".to_owned(),
            Self::RevokedToken(_) => "vault token revoked".to_owned(),
            Self::Push => "push".to_owned(),
            Self::Retry => "retry".to_owned(),
            Self::Reload => "reload".to_owned(),
            Self::Revoke(_) => "revoke".to_owned(),
            Self::RevokeWithoutVault(_) => "revoke without Vault".to_owned(),
            Self::BrokenConfiguration => "broken configuration".to_owned(),
            Self::DroppedAccount(_) => "account dropped".to_owned(),
            Self::StopInPush(_) => "stop in a push".to_owned(),
            Self::KillInPush(_) => "kill in a push".to_owned(),
        }
    }
}

/// An action with its times from the begin of its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// What is done.
    pub action: Action,
    /// When, in milliseconds.
    pub begin: u64,
    /// When it is undone, in milliseconds.
    pub end: u64,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasts = Duration::from_millis(self.end - self.begin).as_secs();
        write!(f, "{}", self.action.kind())?;
        if lasts > 0 {
            write!(f, " {lasts} s")?;
        }
        Ok(())
    }
}

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
            15 => Action::LdapDown,
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
            29 => *[Action::Retry, Action::Reload]
                .choose(&mut self.random)
                .unwrap_or(&Action::Retry),
            30 => Action::Revoke(self.target()),
            31 => Action::RevokeWithoutVault(self.target()),
            32 => *[
                Action::BrokenConfiguration,
                Action::DroppedAccount(self.random.random_range(0..self.sizes.accounts)),
            ]
            .choose(&mut self.random)
            .unwrap_or(&Action::BrokenConfiguration),
            _ => {
                let later = self.random.random_range(0..600);
                if self.random.random() {
                    Action::StopInPush(later)
                } else {
                    Action::KillInPush(later)
                }
            }
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
        // 34 numbers, three of which are two kinds.
        assert_eq!(kinds.len(), KINDS + 3, "{kinds:#?}");
    }
}
