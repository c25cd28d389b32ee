//! From the names of the recordings to those of the server that is looked at. Pure.
//!
//! The recordings speak of principal `cmsprod`, issuer `cms`, role `crab`, another user `crabtw`
//! and another role `default`, and have marks where secrets were cut out. What always holds: a
//! name that was put in is never taken for one of the recording.

use secrecy::{ExposeSecret as _, SecretString};
use url::form_urlencoded::byte_serialize;

use super::recorded::{Answer, Request};

/// The names at the server that is looked at.
#[derive(Clone, Debug)]
pub struct Names {
    /// The cluster's URL, without a slash at its end.
    pub url: String,
    /// The issuer as Vault names it.
    pub issuer: String,
    /// The role.
    pub role: String,
    /// Whose credential: the principal without realm, unless told.
    pub credkey: String,
    /// The audience of reduced tokens.
    pub audience: Option<String>,
    /// The scopes of reduced tokens.
    pub scopes: Option<String>,
}

/// How long access tokens live at this server, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// What the cached one has left.
    pub left: u64,
    /// What a new one has.
    pub whole: u64,
}

impl Default for Lives {
    fn default() -> Self {
        // Those of the recordings.
        Self {
            left: 3590,
            whole: 3600,
        }
    }
}

/// What is put into one request.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    /// The Vault token.
    pub token: Option<SecretString>,
    /// The ticket, in base64.
    pub ticket: Option<SecretString>,
    /// The refresh token.
    pub refresh_token: Option<SecretString>,
    /// The state of an OIDC flow.
    pub state: Option<String>,
    /// Another credkey than usual.
    pub credkey: Option<String>,
    /// The lives of access tokens.
    pub lives: Lives,
}

impl Names {
    /// The recorded request as it is to be sent.
    #[must_use]
    pub fn request(&self, recorded: &Request, slots: &Slots) -> Request {
        let table = self.table(recorded, slots);
        Request {
            method: recorded.method.clone(),
            path: replaced(&recorded.path, &table),
            headers: (recorded.headers.iter())
                .map(|(name, value)| (name.clone(), replaced(value, &table)))
                .collect(),
            body: replaced(&recorded.body, &table),
        }
    }

    /// The recorded answer as it would have been with these names.
    #[must_use]
    pub fn answer(&self, recorded: &Answer, request: &Request, slots: &Slots) -> Answer {
        Answer {
            body: replaced(&recorded.body, &self.table(request, slots)),
            ..recorded.clone()
        }
    }

