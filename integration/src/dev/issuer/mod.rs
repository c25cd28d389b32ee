//! The token issuer: refresh tokens for access tokens, exchange for narrower ones, device flow.
//!
//! A real issuer in small: its own key, its own clients and grants, its own TLS listener; the
//! Vault half reaches it by HTTPS only. What always holds: refresh tokens and the client's secret
//! are kept as hashes or not printed; no access token has a scope that its grant has not.

pub mod device;
pub mod http;
pub mod page;
pub mod scopes;
pub mod signing;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use htvault::clock::Clock;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::duration::after;
use super::random;
use super::settings::{RoleName, Settings};
use super::state_file::Changes;
use super::tokens::TokenKey;
use device::DeviceFlows;
use signing::SigningKey;

/// The only client: the Vault half, or a real Vault that was told its secret.
pub const CLIENT_ID: &str = "htvault-dev";

/// What a refresh token is good for.
#[derive(Clone, Debug)]
pub struct RefreshGrant {
    /// Its role.
    pub role: RoleName,
    /// Whose it is.
    pub credkey: String,
    /// When it ends, unless it is used before.
    pub ends: Timestamp,
}

/// A refusal as RFC 6749 words it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The code.
    pub error: &'static str,
    /// The explanation.
    pub error_description: String,
}

impl Refusal {
    fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self {
            error,
            error_description: description.into(),
        }
    }
}

/// What the token endpoint gives.
#[derive(Serialize)]
pub struct TokenAnswer {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

/// The `aud` claim: one or several.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// The claims of an access token, by the WLCG profile 1.0.
#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "wlcg.ver")]
    profile: String,
    sub: String,
    aud: Audience,
    nbf: i64,
    scope: String,
    iss: String,
    exp: i64,
    iat: i64,
    jti: String,
    client_id: String,
}

/// A request to the token endpoint, as its form has it.
#[derive(Debug, Default)]
pub struct TokenRequest {
    /// `grant_type`
    pub grant_type: String,
    /// `refresh_token`
    pub refresh_token: SecretString,
    /// `device_code`
    pub device_code: SecretString,
    /// `subject_token`
    pub subject_token: SecretString,
    /// `scope`
    pub scope: String,
    /// `audience`, as often as it was given.
    pub audiences: Vec<String>,
}

/// The issuer.
pub struct Issuer {
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    key: SigningKey,
    client_secret: SecretString,
    grants: RwLock<HashMap<TokenKey, RefreshGrant>>,
    devices: Mutex<DeviceFlows>,
    changes: Arc<Changes>,
}

impl Issuer {
    /// An issuer with a new key and no grants.
    pub fn new(
        settings: Arc<Settings>,
        clock: Arc<dyn Clock>,
        changes: Arc<Changes>,
    ) -> Result<Self, ring::error::Unspecified> {
        let given = settings.client_secret.clone();
        Ok(Self {
            settings,
            clock,
            key: SigningKey::generate()?,
            client_secret: given.unwrap_or_else(|| SecretString::from(random::letters(40))),
            grants: RwLock::default(),
            devices: Mutex::default(),
            changes,
        })
    }

    /// Goes on with a key and grants of before a restart.
    #[must_use]
    pub fn restored(
        mut self,
        key: SigningKey,
        grants: impl IntoIterator<Item = (TokenKey, RefreshGrant)>,
    ) -> Self {
        self.key = key;
        self.grants = RwLock::new(grants.into_iter().collect());
        self
    }

    /// The key, and all grants that have not ended.
    pub fn kept(
        &self,
    ) -> Result<(SigningKey, Vec<(TokenKey, RefreshGrant)>), ring::error::Unspecified> {
        let now = self.clock.now();
        let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
        let living = grants.iter().filter(|(_, grant)| now < grant.ends);
        let living = living.map(|(key, grant)| (*key, grant.clone())).collect();
        Ok((self.key.copy()?, living))
    }

