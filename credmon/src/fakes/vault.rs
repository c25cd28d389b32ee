//! A Vault that behaves as the recorded server does: it has a cached token for each path and an issuer
//! behind it. A cached token is given while it lives long enough, else the issuer is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use htvault::clock::Clock as _;
use htvault::{AccessToken, AccessTokenAnswer, AccessTokenRequest, Claims, ErrorKind};
use jiff::{SignedDuration, Timestamp};

use super::TestClock;
use crate::model::fixtures::failure;
use crate::model::{Failure, VaultLife};
use crate::renewal::{Caller, Vault};
use crate::store::CompleteTop;

/// Seconds that a vault token lives.
const VAULT_LIFE: i64 = 7 * 86_400;

/// A request as the server got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) at: Timestamp,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) token: String,
    pub(crate) request: AccessTokenRequest,
}

/// State of the server, and what it was asked.
#[derive(Debug)]
pub(crate) struct Server {
    /// Seconds that a new access token lives.
    pub(crate) life: i64,
    /// Issuers that give nothing.
    pub(crate) issuers_down: BTreeSet<String>,
    pub(crate) refresh_refused: bool,
    /// Hosts at which every request fails so.
    pub(crate) down: BTreeMap<String, ErrorKind>,
    /// Users whose requests fail so, with `Retry-After`.
    pub(crate) refused: BTreeMap<String, (ErrorKind, Option<Duration>)>,
    /// Hosts that take so many seconds to answer.
    pub(crate) slow: BTreeMap<String, u64>,
    /// Users whose requests panic.
    pub(crate) panics: BTreeSet<String>,
    /// So many requests in so many seconds; further ones get 429 and `Retry-After`.
    pub(crate) limit: Option<(usize, i64)>,
    /// Vault tokens that are dead.
    pub(crate) dead: BTreeSet<String>,
    /// Vault tokens that a policy refuses.
    pub(crate) forbidden: BTreeSet<String>,
    /// Requests for access tokens.
    pub(crate) asked: Vec<Asked>,
    /// Times of look-ups.
    pub(crate) looked_up: Vec<Timestamp>,
    pub(crate) under_way: usize,
    pub(crate) most_under_way: usize,
    cache: BTreeMap<String, (Timestamp, String)>,
    issued: u64,
}

/// The server, as a source of access tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct FakeVault {
    server: Arc<Mutex<Server>>,
    clock: TestClock,
}

/// A request under way.
struct UnderWay<'a>(&'a FakeVault);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.with(|server| server.under_way -= 1);
    }
}

impl FakeVault {
    pub(crate) fn new(clock: TestClock) -> Self {
        let server = Server {
            life: 3600,
            issuers_down: BTreeSet::new(),
            refresh_refused: false,
            down: BTreeMap::new(),
            refused: BTreeMap::new(),
            slow: BTreeMap::new(),
            panics: BTreeSet::new(),
            limit: None,
            dead: BTreeSet::new(),
            forbidden: BTreeSet::new(),
            asked: Vec::new(),
            looked_up: Vec::new(),
            under_way: 0,
            most_under_way: 0,
            cache: BTreeMap::new(),
            issued: 0,
        };
        Self {
            server: Arc::new(Mutex::new(server)),
            clock,
        }
    }

    /// Changes or reads the server's state.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Server) -> T) -> T {
        // A request may have panicked, as a test wanted.
        act(&mut self.server.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Present time by the server's clock, which is right.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The answer takes its time.
    async fn wait(&self, host: &str) {
        let seconds = self.with(|server| {
            server.under_way += 1;
            server.most_under_way = server.most_under_way.max(server.under_way);
            server.slow.get(host).copied().unwrap_or(0)
        });
        let _under_way = UnderWay(self);
        tokio::time::sleep(Duration::from_secs(seconds) + Duration::from_millis(5)).await;
    }
}

impl Server {
    /// `Retry-After` of a quota that is used up.
    fn quota(&self, now: Timestamp) -> Option<Duration> {
        let (limit, seconds) = self.limit?;
        let from = now - SignedDuration::from_secs(seconds);
        let recent: Vec<_> = self.asked.iter().filter(|asked| asked.at > from).collect();
        let oldest = recent.get(recent.len().checked_sub(limit)?)?;
        Some(Duration::try_from(oldest.at.duration_since(from)).unwrap())
    }