    /// What stands for what; of two that fit, the first is taken.
    fn table(&self, recorded: &Request, slots: &Slots) -> Vec<(String, String)> {
        let Self { issuer, role, .. } = self;
        let credkey = slots.credkey.as_ref().unwrap_or(&self.credkey);
        let user = self.credkey.split('/').next().unwrap_or_default();
        let other_user = if user == "crabtw" {
            "cmsprod"
        } else {
            "crabtw"
        };
        let other_role = if role == "default" {
            "production"
        } else {
            "default"
        };
        let secret = |slot: &Option<SecretString>| {
            (slot.as_ref()).map_or_else(String::new, |secret| secret.expose_secret().to_owned())
        };
        let encoded = |value: &Option<String>| {
            let value = value.as_deref().unwrap_or_default();
            byte_serialize(value.as_bytes()).collect::<String>()
        };
        let Lives { left, whole } = slots.lives;
        // What most clients ask for, where tokens live that long; more than the cached one has,
        // so that the issuer is asked; more than any token has.
        let usual = whole.saturating_mul(2) / 3;
        let [usual, refresh, never] = [usual.min(2400), left + 5, whole.saturating_mul(2)];
        let mut table = vec![
            ("s.<token>".into(), secret(&slots.token)),
            ("<base64>".into(), secret(&slots.ticket)),
            ("<refresh token>".into(), secret(&slots.refresh_token)),
            (
                "kerberos-cms_nope".into(),
                format!("kerberos-{issuer}_nope"),
            ),
            (
                "kerberos-cms_crab".into(),
                format!("kerberos-{issuer}_{role}"),
            ),
            ("oidc-cms".into(), format!("oidc-{issuer}")),
            (
                "cms/cmsprod:crab".into(),
                format!("{issuer}/{credkey}:{role}"),
            ),
            (
                "cms/cmsprod:default".into(),
                format!("{issuer}/{credkey}:{other_role}"),
            ),
            (
                "cms/crabtw:crab".into(),
                format!("{issuer}/{other_user}:{role}"),
            ),
            (
                r#""server": "cms""#.into(),
                format!(r#""server": "{issuer}""#),
            ),
            (r#""role": "crab""#.into(), format!(r#""role": "{role}""#)),
            ("https://vault.test:8200".into(), self.url.clone()),
            (
                "=https://dav.example".into(),
                format!("={}", encoded(&self.audience)),
            ),
            (
                "=storage.read:/".into(),
                format!("={}", encoded(&self.scopes)),
            ),
            (
                "minimum_seconds=2400".into(),
                format!("minimum_seconds={usual}"),
            ),
            (
                "minimum_seconds=3599".into(),
                format!("minimum_seconds={refresh}"),
            ),
            (
                "minimum_seconds=3598".into(),
                format!("minimum_seconds={refresh}"),
            ),
            (
                "minimum_seconds=7200".into(),
                format!("minimum_seconds={never}"),
            ),
        ];
        if let Some(state) = recorded_state(recorded) {
            table.push((state, slots.state.clone().unwrap_or_default()));
        }
        table
    }
}

/// The state of an OIDC flow in a recorded request.
fn recorded_state(request: &Request) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(&request.body).ok()?;
    Some(body.get("state")?.as_str()?.to_owned())
}

/// Replaces in one pass from left to right: what was put in is not looked at again.
fn replaced(text: &str, table: &[(String, String)]) -> String {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let found = (table.iter())
            .find_map(|(from, to)| rest.strip_prefix(from.as_str()).map(|after| (to, after)));
        if let Some((to, after)) = found {
            done.push_str(to);
            rest = after;
        } else {
            done.push(next);
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::recorded::exchange;

    fn names() -> Names {
        Names {
            url: "https://vault.example.org:8200".into(),
            issuer: "dune".into(),
            role: "crab".into(),
            credkey: "cms/crab".into(),
            audience: Some("https://a.example".into()),
            scopes: Some("storage.read:/x compute.read".into()),
        }
    }

    fn path(name: &str, slots: &Slots) -> String {
        let recorded = exchange(name).unwrap().request;
        names().request(&recorded, slots).path
    }

    #[test]
    fn names_minimum_and_query_are_those_of_the_server() {
        let slots = Slots::default();
        assert_eq!(
            path("creds-read", &slots),
            "/v1/secret/oauth/creds/dune/cms/crab:crab?minimum_seconds=2400"
        );
        assert_eq!(
            path("sts-read-scopes", &slots),
            "/v1/secret/oauth/sts/dune/cms/crab:crab?minimum_seconds=60\
             &scopes=storage.read%3A%2Fx+compute.read"
        );
        let short = Slots {
            lives: Lives {
                left: 50,
                whole: 60,
            },
            ..slots
        };
        assert!(path("creds-read", &short).ends_with("minimum_seconds=40"));
        assert!(path("creds-read-refresh-refused", &short).ends_with("minimum_seconds=55"));
        assert!(path("creds-read-minimum-too-long", &short).ends_with("minimum_seconds=120"));
    }

    #[test]
    fn what_was_cut_out_is_put_in() {
        let slots = Slots {
            token: Some("s.mine".into()),
            state: Some("st_now".into()),
            ..Slots::default()
        };
        let lookup = exchange("lookup-self").unwrap().request;
        let headers = names().request(&lookup, &slots).headers;
        assert_eq!(headers, [("X-Vault-Token".into(), "s.mine".into())]);
        let poll = exchange("oidc-poll-pending").unwrap().request;
        let body = names().request(&poll, &slots).body;
        assert_eq!(
            body,
            r#"{"state": "st_now", "client_nonce": "nonce-from-client"}"#
        );
        let begin = exchange("oidc-auth-url").unwrap().request;
        let body = names().request(&begin, &slots).body;
        assert!(body.contains("https://vault.example.org:8200/v1/auth/oidc-dune/oidc/callback"));
    }

    #[test]
    fn error_texts_name_what_the_server_names() {
        let recorded = exchange("rate-limited").unwrap();
        let answer = names().answer(&recorded.answer, &recorded.request, &Slots::default());
        assert!(answer.body.contains("creds/dune/cms/crab:crab"));
    }
}
