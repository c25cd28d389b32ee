//! A Vault, credds and credmons that behave, on tokio's clock, for component tests.
//!
//! Tokens really die, a child with its parent; a credmon serves only what a living token is for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use htvault::clock::Clock;
use htvault::{AccessToken, AccessTokenAnswer, Claims, IssuedToken, VaultToken};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use crate::config::Search;
use crate::delivery::{Credential, Delivery, DeliveryId};
use crate::discovery::{Ad, Known};
use crate::moment::{after, before, until};
use crate::plan::Life;
use crate::problem::{Cause, Kind, Problem};
use crate::push::Parts;
use crate::transport::{Held as HeldCount, Observed, StoreFailure, Transport};
use crate::vault::{Held, Reading, Vault};

/// Credmons make a new access token this often.
const SERVES_EVERY: Duration = Duration::from_mins(5);
/// Life of a login.
const LOGIN: Duration = Duration::from_hours(28 * 24);

/// What a credd has stored of one delivery.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) top: SecretString,
    pub(crate) at: Timestamp,
    pub(crate) served: Option<Timestamp>,
    /// The credmon has not served it yet.
    pub(crate) is_new: bool,
}

struct Token {
    parent: Option<String>,
    expires: Timestamp,
}

/// Everything outside.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fault of its own, and they go together in any way"
)]
pub(crate) struct World {
    begin: Instant,
    tokens: BTreeMap<String, Token>,
    next: u64,
    pub(crate) logins: u32,
    pub(crate) calls: u32,
    /// Calls of them that were made in vain, to a Vault that is down.
    pub(crate) in_vain: u32,
    /// Vault answers nothing.
    pub(crate) vault_down: bool,
    /// Vault's cluster has no leader.
    pub(crate) no_leader: bool,
    /// By how many seconds this host's clock is wrong; others' clocks are right.
    pub(crate) clock_wrong_by: i64,
    /// Schedds that take a minute to answer nothing.
    pub(crate) schedds_hang: BTreeSet<String>,
    /// Deliveries whose token was dead when it was replaced.
    pub(crate) dark: BTreeSet<DeliveryId>,
    /// Accounts whose keytab is missing.
    pub(crate) no_keytab: BTreeSet<String>,
    /// Schedds that answer nothing.
    pub(crate) schedds_down: BTreeSet<String>,
    /// How long credmons take.
    pub(crate) credmon_takes: Duration,
    /// The credmons run.
    pub(crate) credmons: bool,
    /// Scopes of every access token.
    pub(crate) scopes: Vec<String>,
    /// Life of every access token.
    pub(crate) access_life: Duration,
    pub(crate) stored: BTreeMap<DeliveryId, Stored>,
    pub(crate) stores: u32,
    /// The issuer refuses every refresh token.
    pub(crate) no_grant: bool,
    /// URLs of credentials whose refresh token is forgotten.
    pub(crate) forgotten: BTreeSet<String>,
    /// What collectors answer, by group; nothing when there is none.
    pub(crate) pools: BTreeMap<String, Vec<Ad>>,
    /// How exchanges of tokens fail; they do not when `None`.
    pub(crate) exchange_fails: Option<Kind>,
    /// What was read.
    pub(crate) reads: Vec<Reading>,
    /// Held jobs, by account and schedd.
    pub(crate) held: BTreeMap<(String, String), u64>,
    /// How often queues were asked.
    pub(crate) queues_asked: u32,
    /// Deliveries that something is done for now.
    busy: BTreeSet<DeliveryId>,
}

/// A shared world.
#[derive(Clone)]
pub(crate) struct Outside(Arc<Mutex<World>>);

/// What is done for a delivery; two at once are a broken law.
struct Busy(Outside, DeliveryId);