    fn change_grants<R>(
        &self,
        change: impl FnOnce(&mut HashMap<TokenKey, RefreshGrant>) -> R,
    ) -> R {
        let mut grants = self.grants.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut grants);
        self.changes.note();
        result
    }

    /// The secret of [`CLIENT_ID`].
    #[must_use]
    pub fn client_secret(&self) -> &SecretString {
        &self.client_secret
    }

    /// The issuer's own URL, its `iss` claim.
    #[must_use]
    pub fn url(&self, issuer: &str) -> String {
        format!("{}/{issuer}", self.settings.issuer_url)
    }

    fn knows(&self, issuer: &str) -> bool {
        self.settings.issuers().any(|known| known == issuer)
    }

    /// A new refresh token, as if this person had logged in and agreed.
    #[must_use]
    pub fn grant(&self, role: &RoleName, credkey: &str) -> SecretString {
        let token = random::letters(43);
        let grant = RefreshGrant {
            role: role.clone(),
            credkey: credkey.to_owned(),
            ends: after(self.clock.now(), self.settings.refresh_token_life),
        };
        let key = TokenKey::of(token.as_bytes());
        self.change_grants(|grants| grants.insert(key, grant));
        SecretString::from(token)
    }

    /// Revokes the refresh tokens of a credkey in a role; says how many there were.
    pub fn revoke_grants(&self, role: &RoleName, credkey: &str) -> usize {
        self.change_grants(|grants| {
            let before = grants.len();
            grants.retain(|_, grant| grant.role != *role || grant.credkey != credkey);
            before.saturating_sub(grants.len())
        })
    }

    /// Revokes one refresh token.
    pub fn revoke(&self, token: &SecretString) {
        let key = TokenKey::of(token.expose_secret().as_bytes());
        self.change_grants(|grants| grants.remove(&key));
    }

    /// Answers a request to the token endpoint of `issuer`, from a client known to be ours.
    pub fn token(&self, issuer: &str, request: &TokenRequest) -> Result<TokenAnswer, Refusal> {
        match request.grant_type.as_str() {
            "refresh_token" => self.refresh(issuer, request),
            "urn:ietf:params:oauth:grant-type:token-exchange" => self.exchange(issuer, request),
            device::GRANT_TYPE => self.poll_device(issuer, request),
            other => Err(Refusal::new(
                "unsupported_grant_type",
                format!("Unsupported grant type: {other}"),
            )),
        }
    }

    fn refresh(&self, issuer: &str, request: &TokenRequest) -> Result<TokenAnswer, Refusal> {
        let now = self.clock.now();
        let key = TokenKey::of(request.refresh_token.expose_secret().as_bytes());
        let grant = self.change_grants(|grants| {
            let living = grants
                .get_mut(&key)
                .filter(|grant| grant.role.issuer == issuer && now < grant.ends)
                .ok_or_else(|| Refusal::new("invalid_grant", "Invalid refresh token"))?;
            // Each use gives it a new life, as issuers do that cut off only the idle.
            living.ends = after(now, self.settings.refresh_token_life);
            Ok(living.clone())
        })?;
        let scopes = self.settings.roles.get(&grant.role);
        let granted: Vec<&str> = scopes.into_iter().flatten().map(String::as_str).collect();
        let subject = self.settings.subject(&grant.credkey);
        self.issue(issuer, subject, &granted, request, now)
    }

    fn exchange(&self, issuer: &str, request: &TokenRequest) -> Result<TokenAnswer, Refusal> {
        let now = self.clock.now();
        let claims: Claims = self
            .key
            .verify(request.subject_token.expose_secret())
            .filter(|claims: &Claims| {
                claims.iss == self.url(issuer) && now.as_second() < claims.exp
            })
            .ok_or_else(|| Refusal::new("invalid_grant", "Invalid subject token"))?;
        let granted: Vec<&str> = claims.scope.split_whitespace().collect();
        let mut answer = self.issue(issuer, claims.sub.clone(), &granted, request, now)?;
        answer.issued_token_type = Some("urn:ietf:params:oauth:token-type:access_token");
        Ok(answer)
    }

    fn issue(
        &self,
        issuer: &str,
        sub: String,
        granted: &[&str],
        request: &TokenRequest,
        now: Timestamp,
    ) -> Result<TokenAnswer, Refusal> {
        let wanted: Vec<&str> = request.scope.split_whitespace().collect();
        let scope = scopes::narrow(granted, &wanted)
            .map_err(|scope| Refusal::new("invalid_scope", format!("Scope not allowed: {scope}")))?
            .join(" ");
        let aud = match request.audiences.as_slice() {
            [] => Audience::One(self.settings.audience.clone()),
            [one] => Audience::One(one.clone()),
            several => Audience::Several(several.to_vec()),
        };
        let iat = now.as_second();
        let life = self.settings.access_token_life;
        let claims = Claims {
            profile: "1.0".into(),
            sub,
            aud,
            nbf: iat,
            scope: scope.clone(),
            iss: self.url(issuer),
            exp: after(now, life).as_second(),
            iat,
            jti: random::uuid(),
            client_id: CLIENT_ID.into(),
        };
        let access_token = self
            .key
            .sign(&claims)
            .map_err(|_| Refusal::new("server_error", "the key cannot sign"))?;
        Ok(TokenAnswer {
            access_token,
            token_type: "Bearer",
            expires_in: life.as_secs(),
            scope,
            issued_token_type: None,
            refresh_token: None,
            id_token: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use htvault::clock::SystemClock;

    fn issuer() -> Issuer {
        Issuer::new(Arc::default(), Arc::new(SystemClock), Arc::default()).unwrap()
    }

    fn refresh(token: &SecretString, scope: &str) -> TokenRequest {
        TokenRequest {
            grant_type: "refresh_token".into(),
            refresh_token: token.clone(),
            scope: scope.into(),
            ..TokenRequest::default()
        }
    }

    fn exchange(token: &str, scope: &str, audiences: &[&str]) -> TokenRequest {
        TokenRequest {
            grant_type: "urn:ietf:params:oauth:grant-type:token-exchange".into(),
            subject_token: SecretString::from(token.to_owned()),
            scope: scope.into(),
            audiences: audiences.iter().map(ToString::to_string).collect(),
            ..TokenRequest::default()
        }
    }

    #[test]
    fn a_refresh_token_gives_tokens_until_it_is_revoked() {
        let issuer = issuer();
        let role: RoleName = "cms:crab".parse().unwrap();
        let token = issuer.grant(&role, "cmsprod/bastion/ap.test");
        let answer = issuer.token("cms", &refresh(&token, "")).unwrap();
        let claims: Claims = issuer.key.verify(&answer.access_token).unwrap();
        assert_eq!(claims.sub, "cmsprod");
        assert_eq!(claims.iss, "https://issuer.test:8443/cms");
        assert_eq!(claims.exp - claims.iat, 3600);
        assert!(claims.scope.starts_with("condor:/WRITE "));
        assert_eq!(issuer.revoke_grants(&role, "cmsprod/bastion/ap.test"), 1);
        let refusal = issuer.token("cms", &refresh(&token, "")).err().unwrap();
        assert_eq!(refusal.error, "invalid_grant");
        assert_eq!(refusal.error_description, "Invalid refresh token");
    }

    #[test]
    fn an_exchange_narrows_and_names_audiences() {
        let issuer = issuer();
        let token = issuer.grant(&"cms:crab".parse().unwrap(), "cmsprod");
        let whole = issuer.token("cms", &refresh(&token, "")).unwrap();
        let request = exchange(&whole.access_token, "storage.read:/store", &["a", "b"]);
        let narrow = issuer.token("cms", &request).unwrap();
        let claims: Claims = issuer.key.verify(&narrow.access_token).unwrap();
        assert_eq!(claims.scope, "storage.read:/store");
        assert!(matches!(claims.aud, Audience::Several(list) if list == ["a", "b"]));
        let more = exchange(&narrow.access_token, "storage.read:/", &[]);
        assert_eq!(
            issuer.token("cms", &more).err().unwrap().error,
            "invalid_scope"
        );
        let foreign = exchange("a.b.c", "", &[]);
        assert_eq!(
            issuer.token("cms", &foreign).err().unwrap().error,
            "invalid_grant"
        );
    }
}
