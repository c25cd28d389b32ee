//! The vault tokens of one delivery: the one at its schedd, those before and after it.
//!
//! Always true: no token is forgotten before it is revoked, or recorded as one that may live.

use std::time::Duration;

use jiff::Timestamp;

use super::AccessFacts;
use crate::model::delivery::Credential;
use crate::model::moment::before;
use crate::model::records::{InstalledToken, Life, TokenRecord, TokenRecords, requested_content};
use crate::policy::plan::Basis;
use crate::vault::OwnedToken;

/// A replacement by somebody else is remembered so long.
const REMEMBERED: Duration = Duration::from_hours(12);
/// And so many of them.
const MOST_REPLACEMENTS: usize = 100;

/// The vault tokens of one delivery, in memory.
#[derive(Debug, Default)]
pub struct Tokens {
    /// The one at the schedd, and when it was stored by the schedd's clock.
    pub current: Option<(OwnedToken, Option<Timestamp>)>,
    /// One that is made and not known to be stored.
    pub candidate: Option<OwnedToken>,
    /// Replaced ones, to be revoked when the current one is good.
    pub former: Vec<OwnedToken>,
    /// The one at the schedd when it is of before a restart and cannot be read back: it is known
    /// by name at most. Never there together with `current`.
    pub inherited: Option<Inherited>,
    /// Ones that may live and that this process cannot revoke, since it knows only their names:
    /// Vault's admins can.
    pub lost: Vec<TokenRecord>,
    /// Time when the current one was sent, by this host's clock, if this process did.
    pub sent: Option<Timestamp>,
    /// Times when ours was found replaced by somebody else's, the latest last.
    pub replaced: Vec<Timestamp>,
    /// Recorded before a restart to be at the schedd, until the schedd was looked at.
    pub recorded: Option<InstalledToken>,
}

/// Knowledge of access tokens, beside that of vault tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// The access token that was read last.
    pub(crate) access: &'a AccessFacts,
    /// Time when the credmon last made one, by the schedd's clock.
    pub(crate) served: Option<Timestamp>,
    /// Expiry of that, where it can be read.
    pub(crate) serves_until: Option<Timestamp>,
    /// Jobs surely have one until then.
    pub(crate) jobs_safe_until: Option<Timestamp>,
}

/// A vault token at a schedd that this process did not make and does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// Names it to Vault's admins; `None` when its life is an estimate.
    pub accessor: Option<String>,
    /// Its life: as recorded at its issue, or at most.
    pub life: Life,
    /// Time when it was stored, by the schedd's clock.
    pub stored: Timestamp,
    /// Time of its replacement at the latest.
    pub renew_by: Option<Timestamp>,
}

impl Tokens {
    /// Tokens as known after a restart.
    #[must_use]
    pub fn recorded(records: &TokenRecords) -> Self {
        Self {
            recorded: records.current.clone(),
            lost: records.others.clone(),
            ..Self::default()
        }
    }

    /// Note for the store: what is known of them, of access tokens, and of the credmon's work.
    #[must_use]
    pub(crate) fn to_records(&self, credential: &Credential, known: Known<'_>) -> TokenRecords {
        let Known { access, .. } = known;
        let installed = |token: TokenRecord, stored| InstalledToken {
            token,
            stored,
            requested: requested_content(credential),
            access_seconds: access.life.map(|life| life.as_secs()),
            access_reads: access.reads.clone(),
            subject: access.subject.clone(),
            served: known.served,
            serves_until: known.serves_until,
            jobs_safe_until: known.jobs_safe_until,
        };
        let current = match (&self.current, &self.inherited) {
            (Some((owned, stored)), _) => Some(installed(TokenRecord::from(owned), *stored)),
            // An estimate names nothing: nobody could do anything with it.
            (None, Some(inherited)) => {
                let token = inherited.record();
                token.map(|token| installed(token, Some(inherited.stored)))
            }
            // The schedd was not seen since the start.
            (None, None) => self.recorded.clone(),
        };
        let owned = self.candidate.iter().chain(&self.former);
        let others = owned.map(TokenRecord::from).chain(self.lost.clone());
        TokenRecords::new(current, others.collect())
    }

