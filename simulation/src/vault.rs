//! Vault with the issuer and the KDC behind it, as the recorded server behaves: tokens that die with their parents, an
//! access token in its cache for each account, quotas, elections.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use htvault::{ErrorKind, VaultToken};
use jiff::Timestamp;

use crate::world::{Client, World};
use crate::{LifeClass, MINUTE, account_number};

/// Time that Vault waits for an issuer that does not answer.
const ISSUER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time that a client loses at a server that does not answer, before it asks the next one.
const NEXT_SERVER: Duration = Duration::from_secs(2);

/// A vault token.
struct Token {
    parent: Option<u64>,
    expires: Timestamp,
}

/// Vault with its three servers, the issuer, and the KDC.
pub(crate) struct Server {
    pub(crate) is_cluster_down: bool,
    pub(crate) servers_down: BTreeSet<usize>,
    pub(crate) has_leader: bool,
    /// The issuer gives nothing; `true` inside: it does not answer at all.
    pub(crate) issuer_down: Option<bool>,
    pub(crate) is_kdc_down: bool,
    /// Who gets 429.
    pub(crate) limited: BTreeSet<Client>,
    /// Accounts whose next read is refused, by who reads.
    pub(crate) wrongful: BTreeSet<(Client, usize)>,
    /// Accounts whose refresh token is invalid.
    pub(crate) grants_lost: BTreeSet<usize>,
    tokens: BTreeMap<u64, Token>,
    next: u64,
    /// Times of issue and expiry of the cached access token, by account.
    cached: BTreeMap<usize, (Timestamp, Timestamp)>,
    /// Requests of each minute.
    requests: Vec<u32>,
    asked: u64,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self {
            is_cluster_down: false,
            servers_down: BTreeSet::new(),
            has_leader: true,
            issuer_down: None,
            is_kdc_down: false,
            limited: BTreeSet::new(),
            wrongful: BTreeSet::new(),
            grants_lost: BTreeSet::new(),
            tokens: BTreeMap::new(),
            next: 0,
            cached: BTreeMap::new(),
            requests: Vec::new(),
            asked: 0,
        }
    }

    /// Requests of each minute that a server answered.
    pub(crate) fn requests(&self) -> &[u32] {
        &self.requests
    }

    fn count(&mut self, second: u64) {
        let minute = usize::try_from(second / MINUTE).unwrap_or(usize::MAX);
        if self.requests.len() <= minute {
            self.requests.resize(minute.saturating_add(1), 0);
        }
        if let Some(requests) = self.requests.last_mut() {
            *requests += 1;
        }
    }

    fn is_alive(&self, token: u64, now: Timestamp) -> bool {
        let mut next = Some(token);
        while let Some(number) = next {
            match self.tokens.get(&number) {
                Some(token) if token.expires > now => next = token.parent,
                _ => return false,
            }
        }
        true
    }

    fn make(&mut self, parent: Option<u64>, now: Timestamp, life: Duration) -> u64 {
        // A server forgets what has expired.
        if self.next.is_multiple_of(1024) {
            self.tokens.retain(|_, token| token.expires > now);
        }
        self.next += 1;
        let expires = now + life;
        self.tokens.insert(self.next, Token { parent, expires });
        self.next
    }

    /// The cached access token, or a new one.
    fn access_token(
        &mut self,
        account: usize,
        at_least: u64,
        now: Timestamp,
    ) -> Result<(Timestamp, Timestamp), ErrorKind> {
        let seconds =
            |end: Timestamp| u64::try_from(end.duration_since(now).as_secs()).unwrap_or(0);
        let cached = self.cached.get(&account);
        if let Some(cached) = cached.filter(|(_, end)| seconds(*end) >= at_least.max(1)) {
            return Ok(*cached);
        }
        let life = LifeClass::of_account(account).seconds();
        if self.grants_lost.contains(&account) {
            return Err(ErrorKind::RefreshRefused);
        }
        if self.issuer_down.is_some() || life < at_least {
            return Err(ErrorKind::NotLongEnough);
        }
        let made = (now, now + Duration::from_secs(life));
        self.cached.insert(account, made);
        Ok(made)
    }
}

