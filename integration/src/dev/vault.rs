//! The state that the nodes of one cluster share: tokens, stored credentials, mounts.
//!
//! What always holds: tokens are made here only, for a login that was checked before, and nobody
//! but the caller ever sees their text; the store's lock is never held across an await.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use htvault::clock::Clock;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde_json::json;

use super::issuer_client::IssuerClient;
use super::oidc;
use super::policy::{Owner, Policy};
use super::random;
use super::secrets::{Credential, Secrets};
use super::settings::{RoleName, Settings};
use super::state_file::Changes;
use super::tokens::{NewToken, Token, TokenKey, TokenKind, TokenStore};

/// The name of the cluster, made at random as the real server does.
#[derive(Clone)]
pub struct Cluster {
    /// `vault-cluster-…`
    pub name: String,
    /// A UUID.
    pub id: String,
    /// What identities are made with.
    pub salt: String,
}

/// One Vault, however many nodes answer for it.
pub struct Vault {
    /// What it was told to be.
    pub settings: Arc<Settings>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Stored credentials.
    pub secrets: Secrets,
    /// The way to the issuer.
    pub issuer: IssuerClient,
    /// Its name.
    pub cluster: Cluster,
    tokens: RwLock<TokenStore>,
    oidc_flows: Mutex<oidc::Flows>,
    kerberos_mounts: HashMap<String, RoleName>,
    /// Told of each change of what is kept.
    pub changes: Arc<Changes>,
}

/// A token just made: its text goes to the caller and nowhere else.
pub struct Issued {
    /// The text.
    pub text: String,
    /// The rest.
    pub token: Arc<Token>,
}

impl Vault {
    /// An empty Vault with the mounts that the settings' roles ask for.
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        clock: Arc<dyn Clock>,
        issuer: IssuerClient,
        changes: Arc<Changes>,
    ) -> Self {
        let kerberos_mounts = (settings.roles.keys())
            .map(|role| (format!("auth/kerberos-{role}/login"), role.clone()))
            .collect();
        let id = random::uuid();
        let short: String = random::uuid().chars().take(8).collect();
        Self {
            settings,
            clock,
            secrets: Secrets::default(),
            issuer,
            cluster: Cluster {
                name: format!("vault-cluster-{short}"),
                id,
                salt: random::letters(24),
            },
            tokens: RwLock::default(),
            oidc_flows: Mutex::default(),
            kerberos_mounts,
            changes,
        }
    }

    /// Goes on with what there was before a restart.
    #[must_use]
    pub fn restored(
        mut self,
        cluster: Cluster,
        tokens: Vec<(TokenKey, Arc<Token>)>,
        credentials: Vec<(String, Credential)>,
    ) -> Self {
        self.cluster = cluster;
        let mut store = TokenStore::default();
        for (key, token) in tokens {
            store.put_back(key, token);
        }
        self.tokens = RwLock::new(store);
        for (name, credential) in credentials {
            self.secrets.put(name, credential);
        }
        self
    }

    /// Stores a credential in place of any of the same name.
    pub fn store(&self, name: String, credential: Credential) {
        self.secrets.put(name, credential);
        self.changes.note();
    }

    /// Forgets a credential.
    pub fn forget(&self, name: &str) {
        self.secrets.remove(name);
        self.changes.note();
    }

    /// The role that a Kerberos login path is for.
    #[must_use]
    pub fn kerberos_mount(&self, path: &str) -> Option<&RoleName> {
        self.kerberos_mounts.get(path)
    }

    /// The issuer and step of an OIDC login path.
    #[must_use]
    pub fn oidc_mount<'a>(&self, path: &'a str) -> Option<(&'a str, oidc::Step)> {
        let (issuer, step) = oidc::Step::of(path)?;
        (self.settings.issuers().any(|known| known == issuer)).then_some((issuer, step))
    }

    /// Works on the open OIDC flows; the closure must be quick.
    pub fn oidc<R>(&self, work: impl FnOnce(&mut oidc::Flows) -> R) -> R {
        work(
            &mut self
                .oidc_flows
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Gives a token to a principal whose ticket was checked.
    #[must_use]
    pub fn log_in(&self, role: &RoleName, principal: Owner, now: Timestamp) -> Option<Issued> {
        let mount = format!("kerberos-{role}");
        let spec = NewToken {
            kind: TokenKind::Service,
            accessor: random::letters(24),
            policies: Arc::new([Policy::Kerberos(role.clone()), Policy::TokenOps]),
            display_name: format!("{mount}-{}", principal.name),
            meta: Some(json!({"domain": principal.domain, "user": principal.name})),
            path: format!("auth/{mount}/login"),
            life: self.settings.login_life.min(self.settings.max_life),
            explicit_max: Duration::ZERO,
            renewable: false,
            parent: None,
            owner: Arc::new(principal),
        };
        self.issue(spec, now)
    }

    /// Stores a new token under a random text.
    #[must_use]
    pub fn issue(&self, spec: NewToken, now: Timestamp) -> Option<Issued> {
        let text = match spec.kind {
            TokenKind::Service => format!("s.{}", random::letters(24)),
            TokenKind::Batch => format!("b.{}", random::letters(236)),
        };
        let key = TokenKey::of(text.as_bytes());
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.issue(key, spec, now)?;
        self.changes.note();
        Some(Issued { text, token })
    }

    /// The living token with this text.
    #[must_use]
    pub fn lookup(&self, text: &[u8], now: Timestamp) -> Option<(TokenKey, Arc<Token>)> {
        let key = TokenKey::of(text);
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.lookup(&key, now).map(|token| (key, token))
    }

    /// All tokens that live.
    #[must_use]
    pub fn living_tokens(&self) -> Vec<(TokenKey, Arc<Token>)> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens
            .living(self.clock.now())
            .map(|(key, token)| (*key, Arc::clone(token)))
            .collect()
    }

    /// Revokes a token and all below it; says how many died.
    pub fn revoke(&self, key: &TokenKey) -> usize {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        self.changes.note();
        tokens.revoke(key)
    }

    /// Revokes the token with this accessor and all below it; says how many died.
    pub fn revoke_accessor(&self, accessor: &str) -> usize {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        self.changes.note();
        tokens.revoke_accessor(accessor)
    }

    /// The identity of a token's owner: the same at each login to the same mount.
    #[must_use]
    pub fn entity(&self, token: &Token) -> String {
        let mount = (token.spec.policies.first()).map_or_else(String::new, ToString::to_string);
        let name = &token.spec.owner.name;
        let hash = digest(
            &SHA256,
            format!("{}\n{mount}\n{name}", self.cluster.salt).as_bytes(),
        );
        let bits = (hash.as_ref().iter().take(16))
            .fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
        random::uuid_of(bits)
    }
}
