//! A credd: the daemon that stores the credentials of a schedd's accounts.
//!
//! Owns the session with it. What always holds: a session serves one address, one token and no
//! longer than that token lives; whatever fails in a resumed session is done again after a full
//! authentication, within the same deadline.

mod request;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::address::Address;
use crate::classad::Ad;
use crate::connection::{connect, until};
use crate::error::{Error, Refusal, Step};
use crate::handshake::{self, Terms};
use crate::session::Session;
use crate::tls::Tls;
use crate::token::AccessToken;
use crate::wire::Stream;

pub use request::{Credential, Times};
use request::{Mode, Request};

/// Command that stores, deletes and queries credentials.
pub(crate) const STORE_CRED: i64 = 479;
/// Result codes: done, and no such credential.
const SUCCESS: i64 = 1;
const NOT_FOUND: i64 = 5;
/// Lifetime of a session unless the caller wants another.
const LIFETIME: Duration = Duration::from_mins(5);

/// One credd, opened by one access token.
///
/// Cheap enough to make for each token. It may be used by several tasks at a time.
#[derive(Debug)]
pub struct Credd {
    address: Address,
    tls: Tls,
    token: AccessToken,
    lifetime: Duration,
    session: Mutex<Option<Arc<Session>>>,
}

/// Result of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done<T> {
    /// Its outcome.
    pub outcome: T,
    /// Account that the credd takes the token's bearer for: `account@domain`.
    pub user: String,
    /// The credd's version, as it says: `$CondorVersion: 25.14.1 … $`.
    pub version: String,
    /// True when a session was resumed, so that the token was not shown again.
    pub resumed: bool,
}

impl<T> Done<T> {
    /// The same with another outcome, made of this one.
    #[must_use]
    pub fn map<U>(self, outcome: impl FnOnce(T) -> U) -> Done<U> {
        Done {
            outcome: outcome(self.outcome),
            user: self.user,
            version: self.version,
            resumed: self.resumed,
        }
    }
}

/// State of a credential that a credd has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stored {
    /// Stored (code 1).
    Stored,
    /// Stored; the credmon has not made an access token of it yet (code 6).
    Pending,
    /// Stored, and an access token made from an earlier credential is there. Its time in seconds of
    /// Unix: not that of this operation. Ask by [`Credd::query`] for what came of this one.
    Serving {
        /// Modification time of the access token's file.
        since: i64,
    },
}

impl Credd {
    /// A credd at an address, which a collector gave ([`Collector`](crate::Collector)).
    #[must_use]
    pub fn new(address: Address, tls: Tls, token: AccessToken) -> Self {
        Self {
            address,
            tls,
            token,
            lifetime: LIFETIME,
            session: Mutex::new(None),
        }
    }