    /// Evidence for the lifetime of the token at the schedd.
    #[must_use]
    pub fn basis(&self) -> Basis {
        match &self.inherited {
            None if self.current.is_none() && self.recorded.is_some() => Basis::Recorded,
            None => Basis::Owned,
            Some(inherited) if inherited.accessor.is_some() => Basis::Recorded,
            Some(_) => Basis::Estimated,
        }
    }

    /// The name at Vault of the token at the schedd.
    #[must_use]
    pub fn accessor(&self) -> Option<&str> {
        let owned = self.current.as_ref().map(|(owned, _)| &owned.accessor);
        let inherited = self.inherited.as_ref();
        let named = owned.or(inherited.and_then(|inherited| inherited.accessor.as_ref()));
        named
            .or(self
                .recorded
                .as_ref()
                .map(|recorded| &recorded.token.accessor))
            .map(String::as_str)
    }

    /// Accessors of tokens other than the one at the schedd that may live: they will be revoked, or can be by
    /// Vault's admins alone.
    pub(crate) fn other_accessors(&self) -> impl Iterator<Item = &str> {
        let owned = self.former.iter().chain(&self.candidate);
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
        self.replaced.retain(|at| *at > oldest);
    }

    /// Gives up what is at the schedd: it is replaced, or it is gone. Whether anything was known.
    pub(crate) fn let_go(&mut self) -> bool {
        let owned = self.current.take().map(|(owned, _)| owned);
        let inherited = self.inherited.take();
        let recorded = self.recorded.take().map(|recorded| recorded.token);
        let known = owned.is_some() || inherited.is_some() || recorded.is_some();
        self.former.extend(owned);
        self.lost.extend(recorded);
        self.lost
            .extend(inherited.and_then(|inherited| inherited.record()));
        known
    }

    /// `true` when one of these is that token, or has its accessor.
    pub(crate) fn has(&self, new: &OwnedToken) -> bool {
        let current = self.current.iter().map(|(owned, _)| owned);
        let owned = current.chain(&self.candidate).chain(&self.former);
        let is_same = |owned: &OwnedToken| {
            let is_named = !new.accessor.is_empty() && owned.accessor == new.accessor;
            is_named || owned.token.expose() == new.token.expose()
        };
        let named = self.lost.iter().map(|named| &named.accessor);
        let named = named.chain(
            self.recorded
                .iter()
                .map(|recorded| &recorded.token.accessor),
        );
        let inherited = self.inherited.as_ref();
        let mut named = named.chain(inherited.and_then(|there| there.accessor.as_ref()));
        owned.into_iter().any(is_same) || named.any(|name| *name == new.accessor)
    }

    /// Expiry of the last of them; `None` when there is none.
    pub(crate) fn end(&self) -> Option<Timestamp> {
        let owned = self.current.iter().map(|(owned, _)| owned);
        let owned = owned.chain(&self.candidate).chain(&self.former);
        let inherited = self.inherited.iter().map(|there| there.life);
        let lives = owned.map(|owned| owned.life).chain(inherited);
        let recorded = self.recorded.iter().map(|recorded| &recorded.token);
        let named = self.lost.iter().chain(recorded).map(|named| named.life);
        lives.chain(named).map(|life| life.expires).max()
    }

    /// The life of the token at the schedd, as far as known.
    #[must_use]
    pub fn life(&self) -> Option<Life> {
        let current = self.current.as_ref().map(|(owned, _)| owned.life);
        let inherited = self.inherited.as_ref().map(|inherited| inherited.life);
        let recorded = self.recorded.as_ref();
        let recorded = recorded.map(|recorded| recorded.token.life);
        current.or(inherited).or(recorded)
    }
}

impl Inherited {
    /// Its record; `None` when it is not known by name.
    fn record(&self) -> Option<TokenRecord> {
        let accessor = self.accessor.clone()?;
        let life = self.life;
        Some(TokenRecord { accessor, life })
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
