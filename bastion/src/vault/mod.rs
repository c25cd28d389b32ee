//! Logins and tokens at Vault, by Kerberos.
//!
//! Always true: no decision is made here: [`Vault`] returns answers, and problems that name their cause. Tests use a
//! fake with the same behaviour.

mod client;
pub(crate) mod failure;
pub(crate) mod sessions;
mod ticket;

use std::time::Duration;

use htvault::{AccessTokenAnswer, IssuedToken, RequestsUsed, ServerUrl, VaultToken};
use jiff::Timestamp;

use crate::model::delivery::{Credential, Identity};
use crate::model::moment::until;
use crate::model::problem::Problem;
use crate::model::records::Life;
pub use client::HtVault;

/// A vault token made for one delivery.
#[derive(Clone, Debug)]
pub struct OwnedToken {
    /// The token that is pushed.
    pub token: VaultToken,
    /// The login that it is a child of; revoking that revokes both. `None` for a token found at a schedd after a
    /// restart: it is revoked itself.
    pub parent: Option<Login>,
    /// Accessor: names the token to Vault's admins.
    pub accessor: String,
    /// Its lifetime, by the lease at its issue.
    pub life: Life,
    /// The Vault that made it; it is shown to no other.
    pub server: ServerUrl,
}

/// A login, as far as it is known to who revokes it. Vault tokens are its children.
#[derive(Clone, Debug)]
pub struct Login {
    /// The token.
    pub token: VaultToken,
    /// Accessor: names it to Vault's admins.
    pub accessor: String,
}

impl From<&IssuedToken> for Login {
    fn from(issued: &IssuedToken) -> Self {
        Self {
            token: issued.token.clone(),
            accessor: issued.accessor.clone(),
        }
    }
}

/// Kind of access token that is read for a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// For jobs: with the configured scopes and audience.
    ForJobs,
    /// Unreduced, to open a credd.
    Full,
    /// With these scopes (separated by commas) alone, to open a credd: exchanged by the issuer.
    Reduced(&'static str),
}

/// Vault, as far as deliveries need it. A failure names its cause and what to do.
pub trait Vault: Send + Sync + 'static {
    /// Logs in by Kerberos for the credential's issuer and role.
    fn login(
        &self,
        credential: &Credential,
    ) -> impl Future<Output = Result<IssuedToken, Problem>> + Send;

    /// Creates a child token of a login, with this lifetime.
    fn issue(
        &self,
        credential: &Credential,
        login: IssuedToken,
        lifetime: Duration,
    ) -> impl Future<Output = Result<OwnedToken, Problem>> + Send;

    /// Reads an access token with `token`.
    fn read(
        &self,
        credential: &Credential,
        token: &VaultToken,
        kind: AccessKind,
    ) -> impl Future<Output = Result<AccessTokenAnswer, Problem>> + Send;

    /// Reads an access token for jobs with a remaining lifetime of `at_least`: Vault asks the issuer when it has none in
    /// its cache. If that fails, returns one with a shorter lifetime, and the reason.
    fn read_for_jobs(
        &self,
        credential: &Credential,
        token: &VaultToken,
        at_least: Option<Duration>,
    ) -> impl Future<Output = Result<(AccessTokenAnswer, Option<Problem>), Problem>> + Send;

    /// Looks up the lifetime and accessor of a token; `None` when it is not valid any more.
    fn look_up(
        &self,
        credential: &Credential,
        token: &VaultToken,
    ) -> impl Future<Output = Result<Option<(Life, String)>, Problem>> + Send;

    /// Returns true when a refresh token is stored for the credential, valid or not.
    fn has_grant(
        &self,
        credential: &Credential,
        token: &VaultToken,
    ) -> impl Future<Output = Result<bool, Problem>> + Send;

    /// Deletes the refresh token of the credential at Vault.
    fn forget_grant(
        &self,
        credential: &Credential,
        token: &VaultToken,
    ) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Revokes a token and its children. One that is not valid any more counts as revoked.
    fn revoke(
        &self,
        credential: &Credential,
        token: &VaultToken,
    ) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Waits until the keytab of an identity has changed since its last login, which failed.
    fn new_keytab(&self, identity: &Identity) -> impl Future<Output = ()> + Send;

    /// Allows one request for a person's order, though Vault asked to wait.
    fn retry_now(&self) {}

    /// Used part of the limit of requests; `None` without one.
    fn requests_used(&self) -> Option<RequestsUsed> {
        None
    }
}

impl OwnedToken {
    /// Returns its remaining lifetime.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> Duration {
        until(now, self.life.expires)
    }

    /// Returns the token whose revocation revokes this one.
    #[must_use]
    pub fn root(&self) -> &VaultToken {
        match &self.parent {
            Some(parent) => &parent.token,
            None => &self.token,
        }
    }
}
