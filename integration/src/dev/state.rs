//! What a server keeps over a restart, and how it is written down. Pure.
//!
//! What always holds: Vault tokens and the issuer's refresh tokens are there as hashes only; what
//! the Vault half must be able to use (its stored refresh tokens, cached access tokens, the
//! issuer's key) is there as it is, as in the storage of a Vault that is unsealed. What was read is
//! whole: a part that makes no sense is an error that says which.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::issuer::RefreshGrant;
use super::issuer::signing::SigningKey;
use super::policy::{Owner, Policy};
use super::secrets::{AccessToken, Credential};
use super::tokens::{NewToken, Token, TokenKey, TokenKind};
use super::vault::Cluster;

/// The form of the file; another one is not read.
const FORM: u32 = 1;

/// All that is kept, as the server uses it.
pub struct Kept {
    /// The name of the cluster.
    pub cluster: Cluster,
    /// The issuer's key.
    pub key: SigningKey,
    /// Vault tokens.
    pub tokens: Vec<(TokenKey, Arc<Token>)>,
    /// The issuer's grants.
    pub grants: Vec<(TokenKey, RefreshGrant)>,
    /// Stored credentials by their names.
    pub credentials: Vec<(String, Credential)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    form: u32,
    cluster: WrittenCluster,
    issuer_key: String,
    tokens: Vec<WrittenToken>,
    grants: Vec<WrittenGrant>,
    credentials: Vec<WrittenCredential>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCluster {
    name: String,
    id: String,
    salt: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenToken {
    hash: String,
    batch: bool,
    accessor: String,
    owner: String,
    domain: String,
    policies: Vec<String>,
    display_name: String,
    meta: Option<serde_json::Value>,
    path: String,
    life: u64,
    explicit_max: u64,
    renewable: bool,
    parent: Option<String>,
    created: Timestamp,
    expires: Timestamp,
    dies: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGrant {
    hash: String,
    issuer: String,
    role: String,
    credkey: String,
    ends: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCredential {
    name: String,
    server: String,
    refresh_token: String,
    access: Option<WrittenAccess>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAccess {
    token: String,
    kind: String,
    expires: Timestamp,
}

impl WrittenToken {
    fn of((key, token): &(TokenKey, Arc<Token>)) -> Self {
        let spec = &token.spec;
        Self {
            hash: key.to_string(),
            batch: spec.kind == TokenKind::Batch,
            accessor: spec.accessor.clone(),
            owner: spec.owner.name.clone(),
            domain: spec.owner.domain.clone(),
            policies: spec.policies.iter().map(ToString::to_string).collect(),
            display_name: spec.display_name.clone(),
            meta: spec.meta.clone(),
            path: spec.path.clone(),
            life: spec.life.as_secs(),
            explicit_max: spec.explicit_max.as_secs(),
            renewable: spec.renewable,
            parent: spec.parent.map(|parent| parent.to_string()),
            created: token.created,
            expires: token.expires,
            dies: token.dies(),
        }
    }

    fn read(self) -> Result<(TokenKey, Arc<Token>), String> {
        let policies: Result<Vec<Policy>, String> =
            self.policies.iter().map(|policy| policy.parse()).collect();
        let spec = NewToken {
            kind: if self.batch {
                TokenKind::Batch
            } else {
                TokenKind::Service
            },
            accessor: self.accessor,
            owner: Arc::new(Owner {
                name: self.owner,
                domain: self.domain,
            }),
            policies: policies?.into(),
            display_name: self.display_name,
            meta: self.meta,
            path: self.path,
            life: Duration::from_secs(self.life),
            explicit_max: Duration::from_secs(self.explicit_max),
            renewable: self.renewable,
            parent: self.parent.map(|parent| parent.parse()).transpose()?,
        };
        let token = Token::restored(spec, self.created, self.expires, self.dies);
        Ok((self.hash.parse()?, Arc::new(token)))
    }
}

impl WrittenGrant {
    fn of((key, grant): &(TokenKey, RefreshGrant)) -> Self {
        Self {
            hash: key.to_string(),
            issuer: grant.role.issuer.clone(),
            role: grant.role.role.clone(),
            credkey: grant.credkey.clone(),
            ends: grant.ends,
        }
    }

    fn read(self) -> Result<(TokenKey, RefreshGrant), String> {
        let grant = RefreshGrant {
            role: format!("{}:{}", self.issuer, self.role).parse()?,
            credkey: self.credkey,
            ends: self.ends,
        };
        Ok((self.hash.parse()?, grant))
    }
}

impl WrittenCredential {
    fn of((name, credential): &(String, Credential)) -> Self {
        Self {
            name: name.clone(),
            server: credential.server().to_string(),
            refresh_token: credential.refresh_token().expose_secret().to_owned(),
            access: credential.access().map(|access| WrittenAccess {
                token: access.text.to_string(),
                kind: access.kind.to_string(),
                expires: access.expires,
            }),
        }
    }

    fn read(self) -> (String, Credential) {
        let refresh_token = SecretString::from(self.refresh_token);
        let access = self.access.map(|access| AccessToken {
            text: access.token.into(),
            kind: access.kind.into(),
            expires: access.expires,
        });
        let credential = Credential::restored(&self.server, refresh_token, access);
        (self.name, credential)
    }
}

impl Kept {
    /// As it is written down.
    pub fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        let written = Written {
            form: FORM,
            cluster: WrittenCluster {
                name: self.cluster.name.clone(),
                id: self.cluster.id.clone(),
                salt: self.cluster.salt.clone(),
            },
            issuer_key: STANDARD.encode(self.key.pkcs8()),
            tokens: self.tokens.iter().map(WrittenToken::of).collect(),
            grants: self.grants.iter().map(WrittenGrant::of).collect(),
            credentials: (self.credentials.iter())
                .map(WrittenCredential::of)
                .collect(),
        };
        serde_json::to_vec_pretty(&written)
    }

    /// From what was written down.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if written.form != FORM {
            return Err(format!(
                "it has form {}, this program reads form {FORM}",
                written.form
            ));
        }
        let key = (STANDARD.decode(&written.issuer_key).ok())
            .and_then(|pkcs8| SigningKey::restored(&pkcs8).ok())
            .ok_or("issuer_key is no key")?;
        let tokens = written.tokens.into_iter().map(WrittenToken::read);
        let grants = written.grants.into_iter().map(WrittenGrant::read);
        Ok(Self {
            cluster: Cluster {
                name: written.cluster.name,
                id: written.cluster.id,
                salt: written.cluster.salt,
            },
            key,
            tokens: tokens
                .collect::<Result<_, _>>()
                .map_err(|error| format!("tokens: {error}"))?,
            grants: grants
                .collect::<Result<_, _>>()
                .map_err(|error| format!("grants: {error}"))?,
            credentials: (written.credentials.into_iter())
                .map(WrittenCredential::read)
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let at = |second| Timestamp::from_second(second).unwrap();
        let spec = NewToken {
            kind: TokenKind::Service,
            accessor: "a".into(),
            owner: Arc::new(Owner {
                name: "cmsprod/bastion/ap.test".into(),
                domain: "TEST".into(),
            }),
            policies: Arc::new([
                Policy::Kerberos("cms:crab".parse().unwrap()),
                Policy::Oidc("cms:crab".parse().unwrap()),
                Policy::TokenOps,
            ]),
            display_name: "d".into(),
            meta: None,
            path: "p".into(),
            life: Duration::from_mins(1),
            explicit_max: Duration::ZERO,
            renewable: true,
            parent: Some(TokenKey::of(b"s.parent")),
        };
        let token = Token::restored(spec, at(0), at(60), at(50));
        let grant = RefreshGrant {
            role: "cms:crab".parse().unwrap(),
            credkey: "cmsprod".into(),
            ends: at(99),
        };
        let access = AccessToken {
            text: "jwt".into(),
            kind: "Bearer".into(),
            expires: at(70),
        };
        Kept {
            cluster: Cluster {
                name: "c".into(),
                id: "i".into(),
                salt: "s".into(),
            },
            key: SigningKey::generate().unwrap(),
            tokens: vec![(TokenKey::of(b"s.text"), Arc::new(token))],
            grants: vec![(TokenKey::of(b"refresh"), grant)],
            credentials: vec![(
                "cms/cmsprod:crab".into(),
                Credential::restored("cms", SecretString::from("refresh"), Some(access)),
            )],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let before = kept();
        let text = before.write().unwrap();
        let after = Kept::read(&text).unwrap();
        assert_eq!(
            String::from_utf8(after.write().unwrap()),
            String::from_utf8(text)
        );
        let signed = before.key.sign(&serde_json::json!({"a": 1})).unwrap();
        assert!(after.key.verify::<serde_json::Value>(&signed).is_some());
    }

    #[test]
    fn no_token_text_is_written() {
        let text = String::from_utf8(kept().write().unwrap()).unwrap();
        assert!(!text.contains("s.text"));
    }

    #[test]
    fn what_is_broken_is_named() {
        let text = String::from_utf8(kept().write().unwrap()).unwrap();
        for (from, to, words) in [
            ("\"form\": 1", "\"form\": 2", "form 2"),
            ("\"form\": 1", "\"form\": ", "line"),
            ("\"hash\": \"", "\"hash\": \"x", "tokens: "),
            ("\"tokenops\"", "\"root\"", "tokens: \"root\""),
            ("\"issuer_key\": \"", "\"issuer_key\": \"AAAA", "issuer_key"),
            ("\"form\": 1", "\"more\": 1, \"form\": 1", "more"),
        ] {
            let error = Kept::read(text.replacen(from, to, 1).as_bytes())
                .err()
                .unwrap();
            assert!(error.contains(words), "{to}: {error}");
        }
    }
}
