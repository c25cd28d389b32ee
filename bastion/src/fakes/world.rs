//! The state of everything outside, and the faults that a test can switch on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use crate::model::delivery::DeliveryId;
use crate::model::moment::{after, before};
use crate::model::problem::Kind;
use crate::schedd::discovery::ScheddAd;
use crate::vault::AccessKind;

/// What a credd has stored of one delivery.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) top: SecretString,
    pub(crate) at: Timestamp,
    pub(crate) served: Option<Timestamp>,
    /// Expiry of the access token that jobs have.
    pub(crate) ends: Option<Timestamp>,
    /// The credmon has not served it yet.
    pub(crate) is_new: bool,
}

pub(super) struct Token {
    parent: Option<String>,
    made: Timestamp,
    pub(super) expires: Timestamp,
}

/// Everything outside.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fault of its own, and they go together in any way"
)]
pub(crate) struct World {
    begin: Instant,
    pub(super) tokens: BTreeMap<String, Token>,
    next: u64,
    last_child: u64,
    last_login: u64,
    pub(crate) logins: u32,
    pub(crate) calls: u32,
    /// Calls of them that were made in vain, to a Vault that is down.
    pub(crate) in_vain: u32,
    /// Vault takes so long for each answer.
    pub(crate) vault_takes: Duration,
    /// Accounts whose access tokens take 40 s, and do not come then.
    pub(crate) reads_hang: BTreeSet<String>,
    /// Accounts with which this program's own code panics when it reads an access token, and groups with which it does
    /// when it asks their collector.
    pub(crate) panics: BTreeSet<String>,
    /// Vault refuses to revoke, in the words that it has for a dead token.
    pub(crate) revoke_refused: bool,
    /// Vault answers each creation of a token with the last one that it made.
    pub(crate) create_repeats: bool,
    /// Vault creates no token, for this reason.
    pub(crate) create_refused: Option<Kind>,
    /// The same of each login.
    pub(crate) login_repeats: bool,
    /// Accounts whose logins take a minute.
    pub(crate) login_hangs: BTreeSet<String>,
    /// Accounts whose logins Vault refuses.
    pub(crate) login_refused: BTreeSet<String>,
    /// Vault answers nothing.
    pub(crate) vault_down: bool,
    /// Vault's cluster has no leader.
    pub(crate) no_leader: bool,
    /// Time after which a token is known to the standby that answers reads.
    pub(crate) lag: Duration,
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
    /// Schedds answer what they have, and take nothing more.
    pub(crate) stores_refused: bool,
    /// Schedds take what is stored, and their answer is lost.
    pub(crate) stores_unanswered: bool,
    /// How long credmons take.
    pub(crate) credmon_takes: Duration,
    /// The credmons run.
    pub(crate) credmons: bool,
    /// Scopes of every access token.
    pub(crate) scopes: Vec<String>,
    /// Life of every access token.
    pub(crate) access_life: Duration,
    /// Life of every login.
    pub(crate) login_life: Duration,
    pub(crate) stored: BTreeMap<DeliveryId, Stored>,
    /// What vanished of that.
    pub(crate) away: BTreeMap<DeliveryId, Stored>,
    pub(crate) stores: u32,
    /// Subject of access tokens, where it is not their owner's.
    pub(crate) subject: Option<String>,
    /// The issuer does not answer: Vault has what it has.
    pub(crate) issuer_down: bool,
    /// Access tokens for jobs that Vault has, by whose they are: their expiry.
    pub(crate) cached: BTreeMap<String, Timestamp>,
    /// The issuer refuses every refresh token.
    pub(crate) no_grant: bool,
    /// URLs of credentials whose refresh token is forgotten.
    pub(crate) forgotten: BTreeSet<String>,
    /// What collectors answer, by group; nothing when there is none.
    pub(crate) pools: BTreeMap<String, Vec<ScheddAd>>,
    /// How exchanges of tokens fail; they do not when `None`.
    pub(crate) exchange_fails: Option<Kind>,
    /// What was read.
    pub(crate) reads: Vec<AccessKind>,
    /// State directory of the service: a token that is stored is to be named there before.
    pub(crate) state: Option<PathBuf>,
    /// Another service works with the same deliveries.
    pub(crate) two_services: bool,
    /// Deliveries that something is done for now.
    pub(super) busy: BTreeSet<DeliveryId>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            begin: Instant::now(),
            tokens: BTreeMap::new(),
            next: 0,
            last_child: 0,
            last_login: 0,
            logins: 0,
            calls: 0,
            in_vain: 0,
            vault_takes: Duration::from_millis(5),
            reads_hang: BTreeSet::new(),
            panics: BTreeSet::new(),
            revoke_refused: false,
            create_repeats: false,
            create_refused: None,
            login_repeats: false,
            login_hangs: BTreeSet::new(),
            login_refused: BTreeSet::new(),
            vault_down: false,
            no_leader: false,
            lag: Duration::ZERO,
            clock_wrong_by: 0,
            schedds_hang: BTreeSet::new(),
            dark: BTreeSet::new(),
            no_keytab: BTreeSet::new(),
            schedds_down: BTreeSet::new(),
            stores_refused: false,
            stores_unanswered: false,
            credmon_takes: Duration::from_secs(1),
            credmons: true,
            scopes: vec!["storage.read:/".to_owned()],
            access_life: Duration::from_mins(20),
            login_life: Duration::from_hours(28 * 24),
            stored: BTreeMap::new(),
            away: BTreeMap::new(),
            stores: 0,
            subject: None,
            issuer_down: false,
            cached: BTreeMap::new(),
            no_grant: false,
            forgotten: BTreeSet::new(),
            pools: BTreeMap::new(),
            exchange_fails: None,
            reads: Vec::new(),
            state: None,
            two_services: false,
            busy: BTreeSet::new(),
        }
    }

    /// The time by this host's clock.
    pub(super) fn clock(&self) -> Timestamp {
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

    /// The standby that answers reads knows the token already.
    pub(super) fn is_known(&self, token: &str) -> bool {
        let made = self.tokens.get(token).map(|token| token.made);
        made.is_some_and(|made| self.now() >= after(made, self.lag))
    }

    /// Expiry of the access token that Vault gives for jobs; `None` when there is none that lives so long.
    pub(super) fn gives(&mut self, credkey: &str, at_least: Duration) -> Option<Timestamp> {
        let now = self.now();
        let has = self.cached.get(credkey).copied();
        let is_enough = |end: &Timestamp| *end > now && *end >= after(now, at_least);
        if let Some(end) = has.filter(is_enough) {
            return Some(end);
        }
        if self.issuer_down || self.no_grant || self.access_life < at_least {
            return None;
        }
        let end = after(now, self.access_life);
        self.cached.insert(credkey.to_owned(), end);
        Some(end)
    }

    /// Living tokens that are not logins.
    pub(crate) fn living_children(&self) -> usize {
        let children = self
            .tokens
            .iter()
            .filter(|(_, token)| token.parent.is_some());
        children.filter(|(name, _)| self.is_alive(name)).count()
    }

    /// Accessors of those, in order.
    pub(crate) fn living_accessors(&self) -> Vec<String> {
        let children = self
            .tokens
            .iter()
            .filter(|(_, token)| token.parent.is_some());
        let living = children.filter(|(name, _)| self.is_alive(name));
        let mut names: Vec<String> = living
            .map(|(name, _)| name.replace("s.secret", "accessor"))
            .collect();
        names.sort();
        names
    }

    /// Accessors of living tokens of every sort, in order.
    pub(crate) fn all_living(&self) -> Vec<String> {
        let living = self.tokens.keys().filter(|name| self.is_alive(name));
        let mut names: Vec<String> = living
            .map(|name| name.replace("s.secret", "accessor"))
            .collect();
        names.sort();
        names
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

    /// Scopes that the credmon asks for, of what is stored for a delivery.
    pub(crate) fn scopes_at(&self, id: &DeliveryId) -> Option<String> {
        let stored = self.stored.get(id)?;
        let json: serde_json::Value = serde_json::from_str(stored.top.expose_secret()).ok()?;
        Some(json["scopes"].as_str()?.to_owned())
    }

    pub(super) fn make(&mut self, parent: Option<String>, life: Duration) -> String {
        // A server forgets what ended.
        let now = self.now();
        self.tokens.retain(|_, token| token.expires > now);
        if self.create_repeats && parent.is_some() {
            return format!("s.secret{}", self.last_child);
        }
        if self.login_repeats && parent.is_none() {
            return format!("s.secret{}", self.last_login);
        }
        self.next += 1;
        if parent.is_some() {
            self.last_child = self.next;
        } else {
            self.last_login = self.next;
        }
        let name = format!("s.secret{}", self.next);
        let expires = after(self.now(), life);
        let token = Token {
            parent,
            made: now,
            expires,
        };
        self.tokens.insert(name.clone(), token);
        name
    }
}
