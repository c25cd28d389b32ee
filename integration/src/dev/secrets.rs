//! Stored credentials: refresh tokens and the access tokens cached beside them, as the oauthapp
//! plugin keeps them.
//!
//! [`Credential`] decides, purely, whether the cached access token serves and what a reader is
//! told; [`Secrets`] shares credentials between connections. What always holds: a failed refresh
//! never drops a cached access token; no lock is held while the issuer is asked, except the one
//! that keeps two refreshes of one credential from running at once, which cached reads do not take.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;

use super::duration::after;

/// An access token is no longer served when it lives less than this, whatever was asked for.
pub const LEAST_LIFE: Duration = Duration::from_secs(10);

/// An access token as the issuer gave it.
#[derive(Clone)]
pub struct AccessToken {
    /// The token.
    pub text: Arc<str>,
    /// Its type, `Bearer`.
    pub kind: Arc<str>,
    /// When it expires, by the clock of Vault.
    pub expires: Timestamp,
}

impl AccessToken {
    fn lasts(&self, now: Timestamp, minimum: Duration) -> bool {
        after(now, minimum.max(LEAST_LIFE)) <= self.expires
    }
}

/// Why the issuer gave no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerFailure {
    /// It refused; asking again will not help.
    Rejected(String),
    /// It could not be asked; later it may work.
    Transient(String),
}

/// What the issuer gave for a refresh token.
pub struct Refreshed {
    /// The new access token.
    pub access: AccessToken,
    /// A refresh token that replaces the old one.
    pub refresh_token: Option<SecretString>,
}

/// One stored credential.
#[derive(Clone)]
pub struct Credential {
    server: Arc<str>,
    refresh_token: SecretString,
    access: Option<AccessToken>,
    rejected: Option<Arc<str>>,
    transient: Option<(u32, Arc<str>)>,
}

/// What a reader is given.
pub struct Served {
    /// The issuer.
    pub server: Arc<str>,
    /// The access token.
    pub access: AccessToken,
    /// What went wrong lately, if anything.
    pub warning: Option<String>,
}

impl Credential {
    /// A refresh token that was never used here.
    #[must_use]
    pub fn onboarded(server: &str, refresh_token: SecretString) -> Self {
        Self {
            server: server.into(),
            refresh_token,
            access: None,
            rejected: None,
            transient: None,
        }
    }

    /// A credential of before a restart.
    #[must_use]
    pub fn restored(
        server: &str,
        refresh_token: SecretString,
        access: Option<AccessToken>,
    ) -> Self {
        Self {
            access,
            ..Self::onboarded(server, refresh_token)
        }
    }

    /// The cached access token.
    #[must_use]
    pub fn access(&self) -> Option<&AccessToken> {
        self.access.as_ref()
    }

    /// The issuer it is of.
    #[must_use]
    pub fn server(&self) -> &Arc<str> {
        &self.server
    }

    /// The secret to refresh with.
    #[must_use]
    pub fn refresh_token(&self) -> &SecretString {
        &self.refresh_token
    }

    /// Whether a read that needs `minimum` more must ask the issuer.
    #[must_use]
    pub fn needs_refresh(&self, now: Timestamp, minimum: Duration) -> bool {
        !(self.access.as_ref()).is_some_and(|access| access.lasts(now, minimum))
    }

    /// What a reader is told, after a refresh where one was needed.
    pub fn read(&self, now: Timestamp, minimum: Duration) -> Result<Served, String> {
        match &self.access {
            Some(access) if access.lasts(now, minimum) => Ok(Served {
                server: Arc::clone(&self.server),
                access: access.clone(),
                warning: self.warning(),
            }),
            _ => Err((self.rejected.as_deref().unwrap_or("token expired")).to_owned()),
        }
    }

    fn warning(&self) -> Option<String> {
        match (&self.rejected, &self.transient) {
            (Some(words), _) => Some(format!("token will expire: {words}")),
            (None, Some((times, words))) => Some(format!(
                "{times} attempt(s) to refresh this token failed, most recently: {words}"
            )),
            (None, None) => None,
        }
    }

    /// Takes in how a refresh went.
    pub fn refreshed(&mut self, outcome: Result<Refreshed, IssuerFailure>) {
        match outcome {
            Ok(refreshed) => {
                self.access = Some(refreshed.access);
                if let Some(next) = refreshed.refresh_token {
                    self.refresh_token = next;
                }
                self.rejected = None;
                self.transient = None;
            }
            Err(IssuerFailure::Rejected(words)) => {
                self.rejected = Some(format!("refresh failed: {words}").into());
            }
            Err(IssuerFailure::Transient(words)) => {
                let times = self.transient.as_ref().map_or(0, |(times, _)| *times);
                let words = format!("refresh failed: transient: {words}");
                self.transient = Some((times.saturating_add(1), words.into()));
            }
        }
    }
}

