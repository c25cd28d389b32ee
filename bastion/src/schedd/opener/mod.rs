//! Access tokens that open credds: one for each account and authorizing credential, shared by its
//! deliveries, cached until shortly before it expires, and read with a session of its own.
//!
//! Always true: the token has the least scope that opens a credd, where the issuer exchanges tokens; where
//! it refuses the unreduced one is used, and that is remembered for a while. A credd that refuses the reduced one is
//! shown the unreduced one only if that credential itself is delivered there: its vault token reads that there anyway.
//! What one credd refuses changes nothing for another one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use htvault::{AccessToken, AccessTokenAnswer, Claims};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::model::delivery::{Credential, Delivery, DeliveryId};
use crate::model::moment::{after, until};
use crate::model::problem::{Kind, Problem, Remedy};
use crate::system::keyed::Keyed;
use crate::system::locked::locked;
use crate::vault::failure::SharedFailure;
use crate::vault::sessions::{CredentialKey, Session, Sessions, key};
use crate::vault::{AccessKind, Vault};

/// End of a token's life that is not used: a push must be over before it expires.
const RESERVE: Duration = Duration::from_mins(2);

/// Lifetime of a token that does not say its end.
const UNKNOWN_LIFE: Duration = Duration::from_mins(5);

const AFTER_REFUSAL: Duration = Duration::from_hours(1);
/// Pause after an exchange that failed by an outage.
const AFTER_OUTAGE: Duration = Duration::from_mins(5);

/// Scopes that open a credd, the smallest first: HTCondor's own scope, or WLCG's.
const SUFFICIENT: [&str; 2] = [
    "condor:/WRITE",
    "compute.create,compute.modify,compute.cancel,compute.read",
];

/// Access tokens of one credential, and knowledge of reduced ones.
#[derive(Default)]
struct Opener {
    /// That credential: another configuration may give its name to another one.
    credential: Option<Arc<Credential>>,
    /// The one with the least scope that the issuer gives.
    least: Option<Cached>,
    /// The unreduced one, for credds that refused the other.
    full: Option<Cached>,
    reduction: Reduction,
    /// The last failure to get a token.
    failed: Option<SharedFailure<Width>>,
}

impl Opener {
    fn cached(&mut self, width: Width) -> &mut Option<Cached> {
        match width {
            Width::Least => &mut self.least,
            Width::Full => &mut self.full,
        }
    }
}

/// Scope of a token that a delivery's credd is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Least,
    Full,
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

#[derive(Clone, Copy, Default)]
enum Reduction {
    #[default]
    Untried,
    /// They have these scopes.
    To(&'static str),
    /// They are not tried before this time.
    NotBefore(Instant),
}

pub(crate) struct Openers<V> {
    sessions: Arc<Sessions<V>>,
    by_credential: Keyed<CredentialKey, Opener>,
    /// Deliveries whose credds refused a reduced token, with the time at which one is shown again.
    widened: Mutex<HashMap<DeliveryId, Instant>>,
}

impl<V: Vault> Openers<V> {
    pub(crate) fn new(sessions: Arc<Sessions<V>>) -> Self {
        Self {
            sessions,
            by_credential: Keyed::default(),
            widened: Mutex::default(),
        }
    }

    /// An access token that opens a delivery's credd; nothing where none is needed.
    pub(crate) async fn of(&self, delivery: &Delivery) -> Result<Option<AccessToken>, Problem> {
        if !delivery.target.needs_opener() {
            return Ok(None);
        }
        self.get(delivery).await.map(Some)
    }

    pub(crate) fn left(&self, token: &AccessToken) -> Duration {
        let expires = Claims::read(token.expose()).and_then(|claims| claims.expires);
        expires.map_or(UNKNOWN_LIFE, |end| {
            until(self.sessions.logins.clock.now(), end)
        })
    }

