//! Parts that tries share, and vault tokens made and ended with the store's knowledge.
//!
//! Always true: a login is in the store from the moment it is made until it expires or Vault says that it
//! is dead.

use std::sync::Arc;
use std::time::Duration;

use htvault::clock::Clock;
use htvault::{IssuedToken, VaultToken};

use crate::delivery::Credential;
use crate::engine::limits::Limits;
use crate::engine::resources;
use crate::moment::after;
use crate::opener::Openers;
use crate::problem::{Cause, Kind, Problem};
use crate::revoke::admin_command;
use crate::stages::{Stage, Stages};
use crate::store::{Login, Named, Store};
use crate::vault::{Held, Vault};

/// Parts that tries need, shared by all of them.
pub struct Parts<V, T> {
    /// Vault.
    pub vault: V,
    /// The way to schedds.
    pub transport: T,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Durations of stages.
    pub stages: Arc<Stages>,
    pub(crate) openers: Openers,
    pub(crate) store: Store,
    pub(crate) limits: Limits,
}

impl<V, T> Parts<V, T> {
    /// Puts the parts together.
    pub(crate) fn new(vault: V, transport: T, clock: Arc<dyn Clock>, store: Store) -> Self {
        Self {
            vault,
            transport,
            clock,
            stages: Arc::default(),
            openers: Openers::default(),
            store,
            limits: Limits::default(),
        }
    }
}

impl<V: Vault, T> Parts<V, T> {
    /// Logs in for a credential.
    pub(crate) async fn login(&self, credential: &Credential) -> Result<IssuedToken, Problem> {
        let permit = self.limits.admit_login(credential).await?;
        let login = self.vault.login(credential);
        let login = self.stages.time(Stage::Login, login).await;
        let login = login.inspect_err(|problem| permit.login_failed(credential, problem))?;
        permit.worked(&resources::login_by(credential));
        drop(permit);
        if !login.accessor.is_empty() {
            let now = self.clock.now();
            let noted = Login {
                token: Named {
                    accessor: login.accessor.clone(),
                    issued: now,
                    expires: after(now, Duration::from_secs(login.lease_seconds)),
                },
                account: credential.identity.account.clone(),
                service: credential.service.clone(),
            };
            let accessor = login.accessor.clone();
            self.store
                .change(|content| content.logins.insert(accessor, noted));
        }
        Ok(login)
    }

    /// Makes a vault token for a delivery, the child of a login of its own.
    pub(crate) async fn make(
        &self,
        credential: &Credential,
        login: IssuedToken,
        lifetime: Duration,
    ) -> Result<Held, Problem> {
        let (token, accessor) = (login.token.clone(), login.accessor.clone());
        let issued = self.vault.issue(credential, login, lifetime);
        let issued = self.stages.time(Stage::Issue, issued).await;
        if issued.is_err() {
            // Nobody uses the login; it must not live on for weeks.
            self.end_login(credential, &token, &accessor).await;
        }
        issued
    }

    /// Revokes a login that serves nobody any more. One that cannot be revoked stays known to the store
    /// until it expires.
    pub(crate) async fn end_login(
        &self,
        credential: &Credential,
        token: &VaultToken,
        accessor: &str,
    ) {
        if let Ok(()) = self.vault.revoke(credential, token).await
            && let Ok(None) = self.vault.look_up(credential, token).await
        {
            self.store.change(|content| content.logins.remove(accessor));
        }
    }

    /// Revokes a token with its login, and sees that the login is dead, with which the token dies: a server
    /// may refuse a revocation in words that it has for a dead token.
    pub(crate) async fn end_of(&self, credential: &Credential, held: &Held) -> Result<(), Problem> {
        self.vault.revoke(credential, held.root()).await?;
        if self.vault.look_up(credential, held.root()).await?.is_some() {
            return Err(Problem::new(
                Cause::credential(credential),
                Kind::Forbidden,
                format!(
                    "Vault took the request and says that the token still lives; its admins revoke it: {}",
                    admin_command(&held.accessor)
                ),
            ));
        }
        if let Some(parent) = &held.parent {
            self.store
                .change(|content| content.logins.remove(&parent.accessor));
        }
        Ok(())
    }
}
