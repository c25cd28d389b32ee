//! The calls on tokens: create, look up, revoke.
//!
//! What always holds: a child can do no more than its parent, and none lives longer than the
//! mount's maximum.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::answers::{Answer, Auth};
use super::duration::{self, seconds_left};
use super::policy::Policy;
use super::random;
use super::tokens::{NewToken, Token, TokenKey, TokenKind};
use super::vault::{Issued, Vault};

impl TokenKind {
    fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Batch => "batch",
        }
    }
}

/// The answer that gives a token to its owner.
#[must_use]
pub fn given(vault: &Vault, issued: &Issued, warnings: &[String]) -> Answer {
    given_with(vault, issued, issued.token.spec.meta.as_ref(), warnings)
}

/// The same with other metadata than what is kept.
#[must_use]
pub fn given_with(
    vault: &Vault,
    issued: &Issued,
    metadata: Option<&Value>,
    warnings: &[String],
) -> Answer {
    let token = &issued.token;
    let policies = names(&token.spec.policies);
    let auth = Auth {
        client_token: &issued.text,
        accessor: &token.spec.accessor,
        policies: &policies,
        token_policies: &policies,
        metadata,
        lease_duration: token.spec.life.as_secs(),
        renewable: token.spec.renewable,
        entity_id: &vault.entity(token),
        token_type: token.spec.kind.name(),
        orphan: token.is_orphan(),
        mfa_requirement: None,
        num_uses: 0,
    };
    Answer::auth(&auth, warnings).to(Arc::clone(token))
}

fn names(policies: &[Policy]) -> Vec<String> {
    policies.iter().map(ToString::to_string).collect()
}

/// What `auth/token/create` is asked for.
#[derive(Debug, Default)]
struct Wanted {
    life: Option<Duration>,
    explicit_max: Duration,
    renewable: bool,
    batch: bool,
    display_name: String,
    meta: Option<Value>,
    policies: Option<Vec<String>>,
    ignored: Vec<String>,
}

impl Wanted {
    /// Reads the body as the server does: durations as text or number, truth as text or truth.
    fn read(body: &[u8]) -> Result<Self, String> {
        let mut wanted = Self {
            renewable: true,
            ..Self::default()
        };
        let fields: Map<String, Value> = if body.trim_ascii().is_empty() {
            Map::new()
        } else {
            serde_json::from_slice(body)
                .map_err(|error| format!("failed to parse JSON input: {error}"))?
        };
        let mut renewable_asked = false;
        for (name, value) in fields {
            match name.as_str() {
                "ttl" | "lease" => wanted.life = positive(&value, &name)?,
                "explicit_max_ttl" => {
                    wanted.explicit_max = positive(&value, &name)?.unwrap_or_default();
                }
                "renewable" => {
                    wanted.renewable = truth(&value, &name)?;
                    renewable_asked = wanted.renewable;
                }
                "type" => match value.as_str() {
                    Some("batch") => wanted.batch = true,
                    Some("" | "service") => {}
                    _ => return Err("invalid 'type' value".to_owned()),
                },
                "display_name" => {
                    value
                        .as_str()
                        .unwrap_or_default()
                        .clone_into(&mut wanted.display_name);
                }
                "meta" => wanted.meta = Some(value).filter(Value::is_object),
                "policies" => wanted.policies = Some(list(&value)),
                "no_parent" if truth(&value, &name)? => {
                    let words = "root or sudo privileges required to create orphan token";
                    return Err(words.to_owned());
                }
                "period" if value != "" => {
                    let words = "root or sudo privileges required to create periodic token";
                    return Err(words.to_owned());
                }
                "no_parent" | "period" | "no_default_policy" => {}
                _ => wanted.ignored.push(name),
            }
        }
        if wanted.batch {
            let forbidden = [
                (renewable_asked, "renewable=true"),
                (!wanted.explicit_max.is_zero(), "explicit_max_ttl"),
            ];
            if let Some((_, what)) = forbidden.iter().find(|(asked, _)| *asked) {
                return Err(format!("batch tokens cannot have {what:?} set"));
            }
            wanted.renewable = false;
        }
        Ok(wanted)
    }
}

fn positive(value: &Value, name: &str) -> Result<Option<Duration>, String> {
    let parsed = match value {
        Value::String(text) => duration::parse(text)?,
        Value::Number(number) => duration::parse(&number.to_string())?,
        Value::Null => return Ok(None),
        _ => return Err(format!("error parsing {name}: expected a duration")),
    };
    match Duration::try_from(parsed) {
        Ok(duration) => Ok(Some(duration).filter(|duration| !duration.is_zero())),
        Err(_) => Err(format!("{name} must be positive")),
    }
}

fn truth(value: &Value, name: &str) -> Result<bool, String> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::Null => Ok(false),
        Value::String(text) if matches!(text.as_str(), "true" | "1") => Ok(true),
        Value::String(text) if matches!(text.as_str(), "false" | "0" | "") => Ok(false),
        _ => Err(format!("error parsing {name}: expected true or false")),
    }
}

