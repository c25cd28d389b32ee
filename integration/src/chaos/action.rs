//! Faults and orders.
//!
//! What always holds: what an action concerns is told by its kind, so that those of one round do not undo each other.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

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
    /// It does not answer.
    LdapHangs,
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
pub enum Concern {
    Part(Part),
    Ldap,
    Network,
    Configuration,
    Keytab,
    Order,
}

impl Action {
    /// What it concerns.
    #[must_use]
    pub fn concern(self) -> Concern {
        match self {
            // A credd that is started while the issuer is away remembers for ten minutes that it got no keys.
            Self::Kill(Part::Credd(_)) | Self::Terminate(Part::Credd(_)) => {
                Concern::Part(Part::Issuer)
            }
            Self::Kill(part) | Self::Terminate(part) | Self::Suspend(part) => Concern::Part(part),
            Self::LdapDown | Self::LdapHangs => Concern::Ldap,
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
    #[must_use]
    pub fn lasts(self) -> bool {
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

    /// Whether a credd is started anew, without what it remembered.
    #[must_use]
    pub fn restarts_credd(self) -> bool {
        matches!(
            self,
            Self::Kill(Part::Credd(_)) | Self::Terminate(Part::Credd(_))
        )
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
            Self::LdapHangs => "LDAP hangs".to_owned(),
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
