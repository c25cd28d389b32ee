//! Logins at Vault, and sessions: logins that this process keeps to read access tokens with, one for each account and
//! service.
//!
//! Always true: a login is in the store from its creation until it expires or its revocation is seen at Vault. The token
//! of a session never leaves this process. Successes are reported to the circuit breakers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use htvault::clock::Clock;
use htvault::{AccessToken, AccessTokenAnswer, IssuedToken};
use jiff::Timestamp;
use tokio::sync::{Mutex, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::failure::SharedFailure;
use super::{AccessKind, Login, Vault};
use crate::limits::Limits;
use crate::limits::resources::{login_by, opened_by};
use crate::model::delivery::Credential;
use crate::model::moment::{after, until};
use crate::model::problem::{Cause, Kind, Problem};
use crate::model::records::{Life, LoginRecord, TokenRecord};
use crate::store::Store;
use crate::system::keyed::{Keyed, Locked};
use crate::system::stages::{Stage, Stages};

/// Sessions that are ended at a time. Requests to Vault have limits of their own.
const CLOSED_AT_ONCE: usize = 16;

/// Logins and the open sessions.
pub struct Sessions<V> {
    pub(crate) logins: Logins<V>,
    pub(crate) stages: Arc<Stages>,
    pub(crate) limits: Limits,
    under_way: TaskTracker,
    open: Keyed<CredentialKey, Opened>,
}

/// The session of a credential.
#[derive(Debug, Default)]
struct Opened {
    session: Option<Arc<Session>>,
    /// The last login that failed. The configuration may have changed since.
    failed: Option<SharedFailure<Arc<Credential>>>,
}

/// Logins at Vault, made and ended with the store's knowledge. Cheap to clone.
pub(crate) struct Logins<V> {
    pub(crate) vault: Arc<V>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Store,
}

impl<V> Clone for Logins<V> {
    fn clone(&self) -> Self {
        Self {
            vault: Arc::clone(&self.vault),
            clock: Arc::clone(&self.clock),
            store: self.store.clone(),
        }
    }
}

/// Account and service: the configuration may change the credential that they name.
pub(crate) type CredentialKey = (String, String);

pub(crate) fn key(credential: &Credential) -> CredentialKey {
    let account = credential.identity.account.clone();
    (account, credential.service.clone())
}

#[derive(Debug)]
pub(crate) struct Session {
    credential: Arc<Credential>,
    pub(crate) login: Login,
    /// Time when a new session replaces it: after three quarters of its lifetime.
    renew_at: Timestamp,
    proof: Mutex<Option<Proof>>,
}

/// Answer for jobs, with the reason why its access token lives less than asked for.
type ForJobs = (AccessTokenAnswer, Option<Problem>);

/// Result of the last proof with a session.
#[derive(Debug)]
struct Proof {
    /// Lifetime that was asked for.
    at_least: Option<Duration>,
    ended: Instant,
    result: Result<ForJobs, Problem>,
}

impl<V> Sessions<V> {
    /// No session is open yet, and no limit is used.
    pub(crate) fn new(vault: V, clock: Arc<dyn Clock>, store: Store) -> Self {
        let logins = Logins {
            vault: Arc::new(vault),
            clock,
            store,
        };
        Self {
            logins,
            stages: Arc::default(),
            limits: Limits::default(),
            under_way: TaskTracker::new(),
            open: Keyed::default(),
        }
    }

    /// Returns sessions for the Vault of another configuration, with the same counts, limits and store.
    pub(crate) fn reconfigured(&self, vault: V) -> Self {
        Self {
            stages: Arc::clone(&self.stages),
            limits: self.limits.clone(),
            ..Self::new(
                vault,
                Arc::clone(&self.logins.clock),
                self.logins.store.clone(),
            )
        }
    }
}

impl<V: Vault> Logins<V> {
    /// Logs in, and records it. One that is recorded already is not taken.
    async fn make(&self, credential: &Credential) -> Result<IssuedToken, Problem> {
        let login = self.vault.login(credential).await?;
        let accessor = login.accessor.clone();
        if (self.store).read(|content| content.logins.contains_key(&accessor)) {
            // Whose it is may need it.
            let words = "Vault's answer to a login has a token that is there already, as if something between \
                         repeated an old answer; it is not taken";
            let cause = Cause::login(credential);
            return Err(Problem::new(cause, Kind::VaultDown, words));
        }
        if !accessor.is_empty() {
            let now = self.clock.now();
            let recorded = LoginRecord {
                token: TokenRecord {
                    accessor: accessor.clone(),
                    life: Life::new(now, Duration::from_secs(login.lease_seconds)),
                },
                account: credential.identity.account.clone(),
                service: credential.service.clone(),
            };
            self.store
                .change(|content| content.logins.insert(accessor, recorded));
        }
        Ok(login)
    }

    /// Revokes a login that is not used any more. One that cannot be revoked stays in the store until it expires.
    pub(crate) async fn end(&self, credential: &Credential, login: &Login) {
        if let Ok(()) = self.vault.revoke(credential, &login.token).await
            && let Ok(None) = self.vault.look_up(credential, &login.token).await
        {
            self.store
                .change(|content| content.logins.remove(&login.accessor));
        }
    }

    async fn end_session(&self, session: &Session) {
        self.end(&session.credential, &session.login).await;
    }
}

impl<V: Vault> Sessions<V> {
    /// Logs in for a credential. A login that nobody waits for any more when it is made is revoked: the request is
    /// never cut short, for Vault would have made one that nobody knows.
    pub(crate) async fn login(&self, credential: &Credential) -> Result<IssuedToken, Problem> {
        let permit = self.limits.admit_login(credential).await?;
        let (answer, answered) = oneshot::channel();
        let (logins, credential_of_task) = (self.logins.clone(), credential.clone());
        // Boxed: tokio aligns a task to 128 bytes, and glibc leaves holes where large ones were.
        let task = self.under_way.spawn(Box::pin(async move {
            let login = logins.make(&credential_of_task).await;
            let made = login.as_ref().ok().map(Login::from);
            // Dropped with an answer that nobody takes, be it on its way already.
            let (take, taken) = oneshot::channel();
            let _ = answer.send((login, take));
            if let (Some(login), Err(_)) = (made, taken.await) {
                logins.end(&credential_of_task, &login).await;
            }
        }));
        let answered = async {
            match answered.await {
                Ok((login, take)) => {
                    let _ = take.send(());
                    login
                }
                // It broke off by a fault of this program, which is this attempt's.
                Err(_) => match task.await {
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    _ => std::future::pending().await,
                },
            }
        };
        let login = self.stages.time(Stage::Login, answered).await;
        let login = login.inspect_err(|problem| permit.login_failed(credential, problem))?;
        permit.worked(&login_by(credential));
        Ok(login)
    }

    /// Returns the open session of a credential, or a new one. Callers of the same credential wait for one login, and have
    /// its answer.
    pub(crate) async fn get(&self, credential: &Arc<Credential>) -> Result<Arc<Session>, Problem> {
        let asked = Instant::now();
        let mut opened = self.open.lock(key(credential)).await;
        let now = self.logins.clock.now();
        // A changed configuration may name another path for the same service.
        let is_usable =
            |open: &&Arc<Session>| now < open.renew_at && open.credential == *credential;
        if let Some(open) = opened.session.as_ref().filter(is_usable) {
            return Ok(Arc::clone(open));
        }
        let failed = opened.failed.as_ref();
        if let Some(problem) = failed.and_then(|failed| failed.answer(credential, asked)) {
            return Err(problem);
        }
        let login = self.login(credential).await.inspect_err(|problem| {
            opened.failed = Some(SharedFailure::new(Arc::clone(credential), problem));
        })?;
        let life = Duration::from_secs(login.lease_seconds);
        let session = Arc::new(Session {
            credential: Arc::clone(credential),
            login: Login::from(&login),
            renew_at: after(now, life / 4 * 3),
            proof: Mutex::default(),
        });
        let before = opened.session.replace(Arc::clone(&session));
        // One that is still used expires by itself.
        if let Some(before) = before.and_then(Arc::into_inner) {
            self.logins.end_session(&before).await;
        }
        Ok(session)
    }

    /// Reads an access token to open credds with.
    pub(crate) async fn read(
        &self,
        session: &Session,
        kind: AccessKind,
    ) -> Result<AccessTokenAnswer, Problem> {
        let credential = &session.credential;
        let read = (self.logins.vault).read(credential, &session.login.token, kind);
        let answer = read.await?;
        self.limits.worked(&opened_by(credential));
        Ok(answer)
    }

    /// Reads an access token for jobs with a lifetime of at least so much, for all deliveries of the credential: who asks
    /// meanwhile for no more gets the same answer, and so does who asks while that token still lives so long, if nothing
    /// was wrong with it. Vault would give it from its cache.
    pub(crate) async fn prove(
        &self,
        session: &Session,
        at_least: Option<Duration>,
    ) -> Result<ForJobs, Problem> {
        let asked = Instant::now();
        let mut last = session.proof.lock().await;
        let now = self.logins.clock.now();
        let is_enough = |proof: &&Proof| {
            let expires = match &proof.result {
                Ok((answer, None)) => answer.expires(),
                _ => None,
            };
            let lives = |least| expires.is_some_and(|end| until(now, end) >= least);
            let is_same_question = proof.ended >= asked && proof.at_least >= at_least;
            is_same_question || at_least.is_some_and(lives)
        };
        if let Some(proof) = last.as_ref().filter(is_enough) {
            return proof.result.clone();
        }
        let (credential, token) = (&session.credential, &session.login.token);
        let read = (self.logins.vault).read_for_jobs(credential, token, at_least);
        let result = read.await;
        // Nobody needs the token itself.
        let kept = result.clone().map(|(answer, less)| {
            let token = AccessToken::from(String::new());
            (AccessTokenAnswer { token, ..answer }, less)
        });
        *last = Some(Proof {
            at_least,
            ended: Instant::now(),
            result: kept,
        });
        result
    }

    /// Revokes a session that is of no use any more; another one of the credential is left.
    pub(crate) async fn close_dead(&self, session: &Arc<Session>) {
        let mut opened = self.open.lock(key(&session.credential)).await;
        let same = opened.session.take_if(|open| Arc::ptr_eq(open, session));
        if let Some(session) = same {
            self.logins.end_session(&session).await;
        }
    }

    pub(crate) async fn close(&self, credential: &Credential) {
        let mut opened = self.open.lock(key(credential)).await;
        if let Some(session) = opened.session.take() {
            self.logins.end_session(&session).await;
        }
    }

    /// Revokes all sessions: only this process uses them. Logins that are under way are waited for.
    pub(crate) async fn close_all(&self) {
        self.under_way.close();
        let end = |opened: Locked<Opened>| {
            let logins = self.logins.clone();
            async move {
                let session = opened.lock().await.session.take();
                if let Some(session) = session {
                    logins.end_session(&session).await;
                }
            }
        };
        let all = stream::iter(self.open.values());
        // One that hangs holds up no other.
        tokio::join!(
            self.under_way.wait(),
            all.for_each_concurrent(CLOSED_AT_ONCE, end)
        );
    }
}

#[cfg(test)]
mod tests;
