//! What is told of a credential to whoever asks.

use std::borrow::Cow;

use jiff::Timestamp;

use super::Record;
use crate::old::second::Second;
use crate::old::state::State;
use crate::old::status::{
    AccessTokenStatus, CredentialStatus, LastError, Scopes, VaultTokenStatus,
};

/// How long a renewal may be late before that is worth telling, in seconds.
const LATE: i64 = 60;

impl Record {
    /// What is told of it. `trouble` says what is wrong with a Vault that does not answer: then
    /// one credential finds out for all, and the others are no better off than that one.
    #[must_use]
    pub fn status<'t>(
        &self,
        trouble: impl Fn(&str) -> Option<&'t str>,
        now: Timestamp,
    ) -> CredentialStatus<Cow<'_, str>> {
        let lane = self.seen.top.as_ref().ok();
        let used = self.seen.used.as_ref();
        let mut status = CredentialStatus {
            user: self.id().user().into(),
            service: self.id().service().into(),
            state: self.condition.state,
            since: self.condition.since.timestamp(),
            why: self.condition.why().into(),
            advice: self.condition.advice().into(),
            vault: lane.map(|lane| (&*lane.host).into()),
            access_token: used.map(|used| AccessTokenStatus {
                issued: used.life.map(|life| life.issued.timestamp()),
                expires: used.life.map(|life| life.expires.timestamp()),
                id: used.token_id.text(),
                issuer: used.grant.issuer.as_deref().map(Cow::from),
                scopes: Scopes(used.grant.scopes.as_deref().unwrap_or_default().into()),
            }),
            vault_token: self.vault_life.map(|life| VaultTokenStatus {
                expires: life.expires.map(Second::timestamp),
            }),
            last_success: used.map(|_| self.confirmed.timestamp()),
            next_renewal: self
                .due
                .filter(|due| *due > Second::earliest())
                .map(Second::timestamp),
            last_error: self.last_error.as_ref().map(|error| LastError {
                at: error.0.timestamp(),
                text: (&*error.1).into(),
            }),
        };
        self.tell_if_late(&mut status, lane.and_then(|lane| trouble(&lane.host)), now);
        status
    }

    /// A renewal that is late degrades a credential that is otherwise well.
    fn tell_if_late(
        &self,
        status: &mut CredentialStatus<Cow<'_, str>>,
        trouble: Option<&str>,
        now: Timestamp,
    ) {
        let late_since = self.due.filter(|due| {
            now.as_second().saturating_sub(due.as_second()) > LATE && *due > Second::earliest()
        });
        let (State::Fresh, Some(since)) = (status.state, late_since) else {
            return;
        };
        status.state = State::Degraded;
        status.since = since.timestamp();
        let (why, advice) = match trouble {
            Some(words) => (
                format!("its Vault does not answer: {words}"),
                "see to the Vault; it is tried again",
            ),
            None => (
                "its renewal is late, for others were more urgent".to_owned(),
                "wait; if it stays so, the bound on requests is too tight",
            ),
        };
        status.why = why.into();
        status.advice = advice.into();
    }
}
