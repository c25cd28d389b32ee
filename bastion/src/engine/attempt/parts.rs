//! Parts that tries share, and vault tokens made and ended with the store's knowledge.
//!
//! Always true: a login whose token serves a delivery is in the store until it expires or is seen to be dead.

use std::sync::Arc;
use std::time::Duration;

use htvault::IssuedToken;
use htvault::clock::Clock;

use crate::engine::revoke::admin_command;
use crate::limits::Limits;
use crate::model::delivery::Credential;
use crate::model::problem::{Cause, Kind, Problem};
use crate::store::Store;
use crate::system::stages::{Stage, Stages};
use crate::vault::sessions::Sessions;
use crate::vault::{Login, OwnedToken, Vault};

/// Parts that tries need, shared by all of them.
pub struct Parts<V, T> {
    /// Vault.
    pub vault: Arc<V>,
    /// The way to schedds.
    pub transport: T,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Durations of stages.
    pub stages: Arc<Stages>,
    pub(crate) sessions: Arc<Sessions<V>>,
    pub(crate) store: Store,
    pub(crate) limits: Limits,
}

impl<V, T> Parts<V, T> {
    /// Puts the parts together.
    pub(crate) fn new(sessions: Arc<Sessions<V>>, transport: T) -> Self {
        Self {
            vault: Arc::clone(&sessions.logins.vault),
            transport,
            clock: Arc::clone(&sessions.logins.clock),
            stages: Arc::clone(&sessions.stages),
            store: sessions.logins.store.clone(),
            limits: sessions.limits.clone(),
            sessions,
        }
    }
}

impl<V: Vault, T> Parts<V, T> {
    /// Makes a vault token for a delivery, the child of a login of its own.
    pub(crate) async fn make(
        &self,
        credential: &Credential,
        login: IssuedToken,
        lifetime: Duration,
    ) -> Result<OwnedToken, Problem> {
        let unused = Login::from(&login);
        let issued = self.vault.issue(credential, login, lifetime);
        let issued = self.stages.time(Stage::Issue, issued).await;
        if issued.is_err() {
            // Nobody uses the login; it must not live on for weeks.
            self.sessions.logins.end(credential, &unused).await;
        }
        issued
    }

    /// Revokes a token with its login, and sees that the login is dead, with which the token dies: a server
    /// may refuse a revocation in words that it has for a dead token.
    pub(crate) async fn end_of(
        &self,
        credential: &Credential,
        owned: &OwnedToken,
    ) -> Result<(), Problem> {
        self.vault.revoke(credential, owned.root()).await?;
        if self
            .vault
            .look_up(credential, owned.root())
            .await?
            .is_some()
        {
            return Err(Problem::new(
                Cause::credential(credential),
                Kind::Forbidden,
                format!(
                    "Vault took the request and says that the token still lives; its admins revoke it: {}",
                    admin_command(&owned.accessor)
                ),
            ));
        }
        if let Some(parent) = &owned.parent {
            self.store
                .change(|content| content.logins.remove(&parent.accessor));
        }
        Ok(())
    }
}
