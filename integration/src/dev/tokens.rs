//! The token store: which Vault tokens live, until when, and whose children they are.
//!
//! Pure: random names and the time come from the caller. What always holds: a token text is never
//! kept, only its SHA-256; a token is dead as soon as it, or any token above it, has expired or was
//! revoked; revoking removes the whole tree below.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::duration::after;
use super::policy::{Owner, Policy};

/// What a token is stored under: the hash of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// The key of a token's text.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, text);
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(key)
    }
}

impl fmt::Display for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for TokenKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut key = [0; 32];
        let mut digits = text.chars().map(|digit| digit.to_digit(16));
        for byte in &mut key {
            let pair = (digits.next().flatten(), digits.next().flatten());
            let (Some(high), Some(low)) = pair else {
                return Err("a hash is not 64 hexadecimal digits".to_owned());
            };
            *byte = u8::try_from((high << 4) | low).unwrap_or_default();
        }
        match digits.next() {
            None => Ok(Self(key)),
            Some(_) => Err("a hash is longer than 64 hexadecimal digits".to_owned()),
        }
    }
}

/// How the server keeps a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An ordinary one: it has an accessor, may have children, can be revoked.
    Service,
    /// A light one: no accessor, no children, cannot be revoked alone.
    Batch,
}

/// What is to be issued.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Service or batch.
    pub kind: TokenKind,
    /// The public handle; empty for a batch token.
    pub accessor: String,
    /// Who logged in.
    pub owner: Arc<Owner>,
    /// What it may do.
    pub policies: Arc<[Policy]>,
    /// Shown by `lookup-self`.
    pub display_name: String,
    /// Shown by `lookup-self`: the owner's data for a login token, the caller's for a child.
    pub meta: Option<serde_json::Value>,
    /// The path that made it.
    pub path: String,
    /// How long it lives.
    pub life: Duration,
    /// The limit asked for it alone, zero for none.
    pub explicit_max: Duration,
    /// Whether it says it can be renewed.
    pub renewable: bool,
    /// The token that made it; none for a login.
    pub parent: Option<TokenKey>,
}

/// A living token.
#[derive(Clone, Debug)]
pub struct Token {
    /// As it was asked for.
    pub spec: NewToken,
    /// When it was made.
    pub created: Timestamp,
    /// When it expires by itself.
    pub expires: Timestamp,
    /// When it dies: its own expiry or that of a token above it, whichever is first.
    dies: Timestamp,
}

impl Token {
    /// A token of before a restart.
    #[must_use]
    pub fn restored(
        spec: NewToken,
        created: Timestamp,
        expires: Timestamp,
        dies: Timestamp,
    ) -> Self {
        Self {
            spec,
            created,
            expires,
            dies,
        }
    }

    /// When it dies: its own expiry or that of a token above it, whichever is first.
    #[must_use]
    pub fn dies(&self) -> Timestamp {
        self.dies
    }

    /// Whether it has no token above it.
    #[must_use]
    pub fn is_orphan(&self) -> bool {
        self.spec.parent.is_none()
    }
}

/// All tokens.
#[derive(Debug, Default)]
pub struct TokenStore {
    tokens: HashMap<TokenKey, Arc<Token>>,
    children: HashMap<TokenKey, Vec<TokenKey>>,
    sweep_at: usize,
}

/// Below this number of tokens nothing is swept.
const SWEEP_FLOOR: usize = 1024;

impl TokenStore {
    /// Stores a new token; none when its parent is dead.
    pub fn issue(&mut self, key: TokenKey, spec: NewToken, now: Timestamp) -> Option<Arc<Token>> {
        let expires = after(now, spec.life);
        let dies = match spec.parent {
            Some(parent) => self.lookup(&parent, now)?.dies.min(expires),
            None => expires,
        };
        if let Some(parent) = spec.parent {
            self.children.entry(parent).or_default().push(key);
        }
        let token = Arc::new(Token {
            spec,
            created: now,
            expires,
            dies,
        });
        self.tokens.insert(key, Arc::clone(&token));
        self.sweep_when_due(now);
        Some(token)
    }

    /// The living token of this key.
    #[must_use]
    pub fn lookup(&self, key: &TokenKey, now: Timestamp) -> Option<Arc<Token>> {
        let token = self.tokens.get(key)?;
        (now < token.dies).then(|| Arc::clone(token))
    }

    /// Revokes a token and all below it; says how many died.
    pub fn revoke(&mut self, key: &TokenKey) -> usize {
        let mut died = 0;
        let mut doomed = vec![*key];
        if let Some(parent) = self.tokens.get(key).and_then(|token| token.spec.parent)
            && let Some(siblings) = self.children.get_mut(&parent)
        {
            siblings.retain(|child| child != key);
        }
        while let Some(next) = doomed.pop() {
            died += usize::from(self.tokens.remove(&next).is_some());
            doomed.extend(self.children.remove(&next).unwrap_or_default());
        }
        died
    }

