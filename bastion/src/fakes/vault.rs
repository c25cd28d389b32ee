//! The fake Vault: every call takes a moment, and is counted.

use std::time::Duration;

use htvault::{AccessToken, AccessTokenAnswer, Claims, IssuedToken, VaultToken};

use super::Outside;
use super::World;
use super::world::Token;
use crate::model::delivery::{Credential, Identity};
use crate::model::moment::{after, before, until};
use crate::model::problem::{Cause, Kind, Problem, Request};
use crate::model::records::Life;
use crate::vault::{AccessKind, Login, OwnedToken, Vault};

/// Time until a request that hangs is given up.
const HANGS: Duration = Duration::from_secs(40);
/// Least life of an access token that is of use.
const ENOUGH: Duration = Duration::from_secs(30);

impl Outside {
    /// A new access token.
    #[allow(clippy::unused_self, reason = "as the others")]
    fn answer(
        &self,
        credential: &Credential,
        world: &World,
        scopes: Vec<String>,
    ) -> AccessTokenAnswer {
        let ends = after(world.now(), world.access_life);
        AccessTokenAnswer {
            token: AccessToken::from(format!(
                "ey.secret {}.{}",
                scopes.join(" "),
                ends.as_second()
            )),
            claims: Some(Claims {
                issuer: Some("https://issuer.test".to_owned()),
                subject: Some(world.subject.clone().unwrap_or(credential.credkey.clone())),
                scopes,
                id: Some("jti".to_owned()),
                expires: Some(after(world.clock(), world.access_life)),
                ..Claims::default()
            }),
            expire_time: None,
            warnings: Vec::new(),
        }
    }

    /// Vault answers, after a moment, if it is up.
    async fn vault(&self) -> Result<(), Problem> {
        let takes = self.lock().vault_takes;
        tokio::time::sleep(takes).await;
        let mut world = self.lock();
        world.calls += 1;
        world.in_vain += u32::from(world.vault_down || world.no_leader);
        if world.vault_down {
            let cause = Cause::Vault(crate::fixtures::SERVER.to_owned());
            return Err(Problem::new(cause, Kind::VaultDown, "connection refused"));
        }
        if world.no_leader {
            let cause = Cause::Vault(crate::fixtures::SERVER.to_owned());
            return Err(Problem::new(
                cause,
                Kind::NoLeader,
                "500 local node not active",
            ));
        }
        Ok(())
    }
}

