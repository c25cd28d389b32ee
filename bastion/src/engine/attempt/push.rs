//! A new token: made or taken from an attempt before, checked, named on disk, stored.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::info;

use super::{AtSchedd, Attempt, is_dead};
use crate::limits::resources;
use crate::model::moment::until;
use crate::model::problem::{Cause, Kind, Problem, Request};
use crate::policy::plan::{self, PushReason};
use crate::schedd::top_file;
use crate::schedd::{Observation, Transport};
use crate::system::stages::Stage;
use crate::vault::{OwnedToken, Vault};

/// Time in which a new token is known to all of a Vault's nodes, as a rule.
const REPLICATION: Duration = Duration::from_secs(3);
/// Age from which on a token that Vault does not know is dead.
const LATEST_REPLICATION: Duration = Duration::from_mins(1);
/// Time that a push waits for the disk of the state.
const WRITE_AHEAD: Duration = Duration::from_secs(2);

impl<V: Vault, T: Transport> Attempt<'_, V, T> {
    /// Makes a token, checks it and stores it. Returns the time when the credmon last served before that.
    pub(super) async fn push(&mut self, why: PushReason) -> Result<Option<Timestamp>, Problem> {
        // Where the observation of this attempt has just found nothing, nothing can be mistaken for new.
        let empty = |seen: &Observation| seen.stored.is_none() && seen.served.is_none();
        let seen = match self.seen.clone().filter(empty) {
            Some(seen) => seen,
            None => self.observe().await?,
        };
        self.is_issuing.send_replace(true);
        let made = self.candidate().await;
        // However the attempt ends, the token is known to the next one.
        self.tokens.candidate = made.as_ref().ok().cloned().map(Box::new);
        self.note_tokens();
        self.is_issuing.send_replace(false);
        let owned = made?;
        self.revoke_ended().await;
        self.check_new(&owned).await?;
        self.write_ahead().await;
        let sent = (self.now(), Instant::now());
        self.store(&owned).await?;
        self.tokens.let_go();
        self.is_stored(sent);
        let id = &self.delivery.id;
        info!(
            account = id.account, service = id.service, schedd = id.schedd, why = ?why,
            accessor = owned.accessor,
            expires = %format_args!("{:.0}", owned.life.expires),
            jti = self.access.as_ref().and_then(|a| a.jti.as_deref()).unwrap_or_default(),
            "pushed"
        );
        self.tokens.at_schedd = Some(AtSchedd::Owned(owned, None));
        Ok(seen.served)
    }

    /// Checks a token that was just made. A standby may not know it yet, for longer than an attempt should take: then
    /// it is the one of the next attempt, too.
    async fn check_new(&mut self, owned: &OwnedToken) -> Result<(), Problem> {
        let mut checked = self.read(&owned.token, true).await;
        if is_dead(&checked) {
            tokio::time::sleep(REPLICATION).await;
            checked = self.read(&owned.token, true).await;
        }
        let is_old = until(owned.life.issued, self.now()) > LATEST_REPLICATION;
        if is_old && is_dead(&checked) {
            checked = self.check(&owned.token, true).await;
        }
        if is_old && is_dead(&checked) {
            // It is of no use, and was never stored; another one may be good.
            self.tokens.candidate = None;
            self.tokens.former.push(owned.clone());
            let ended = self.parts.end_of(&self.delivery.credential, owned);
            if ended.await.is_ok() {
                self.tokens.forget(owned);
            }
        }
        checked
    }

    /// Takes note that the token that was sent at this time is at the schedd: all access tokens that were read are from
    /// before that, and what was observed speaks of another token.
    fn is_stored(&mut self, sent: (Timestamp, Instant)) {
        self.pushed = true;
        self.tokens.sent = Some(sent);
        self.tokens.candidate = None;
        self.seen = None;
        for read in self.access.iter_mut().flat_map(|access| &mut access.reads) {
            read.before_store = true;
        }
    }

    /// Stores the names of the tokens.
    fn note_tokens(&self) {
        let access = self.access.as_ref().unwrap_or(&self.begun.access);
        let records = self.begun.to_records(self.tokens, access);
        let store = &self.parts.store;
        store.record(&self.delivery.id, records, self.now());
    }

    /// Has the tokens' names on disk before one of them leaves the process. A disk that does not answer holds
    /// up nothing: that is reported, and the token is pushed.
    async fn write_ahead(&self) {
        self.note_tokens();
        // The store reports it.
        let _ = self.parts.store.written(WRITE_AHEAD).await;
    }

    pub(super) async fn store(&mut self, owned: &OwnedToken) -> Result<(), Problem> {
        let top = top_file::write(&self.delivery.credential, &owned.token);
        let stored = self.parts.transport.store(self.delivery, &top);
        self.parts.stages.time(Stage::Store, stored).await
    }

    /// The token of an attempt before, if it still has most of its life; else a new one.
    async fn candidate(&mut self) -> Result<OwnedToken, Problem> {
        let delivery = self.delivery;
        if let Some(owned) = self.tokens.candidate.take().map(|owned| *owned) {
            if plan::is_fresh(delivery, owned.life, self.now()) {
                return Ok(owned);
            }
            // It may have been stored by an attempt that seemed to fail.
            self.tokens.former.push(owned);
        }
        let credential = &delivery.credential;
        let permit = self.parts.limits.admit_creation(credential).await?;
        let made = self.create().await;
        match &made {
            Ok(_) => permit.worked(&[resources::creation(credential)]),
            Err(problem) => _ = permit.failed(delivery, problem),
        }
        made
    }

    /// A new token, the child of a login of its own.
    async fn create(&self) -> Result<OwnedToken, Problem> {
        let credential = &self.delivery.credential;
        let login = self.parts.sessions.login(credential).await?;
        let made = self.parts.make(credential, login, self.delivery.lifetime);
        let owned = made.await?;
        if self.tokens.has(&owned) {
            if let Some(login) = &owned.parent {
                // It has no other child, and nobody uses it.
                self.parts.sessions.logins.end(credential, login).await;
            }
            let words = "Vault's answer to token/create has a token that is there already, as if something \
                         between repeated an old answer; it is not taken";
            let cause = Cause::credential(credential);
            return Err(Problem::new(cause, Kind::VaultDown, words).of(Request::Creation));
        }
        Ok(owned)
    }
}