fn list(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        Value::Array(values) => (values.iter().filter_map(Value::as_str))
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

/// The warning about parameters that the server does not know.
#[must_use]
pub fn ignored_warning(mut names: Vec<String>) -> Option<String> {
    names.sort();
    names.dedup();
    (!names.is_empty()).then(|| {
        format!(
            "Endpoint ignored these unrecognized parameters: [{}]",
            names.join(" ")
        )
    })
}

/// Answers `auth/token/create`.
#[must_use]
pub fn create(
    vault: &Vault,
    parent_key: TokenKey,
    parent: &Token,
    body: &[u8],
    now: Timestamp,
) -> Answer {
    if parent.spec.kind == TokenKind::Batch {
        return Answer::bad_request("batch tokens cannot create more tokens");
    }
    let wanted = match Wanted::read(body) {
        Ok(wanted) => wanted,
        Err(words) => return Answer::bad_request(&words),
    };
    let policies: Arc<[Policy]> = match &wanted.policies {
        None => Arc::clone(&parent.spec.policies),
        Some(asked) => {
            let has = |name: &String| parent.spec.policies.iter().any(|p| p.to_string() == *name);
            if !asked.iter().all(has) {
                return Answer::bad_request("child policies must be subset of parent");
            }
            (parent.spec.policies.iter())
                .filter(|policy| asked.contains(&policy.to_string()))
                .cloned()
                .collect()
        }
    };
    let mut warnings: Vec<String> = ignored_warning(wanted.ignored).into_iter().collect();
    let max = vault.settings.max_life;
    let mut life = (wanted.life).unwrap_or_else(|| vault.settings.login_life.min(max));
    if !wanted.explicit_max.is_zero() {
        life = life.min(wanted.explicit_max);
    }
    if life > max {
        warnings.push(format!(
            "TTL of {:?} exceeded the effective max_ttl of {:?}; TTL value is capped accordingly",
            duration::print(life),
            duration::print(max)
        ));
        life = max;
    }
    let (kind, accessor) = if wanted.batch {
        (TokenKind::Batch, String::new())
    } else {
        (TokenKind::Service, random::letters(24))
    };
    let display_name = match wanted.display_name.as_str() {
        "" => "token".to_owned(),
        name => format!("token-{name}"),
    };
    let spec = NewToken {
        kind,
        accessor,
        owner: Arc::clone(&parent.spec.owner),
        policies,
        display_name,
        meta: wanted.meta,
        path: "auth/token/create".to_owned(),
        life,
        explicit_max: wanted.explicit_max,
        renewable: wanted.renewable,
        parent: Some(parent_key),
    };
    match vault.issue(spec, now) {
        Some(issued) => given(vault, &issued, &warnings),
        None => Answer::dead_token(),
    }
}

/// What `lookup-self` shows.
#[derive(Serialize)]
struct Shown<'a> {
    accessor: &'a str,
    creation_time: i64,
    creation_ttl: u64,
    display_name: &'a str,
    entity_id: String,
    expire_time: Timestamp,
    explicit_max_ttl: u64,
    id: &'a str,
    issue_time: Timestamp,
    meta: Option<&'a Value>,
    num_uses: u64,
    orphan: bool,
    path: &'a str,
    policies: Vec<String>,
    renewable: bool,
    ttl: u64,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// Answers `auth/token/lookup-self`.
#[must_use]
pub fn look_up(vault: &Vault, text: &[u8], token: &Token, now: Timestamp) -> Answer {
    let shown = Shown {
        accessor: &token.spec.accessor,
        creation_time: token.created.as_second(),
        creation_ttl: token.spec.life.as_secs(),
        display_name: &token.spec.display_name,
        entity_id: vault.entity(token),
        expire_time: token.expires,
        explicit_max_ttl: token.spec.explicit_max.as_secs(),
        id: std::str::from_utf8(text).unwrap_or_default(),
        issue_time: token.created,
        meta: token.spec.meta.as_ref(),
        num_uses: 0,
        orphan: token.is_orphan(),
        path: &token.spec.path,
        policies: names(&token.spec.policies),
        renewable: token.spec.renewable,
        ttl: seconds_left(now, token.expires),
        kind: token.spec.kind.name(),
    };
    Answer::data(shown, &[])
}

/// Answers `auth/token/revoke-self`.
#[must_use]
pub fn revoke(vault: &Vault, key: &TokenKey, token: &Token) -> Answer {
    if token.spec.kind == TokenKind::Batch {
        return Answer::bad_request("batch tokens cannot be revoked");
    }
    vault.revoke(key);
    Answer::nothing()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Wanted, String> {
        Wanted::read(body.as_bytes())
    }

    #[test]
    fn a_ttl_is_text_or_number() {
        for body in [r#"{"ttl":"3600s"}"#, r#"{"ttl":3600}"#, r#"{"ttl":"3600"}"#] {
            let life = read(body).unwrap().life;
            assert_eq!(life, Some(Duration::from_hours(1)), "{body}");
        }
        assert_eq!(read("").unwrap().life, None);
        assert_eq!(read(r#"{"ttl":""}"#).unwrap().life, None);
        assert_eq!(
            read(r#"{"ttl":"-1s"}"#).unwrap_err(),
            "ttl must be positive"
        );
        let bad = read(r#"{"ttl":"soon"}"#).unwrap_err();
        assert_eq!(bad, "time: invalid duration \"soon\"");
    }

    #[test]
    fn renewable_unless_refused_or_batch() {
        assert!(read("{}").unwrap().renewable);
        assert!(!read(r#"{"renewable":"false"}"#).unwrap().renewable);
        assert!(!read(r#"{"renewable":false}"#).unwrap().renewable);
        assert!(!read(r#"{"type":"batch"}"#).unwrap().renewable);
        assert!(read(r#"{"type":"batch","renewable":true}"#).is_err());
    }

    #[test]
    fn what_needs_root_is_refused_and_the_unknown_is_ignored() {
        assert!(read(r#"{"no_parent":true}"#).is_err());
        assert!(read(r#"{"period":"1h"}"#).is_err());
        assert!(
            read("nonsense")
                .unwrap_err()
                .starts_with("failed to parse JSON")
        );
        let wanted = read(r#"{"b":1,"a":2}"#).unwrap();
        assert_eq!(
            ignored_warning(wanted.ignored).unwrap(),
            "Endpoint ignored these unrecognized parameters: [a b]"
        );
    }
}
