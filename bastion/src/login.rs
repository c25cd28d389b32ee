//! The real Vault: Kerberos logins from keytabs, child tokens, access tokens, over [`htvault`].
//!
//! What holds: a vault token belongs to one delivery, with a login of its own; logins and tokens
//! are in memory only. Requests are bounded in number at a time and, if configured, in number over
//! time. Each call has a time limit.

use std::sync::Arc;
use std::time::Duration;

use htvault::clock::Clock;
use htvault::{
    AccessTokenAnswer, AccessTokenRequest, Client, CredentialUrl, ErrorKind, IssuedToken,
    RequestsUsed, VaultToken,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::warn;

use crate::config::{Config, VaultSettings};
use crate::delivery::{Credential, Identity};
use crate::moment::after;
use crate::plan::Life;
use crate::problem::{Kind, Problem};
use crate::ticket::Tickets;
use crate::vault::{Held, Reading, Vault};

/// Requests to Vault at a time.
const AT_A_TIME: usize = 8;
/// What an access token must have left to be of use for a push.
const ENOUGH: u64 = 30;

/// A Vault that is logged in to by Kerberos.
pub struct HtVault {
    client: Client,
    /// What the client was made of.
    settings: VaultSettings,
    service: String,
    tickets: Tickets,
    places: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
}

impl HtVault {
    /// Makes the client; nothing is sent yet.
    ///
    /// # Errors
    /// The certificate authorities cannot be read.
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, htvault::Error> {
        Ok(Self {
            client: Client::new(&config.vault.for_client()?)?,
            settings: config.vault.clone(),
            service: config.kerberos_service.clone(),
            tickets: Tickets::new(Arc::clone(&clock)),
            places: Arc::new(Semaphore::new(AT_A_TIME)),
            clock,
        })
    }

    /// The same by another configuration. What is known of a Vault whose settings stay is kept: its
    /// connections, which of its addresses answers, what was sent of the requests that it allows,
    /// and for how long it wants to be left alone. Tickets are asked for anew.
    ///
    /// # Errors
    /// The certificate authorities cannot be read.
    pub fn anew(&self, config: &Config) -> Result<Self, htvault::Error> {
        // Made in any case: authorities that cannot be read are a fault of the new configuration.
        let mut new = Self::new(config, Arc::clone(&self.clock))?;
        new.tickets = self.tickets.anew();
        if new.settings == self.settings {
            new.client = self.client.clone();
            new.places = Arc::clone(&self.places);
        }
        Ok(new)
    }

    /// Waits until a request may be sent. The semaphore is never closed.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.places.acquire().await.ok()
    }

    async fn read_with(
        &self,
        credential: &Credential,
        token: &VaultToken,
        reading: Reading,
        minimum_seconds: Option<u64>,
    ) -> Result<AccessTokenAnswer, htvault::Error> {
        let exchange;
        let (url, scopes, audience) = match reading {
            Reading::Full => (&credential.full_url, None, None),
            Reading::Reduced(scopes) => {
                exchange = CredentialUrl::sts(
                    &credential.url.server(),
                    &credential.issuer,
                    &credential.credkey,
                    &credential.role,
                )?;
                (&exchange, Some(scopes.to_owned()), None)
            }
            Reading::ForJobs => (
                &credential.url,
                credential.scope_list(),
                credential.audience.clone(),
            ),
        };
        let request = AccessTokenRequest {
            minimum_seconds,
            scopes,
            audience,
        };
        let _turn = self.turn().await;
        self.client.access_token(url, token, &request).await
    }
}

impl Vault for HtVault {
    async fn login(&self, credential: &Credential) -> Result<IssuedToken, Problem> {
        let identity = &credential.identity;
        let host = self.client.settings().kerberos_host();
        let negotiate = self
            .tickets
            .negotiate(identity, &self.service, host)
            .await
            .map_err(|error| Problem::from_kerberos(identity, self.client.server(), &error))?;
        let answer = {
            let _turn = self.turn().await;
            self.client
                .login(&credential.issuer, &credential.role, &negotiate)
                .await
        };
        match answer {
            Ok(issued) => Ok(issued),
            Err(error) => {
                if error.kind() == ErrorKind::LoginRefused {
                    self.tickets.forget(identity).await;
                }
                Err(Problem::from_vault(credential, &error, true))
            }
        }
    }