/// Text of the token with this number.
fn text(number: u64) -> VaultToken {
    VaultToken::from(format!("hvs.{number}"))
}

fn number(token: &VaultToken) -> u64 {
    let number = token.expose().strip_prefix("hvs.");
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl World {
    /// A request that reaches a server, or the reason why none answers.
    async fn request(&self, client: Client) -> Result<(), ErrorKind> {
        let takes = {
            let mut server = self.server();
            server.asked += 1;
            let milliseconds = 5 + (server.asked.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60);
            let first = usize::try_from(server.asked % 3).unwrap_or(0);
            let is_down = server.servers_down.contains(&first);
            Duration::from_millis(milliseconds) + if is_down { NEXT_SERVER } else { Duration::ZERO }
        };
        tokio::time::sleep(takes).await;
        let second = self.second();
        let mut server = self.server();
        if server.is_cluster_down || server.servers_down.len() == 3 {
            return Err(ErrorKind::Unreachable);
        }
        server.count(second);
        if server.limited.contains(&client) {
            return Err(ErrorKind::RateLimited);
        }
        // Without a second server there is no majority.
        if !server.has_leader || server.servers_down.len() == 2 {
            return Err(ErrorKind::NoLeader);
        }
        Ok(())
    }

    /// A login by Kerberos; returns its token, with the lifetime.
    pub(crate) async fn login(&self, client: Client) -> Result<(VaultToken, u64), ErrorKind> {
        const LIFE: u64 = 28 * crate::DAY;
        self.request(client).await?;
        let now = self.now();
        let made = self.server().make(None, now, Duration::from_secs(LIFE));
        Ok((text(made), LIFE))
    }

    /// A child of a token.
    pub(crate) async fn create(
        &self,
        client: Client,
        parent: &VaultToken,
        life: Duration,
    ) -> Result<VaultToken, ErrorKind> {
        self.request(client).await?;
        let (now, parent) = (self.now(), number(parent));
        let mut server = self.server();
        if !server.is_alive(parent, now) {
            return Err(ErrorKind::TokenRejected);
        }
        Ok(text(server.make(Some(parent), now, life)))
    }

    /// An access token of an account; returns its times of issue and expiry.
    pub(crate) async fn read(
        &self,
        client: Client,
        account: &str,
        token: &VaultToken,
        at_least: u64,
    ) -> Result<(Timestamp, Timestamp), ErrorKind> {
        self.request(client).await?;
        let account = account_number(account).ok_or(ErrorKind::NoneStored)?;
        let hangs = {
            let now = self.now();
            let mut server = self.server();
            if server.wrongful.remove(&(client, account)) || !server.is_alive(number(token), now) {
                return Err(ErrorKind::TokenRejected);
            }
            let answer = server.access_token(account, at_least, now);
            match (answer, server.issuer_down) {
                (Err(ErrorKind::NotLongEnough), Some(true)) => true,
                (answer, _) => return answer,
            }
        };
        if hangs {
            tokio::time::sleep(ISSUER_TIMEOUT).await;
        }
        let now = self.now();
        self.server().access_token(account, at_least, now)
    }

    /// The expiry of a token; `None` for a dead one.
    pub(crate) async fn look_up(
        &self,
        client: Client,
        token: &VaultToken,
    ) -> Result<Option<Timestamp>, ErrorKind> {
        self.request(client).await?;
        let (now, number) = (self.now(), number(token));
        let server = self.server();
        let is_alive = server.is_alive(number, now);
        let token = server.tokens.get(&number).filter(|_| is_alive);
        Ok(token.map(|token| token.expires))
    }

    /// Revokes a token.
    pub(crate) async fn revoke(&self, client: Client, token: &VaultToken) -> Result<(), ErrorKind> {
        self.request(client).await?;
        self.server().tokens.remove(&number(token));
        Ok(())
    }
}
