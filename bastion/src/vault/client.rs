//! Client of a Vault: Kerberos logins from keytabs, child tokens, access tokens, over [`htvault`].
//!
//! Always true: a vault token belongs to one delivery, with a login of its own; logins and tokens are in memory
//! only. Requests are bounded in number at a time and, if configured, in number over time. Each call has a
//! deadline.

mod reads;

use std::sync::Arc;
use std::time::Duration;

use htvault::clock::Clock;
use htvault::{
    AccessTokenAnswer, Client, ErrorKind, IssuedToken, RequestsUsed, Settings, VaultToken,
};
use tracing::warn;

use super::ticket::Tickets;
use super::{AccessKind, Login, OwnedToken, Vault};
use crate::config::Config;
use crate::model::delivery::{Credential, Identity};
use crate::model::problem::{Cause, Kind, Problem, Request};
use crate::model::records::Life;
use crate::policy::verify;
use crate::system::request_slots::RequestSlots;

const AT_A_TIME: usize = 8;
/// Shortest lifetime of a created token that is accepted, in seconds.
const SHORTEST_LEASE: u64 = 10;
/// Shortest remaining lifetime of an access token that is useful for a push, in seconds.
const ENOUGH: u64 = 30;

/// Client of a Vault with logins by Kerberos.
pub struct HtVault {
    client: Client,
    service: String,
    tickets: Tickets,
    slots: Arc<RequestSlots>,
    clock: Arc<dyn Clock>,
}

impl HtVault {
    /// Makes the client; nothing is sent yet.
    ///
    /// # Errors
    /// The certificate authorities cannot be read.
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, htvault::Error> {
        Ok(Self {
            client: Client::new(&config.vault)?,
            service: config.kerberos_service.clone(),
            tickets: Tickets::new(Arc::clone(&clock)),
            slots: Arc::new(RequestSlots::new(AT_A_TIME)),
            clock,
        })
    }

    /// Returns a client for another configuration. When the Vault's settings are the same it shares connections, the
    /// address that answers, the count of requests, and the pause that Vault asked for. New tickets are fetched.
    ///
    /// # Errors
    /// The certificate authorities cannot be read.
    pub fn reconfigured(&self, config: &Config) -> Result<Self, htvault::Error> {
        // Made in any case: authorities that cannot be read are a fault of the new configuration.
        let mut new = Self::new(config, Arc::clone(&self.clock))?;
        if is_same(new.client.settings(), self.client.settings()) {
            new.client = self.client.clone();
            new.slots = Arc::clone(&self.slots);
        }
        Ok(new)
    }

    /// Waits for a slot, and sends a request. Its future is boxed: it is large, and would be part of each of the many
    /// futures that wait for it.
    async fn in_turn<A>(&self, request: impl Future<Output = A>) -> A {
        self.slots.run(Box::pin(request)).await
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
            .map_err(|error| error.into_problem(identity))?;
        let login = (self.client).login(&credential.issuer, &credential.role, &negotiate);
        match self.in_turn(login).await {
            Ok(issued) if issued.lease_seconds < SHORTEST_LEASE => {
                // One without a lifetime may live on.
                let _ = self.client.revoke_self(&issued.token).await;
                let words =
                    "Vault's answer to the login is refused: it has no lifetime, or one of seconds";
                let cause = Cause::login(credential);
                Err(Problem::new(cause, Kind::VaultDown, words))
            }
            Ok(issued) => Ok(issued),
            Err(error) => {
                if error.kind() == ErrorKind::LoginRefused {
                    self.tickets.forget(identity).await;
                }
                Err(Problem::from_vault(credential, &error, Request::Login))
            }
        }
    }

    async fn issue(
        &self,
        credential: &Credential,
        login: IssuedToken,
        lifetime: Duration,
    ) -> Result<OwnedToken, Problem> {
        let now = self.clock.now();
        let create = self.client.create_token(&login.token, lifetime.as_secs());
        let child = match self.in_turn(create).await {
            Ok(child) => accept(child, &login).map_err(|why| {
                let words = format!("Vault's answer to token/create is refused: {why}");
                let cause = Cause::credential(credential);
                Problem::new(cause, Kind::VaultDown, words).of(Request::Creation)
            }),
            Err(error) => Err(Problem::from_vault(credential, &error, Request::Creation)),
        };
        let child = child?;
        if !child.warnings.is_empty() {
            warn!(
                account = credential.identity.account,
                service = credential.service,
                warnings = child.warnings.join("; "),
                "Vault warns of the new token"
            );
        }
        let of_login = Duration::from_secs(login.lease_seconds);
        if let Some(short) = verify::short_login(credential, of_login, lifetime) {
            warn!(
                account = credential.identity.account,
                service = credential.service,
                "{short}"
            );
        }
        // Never longer than requested, and a child expires with its login.
        let lease = child.lease_seconds.min(login.lease_seconds);
        let life = Duration::from_secs(lease).min(lifetime);
        Ok(OwnedToken {
            token: child.token,
            parent: Some(Login::from(&login)),
            accessor: child.accessor,
            life: Life::new(now, life),
            server: credential.url.server(),
        })
    }

    async fn read(
        &self,
        credential: &Credential,
        token: &VaultToken,
        kind: AccessKind,
    ) -> Result<AccessTokenAnswer, Problem> {
        let first = self.read_with(credential, token, kind, Some(ENOUGH)).await;
        let answer = match first {
            // Vault may still have one with a shorter lifetime, which is better for jobs than none.
            Err(error) if error.kind() == ErrorKind::NotLongEnough => {
                let again = self.read_with(credential, token, kind, None).await;
                again.map_err(|_| error)
            }
            answer => answer,
        };
        answer.map_err(|error| Problem::from_vault(credential, &error, Request::AccessToken))
    }