    async fn issue(
        &self,
        credential: &Credential,
        login: IssuedToken,
        lifetime: Duration,
    ) -> Result<Held, Problem> {
        let now = self.clock.now();
        let child = {
            let _turn = self.turn().await;
            self.client
                .create_token(&login.token, lifetime.as_secs())
                .await
        };
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                // Nobody has seen the login; it must not live on for weeks.
                let _ = self.revoke(credential, &login.token).await;
                return Err(Problem::from_vault(credential, &error, false));
            }
        };
        if !child.warnings.is_empty() {
            warn!(
                account = credential.identity.account,
                service = credential.service,
                warnings = child.warnings.join("; "),
                "Vault warns of the new token"
            );
        }
        // Never longer than asked for, whatever the server says.
        let life = Duration::from_secs(child.lease_seconds).min(lifetime);
        Ok(Held {
            token: child.token,
            parent: Some(login.token),
            accessor: child.accessor,
            life: Life {
                issued: now,
                expires: after(now, life),
            },
        })
    }

    async fn read(
        &self,
        credential: &Credential,
        token: &VaultToken,
        reading: Reading,
    ) -> Result<AccessTokenAnswer, Problem> {
        let first = self
            .read_with(credential, token, reading, Some(ENOUGH))
            .await;
        let answer = match first {
            // Vault may still have one that lives less, and jobs are better off with it.
            Err(error) if error.kind() == ErrorKind::NotLongEnough => {
                let again = self.read_with(credential, token, reading, None).await;
                again.map_err(|_| error)
            }
            answer => answer,
        };
        answer.map_err(|error| Problem::from_vault(credential, &error, false))
    }

    async fn look_up(
        &self,
        credential: &Credential,
        token: &VaultToken,
    ) -> Result<Option<(Life, String)>, Problem> {
        let _turn = self.turn().await;
        let now = self.clock.now();
        match self.client.lookup_self(token).await {
            Ok(info) => {
                let life = Life {
                    issued: now,
                    expires: after(now, Duration::from_secs(info.ttl_seconds)),
                };
                Ok(Some((life, info.accessor)))
            }
            Err(error) if error.kind() == ErrorKind::TokenRejected => Ok(None),
            Err(error) => Err(Problem::from_vault(credential, &error, false)),
        }
    }

    async fn has_grant(
        &self,
        credential: &Credential,
        token: &VaultToken,
    ) -> Result<bool, Problem> {
        match self.read_with(credential, token, Reading::Full, None).await {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                ErrorKind::NoneStored => Ok(false),
                // It is there, and of no use now.
                ErrorKind::RefreshRefused | ErrorKind::NotLongEnough => Ok(true),
                _ => Err(Problem::from_vault(credential, &error, false)),
            },
        }
    }

    async fn forget_grant(
        &self,
        credential: &Credential,
        token: &VaultToken,
    ) -> Result<(), Problem> {
        let _turn = self.turn().await;
        self.client
            .forget_refresh_token(&credential.full_url, token)
            .await
            .map_err(|error| Problem::from_vault(credential, &error, false))
    }

    async fn new_keytab(&self, identity: &Identity) {
        self.tickets.new_keytab(identity).await;
    }

    fn requests_used(&self) -> Option<RequestsUsed> {
        self.client.requests_used()
    }

    async fn revoke(&self, credential: &Credential, token: &VaultToken) -> Result<(), Problem> {
        let _turn = self.turn().await;
        match self.client.revoke_self(token).await {
            Ok(()) => Ok(()),
            Err(error) => match Problem::from_vault(credential, &error, false) {
                problem if problem.kind == Kind::TokenDead => Ok(()),
                problem => Err(problem),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use htvault::RequestLimit;
    use htvault::clock::SystemClock;

    use super::*;
    use crate::fixtures;

    fn config() -> Config {
        let mut config = fixtures::config(Vec::new());
        // Nobody listens there.
        config.vault.servers = vec!["https://127.0.0.1:1".parse().unwrap()];
        config.vault.requests = Some(RequestLimit {
            limit: 10,
            per: Duration::from_hours(24),
        });
        config
    }

    #[tokio::test]
    async fn a_vault_that_stays_keeps_its_count_of_requests_over_a_reload() {
        let vault = HtVault::new(&config(), Arc::new(SystemClock)).unwrap();
        let used = |vault: &HtVault| vault.requests_used().unwrap().used;
        let token = VaultToken::from("s.none".to_owned());
        let credential = fixtures::credential("a", "cms");
        vault.look_up(&credential, &token).await.unwrap_err();
        assert_eq!(used(&vault), 1);

        let mut other = config();
        other.spread = Duration::from_secs(1);
        let again = vault.anew(&other).unwrap();
        assert_eq!(used(&again), 1);
        // Both are bounded by the same count while tries of before the reload still run.
        vault.look_up(&credential, &token).await.unwrap_err();
        assert_eq!(used(&again), 2);

        other.vault.servers = vec!["https://127.0.0.1:2".parse().unwrap()];
        assert_eq!(used(&again.anew(&other).unwrap()), 0);
        other.vault.tls.ca_file = Some("/nowhere".into());
        assert!(again.anew(&other).is_err());
    }
}
