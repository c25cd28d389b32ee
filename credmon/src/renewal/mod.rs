//! One task from beginning to end: read `.top`, ask Vault (for less, if it cannot give that much),
//! install `.use`.
//!
//! The token in place is replaced only by one that expires later, unless it came from another `.top`
//! or is of another identity than Vault gives. If `.top` changes while Vault is asked, what came is
//! thrown away. Nothing is ever deleted.

mod cache;
mod dns;
mod vault;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use htvault::clock::Clock;
use htvault::{AccessTokenAnswer, AccessTokenRequest, ErrorKind};
use jiff::Timestamp;

use crate::model::{
    CLOCK_TOLERANCE, Failure, Lifetime, Outcome, RenewalTask, TaskKind, TokenInfo, VaultLife,
};
use crate::store::{CompleteTop, Files};

pub(crate) use vault::HtVault;

/// Seconds of life that any token in Vault's cache has which is worth an answer.
const ANY: u64 = 10;

/// The account that asks a Vault, with its requests.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) account: Arc<str>,
    /// HTTP requests so far, counted when they are sent: one question may go to several addresses.
    pub(crate) requests: Arc<AtomicU32>,
}

/// Gives access tokens: HTVault, or a fake in tests.
pub(crate) trait Vault: Send + Sync + 'static {
    /// Reads an access token.
    fn access_token(
        &self,
        caller: &Caller,
        top: &CompleteTop,
        request: &AccessTokenRequest,
    ) -> impl Future<Output = Result<AccessTokenAnswer, Failure>> + Send;

    /// Expiry of the vault token; `None` for a dead one.
    fn look_up(
        &self,
        caller: &Caller,
        top: &CompleteTop,
    ) -> impl Future<Output = Result<Option<VaultLife>, Failure>> + Send;
}

/// Does a task; returns its outcome, and the number of requests that were sent, to all addresses.
pub(crate) async fn run<V: Vault, F: Files>(
    task: RenewalTask,
    files: Arc<F>,
    vault: Arc<V>,
    clock: Arc<dyn Clock>,
) -> (Outcome, u32) {
    let attempt = Attempt {
        task: &task,
        vault: &*vault,
        clock: &*clock,
        caller: Caller {
            account: task.route.account.clone(),
            requests: Arc::default(),
        },
    };
    let outcome = attempt.run(&files).await.unwrap_or_else(|outcome| outcome);
    (outcome, attempt.caller.requests.load(Ordering::Relaxed))
}

struct Attempt<'a, V> {
    task: &'a RenewalTask,
    vault: &'a V,
    clock: &'a dyn Clock,
    caller: Caller,
}