/// A credential that connections share.
pub struct SharedCredential {
    state: RwLock<Credential>,
    /// Held while the issuer is asked.
    pub refreshing: tokio::sync::Mutex<()>,
}

impl SharedCredential {
    /// Looks at it; the closure must be quick.
    pub fn with<R>(&self, look: impl FnOnce(&Credential) -> R) -> R {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes it; the closure must be quick.
    pub fn change<R>(&self, change: impl FnOnce(&mut Credential) -> R) -> R {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All stored credentials, by `ISSUER/CREDKEY:ROLE`.
#[derive(Default)]
pub struct Secrets {
    stored: RwLock<HashMap<String, Arc<SharedCredential>>>,
}

impl Secrets {
    /// The credential of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<SharedCredential>> {
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        stored.get(name).map(Arc::clone)
    }

    /// Stores a credential in place of any of the same name.
    pub fn put(&self, name: String, credential: Credential) {
        let shared = Arc::new(SharedCredential {
            state: RwLock::new(credential),
            refreshing: tokio::sync::Mutex::new(()),
        });
        let mut stored = self.stored.write().unwrap_or_else(PoisonError::into_inner);
        stored.insert(name, shared);
    }

    /// All credentials with their names.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Credential)> {
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        (stored.iter())
            .map(|(name, shared)| (name.clone(), shared.with(Clone::clone)))
            .collect()
    }

    /// Forgets a credential.
    pub fn remove(&self, name: &str) {
        let mut stored = self.stored.write().unwrap_or_else(PoisonError::into_inner);
        stored.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn access(expires: i64) -> Refreshed {
        Refreshed {
            access: AccessToken {
                text: "jwt".into(),
                kind: "Bearer".into(),
                expires: at(expires),
            },
            refresh_token: None,
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn fresh() -> Credential {
        Credential::onboarded("cms", SecretString::from("r"))
    }

    #[test]
    fn the_cache_serves_while_enough_is_left() {
        let mut credential = fresh();
        assert!(credential.needs_refresh(at(0), Duration::ZERO));
        credential.refreshed(Ok(access(3600)));
        assert!(!credential.needs_refresh(at(0), seconds(3600)));
        assert!(credential.needs_refresh(at(0), seconds(3601)));
        assert!(!credential.needs_refresh(at(3590), Duration::ZERO));
        assert!(credential.needs_refresh(at(3591), Duration::ZERO));
    }

    #[test]
    fn more_than_the_issuer_gives_reads_as_expired() {
        let mut credential = fresh();
        credential.refreshed(Ok(access(3600)));
        let refusal = credential.read(at(0), seconds(7200)).err();
        assert_eq!(refusal.as_deref(), Some("token expired"));
    }

    #[test]
    fn a_refused_refresh_keeps_the_cached_token_and_warns() {
        let mut credential = fresh();
        credential.refreshed(Ok(access(3600)));
        let words = "server rejected request: invalid_grant: Invalid refresh token";
        credential.refreshed(Err(IssuerFailure::Rejected(words.into())));
        let served = credential.read(at(1), seconds(60)).ok().unwrap();
        assert_eq!(
            served.warning,
            Some(format!("token will expire: refresh failed: {words}"))
        );
        let refusal = credential.read(at(1), seconds(3600)).err();
        assert_eq!(refusal, Some(format!("refresh failed: {words}")));
        credential.refreshed(Ok(access(7200)));
        assert_eq!(
            credential.read(at(1), seconds(60)).ok().unwrap().warning,
            None
        );
    }

    #[test]
    fn an_outage_reads_as_expired_and_counts_attempts() {
        let mut credential = fresh();
        credential.refreshed(Ok(access(3600)));
        for _ in 0..2 {
            credential.refreshed(Err(IssuerFailure::Transient("refused".into())));
        }
        let refusal = credential.read(at(1), seconds(3600)).err();
        assert_eq!(refusal.as_deref(), Some("token expired"));
        let warning = credential.read(at(1), seconds(60)).ok().unwrap().warning;
        assert!(warning.unwrap().starts_with("2 attempt(s) to refresh"));
    }
}
