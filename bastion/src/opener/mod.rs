//! Access tokens that open credds: one for each account and authorising credential, shared by its
//! deliveries, from a login of its own that never leaves this process.
//!
//! What holds: the token has the least scope that opens a credd, where the issuer exchanges; where
//! it refuses, or a credd wants more, the unreduced one is used, and that is remembered for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use htvault::{AccessToken, AccessTokenAnswer, VaultToken};
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::delivery::{Credential, Delivery};
use crate::moment::{after, until};
use crate::problem::{Kind, Problem, Remedy};
use crate::push::Parts;
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

struct Opener {
    credential: Arc<Credential>,
    login: VaultToken,
    accessor: String,
    /// When a new login is made.
    login_until: Timestamp,
    access: Option<(AccessToken, Timestamp)>,
}

/// Whether tokens are reduced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reduction {
    #[default]
    Unknown,
    /// To these scopes.
    To(&'static str),
    /// A credd refused the reduced one, perhaps for another reason.
    Doubted,
    /// Not before this moment.
    Not(Timestamp),
}

#[derive(Default)]
struct State {
    opener: Option<Opener>,
    reduction: Reduction,
}

type Slot = Arc<Mutex<State>>;

/// The openers.
#[derive(Default)]
pub(crate) struct Openers(Mutex<HashMap<(String, String), Slot>>);

impl<V: Vault, T> Parts<V, T> {
    /// An access token that opens a delivery's credd; nothing where none is asked for.
    pub(crate) async fn opener(&self, delivery: &Delivery) -> Result<Option<AccessToken>, Problem> {
        let (opener, _) = self.opener_and_age(delivery).await?;
        Ok(opener)
    }

    /// The same, and `true` when it was read just now.
    pub(crate) async fn opener_and_age(
        &self,
        delivery: &Delivery,
    ) -> Result<(Option<AccessToken>, bool), Problem> {
        if !delivery.target.needs_opener() {
            return Ok((None, false));
        }
        let (opener, is_new) = self.openers.get(self, &delivery.authorize).await?;
        Ok((Some(opener), is_new))
    }

    /// A login for a credential that serves no delivery: to read access tokens with.
    pub(crate) async fn reader(&self, credential: &Arc<Credential>) -> Result<VaultToken, Problem> {
        let slot = self.openers.slot(credential).await;
        let mut slot = slot.lock().await;
        let opener = slot.opener.take();
        let opener = login(self, credential, opener, self.clock.now()).await?;
        let token = opener.login.clone();
        slot.opener = Some(opener);
        Ok(token)
    }

    /// Revokes the login that opens credds with one credential, and forgets its access token.
    pub(crate) async fn close_opener(&self, credential: &Credential) {
        close(self, &self.openers.slot(credential).await).await;
    }

    /// Revokes the logins that open credds: they serve nobody but this process.
    pub(crate) async fn close_openers(&self) {
        let mut openers = self.openers.0.lock().await;
        let slots: Vec<Slot> = openers.drain().map(|(_, slot)| slot).collect();
        drop(openers);
        for slot in slots {
            close(self, &slot).await;
        }
    }
}

impl Openers {
    /// An access token of `credential` that lives a while; `true` when it was read just now.
    async fn get<V: Vault, T>(
        &self,
        parts: &Parts<V, T>,
        credential: &Arc<Credential>,
    ) -> Result<(AccessToken, bool), Problem> {
        let slot = self.slot(credential).await;
        let mut slot = slot.lock().await;
        let now = parts.clock.now();
        if let Some(opener) = &slot.opener
            && let Some((access, good_until)) = &opener.access
            && now < *good_until
        {
            return Ok((access.clone(), false));
        }
        let access = match read(parts, credential, &mut slot, now).await {
            // The login died before its time; a new one is made once.
            Err(problem) if problem.kind == Kind::TokenDead => {
                slot.opener = None;
                read(parts, credential, &mut slot, now).await
            }
            answer => answer,
        };
        Ok((access?, true))
    }

    /// Forgets an access token that a credd refused.
    pub(crate) async fn forget(&self, credential: &Credential) {
        let slot = self.slot(credential).await;
        let mut slot = slot.lock().await;
        if let Some(opener) = &mut slot.opener {
            opener.access = None;
        }
        if let Reduction::To(_) = slot.reduction {
            slot.reduction = Reduction::Doubted;
        }
    }

    async fn slot(&self, credential: &Credential) -> Slot {
        let key = (
            credential.identity.account.clone(),
            credential.service.clone(),
        );
        Arc::clone(self.0.lock().await.entry(key).or_default())
    }
}

async fn close<V: Vault, T>(parts: &Parts<V, T>, slot: &Slot) {
    if let Some(opener) = slot.lock().await.opener.take() {
        let Opener {
            credential,
            login,
            accessor,
            ..
        } = opener;
        parts.end_login(&credential, &login, &accessor).await;
    }
}

async fn read<V: Vault, T>(
    parts: &Parts<V, T>,
    credential: &Arc<Credential>,
    slot: &mut State,
    now: Timestamp,
) -> Result<AccessToken, Problem> {
    let opener = slot.opener.take();
    let mut opener = login(parts, credential, opener, now).await?;
    let answer = least(&parts.vault, &opener, &mut slot.reduction, now).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(problem) => {
            slot.opener = Some(opener);
            return Err(problem);
        }
    };
    let left = answer
        .expires()
        .map_or(Duration::ZERO, |end| until(now, end));
    let good = left.saturating_sub(RESERVE.min(left / 4));
    opener.access = Some((answer.token.clone(), after(now, good)));
    slot.opener = Some(opener);
    Ok(answer.token)
}

/// The login that is there, if it is of use, or a new one.
async fn login<V: Vault, T>(
    parts: &Parts<V, T>,
    credential: &Arc<Credential>,
    opener: Option<Opener>,
    now: Timestamp,
) -> Result<Opener, Problem> {
    // A changed configuration may name another place under the same service.
    let is_of_use = |o: &Opener| now < o.login_until && o.credential == *credential;
    if let Some(opener) = opener.filter(is_of_use) {
        return Ok(opener);
    }
    let login = parts.login(credential).await?;
    let life = Duration::from_secs(login.lease_seconds);
    Ok(Opener {
        credential: Arc::clone(credential),
        login: login.token,
        accessor: login.accessor,
        login_until: after(now, life / 4 * 3),
        access: None,
    })
}

/// Reads the token with the least scope.
async fn least(
    vault: &impl Vault,
    opener: &Opener,
    reduction: &mut Reduction,
    now: Timestamp,
) -> Result<AccessTokenAnswer, Problem> {
    let credential = &opener.credential;
    let full = || vault.read(credential, &opener.login, Reading::Full);
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
    let reduced = vault
        .read(credential, &opener.login, Reading::Reduced(scopes))
        .await;
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
