//! The status of credentials, Vaults and issuers, as of one moment.
//!
//! `fresh` is never reported of a token that has expired, or of one whose renewal is overdue for a cause
//! that is known. The status of a credential names no other credential.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;

use super::breaker::{Breakers, open_for};
use super::record::Record;
use super::{Scheduler, name};
use crate::model::{
    AccessTokenStatus, CredentialStatus, Credentials, Now, State, TEXT_LIMIT, VaultStatus,
    VaultTokenStatus, WAITS, WAITS_SINCE,
};

/// Seconds by which a renewal may be late before that is reported.
const LATE: i64 = 60;

/// Trouble of a credential: since when, why, and what to do.
type Trouble = (Timestamp, String, &'static str);

impl Scheduler {
    /// Most hosts and issuers that are listed: an account may name thousands that fail.
    pub(crate) const MOST_TROUBLES: usize = 32;

    /// Hosts and issuers that are down or limit requests, those of most accounts first, and the number
    /// of further ones.
    pub(crate) fn troubles(&self, now: Now) -> (Vec<VaultStatus>, usize) {
        let mut open: Vec<_> = self
            .breakers
            .iter()
            .filter_map(|(dependency, breaker)| Some((dependency, breaker, breaker.open()?)))
            .collect();
        open.sort_by_key(|(_, breaker, _)| Reverse(breaker.suspects()));
        let more = open.len().saturating_sub(Self::MOST_TROUBLES);
        open.truncate(Self::MOST_TROUBLES);
        let listed = open.iter().map(|(dependency, _, open)| VaultStatus {
            host: dependency.0.to_string(),
            rests_until: Some(now.wall_of(open.retry_at)),
            why: htvault::text::printable(&open.why, TEXT_LIMIT),
        });
        (listed.collect(), more)
    }

    /// All credentials.
    pub(crate) fn statuses(&self, now: Now) -> Statuses {
        let open = self.breakers.iter().filter(|(_, b)| b.open().is_some());
        Statuses {
            records: self.records.values().cloned().collect(),
            open: open.map(|(d, b)| (d.clone(), b.clone())).collect(),
            now,
        }
    }
}

/// The credentials as of one moment, in the order of their names. It shares the scheduler's records, and the status of
/// each is made when it is asked for: those of very many would take much memory.
#[derive(Debug)]
pub(crate) struct Statuses {
    records: Vec<Arc<Record>>,
    open: Breakers,
    now: Now,
}

impl Statuses {
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = CredentialStatus> {
        self.records.iter().map(|record| self.status(record))
    }

    fn status(&self, record: &Record) -> CredentialStatus {
        let now = self.now;
        let condition = &record.condition;
        let (mut state, mut since, reason) =
            (condition.state, condition.since, condition.reason.as_ref());
        let mut why = reason.map(|reason| reason.text.clone()).unwrap_or_default();
        let mut advice = reason.map_or("", |reason| reason.advice);
        let trouble = match state {
            State::Fresh => self.trouble_of(record),
            // It may be younger than what it waits for.
            State::Renewing => self
                .waits_for(record)
                .map(|(down, why, advice)| (down.max(since), why, advice)),
            State::Degraded | State::Dead | State::Ignored => None,
        };
        if let Some(trouble) = trouble {
            (state, since) = (State::Degraded, trouble.0);
            (why, advice) = (trouble.1.into(), trouble.2);
        }
        let token = record.in_place.token();
        CredentialStatus {
            user: record.top.id.user().clone(),
            service: record.top.id.service().clone(),
            state,
            since,
            why,
            advice: advice.into(),
            vault: record.top.route.as_ref().ok().map(|r| r.host.clone()),
            access_token: token.map(|token| AccessTokenStatus {
                issued: token.lifetime.map(|lifetime| lifetime.issued),
                expires: token.lifetime.map(|lifetime| lifetime.expires),
                id: token.id.clone(),
                issuer: token.issuer.clone(),
                scopes: token.scopes.clone().unwrap_or_default(),
            }),
            vault_token: record
                .vault_life
                .map(|life| VaultTokenStatus { expires: life.0 }),
            last_success: token.map(|_| now.wall_of(record.in_place.confirmed)),
            next_renewal: record
                .due
                .filter(|_| token.is_some())
                .map(|at| now.wall_of(at)),
            last_error: condition.last_error.clone(),
        }
    }

    /// The open circuit breaker that holds up a credential.
    fn waits_for(&self, record: &Record) -> Option<Trouble> {
        let (dependency, open) = open_for(&self.open, record.route()?)?;
        if dependency.1.is_some() && record.is_untried() {
            return None;
        }
        let why = format!(
            "{WAITS}{}{WAITS_SINCE}{:.0}; the next probe is at {:.0}",
            name(&dependency),
            open.since,
            self.now.wall_of(open.retry_at)
        );
        Some((open.since, why, "see to the Vault and the issuer"))
    }

    /// Why a credential that is well by itself is not fresh: its token has expired, or its renewal is
    /// overdue, and cannot be done before.
    fn trouble_of(&self, record: &Record) -> Option<Trouble> {
        let now = self.now;
        let due = record.due?;
        let has_expired = record.in_place.has_expired(now);
        if due > now.mono && !has_expired {
            return None;
        }
        if let Some(waits) = self.waits_for(record) {
            return Some(waits);
        }
        if has_expired {
            let why = "its access token has expired; it is being renewed".to_owned();
            return Some((record.in_place.expires(), why, ""));
        }
        let late = now.since(due);
        (late > LATE).then(|| {
            let why = format!("its renewal is late by {late} s");
            let advice = "see the problem that the monitor reports; if it reports none, others are \
                          more urgent, and the bound on requests is too tight";
            (now.wall_of(due), why, advice)
        })
    }
}

impl Credentials for Statuses {
    fn statuses(&self) -> Box<dyn Iterator<Item = CredentialStatus> + '_> {
        Box::new(self.iter())
    }
}