    /// The same with sessions of another lifetime than five minutes. Zero: each operation
    /// authenticates anew.
    #[must_use]
    pub fn with_session_lifetime(self, lifetime: Duration) -> Self {
        Self {
            lifetime,
            // One of the old lifetime is not resumed.
            session: Mutex::new(None),
            ..self
        }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Stores a credential in the place of one of this name. `secret` is what the credmon finds: for
    /// the credmons of HTVault a JSON document.
    pub async fn store(
        &self,
        credential: &Credential,
        secret: &[u8],
        within: Duration,
    ) -> Result<Done<Stored>, Error> {
        let request = Request::new(credential, Mode::Add, secret);
        let reply = self.exchange(&request, within).await?;
        self.done(reply, |code, _| match code {
            6 => Stored::Pending,
            since @ 101.. => Stored::Serving { since },
            _ => Stored::Stored,
        })
    }

    /// Deletes a credential. That there was none is no failure.
    pub async fn delete(
        &self,
        credential: &Credential,
        within: Duration,
    ) -> Result<Done<()>, Error> {
        let request = Request::new(credential, Mode::Delete, &[]);
        let reply = found(self.exchange(&request, within).await?);
        self.done(reply, |_, _| ())
    }

    /// The times of a stored credential; `None` when there is none.
    pub async fn query(
        &self,
        credential: &Credential,
        within: Duration,
    ) -> Result<Done<Option<Times>>, Error> {
        let request = Request::new(credential, Mode::Query, &[]);
        let reply = self.exchange(&request, within).await?;
        let absent = reply.outcome.0 == NOT_FOUND;
        self.done(found(reply), |_, ad| {
            (!absent).then(|| Times::of(ad, credential))
        })
    }

    /// The names and times of all stored credentials of an account: the bearer's when `None`.
    pub async fn list(
        &self,
        account: Option<&str>,
        within: Duration,
    ) -> Result<Done<BTreeMap<String, Times>>, Error> {
        let all = Credential {
            account: account.map(str::to_owned),
            ..Credential::default()
        };
        let request = Request::new(&all, Mode::List, &[]);
        let reply = found(self.exchange(&request, within).await?);
        self.done(reply, |_, ad| Times::all(ad))
    }

    fn done<T>(&self, reply: Reply, outcome: impl FnOnce(i64, &Ad) -> T) -> Result<Done<T>, Error> {
        match Refusal::of(reply.outcome.0) {
            Some(refusal) => Err(Error::refused(refusal)
                .for_user(&reply.user)
                .at(&self.peer())),
            None => Ok(reply.map(|(code, ad)| outcome(code, &ad))),
        }
    }

    fn peer(&self) -> String {
        format!("{} at {}", self.tls.name(), self.address)
    }

    /// One request and its answer.
    async fn exchange(&self, request: &Request<'_>, within: Duration) -> Result<Reply, Error> {
        request.check()?;
        let begun = Instant::now();
        let deadline = until(within);
        if let Some(session) = self.session(begun) {
            let error = match self.resumed(&session, request, deadline).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            self.forget(&session);
            if Instant::now() >= deadline {
                return Err(error.at(&self.peer()));
            }
        }
        let reply = self.full(request, deadline).await;
        reply.map_err(|error| error.at(&self.peer()))
    }

    async fn resumed(
        &self,
        session: &Session,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        // The other half is for a full authentication, if the session is not resumed.
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        let mut stream = connect(&self.address, half).await?;
        handshake::resume(&mut stream, STORE_CRED, session).await?;
        stream.set_deadline(deadline);
        command(&mut stream, session, request, true).await
    }

    async fn full(&self, request: &Request<'_>, deadline: Instant) -> Result<Reply, Error> {
        let mut stream = connect(&self.address, deadline).await?;
        let terms = Terms {
            command: STORE_CRED,
            lifetime: self.lifetime,
            tls: &self.tls,
            token: &self.token,
        };
        let session = handshake::authenticate(&mut stream, terms).await?;
        let session = Arc::new(session);
        *self.cached() = Some(Arc::clone(&session));
        command(&mut stream, &session, request, false).await
    }

    /// The session, if it can still be resumed.
    fn session(&self, now: Instant) -> Option<Arc<Session>> {
        let mut cached = self.cached();
        *cached = cached
            .take()
            .filter(|session| session.serves(STORE_CRED, now));
        cached.clone()
    }

    /// Forgets a session, unless another has taken its place.
    fn forget(&self, session: &Arc<Session>) {
        let mut cached = self.cached();
        *cached = cached.take().filter(|cached| !Arc::ptr_eq(cached, session));
    }

    fn cached(&self) -> std::sync::MutexGuard<'_, Option<Arc<Session>>> {
        // What is in it is whole at any time.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The credd's answer: result code and ad.
type Reply = Done<(i64, Ad)>;

/// The reply, in which a credential that is absent is no failure.
fn found(reply: Reply) -> Reply {
    reply.map(|(code, ad)| match code {
        NOT_FOUND => (SUCCESS, ad),
        other => (other, ad),
    })
}

async fn command<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<T>,
    session: &Session,
    request: &Request<'_>,
    resumed: bool,
) -> Result<Reply, Error> {
    let fault = |fault| Error::wire(Step::Command, fault);
    let message = request
        .message(stream.form(), session.user())
        .map_err(fault)?;
    stream.send(&message).await.map_err(fault)?;
    let message = stream.receive().await.map_err(fault)?;
    let mut decoder = message.decoder();
    let code = decoder.integer().map_err(fault)?;
    let ad = Ad::decode(&mut decoder).map_err(fault)?;
    Ok(Done {
        outcome: (code, ad),
        user: session.user().to_owned(),
        version: session.version().to_owned(),
        resumed,
    })
}

#[cfg(test)]
mod tests;