    /// An access token for a delivery's credd that is not about to expire: a cached one, or a new one. A failure answers all
    /// who waited for the same.
    async fn get(&self, delivery: &Delivery) -> Result<AccessToken, Problem> {
        let asked = Instant::now();
        let mut opener = self.by_credential.lock(key(&delivery.authorize)).await;
        if opener.credential.as_ref() != Some(&delivery.authorize) {
            *opener = Opener {
                credential: Some(Arc::clone(&delivery.authorize)),
                ..Opener::default()
            };
        }
        let now = self.sessions.logins.clock.now();
        let Opener { least, full, .. } = &mut *opener;
        for cached in [least, full] {
            cached.take_if(|cached| !cached.is_good(now));
        }
        let width = self.width(delivery);
        if let Some(cached) = opener.cached(width) {
            return Ok(cached.token.clone());
        }
        let failed = opener.failed.as_ref();
        if let Some(problem) = failed.and_then(|failed| failed.answer(&width, asked)) {
            return Err(problem);
        }
        let answer = match self.read(delivery, width, &mut opener, now).await {
            Err(problem) if problem.kind == Kind::TokenDead => {
                // The session died before its time; a new one is made once.
                self.sessions.close(&delivery.authorize).await;
                self.read(delivery, width, &mut opener, now).await
            }
            answer => answer,
        };
        answer.inspect_err(|problem| {
            opener.failed = Some(SharedFailure::new(width, problem));
        })
    }

    /// Forgets the access token that a delivery's credd refused. A reduced one may be followed by unreduced ones for a
    /// while, though it may have been refused for another reason: at this credd alone, and only if what is delivered
    /// there is that very credential.
    pub(crate) async fn forget(&self, delivery: &Delivery) {
        let mut opener = self.by_credential.lock(key(&delivery.authorize)).await;
        let width = self.width(delivery);
        *opener.cached(width) = None;
        let was_reduced = width == Width::Least && matches!(opener.reduction, Reduction::To(_));
        if was_reduced && may_be_widened(delivery) {
            let now = Instant::now();
            let mut widened = locked(&self.widened);
            widened.retain(|_, until| now < *until);
            widened.insert(delivery.id.clone(), now + AFTER_REFUSAL);
        }
    }

    /// The scope of the tokens that a delivery's credd is shown now.
    fn width(&self, delivery: &Delivery) -> Width {
        let widened = locked(&self.widened);
        let until = widened.get(&delivery.id);
        let is_wide = until.is_some_and(|until| Instant::now() < *until);
        // A configuration that was changed may have another credential open the credd.
        if is_wide && may_be_widened(delivery) {
            Width::Full
        } else {
            Width::Least
        }
    }

    async fn read(
        &self,
        delivery: &Delivery,
        width: Width,
        opener: &mut Opener,
        now: Timestamp,
    ) -> Result<AccessToken, Problem> {
        let session = self.sessions.get(&delivery.authorize).await?;
        let answer = match width {
            Width::Least => self.least(&session, &mut opener.reduction).await?,
            Width::Full => self.sessions.read(&session, AccessKind::Full).await?,
        };
        let left = answer
            .expires()
            .map_or(Duration::ZERO, |end| until(now, end));
        let good_until = after(now, left.saturating_sub(RESERVE.min(left / 4)));
        // An unreduced one in the place of a reduced one, until that is tried again.
        let reduced_again = match opener.reduction {
            Reduction::NotBefore(time) if width == Width::Least => {
                after(now, time.saturating_duration_since(Instant::now()))
            }
            _ => Timestamp::MAX,
        };
        *opener.cached(width) = Some(Cached {
            token: answer.token.clone(),
            good_until: good_until.min(reduced_again),
            session: Arc::downgrade(&session),
        });
        Ok(answer.token)
    }

    async fn least(
        &self,
        session: &Session,
        reduction: &mut Reduction,
    ) -> Result<AccessTokenAnswer, Problem> {
        let full = || self.sessions.read(session, AccessKind::Full);
        let (scopes, unreduced) = match *reduction {
            Reduction::NotBefore(time) if Instant::now() < time => return full().await,
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
        *reduction = Reduction::NotBefore(Instant::now() + pause);
        match unreduced {
            Some(answer) => Ok(answer),
            None => full().await,
        }
    }
}

/// Returns `true` when a delivery's credd may be shown an unreduced token after a refusal: what is stored there reads it.
fn may_be_widened(delivery: &Delivery) -> bool {
    delivery.authorize == delivery.credential
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
