//! The vault tokens of one delivery: the one at its schedd, those before and after it.
//!
//! Always true: no token is forgotten before it is revoked, or recorded as one that may live.

use std::collections::BTreeSet;
use std::time::Duration;

use htvault::{ServerUrl, VaultToken};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::model::moment::before;
use crate::model::records::{InstalledToken, Life, TokenRecord, TokenRecords};
use crate::policy::plan::inherit::Inherited;
use crate::policy::plan::{Basis, is_void};
use crate::vault::OwnedToken;

/// A replacement by somebody else is remembered so long.
const REMEMBERED: Duration = Duration::from_hours(12);
/// And so many of them.
const MOST_REPLACEMENTS: usize = 100;

/// The vault tokens of one delivery, in memory.
#[derive(Debug, Default)]
pub struct Tokens {
    /// The one at the schedd, if one is known.
    pub at_schedd: Option<AtSchedd>,
    /// One that is made and not known to be at the schedd: seldom, so it takes no room else.
    pub candidate: Option<Box<OwnedToken>>,
    /// Replaced ones, to be revoked when the current one is good.
    pub former: Vec<OwnedToken>,
    /// Accessors of those of them whose revocation failed, which is logged once.
    pub unrevoked: BTreeSet<String>,
    /// Ones that may live and that this process cannot revoke, since it knows only their names:
    /// Vault's admins can.
    pub lost: Vec<TokenRecord>,
    /// Time when the current one was sent, by this host's clock and by one that is never set, if this process did.
    pub sent: Option<(Timestamp, Instant)>,
    /// Times when ours was found replaced by somebody else's, the latest last.
    pub replaced: Vec<Timestamp>,
}

/// The vault token at a schedd.
#[derive(Debug)]
pub enum AtSchedd {
    /// This process has it; with the time when it was stored, by the schedd's clock, once that was observed.
    Owned(OwnedToken, Option<Timestamp>),
    /// It is of before a restart, and cannot be read back.
    Inherited(Inherited),
    /// It was recorded before a restart; the schedd was not observed since.
    Recorded(Box<InstalledToken>),
}

impl AtSchedd {
    /// Its life: at most, when it has no name.
    #[must_use]
    pub fn life(&self) -> Life {
        match self {
            Self::Owned(owned, _) => owned.life,
            Self::Inherited(inherited) => inherited.life,
            Self::Recorded(recorded) => recorded.token.life,
        }
    }

    /// Its name at Vault; `None` when nothing is recorded of it.
    #[must_use]
    pub fn accessor(&self) -> Option<&str> {
        match self {
            Self::Owned(owned, _) => Some(&owned.accessor),
            Self::Inherited(inherited) => inherited.accessor.as_deref(),
            Self::Recorded(recorded) => Some(&recorded.token.accessor),
        }
    }

    /// Time when it was stored, by the schedd's clock, once that was observed.
    pub(crate) fn stored(&self) -> Option<Timestamp> {
        match self {
            Self::Owned(_, stored) => *stored,
            Self::Inherited(inherited) => Some(inherited.stored),
            Self::Recorded(recorded) => recorded.stored,
        }
    }

    /// Evidence for its life.
    fn basis(&self) -> Basis {
        match self {
            Self::Owned(..) => Basis::Owned,
            Self::Inherited(inherited) if inherited.accessor.is_none() => Basis::Estimated,
            Self::Inherited(_) | Self::Recorded(_) => Basis::Recorded,
        }
    }

    /// Its record; `None` when it has no name.
    pub(crate) fn record(&self) -> Option<TokenRecord> {
        Some(TokenRecord {
            accessor: self.accessor()?.to_owned(),
            life: self.life(),
        })
    }
}

impl Tokens {
    /// Tokens as known after a restart.
    #[must_use]
    pub fn recorded(records: &TokenRecords) -> Self {
        Self {
            at_schedd: records.current.clone().map(AtSchedd::Recorded),
            lost: records.others.clone(),
            ..Self::default()
        }
    }

    /// Lets go of tokens that another Vault made, before the configuration named this one: they are shown to no other,
    /// and are known by their names until they end. Returns their names.
    pub(crate) fn leave_other_vaults(&mut self, servers: &[ServerUrl]) -> Vec<String> {
        let is_other = |owned: &OwnedToken| !servers.contains(&owned.server);
        let is_elsewhere =
            |at: &AtSchedd| matches!(at, AtSchedd::Owned(owned, _) if is_other(owned));
        let mut left = Vec::new();
        if self.at_schedd.as_ref().is_some_and(is_elsewhere) {
            left.extend(self.at_schedd.take().and_then(|token| token.record()));
        }
        let candidate = self.candidate.take_if(|owned| is_other(owned));
        left.extend(candidate.as_deref().map(TokenRecord::from));
        let former = self.former.extract_if(.., |owned| is_other(owned));
        left.extend(former.map(|owned| TokenRecord::from(&owned)));
        let names = left.iter().map(|token| token.accessor.clone()).collect();
        self.lost.extend(left);
        names
    }

    /// Evidence for the lifetime of the token at the schedd.
    #[must_use]
    pub fn basis(&self) -> Basis {
        (self.at_schedd.as_ref()).map_or(Basis::Owned, AtSchedd::basis)
    }