impl Busy {
    fn begin(outside: &Outside, id: &DeliveryId) -> Self {
        assert!(
            outside.lock().busy.insert(id.clone()),
            "two tries at once for {id}"
        );
        Self(outside.clone(), id.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.lock().busy.remove(&self.1);
    }
}

pub(crate) type FakeParts = Parts<Outside, Outside>;

impl Outside {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(World {
            begin: Instant::now(),
            tokens: BTreeMap::new(),
            next: 0,
            logins: 0,
            calls: 0,
            in_vain: 0,
            vault_down: false,
            no_leader: false,
            clock_wrong_by: 0,
            schedds_hang: BTreeSet::new(),
            dark: BTreeSet::new(),
            no_keytab: BTreeSet::new(),
            schedds_down: BTreeSet::new(),
            credmon_takes: Duration::from_secs(1),
            credmons: true,
            scopes: vec!["storage.read:/".to_owned()],
            access_life: Duration::from_mins(20),
            stored: BTreeMap::new(),
            stores: 0,
            no_grant: false,
            forgotten: BTreeSet::new(),
            pools: BTreeMap::new(),
            exchange_fails: None,
            reads: Vec::new(),
            held: BTreeMap::new(),
            queues_asked: 0,
            busy: BTreeSet::new(),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub(crate) fn parts(&self) -> Arc<FakeParts> {
        Arc::new(Parts::new(
            self.clone(),
            self.clone(),
            Arc::new(self.clone()),
        ))
    }

    /// Vault answers, after a moment, if it is up.
    async fn vault(&self) -> Result<(), Problem> {
        tokio::time::sleep(Duration::from_millis(5)).await;
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

impl World {
    /// The time by this host's clock.
    fn clock(&self) -> Timestamp {
        let wrong = Duration::from_secs(self.clock_wrong_by.unsigned_abs());
        if self.clock_wrong_by < 0 {
            before(self.now(), wrong)
        } else {
            after(self.now(), wrong)
        }
    }

    /// The true time.
    pub(crate) fn now(&self) -> Timestamp {
        // Midnight, so that ticks of cron are easily told.
        let base = Timestamp::from_second(1_795_305_600).unwrap();
        after(base, self.begin.elapsed())
    }

    pub(crate) fn is_alive(&self, token: &str) -> bool {
        let mut next = Some(token);
        while let Some(name) = next {
            match self.tokens.get(name) {
                Some(token) if token.expires > self.now() => next = token.parent.as_deref(),
                _ => return false,
            }
        }
        true
    }

    /// Living tokens that are not logins.
    pub(crate) fn living_children(&self) -> usize {
        let children = self
            .tokens
            .iter()
            .filter(|(_, token)| token.parent.is_some());
        children.filter(|(name, _)| self.is_alive(name)).count()
    }

    /// Living tokens of every sort.
    pub(crate) fn living(&self) -> usize {
        let names = self.tokens.keys();
        names.filter(|name| self.is_alive(name)).count()
    }

    /// Ends a token before its time.
    pub(crate) fn kill(&mut self, token: &str) {
        self.tokens.remove(token);
    }

    /// The token that is stored for a delivery.
    pub(crate) fn token_at(&self, id: &DeliveryId) -> Option<String> {
        let stored = self.stored.get(id)?;
        let json: serde_json::Value = serde_json::from_str(stored.top.expose_secret()).ok()?;
        Some(json["vault_token"].as_str()?.to_owned())
    }

    fn make(&mut self, parent: Option<String>, life: Duration) -> String {
        // A server forgets what ended.
        let now = self.now();
        self.tokens.retain(|_, token| token.expires > now);
        self.next += 1;
        let name = format!("s.secret{}", self.next);
        let expires = after(self.now(), life);
        self.tokens.insert(name.clone(), Token { parent, expires });
        name
    }
}

impl Clock for Outside {
    fn now(&self) -> Timestamp {
        self.lock().clock()
    }
}

impl Vault for Outside {
    async fn login(&self, credential: &Credential) -> Result<IssuedToken, Problem> {
        let account = &credential.identity.account;
        if self.lock().no_keytab.contains(account) {
            let cause = Cause::Account(account.clone());
            return Err(Problem::new(cause, Kind::Keytab, "no such keytab"));
        }
        self.vault().await?;
        let mut world = self.lock();
        world.logins += 1;
        let token = world.make(None, LOGIN);
        Ok(IssuedToken {
            token: VaultToken::from(token),
            accessor: String::new(),
            lease_seconds: LOGIN.as_secs(),
            policies: Vec::new(),
            user: None,
            warnings: Vec::new(),
        })
    }

    async fn issue(&self, credential: &Credential, lifetime: Duration) -> Result<Held, Problem> {
        let login = self.login(credential).await?;
        self.vault().await?;
        let mut world = self.lock();
        let token = world.make(Some(login.token.expose().to_owned()), lifetime);
        let issued = world.clock();
        Ok(Held {
            accessor: token.replace("s.secret", "accessor"),
            token: VaultToken::from(token),
            parent: Some(login.token),
            life: Life {
                issued,
                expires: after(issued, lifetime),
            },
        })
    }

    async fn read(
        &self,
        credential: &Credential,
        token: &VaultToken,
        reading: Reading,
    ) -> Result<AccessTokenAnswer, Problem> {
        self.vault().await?;
        let mut world = self.lock();
        world.reads.push(reading);
        if !world.is_alive(token.expose()) {
            return Err(Problem::new(
                Cause::credential(credential),
                Kind::TokenDead,
                "dead",
            ));
        }
        let scopes = match reading {
            Reading::Reduced(_) if world.exchange_fails.is_some() => {
                let cause = Cause::credential(credential);
                let kind = world.exchange_fails.unwrap();
                return Err(Problem::new(cause, kind, "no exchange"));
            }
            Reading::Reduced(scopes) => scopes.split(',').map(str::to_owned).collect(),
            Reading::Full | Reading::ForJobs => world.scopes.clone(),
        };
        let ends = after(world.now(), world.access_life);
        if world.no_grant {
            let cause = Cause::credential(credential);
            return Err(Problem::new(cause, Kind::NotOnboarded, "invalid_grant"));
        }
        Ok(AccessTokenAnswer {
            token: AccessToken::from(format!(
                "ey.secret {}.{}",
                scopes.join(" "),
                ends.as_second()
            )),
            claims: Some(Claims {
                issuer: Some("https://issuer.test".to_owned()),
                subject: Some(credential.credkey.clone()),
                scopes,
                id: Some("jti".to_owned()),
                expires: Some(after(world.clock(), world.access_life)),
                ..Claims::default()
            }),
            expire_time: None,
            warnings: Vec::new(),
        })
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
        let life = |token: &Token| Life {
            issued: world.clock(),
            expires: after(world.clock(), until(world.now(), token.expires)),
        };
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
        self.lock().tokens.remove(token.expose());
        Ok(())
    }
}

impl Transport for Outside {
    async fn observe(
        &self,
        delivery: &Delivery,
        opener: Option<&AccessToken>,
    ) -> Result<Observed, Problem> {
        let _busy = Busy::begin(self, &delivery.id);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(opener.is_some(), delivery.target.needs_opener());
        if self.lock().schedds_hang.contains(&delivery.id.schedd) {
            tokio::time::sleep(Duration::from_mins(1)).await;
            return Err(Problem::new(
                Cause::schedd(delivery),
                Kind::CreddDown,
                "no answer",
            ));
        }
        let mut world = self.lock();
        up(&world, delivery)?;
        let ends =
            |token: &AccessToken| token.expose().rsplit('.').next().unwrap().parse().unwrap();
        if opener.is_some_and(|opener| world.now().as_second() >= ends(opener)) {
            return Err(Problem::new(
                Cause::schedd(delivery),
                Kind::CreddRefused,
                "too old",
            ));
        }
        let alive = world
            .token_at(&delivery.id)
            .is_some_and(|token| world.is_alive(&token));
        let (now, credmons, takes) = (world.now(), world.credmons, world.credmon_takes);
        let Some(stored) = world.stored.get_mut(&delivery.id) else {
            return Ok(Observed::default());
        };
        // The credmon serves what is stored, and again every five minutes while the token lives.
        let first = after(stored.at, takes);
        if credmons && alive && now >= first {
            let again =
                until(first, now).as_secs() / SERVES_EVERY.as_secs() * SERVES_EVERY.as_secs();
            let last = after(first, Duration::from_secs(again));
            if stored.is_new {
                stored.served = Some(now);
                stored.is_new = false;
            } else if stored.served.is_none_or(|served| served < last) {
                stored.served = Some(last);
            }
        }
        let readable = delivery.target.is_readable();
        // A credd tells whole seconds.
        let told = |time: Timestamp| {
            if readable {
                time
            } else {
                Timestamp::from_second(time.as_second()).unwrap()
            }
        };
        Ok(Observed {
            stored: Some(told(stored.at)),
            served: stored.served.map(told),
            serves_until: None,
            content: readable.then(|| stored.top.clone()),
        })
    }

    async fn store(
        &self,
        delivery: &Delivery,
        top: &SecretString,
        _: Option<&AccessToken>,
    ) -> Result<(), StoreFailure> {
        let _busy = Busy::begin(self, &delivery.id);
        tokio::time::sleep(Duration::from_millis(5)).await;
        let mut world = self.lock();
        up(&world, delivery).map_err(|problem| StoreFailure {
            problem,
            misplaced: false,
        })?;
        world.stores += 1;
        let there = world.token_at(&delivery.id);
        if there.is_some_and(|there| !world.is_alive(&there)) {
            world.dark.insert(delivery.id.clone());
        }
        let served = world
            .stored
            .get(&delivery.id)
            .and_then(|stored| stored.served);
        let stored = Stored {
            top: top.clone(),
            at: world.now(),
            served,
            is_new: true,
        };
        world.stored.insert(delivery.id.clone(), stored);
        let token = world.token_at(&delivery.id).unwrap();
        assert!(world.is_alive(&token), "a dead token was pushed");
        Ok(())
    }

    async fn delete(&self, delivery: &Delivery, _: Option<&AccessToken>) -> Result<(), Problem> {
        let _busy = Busy::begin(self, &delivery.id);
        tokio::time::sleep(Duration::from_millis(5)).await;
        let mut world = self.lock();
        up(&world, delivery)?;
        world.stored.remove(&delivery.id);
        Ok(())
    }

    async fn find(&self, search: &Search, _: &Known) -> Result<Vec<Ad>, Problem> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let world = self.lock();
        let found = world.pools.get(&search.group).cloned();
        found.ok_or_else(|| {
            let cause = Cause::Group(search.group.clone());
            Problem::new(cause, Kind::CollectorDown, "refused")
        })
    }

    fn learn(&self, _: &Search, _: &Known) {}

    async fn held_jobs(
        &self,
        delivery: &Delivery,
        opener: Option<&AccessToken>,
        release: Option<&BTreeSet<String>>,
    ) -> Result<Option<HeldCount>, Problem> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(opener.is_some(), delivery.target.needs_opener());
        if delivery.target.is_readable() {
            return Ok(None);
        }
        let mut world = self.lock();
        world.queues_asked += 1;
        let key = (delivery.id.account.clone(), delivery.id.schedd.clone());
        let held = world.held.entry(key).or_default();
        let released = if release.is_some() {
            std::mem::take(held)
        } else {
            0
        };
        Ok(Some(HeldCount {
            left: *held,
            released,
        }))
    }
}

fn up(world: &World, delivery: &Delivery) -> Result<(), Problem> {
    if world.schedds_down.contains(&delivery.id.schedd) {
        return Err(Problem::new(
            Cause::schedd(delivery),
            Kind::CreddDown,
            "refused",
        ));
    }
    Ok(())
}
