//! Access tokens that open credds: one for each account and authorizing credential, shared by its
//! deliveries, cached until shortly before it expires, and read with a session of its own.
//!
//! Always true: the token has the least scope that opens a credd, where the issuer exchanges tokens; where
//! it refuses, or a credd needs more, the unreduced one is used, and that is remembered for a while.

use std::sync::{Arc, Weak};
use std::time::Duration;

use htvault::{AccessToken, AccessTokenAnswer};
use jiff::Timestamp;

use crate::model::delivery::{Credential, Delivery};
use crate::model::moment::{after, until};
use crate::model::problem::{Kind, Problem, Remedy};
use crate::system::keyed::Keyed;
use crate::vault::sessions::{CredentialKey, Session, Sessions, key};
use crate::vault::{AccessKind, Vault};

/// End of a token's life that is not used: a push must be over before it expires.
const RESERVE: Duration = Duration::from_mins(2);

/// Pause after a refused exchange.
const AFTER_REFUSAL: Duration = Duration::from_hours(1);
/// Pause after an exchange that failed by an outage.
const AFTER_OUTAGE: Duration = Duration::from_mins(5);

/// Scopes that open a credd, the smallest first: HTCondor's own scope, or WLCG's.
const SUFFICIENT: [&str; 2] = [
    "condor:/WRITE",
    "compute.create,compute.modify,compute.cancel,compute.read",
];

/// Access token of one credential, and knowledge of reduced ones.
#[derive(Default)]
struct Opener {
    cached: Option<Cached>,
    reduction: Reduction,
}

struct Cached {
    token: AccessToken,
    good_until: Timestamp,
    /// Session that it was read with: once that is closed, the token is not used any more.
    session: Weak<Session>,
}

/// Use of reduced tokens.
#[derive(Clone, Copy, Default)]
enum Reduction {
    #[default]
    Untried,
    /// They have these scopes.
    To(&'static str),
    /// They are not tried before this time.
    NotBefore(Timestamp),
}

/// Access tokens that open credds.
pub(crate) struct Openers<V> {
    sessions: Arc<Sessions<V>>,
    openers: Keyed<CredentialKey, Opener>,
}

impl<V: Vault> Openers<V> {
    pub(crate) fn new(sessions: Arc<Sessions<V>>) -> Self {
        let openers = Keyed::default();
        Self { sessions, openers }
    }

    /// An access token that opens a delivery's credd; nothing where none is needed.
    pub(crate) async fn of(&self, delivery: &Delivery) -> Result<Option<AccessToken>, Problem> {
        if !delivery.target.needs_opener() {
            return Ok(None);
        }
        self.get(&delivery.authorize).await.map(Some)
    }

    /// An access token of `credential` that is not about to expire: the cached one, or a new one.
    async fn get(&self, credential: &Arc<Credential>) -> Result<AccessToken, Problem> {
        let mut opener = self.openers.lock(key(credential)).await;
        let now = self.sessions.clock.now();
        let is_good =
            |cached: &&Cached| now < cached.good_until && cached.session.strong_count() > 0;
        if let Some(cached) = opener.cached.as_ref().filter(is_good) {
            return Ok(cached.token.clone());
        }
        match self.read(credential, &mut opener, now).await {
            Err(problem) if problem.kind == Kind::TokenDead => {
                // The session died before its time; a new one is made once.
                self.sessions.close(credential).await;
                self.read(credential, &mut opener, now).await
            }
            answer => answer,
        }
    }

    /// Forgets an access token that a credd refused. A reduced one is followed by unreduced ones, though it may
    /// have been refused for another reason.
    pub(crate) async fn forget(&self, credential: &Credential) {
        let mut opener = self.openers.lock(key(credential)).await;
        opener.cached = None;
        if let Reduction::To(_) = opener.reduction {
            let now = self.sessions.clock.now();
            opener.reduction = Reduction::NotBefore(after(now, AFTER_REFUSAL));
        }
    }

    async fn read(
        &self,
        credential: &Arc<Credential>,
        opener: &mut Opener,
        now: Timestamp,
    ) -> Result<AccessToken, Problem> {
        let session = self.sessions.get(credential).await?;
        let answer = self.least(&session, &mut opener.reduction, now).await?;
        let left = answer
            .expires()
            .map_or(Duration::ZERO, |end| until(now, end));
        opener.cached = Some(Cached {
            token: answer.token.clone(),
            good_until: after(now, left.saturating_sub(RESERVE.min(left / 4))),
            session: Arc::downgrade(&session),
        });
        Ok(answer.token)
    }

    /// Reads the token with the least scope.
    async fn least(
        &self,
        session: &Session,
        reduction: &mut Reduction,
        now: Timestamp,
    ) -> Result<AccessTokenAnswer, Problem> {
        let full = || self.sessions.read(session, AccessKind::Full);
        let (scopes, unreduced) = match *reduction {
            Reduction::NotBefore(time) if now < time => return full().await,
            Reduction::To(scopes) => (scopes, None),
            // The unreduced one, which Vault has cached, shows which scopes there are.
            Reduction::Untried | Reduction::NotBefore(_) => {
                let answer = full().await?;
                match reducible_to(&answer) {
                    Some(scopes) => (scopes, Some(answer)),
                    None => return Ok(answer),
                }
            }
        };
        let reduced = self
            .sessions
            .read(session, AccessKind::Reduced(scopes))
            .await;
        let pause = match reduced {
            Ok(answer) if has_scopes(&answer, scopes) => {
                *reduction = Reduction::To(scopes);
                return Ok(answer);
            }
            Err(problem) if problem.kind == Kind::TokenDead => return Err(problem),
            Err(problem) if problem.kind.remedy() == Remedy::Wait => AFTER_OUTAGE,
            // Refused, or given without what was asked for.
            Ok(_) | Err(_) => AFTER_REFUSAL,
        };
        *reduction = Reduction::NotBefore(after(now, pause));
        match unreduced {
            Some(answer) => Ok(answer),
            None => full().await,
        }
    }
}

/// Scopes to reduce a token to, when it has them and others besides.
fn reducible_to(full: &AccessTokenAnswer) -> Option<&'static str> {
    let all = full.claims.as_ref()?.scopes.len();
    let scopes = SUFFICIENT
        .into_iter()
        .find(|scopes| has_scopes(full, scopes))?;
    (scopes.split(',').count() < all).then_some(scopes)
}

/// Returns `true` when a token says that it has these scopes.
fn has_scopes(answer: &AccessTokenAnswer, scopes: &str) -> bool {
    answer.claims.as_ref().is_some_and(|claims| {
        let has = |scope| claims.scopes.iter().any(|own| own == scope);
        scopes.split(',').all(has)
    })
}

#[cfg(test)]
mod tests;