    /// Revokes the token with this accessor, as an operator would; says how many died.
    pub fn revoke_accessor(&mut self, accessor: &str) -> usize {
        let found = self
            .tokens
            .iter()
            .find(|(_, token)| !accessor.is_empty() && token.spec.accessor == accessor)
            .map(|(key, _)| *key);
        found.map_or(0, |key| self.revoke(&key))
    }

    /// Puts a token of before a restart back.
    pub fn put_back(&mut self, key: TokenKey, token: Arc<Token>) {
        if let Some(parent) = token.spec.parent {
            self.children.entry(parent).or_default().push(key);
        }
        self.tokens.insert(key, token);
    }

    /// All tokens that live.
    pub fn living(&self, now: Timestamp) -> impl Iterator<Item = (&TokenKey, &Arc<Token>)> {
        self.tokens
            .iter()
            .filter(move |(_, token)| now < token.dies)
    }

    /// How many tokens are stored, dead ones that nobody swept included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Forgets dead tokens each time that the store has doubled, so that memory follows the number
    /// of living ones at a cost that is constant for each token issued.
    fn sweep_when_due(&mut self, now: Timestamp) {
        if self.tokens.len() < self.sweep_at.max(SWEEP_FLOOR) {
            return;
        }
        self.tokens.retain(|_, token| now < token.dies);
        let tokens = &self.tokens;
        self.children.retain(|parent, children| {
            children.retain(|child| tokens.contains_key(child));
            tokens.contains_key(parent) && !children.is_empty()
        });
        self.sweep_at = self.tokens.len().saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn spec(life: u64, parent: Option<TokenKey>) -> NewToken {
        NewToken {
            kind: TokenKind::Service,
            accessor: format!("accessor-{life}"),
            owner: Arc::new(Owner {
                name: "cmsprod".into(),
                domain: "TEST".into(),
            }),
            policies: Arc::new([Policy::TokenOps]),
            display_name: "token".into(),
            meta: None,
            path: "auth/token/create".into(),
            life: Duration::from_secs(life),
            explicit_max: Duration::ZERO,
            renewable: false,
            parent,
        }
    }

    #[test]
    fn a_token_dies_at_its_expiry_to_the_second() {
        let mut store = TokenStore::default();
        let key = TokenKey::of(b"s.one");
        store.issue(key, spec(60, None), at(0)).unwrap();
        assert!(store.lookup(&key, at(59)).is_some());
        assert!(store.lookup(&key, at(60)).is_none());
        assert!(store.lookup(&TokenKey::of(b"s.other"), at(0)).is_none());
    }

    #[test]
    fn children_die_with_the_parent_revoked_or_expired() {
        let mut store = TokenStore::default();
        let [parent, child, grandchild] = [b"p", b"c", b"g"].map(|text| TokenKey::of(text));
        store.issue(parent, spec(60, None), at(0)).unwrap();
        store.issue(child, spec(600, Some(parent)), at(0)).unwrap();
        store
            .issue(grandchild, spec(600, Some(child)), at(0))
            .unwrap();
        assert!(store.lookup(&grandchild, at(59)).is_some());
        assert!(store.lookup(&grandchild, at(60)).is_none());
        assert_eq!(store.revoke(&child), 2);
        assert!(store.lookup(&parent, at(1)).is_some());
        assert!(store.lookup(&grandchild, at(1)).is_none());
        assert_eq!(store.revoke(&parent), 1);
        assert!(store.is_empty());
    }

    #[test]
    fn a_dead_parent_has_no_new_children() {
        let mut store = TokenStore::default();
        let parent = TokenKey::of(b"p");
        store.issue(parent, spec(60, None), at(0)).unwrap();
        let child = store.issue(TokenKey::of(b"c"), spec(60, Some(parent)), at(60));
        assert!(child.is_none());
    }

    #[test]
    fn an_operator_revokes_by_accessor() {
        let mut store = TokenStore::default();
        store
            .issue(TokenKey::of(b"p"), spec(60, None), at(0))
            .unwrap();
        assert_eq!(store.revoke_accessor(""), 0);
        assert_eq!(store.revoke_accessor("accessor-60"), 1);
    }

    #[test]
    fn dead_tokens_are_forgotten() {
        let mut store = TokenStore::default();
        for second in 0..10_000 {
            let key = TokenKey::of(format!("{second}").as_bytes());
            store.issue(key, spec(60, None), at(second)).unwrap();
        }
        assert!(store.len() <= SWEEP_FLOOR, "{}", store.len());
    }
}