    async fn read_for_jobs(
        &self,
        credential: &Credential,
        token: &VaultToken,
        at_least: Option<Duration>,
    ) -> Result<(AccessTokenAnswer, Option<Problem>), Problem> {
        let kind = AccessKind::ForJobs;
        let Some(at_least) = at_least else {
            let answer = self.read(credential, token, kind).await?;
            return Ok((answer, None));
        };
        if credential.url.is_cached() {
            return self.read_new(credential, token, kind, at_least).await;
        }
        // Vault exchanges what it has in its cache, for as long as that lives: only reading that shows whether the grant
        // is refused. For an exchange the issuer has other words then, which speak of the token.
        let whole = self.read_new(credential, token, AccessKind::Full, at_least);
        let (_, less) = whole.await?;
        match self.read_with(credential, token, kind, None).await {
            Ok(answer) => Ok((answer, less)),
            Err(error) => Err(less
                .unwrap_or_else(|| Problem::from_vault(credential, &error, Request::AccessToken))),
        }
    }

    async fn look_up(
        &self,
        credential: &Credential,
        token: &VaultToken,
    ) -> Result<Option<(Life, String)>, Problem> {
        let now = self.clock.now();
        match self.in_turn(self.client.lookup_self(token)).await {
            Ok(info) => {
                let life = Life::new(now, Duration::from_secs(info.ttl_seconds));
                Ok(Some((life, info.accessor)))
            }
            Err(error) if error.kind() == ErrorKind::TokenRejected => Ok(None),
            Err(error) => Err(Problem::from_vault(credential, &error, Request::VaultToken)),
        }
    }

    async fn has_grant(
        &self,
        credential: &Credential,
        token: &VaultToken,
    ) -> Result<bool, Problem> {
        match self
            .read_with(credential, token, AccessKind::Full, None)
            .await
        {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                ErrorKind::NoneStored => Ok(false),
                // It is stored, and cannot be used now.
                ErrorKind::RefreshRefused | ErrorKind::NotLongEnough => Ok(true),
                _ => Err(Problem::from_vault(
                    credential,
                    &error,
                    Request::AccessToken,
                )),
            },
        }
    }

    async fn forget_grant(
        &self,
        credential: &Credential,
        token: &VaultToken,
    ) -> Result<(), Problem> {
        let forget = self
            .client
            .forget_refresh_token(&credential.full_url, token);
        let forgotten = self.in_turn(forget).await;
        forgotten.map_err(|error| Problem::from_vault(credential, &error, Request::VaultToken))
    }

    async fn new_keytab(&self, identity: &Identity) {
        self.tickets.new_keytab(identity).await;
    }

    fn retry_now(&self) {
        self.client.retry_now();
    }

    fn requests_used(&self) -> Option<RequestsUsed> {
        self.client.requests_used()
    }

    async fn revoke(&self, credential: &Credential, token: &VaultToken) -> Result<(), Problem> {
        match self.in_turn(self.client.revoke_self(token)).await {
            Ok(()) => Ok(()),
            Err(error) => match Problem::from_vault(credential, &error, Request::VaultToken) {
                problem if problem.kind == Kind::TokenDead => Ok(()),
                problem => Err(problem),
            },
        }
    }
}

/// Returns true when both are settings of the configuration for the same Vault.
fn is_same(one: &Settings, other: &Settings) -> bool {
    one.servers() == other.servers() && one.tls == other.tls && one.limit == other.limit
}

/// Refuses an answer that cannot be a new token of this login.
fn accept(child: IssuedToken, login: &IssuedToken) -> Result<IssuedToken, &'static str> {
    let is_same_accessor = !child.accessor.is_empty() && child.accessor == login.accessor;
    if is_same_accessor || child.token.expose() == login.token.expose() {
        return Err("it is the login itself");
    }
    if child.lease_seconds < SHORTEST_LEASE {
        return Err("the token has no lifetime, or one of seconds");
    }
    Ok(child)
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
        config.vault = Settings::new("https://127.0.0.1:1".parse().unwrap());
        config.vault.limit = Some(RequestLimit {
            limit: 10,
            per: Duration::from_hours(24),
        });
        config
    }

    #[test]
    fn what_cannot_be_a_new_token_is_refused_at_receipt() {
        let token = |token: &str, accessor: &str, lease_seconds| IssuedToken {
            token: VaultToken::from(token.to_owned()),
            accessor: accessor.to_owned(),
            lease_seconds,
            policies: Vec::new(),
            user: None,
            warnings: Vec::new(),
        };
        let login = token("hvs.login", "a", 86_400);
        for (child, is_taken) in [
            (token("hvs.child", "b", 86_400), true),
            (token("hvs.child", "", 60), true),
            (token("hvs.login", "b", 86_400), false),
            (token("hvs.child", "a", 86_400), false),
            (token("hvs.child", "b", 0), false),
            (token("hvs.child", "b", 9), false),
        ] {
            assert_eq!(accept(child, &login).is_ok(), is_taken);
        }
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
        let again = vault.reconfigured(&other).unwrap();
        assert_eq!(used(&again), 1);
        // Both are bounded by the same count while tries of before the reload still run.
        vault.look_up(&credential, &token).await.unwrap_err();
        assert_eq!(used(&again), 2);

        other.vault = Settings::new("https://127.0.0.1:2".parse().unwrap());
        other.vault.limit = config().vault.limit;
        assert_eq!(used(&again.reconfigured(&other).unwrap()), 0);
        other.vault.tls.ca_file = Some("/nowhere".into());
        assert!(again.reconfigured(&other).is_err());
    }
}
