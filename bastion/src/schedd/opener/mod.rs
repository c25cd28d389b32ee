//! Access tokens that open credds: one for each account and authorizing credential, shared by its
//! deliveries, cached until shortly before it expires, and read with a session of its own.
//!
//! Always true: the token has the least scope that opens a credd, where the issuer exchanges tokens; where
//! it refuses, or a credd needs more, the unreduced one is used, and that is remembered for a while.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use htvault::{AccessToken, AccessTokenAnswer};
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::delivery::{Credential, Delivery};
use crate::moment::{after, until};
use crate::problem::{Kind, Problem, Remedy};
use crate::sessions::{Session, Sessions};
use crate::vault::{Reading, Vault};

/// The end of a token's life that is not used: a push is to end before it does.
const RESERVE: Duration = Duration::from_mins(2);

/// So long after a refused exchange none is tried.
const AFTER_REFUSAL: Duration = Duration::from_hours(1);
/// So long after one that failed by an outage.
const AFTER_OUTAGE: Duration = Duration::from_mins(5);

/// What a credd needs, the smallest first: HTCondor's own scope, or WLCG's.
const SUFFICIENT: [&str; 2] = [
    "condor:/WRITE",
    "compute.create,compute.modify,compute.cancel,compute.read",
];

/// Access token of one credential that opens credds, and knowledge of reduced ones.
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

impl Cached {
    fn is_good(&self, now: Timestamp) -> bool {
        now < self.good_until && self.session.strong_count() > 0
    }
}

/// Use of reduced tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reduction {
    #[default]
    Unknown,
    /// To these scopes.
    To(&'static str),
    /// A credd refused the reduced one, perhaps for another reason.
    Doubted,
    /// Not before this time.
    Not(Timestamp),
}

type Slot = Arc<Mutex<Opener>>;

/// Access tokens that open credds, by account and service.
pub(crate) struct Openers<V> {
    sessions: Arc<Sessions<V>>,
    slots: Mutex<HashMap<(String, String), Slot>>,
}

impl<V: Vault> Openers<V> {
    pub(crate) fn new(sessions: Arc<Sessions<V>>) -> Self {
        Self {
            sessions,
            slots: Mutex::default(),
        }
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
        let slot = self.slot(credential).await;
        let mut opener = slot.lock().await;
        let now = self.sessions.clock.now();
        if let Some(cached) = opener.cached.as_ref().filter(|cached| cached.is_good(now)) {
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

    async fn read(
        &self,
        credential: &Arc<Credential>,
        opener: &mut Opener,
        now: Timestamp,
    ) -> Result<AccessToken, Problem> {
        let session = self.sessions.get(credential).await?;
        let reduction = &mut opener.reduction;
        let answer = least(&self.sessions, &session, reduction, now).await?;
        let left = answer
            .expires()
            .map_or(Duration::ZERO, |end| until(now, end));
        let good = left.saturating_sub(RESERVE.min(left / 4));
        opener.cached = Some(Cached {
            token: answer.token.clone(),
            good_until: after(now, good),
            session: Arc::downgrade(&session),
        });
        Ok(answer.token)
    }

    /// Forgets an access token that a credd refused.
    pub(crate) async fn forget(&self, credential: &Credential) {
        let slot = self.slot(credential).await;
        let mut opener = slot.lock().await;
        opener.cached = None;
        if let Reduction::To(_) = opener.reduction {
            opener.reduction = Reduction::Doubted;
        }
    }

    async fn slot(&self, credential: &Credential) -> Slot {
        let key = (
            credential.identity.account.clone(),
            credential.service.clone(),
        );
        Arc::clone(self.slots.lock().await.entry(key).or_default())
    }
}

/// Reads the token with the least scope.
async fn least<V: Vault>(
    sessions: &Sessions<V>,
    session: &Session,
    reduction: &mut Reduction,
    now: Timestamp,
) -> Result<AccessTokenAnswer, Problem> {
    let full = || sessions.read(session, Reading::Full);
    if *reduction == Reduction::Doubted {
        *reduction = Reduction::Not(after(now, AFTER_REFUSAL));
    }
    let (scopes, known) = match *reduction {
        Reduction::Not(until) if now < until => return full().await,
        Reduction::To(scopes) => (scopes, None),
        // Which scopes there are, the unreduced one tells; Vault has it at hand.
        Reduction::Unknown | Reduction::Doubted | Reduction::Not(_) => {
            let answer = full().await?;
            match to_ask_for(&answer) {
                Some(scopes) => (scopes, Some(answer)),
                None => return Ok(answer),
            }
        }
    };
    let reduced = sessions.read(session, Reading::Reduced(scopes)).await;
    let pause = match reduced {
        Ok(answer) if holds(&answer, scopes) => {
            *reduction = Reduction::To(scopes);
            return Ok(answer);
        }
        Err(problem) if problem.kind == Kind::TokenDead => return Err(problem),
        Err(problem) if problem.kind.remedy() == Remedy::Wait => AFTER_OUTAGE,
        // Refused, or given without what was asked for.
        Ok(_) | Err(_) => AFTER_REFUSAL,
    };
    *reduction = Reduction::Not(after(now, pause));
    match known {
        Some(answer) => Ok(answer),
        None => full().await,
    }
}

/// The scopes to reduce a token to, when it has them and others besides.
fn to_ask_for(full: &AccessTokenAnswer) -> Option<&'static str> {
    let all = full.claims.as_ref()?.scopes.len();
    let scopes = SUFFICIENT.into_iter().find(|scopes| holds(full, scopes))?;
    (scopes.split(',').count() < all).then_some(scopes)
}

/// Whether a token says that it has these scopes.
fn holds(answer: &AccessTokenAnswer, scopes: &str) -> bool {
    answer.claims.as_ref().is_some_and(|claims| {
        let has = |scope| claims.scopes.iter().any(|own| own == scope);
        scopes.split(',').all(has)
    })
}

#[cfg(test)]
mod tests;