impl<V: Vault> Attempt<'_, V> {
    /// The outcome; as an error where it cuts the way short.
    async fn run<F: Files>(&self, files: &Arc<F>) -> Result<Outcome, Outcome> {
        let top = files.read_top(self.task).await?;
        let TaskKind::Renew {
            minimum_seconds,
            current,
        } = &self.task.kind
        else {
            let found = self.look_up(&top).await.map_err(Outcome::Failed)?;
            return Ok(found.map_or_else(|| dead(&top), Outcome::LookedUp));
        };
        let (answer, shorter) = self.ask(&top, *minimum_seconds, current.as_deref()).await?;
        if is_no_gain(&answer, current.as_deref()) {
            return Ok(shorter.map_or(Outcome::Unchanged, Outcome::Failed));
        }
        let token = (files.install_use(self.task, answer, self.clock.now())).await?;
        let by_nature = |failure: &Failure| {
            let length = token.lifetime.map(Lifetime::length);
            failure.kind == Some(ErrorKind::NotLongEnough)
                && length.is_some_and(|length| length <= *minimum_seconds)
        };
        let shorter = shorter.filter(|failure| !by_nature(failure));
        Ok(Outcome::Renewed {
            token: Arc::new(token),
            shorter,
        })
    }

    /// Asks Vault, first for the lifetime that is wanted, then for what is just worth having. Says
    /// why it is less.
    async fn ask(
        &self,
        top: &CompleteTop,
        minimum_seconds: i64,
        current: Option<&TokenInfo>,
    ) -> Result<(AccessTokenAnswer, Option<Failure>), Outcome> {
        let request = AccessTokenRequest {
            minimum_seconds: u64::try_from(minimum_seconds).ok(),
            scopes: top.scopes.clone(),
            audience: top.audience.clone(),
        };
        let began = self.clock.now();
        let current = current.and_then(|token| token.lifetime);
        let best = htvault::best_access_token(
            &top.url,
            &request,
            current.map(|lifetime| lifetime.expires),
            || self.clock.now(),
            |failure: &Failure| failure.kind.unwrap_or(ErrorKind::Configuration),
            async |request| self.access_token(top, &request).await,
        );
        let failure = match best.await {
            Ok(best) => return Ok((best.answer, best.less_because)),
            Err(failure) => failure,
        };
        if failure.kind == Some(ErrorKind::NotLongEnough)
            && let Some(current) = current.filter(|current| is_asked_to_beat(*current, began))
            && self.issuer_works(top, request, current, began).await
        {
            return Err(Outcome::Unchanged);
        }
        if failure.kind != Some(ErrorKind::TokenRejected) {
            return Err(Outcome::Failed(failure));
        }
        Err(match self.look_up(top).await {
            Ok(None) => dead(top),
            Ok(Some(_)) => {
                let text = format!("{} (the vault token is valid)", failure.text);
                Outcome::Failed(Failure::of(ErrorKind::Forbidden, text, failure.words))
            }
            Err(failure) => Outcome::Failed(failure),
        })
    }

    /// Finds out whether an issuer works though it gives no better token than the one in place, since its new
    /// tokens live shorter: Vault has one in its cache then that is not the one in place and was issued since the
    /// task began.
    async fn issuer_works(
        &self,
        top: &CompleteTop,
        request: AccessTokenRequest,
        current: Lifetime,
        began: Timestamp,
    ) -> bool {
        let request = AccessTokenRequest {
            minimum_seconds: Some(ANY),
            ..request
        };
        let answer = self.access_token(top, &request).await.ok();
        let issued = answer.and_then(|answer| answer.claims?.issued);
        let is_new = |issued: Timestamp| {
            let seconds = |time: Timestamp| time.as_second();
            issued > current.issued
                && seconds(issued) >= seconds(began).saturating_sub(CLOCK_TOLERANCE)
                && seconds(issued) <= seconds(self.clock.now()).saturating_add(CLOCK_TOLERANCE)
        };
        issued.is_some_and(is_new)
    }

    async fn access_token(
        &self,
        top: &CompleteTop,
        request: &AccessTokenRequest,
    ) -> Result<AccessTokenAnswer, Failure> {
        self.vault.access_token(&self.caller, top, request).await
    }

    async fn look_up(&self, top: &CompleteTop) -> Result<Option<VaultLife>, Failure> {
        self.vault.look_up(&self.caller, top).await
    }
}

fn dead(top: &CompleteTop) -> Outcome {
    Outcome::TokenDead(format!(
        "{} refuses the vault token, and lookup-self says that it is dead",
        top.url
    ))
}

/// `true` for a token with more life left than any token in Vault's cache that is worth an answer: so much was asked
/// for.
fn is_asked_to_beat(current: Lifetime, began: Timestamp) -> bool {
    let left = current
        .expires
        .as_second()
        .saturating_sub(began.as_second());
    u64::try_from(left).is_ok_and(|left| left > ANY)
}

/// `true` when the token in place is as good. A token of another identity never is. One that has
/// expired by this host's clock is a gain, too: the clock may be wrong, and jobs run on other hosts.
fn is_no_gain(answer: &AccessTokenAnswer, current: Option<&TokenInfo>) -> bool {
    let Some(current) = current else {
        return false;
    };
    let claims = answer.claims.as_ref();
    let issuer = claims.and_then(|c| c.issuer.as_deref());
    let subject = claims.and_then(|c| c.subject.as_deref());
    match (answer.expires(), current.lifetime) {
        (Some(expires), Some(present)) => {
            current.is_of_same_identity(issuer, subject) && expires <= present.expires
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