    /// The name at Vault of the token at the schedd.
    #[must_use]
    pub fn accessor(&self) -> Option<&str> {
        self.at_schedd.as_ref()?.accessor()
    }

    /// The life of the token at the schedd, as far as known.
    #[must_use]
    pub fn life(&self) -> Option<Life> {
        self.at_schedd.as_ref().map(AtSchedd::life)
    }

    /// The token at the schedd, if this process has it, and the time when it was stored there.
    pub(crate) fn current(&mut self) -> Option<(&mut OwnedToken, &mut Option<Timestamp>)> {
        match &mut self.at_schedd {
            Some(AtSchedd::Owned(owned, stored)) => Some((owned, stored)),
            _ => None,
        }
    }

    /// All that this process has.
    pub(crate) fn owned(&self) -> impl Iterator<Item = &OwnedToken> {
        let current = match &self.at_schedd {
            Some(AtSchedd::Owned(owned, _)) => Some(owned),
            _ => None,
        };
        current
            .into_iter()
            .chain(self.candidate.as_deref())
            .chain(&self.former)
    }

    /// Accessors of tokens other than the one at the schedd that may live: they will be revoked, or can be by
    /// Vault's admins alone.
    pub(crate) fn other_accessors(&self) -> impl Iterator<Item = &str> {
        let owned = self.former.iter().chain(self.candidate.as_deref());
        let owned = owned.map(|owned| &owned.accessor);
        let named = self.lost.iter().map(|named| &named.accessor);
        owned.chain(named).map(String::as_str)
    }

    /// Notes that ours was replaced by somebody else's.
    pub(crate) fn replaced_by_others(&mut self, now: Timestamp) {
        self.forget_replacements(now);
        self.replaced.push(now);
        let surplus = self.replaced.len().saturating_sub(MOST_REPLACEMENTS);
        self.replaced.drain(..surplus);
    }

    /// Times of replacements, when there are so many that somebody else serves the delivery, too: once may
    /// be a person who tried something.
    pub(crate) fn contested(&mut self, now: Timestamp) -> Option<&[Timestamp]> {
        self.forget_replacements(now);
        (self.replaced.len() > 1).then_some(&self.replaced)
    }

    fn forget_replacements(&mut self, now: Timestamp) {
        let oldest = before(now, REMEMBERED);
        self.replaced
            .retain(|at| *at > oldest && !is_void(*at, now));
    }

    /// Takes note that this token was seen at the schedd: it is the current one if its storing seemed to fail, or if it was
    /// gone meanwhile.
    pub(crate) fn found(&mut self, token: &VaultToken, stored: Timestamp) {
        let is_it = |owned: &OwnedToken| owned.token.expose() == token.expose();
        let candidate = self.candidate.take_if(|owned| is_it(owned));
        let found = match candidate {
            None if self.current().is_none() => {
                self.former.extract_if(.., |owned| is_it(owned)).next()
            }
            candidate => candidate.map(|owned| *owned),
        };
        if let Some(owned) = found {
            self.let_go();
            self.at_schedd = Some(AtSchedd::Owned(owned, Some(stored)));
        }
    }

    /// Gives up what is at the schedd: it is replaced, or it is gone. Returns `true` if anything was known.
    pub(crate) fn let_go(&mut self) -> bool {
        self.sent = None;
        let at_schedd = self.at_schedd.take();
        let known = at_schedd.is_some();
        match at_schedd {
            Some(AtSchedd::Owned(owned, _)) => self.former.push(owned),
            other => self.lost.extend(other.and_then(|token| token.record())),
        }
        known
    }

    /// Gives up what is not at the schedd any more. One that this process has is stored there again. Returns `true` if
    /// anything was known.
    pub(crate) fn take_back(&mut self) -> bool {
        let is_candidate = |at: &mut AtSchedd| matches!(at, AtSchedd::Owned(..));
        if self.candidate.is_none()
            && let Some(AtSchedd::Owned(owned, _)) = self.at_schedd.take_if(is_candidate)
        {
            self.candidate = Some(Box::new(owned));
            self.sent = None;
            return true;
        }
        self.let_go()
    }

    /// Forgets a replaced token that has ended.
    pub(crate) fn forget(&mut self, ended: &OwnedToken) {
        let is_other = |owned: &OwnedToken| owned.token.expose() != ended.token.expose();
        self.former.retain(is_other);
        self.unrevoked.remove(&ended.accessor);
    }

    /// `true` when one of these is that token, or has its accessor.
    pub(crate) fn has(&self, new: &OwnedToken) -> bool {
        let is_same = |owned: &OwnedToken| owned.token.expose() == new.token.expose();
        let others = self.other_accessors().chain(self.accessor());
        let is_named = |name: &str| !name.is_empty() && name == new.accessor;
        self.owned().any(is_same) || others.into_iter().any(is_named)
    }

    /// Expiry of the last of them; `None` when there is none.
    pub(crate) fn end(&self) -> Option<Timestamp> {
        let owned = self.owned().map(|owned| owned.life);
        let lost = self.lost.iter().map(|lost| lost.life);
        let lives = owned.chain(lost).chain(self.life());
        lives.map(|life| life.expires).max()
    }
}

impl From<&OwnedToken> for TokenRecord {
    fn from(owned: &OwnedToken) -> Self {
        Self {
            accessor: owned.accessor.clone(),
            life: owned.life,
        }
    }
}