    fn answer(&mut self, asked: Asked) -> Result<AccessTokenAnswer, Failure> {
        let now = asked.at;
        let minimum = i64::try_from(asked.request.minimum_seconds.unwrap_or(0)).unwrap();
        let path = asked.path.clone();
        let user = path.rsplit(['/', ':']).nth(1).unwrap().to_owned();
        let issuer = path.rsplit('/').nth(1).unwrap().to_owned();
        let fail = |kind| Err(failure(kind, &path));
        let (host, token) = (asked.host.clone(), asked.token.clone());
        let quota = self.quota(now);
        self.asked.push(asked);
        assert!(!self.panics.contains(&user), "as the test wants");
        if let Some(kind) = self.down.get(&host) {
            return fail(*kind);
        }
        if quota.is_some() {
            self.asked.pop();
            return Err(Failure {
                retry_after: quota,
                ..failure(ErrorKind::RateLimited, &path)
            });
        }
        if let Some((kind, retry_after)) = self.refused.get(&user) {
            return Err(Failure {
                retry_after: *retry_after,
                ..failure(*kind, &path)
            });
        }
        if self.dead.contains(&token) {
            return fail(ErrorKind::TokenRejected);
        }
        if self.forbidden.contains(&token) {
            return fail(ErrorKind::Forbidden);
        }
        let left = |expires: Timestamp| expires.as_second() - now.as_second();
        let (expires, text) = match self.cache.get(&path).cloned() {
            Some(cached) if left(cached.0) >= minimum => cached,
            _ if self.refresh_refused => return fail(ErrorKind::RefreshRefused),
            _ if self.issuers_down.contains(&issuer) => return fail(ErrorKind::NotLongEnough),
            _ => {
                self.issued += 1;
                let expires = Timestamp::from_second(now.as_second() + self.life).unwrap();
                let text = jwt(&serde_json::json!({
                    "iat": now.as_second(), "exp": expires.as_second(),
                    "jti": self.issued.to_string(), "sub": user,
                    "iss": format!("https://{issuer}.test"),
                }));
                self.cache.insert(path.clone(), (expires, text.clone()));
                if minimum > self.life {
                    // It is new, and kept, but not what was asked for.
                    return fail(ErrorKind::NotLongEnough);
                }
                (expires, text)
            }
        };
        Ok(AccessTokenAnswer {
            claims: Claims::read(&text),
            token: AccessToken::from(text),
            expire_time: Some(expires),
            warnings: Vec::new(),
        })
    }
}

/// A token with claims and without a signature.
pub(crate) fn jwt(claims: &serde_json::Value) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in claims.to_string().as_bytes().chunks(3) {
        let bits = chunk
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for n in 0..=chunk.len() {
            let digit = bits >> (18 - 6 * n) & 63;
            text.push(char::from(DIGITS[usize::try_from(digit).unwrap()]));
        }
    }
    format!("eyJhbGciOiJub25lIn0.{text}.c2ln")
}

impl Vault for FakeVault {
    async fn access_token(
        &self,
        caller: &Caller,
        top: &CompleteTop,
        request: &AccessTokenRequest,
    ) -> Result<AccessTokenAnswer, Failure> {
        caller.requests.fetch_add(1, Ordering::Relaxed);
        let host = top.url.server().host().to_owned();
        self.wait(&host).await;
        let asked = Asked {
            at: self.clock.now(),
            host,
            path: top.url.path().to_owned(),
            token: top.vault_token.expose().to_owned(),
            request: request.clone(),
        };
        self.with(|server| server.answer(asked))
    }

    async fn look_up(
        &self,
        caller: &Caller,
        top: &CompleteTop,
    ) -> Result<Option<VaultLife>, Failure> {
        caller.requests.fetch_add(1, Ordering::Relaxed);
        let host = top.url.server().host().to_owned();
        self.wait(&host).await;
        let now = self.clock.now();
        let expires = now + SignedDuration::from_secs(VAULT_LIFE);
        self.with(|server| {
            server.looked_up.push(now);
            match server.down.get(&host) {
                Some(kind) if kind.scope() == htvault::FailureScope::Host => {
                    Err(failure(*kind, "lookup-self"))
                }
                _ if server.dead.contains(top.vault_token.expose()) => Ok(None),
                _ => Ok(Some(VaultLife(Some(expires)))),
            }
        })
    }
}