impl Vault for Outside {
    async fn login(&self, credential: &Credential) -> Result<IssuedToken, Problem> {
        let account = &credential.identity.account;
        if self.lock().no_keytab.contains(account) {
            let cause = Cause::Account(account.clone());
            return Err(Problem::new(cause, Kind::Keytab, "no such keytab"));
        }
        if self.lock().login_hangs.contains(account) {
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
        self.vault().await?;
        let (token, life, takes) = {
            let mut world = self.lock();
            if world.login_refused.contains(account) {
                let cause = Cause::login(credential);
                return Err(Problem::new(cause, Kind::LoginRefused, "401"));
            }
            world.logins += 1;
            let life = world.login_life;
            (world.make(None, life), life, world.vault_takes)
        };
        // It is made before its answer comes.
        tokio::time::sleep(takes / 2).await;
        Ok(IssuedToken {
            accessor: token.replace("s.secret", "accessor"),
            token: VaultToken::from(token),
            lease_seconds: life.as_secs(),
            policies: Vec::new(),
            user: None,
            warnings: Vec::new(),
        })
    }

    async fn new_keytab(&self, identity: &Identity) {
        while self.lock().no_keytab.contains(&identity.account) {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    async fn issue(
        &self,
        credential: &Credential,
        login: IssuedToken,
        lifetime: Duration,
    ) -> Result<OwnedToken, Problem> {
        self.vault().await?;
        let mut world = self.lock();
        if let Some(kind) = world.create_refused {
            let cause = Cause::credential(credential);
            return Err(Problem::new(cause, kind, "403").of(Request::Creation));
        }
        let lifetime = lifetime.min(Duration::from_secs(login.lease_seconds));
        let token = world.make(Some(login.token.expose().to_owned()), lifetime);
        let issued = world.clock();
        Ok(OwnedToken {
            accessor: token.replace("s.secret", "accessor"),
            token: VaultToken::from(token),
            parent: Some(Login::from(&login)),
            life: Life::new(issued, lifetime),
            server: credential.url.server(),
        })
    }

    async fn read(
        &self,
        credential: &Credential,
        token: &VaultToken,
        kind: AccessKind,
    ) -> Result<AccessTokenAnswer, Problem> {
        self.vault().await?;
        let panics = self.lock().panics.contains(&credential.credkey);
        if panics {
            // Without the hook, which prints: hundreds of backtraces take minutes.
            std::panic::resume_unwind(Box::new("a fault of this program"));
        }
        if self.lock().reads_hang.contains(&credential.credkey) {
            tokio::time::sleep(HANGS).await;
            let cause = Cause::credential(credential);
            return Err(Problem::new(cause, Kind::IssuerDown, "timed out"));
        }
        let mut world = self.lock();
        world.reads.push(kind);
        if !world.is_alive(token.expose()) || !world.is_known(token.expose()) {
            return Err(Problem::new(
                Cause::credential(credential),
                Kind::TokenDead,
                "dead",
            ));
        }
        let scopes = match kind {
            AccessKind::Reduced(_) if world.exchange_fails.is_some() => {
                let cause = Cause::credential(credential);
                let kind = world.exchange_fails.unwrap();
                return Err(Problem::new(cause, kind, "no exchange"));
            }
            AccessKind::Reduced(scopes) => scopes.split(',').map(str::to_owned).collect(),
            AccessKind::Full | AccessKind::ForJobs => world.scopes.clone(),
        };
        if world.no_grant {
            let cause = Cause::credential(credential);
            return Err(Problem::new(cause, Kind::NotOnboarded, "invalid_grant"));
        }
        Ok(self.answer(credential, &world, scopes))
    }

    async fn read_for_jobs(
        &self,
        credential: &Credential,
        token: &VaultToken,
        at_least: Option<Duration>,
    ) -> Result<(AccessTokenAnswer, Option<Problem>), Problem> {
        let mut answer = self.read(credential, token, AccessKind::ForJobs).await;
        let mut world = self.lock();
        let enough = world.gives(&credential.credkey, at_least.unwrap_or(ENOUGH));
        let ends = enough.or_else(|| world.gives(&credential.credkey, Duration::ZERO));
        let cause = Cause::credential(credential);
        let kind = if world.no_grant {
            Kind::NotOnboarded
        } else {
            Kind::IssuerDown
        };
        let problem = Problem::new(cause, kind, "the issuer gives no new one");
        if let Err(other) = &answer
            && other.kind == Kind::NotOnboarded
            && ends.is_some()
        {
            answer = Ok(self.answer(credential, &world, world.scopes.clone()));
        }
        let mut answer = answer?;
        let Some(ends) = ends else {
            return Err(problem);
        };
        let wrong = world.clock().duration_since(world.now());
        let life = world.access_life;
        if let Some(claims) = &mut answer.claims {
            claims.expires = ends.checked_add(wrong).ok();
            claims.issued = claims.expires.map(|end| before(end, life));
        }
        // An issuer that gives tokens of a shorter life is not down.
        let is_by_nature = problem.kind == Kind::IssuerDown
            && !world.issuer_down
            && at_least.is_some_and(|least| life < least);
        Ok((
            answer,
            Some(problem).filter(|_| enough.is_none() && !is_by_nature),
        ))
    }

    async fn look_up(
        &self,
        _: &Credential,
        token: &VaultToken,
    ) -> Result<Option<(Life, String)>, Problem> {
        self.vault().await?;
        let world = self.lock();
        let found = world.tokens.get(token.expose());
        let found = found.filter(|_| world.is_alive(token.expose()));
        let accessor = token.expose().replace("s.secret", "accessor");
        let left = |token: &Token| until(world.now(), token.expires);
        let life = |token: &Token| Life::new(world.clock(), left(token));
        Ok(found.map(|found| (life(found), accessor)))
    }

    async fn has_grant(&self, credential: &Credential, _: &VaultToken) -> Result<bool, Problem> {
        self.vault().await?;
        Ok(!self
            .lock()
            .forgotten
            .contains(&credential.full_url.to_string()))
    }

    async fn forget_grant(&self, credential: &Credential, _: &VaultToken) -> Result<(), Problem> {
        self.vault().await?;
        self.lock()
            .forgotten
            .insert(credential.full_url.to_string());
        Ok(())
    }

    async fn revoke(&self, _: &Credential, token: &VaultToken) -> Result<(), Problem> {
        self.vault().await?;
        let mut world = self.lock();
        if !world.revoke_refused {
            world.tokens.remove(token.expose());
        }
        Ok(())
    }
}
