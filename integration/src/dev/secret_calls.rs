//! The calls on stored credentials: read an access token, exchange one, store a refresh token.
//!
//! What always holds: a cached read asks nobody; one credential is refreshed by one reader at a
//! time, the others wait for it and use what it got.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::answers::Answer;
use super::duration;
use super::node::Call;
use super::policy::SecretName;
use super::secrets::{Credential, IssuerFailure, LEAST_LIFE, Served, SharedCredential};
use super::token_calls::ignored_warning;
use super::vault::Vault;

/// Parameters of `creds/`, the ones of its other operations included: those are no strangers.
const CREDS_PARAMETERS: [&str; 12] = [
    "name",
    "minimum_seconds",
    "server",
    "grant_type",
    "maximum_expiry_seconds",
    "code",
    "redirect_url",
    "refresh_token",
    "device_code",
    "scopes",
    "provider_options",
    "list",
];
const STS_PARAMETERS: [&str; 6] = [
    "name",
    "scopes",
    "audiences",
    "resources",
    "minimum_seconds",
    "list",
];

#[derive(Serialize)]
struct Creds<'a> {
    access_token: &'a str,
    expire_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'a str,
}

/// What a query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    minimum: Duration,
    scopes: Vec<String>,
    audiences: Vec<String>,
    ignored: Vec<String>,
}

impl Asked {
    fn read(call: &Call<'_>, known: &[&str]) -> Result<Self, String> {
        let mut asked = Self::default();
        for (name, value) in call.parameters() {
            match name.as_ref() {
                "minimum_seconds" => {
                    let parsed = duration::parse(&value).map_err(|words| {
                        format!(
                            "Field validation failed: error converting input {value} for field \
                             \"minimum_seconds\": {words}"
                        )
                    })?;
                    asked.minimum = Duration::try_from(parsed).unwrap_or_default();
                }
                "scopes" => asked.scopes = list(&value),
                "audiences" => asked.audiences = list(&value),
                other if known.contains(&other) => {}
                _ => asked.ignored.push(name.into_owned()),
            }
        }
        Ok(asked)
    }
}

fn list(text: &str) -> Vec<String> {
    (text.split([',', ' ']).filter(|part| !part.is_empty()))
        .map(str::to_owned)
        .collect()
}

/// Answers a read of `secret/oauth/creds/…`.
pub async fn read(vault: &Vault, name: &SecretName<'_>, call: &Call<'_>) -> Answer {
    let asked = match Asked::read(call, &CREDS_PARAMETERS) {
        Ok(asked) => asked,
        Err(words) => return Answer::bad_request(&words),
    };
    let Some(credential) = vault.secrets.get(name.whole) else {
        return Answer::none_stored();
    };
    match fresh(vault, &credential, asked.minimum).await {
        Ok(served) => {
            let mut warnings: Vec<String> = served.warning.into_iter().collect();
            warnings.extend(ignored_warning(asked.ignored));
            let data = Creds {
                access_token: &served.access.text,
                expire_time: served.access.expires,
                server: Some(&served.server),
                kind: &served.access.kind,
            };
            Answer::data(data, &warnings)
        }
        Err(words) => Answer::bad_request(&words),
    }
}

/// Answers a read of `secret/oauth/sts/…`.
pub async fn exchange(vault: &Vault, name: &SecretName<'_>, call: &Call<'_>) -> Answer {
    let asked = match Asked::read(call, &STS_PARAMETERS) {
        Ok(asked) => asked,
        Err(words) => return Answer::bad_request(&words),
    };
    let Some(credential) = vault.secrets.get(name.whole) else {
        return Answer::none_stored();
    };
    let whole = match fresh(vault, &credential, LEAST_LIFE).await {
        Ok(served) => served,
        Err(words) => return Answer::bad_request(&words),
    };
    let exchanged = vault
        .issuer
        .exchange(
            &whole.server,
            &whole.access.text,
            &asked.scopes,
            &asked.audiences,
        )
        .await;
    match exchanged {
        Ok(access) => {
            let data = Creds {
                access_token: &access.text,
                expire_time: access.expires,
                server: None,
                kind: &access.kind,
            };
            let warnings: Vec<String> = ignored_warning(asked.ignored).into_iter().collect();
            Answer::data(data, &warnings)
        }
        Err(failure) => failed("exchange", failure),
    }
}

fn failed(what: &str, failure: IssuerFailure) -> Answer {
    match failure {
        IssuerFailure::Rejected(words) => Answer::bad_request(&format!("{what} failed: {words}")),
        IssuerFailure::Transient(words) => Answer::wrapped_error(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("transient: {words}"),
        ),
    }
}

/// The access token with `minimum` left: the cached one, or a new one from the issuer.
async fn fresh(
    vault: &Vault,
    credential: &SharedCredential,
    minimum: Duration,
) -> Result<Served, String> {
    let needs_refresh = || {
        let now = vault.clock.now();
        credential.with(|held| {
            held.needs_refresh(now, minimum)
                .then(|| (Arc::clone(held.server()), held.refresh_token().clone()))
        })
    };
    if needs_refresh().is_some() {
        let _alone = credential.refreshing.lock().await;
        // Somebody else may have refreshed it meanwhile.
        if let Some((server, refresh_token)) = needs_refresh() {
            let outcome = vault.issuer.refresh(&server, &refresh_token).await;
            credential.change(|held| held.refreshed(outcome));
            vault.changes.note();
        }
    }
    let now = vault.clock.now();
    credential.with(|held| held.read(now, minimum))
}

#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    server: String,
    refresh_token: Option<String>,
}

/// Answers a write to `secret/oauth/creds/…`: the refresh token is tried at once, and kept only
/// when the issuer takes it.
pub async fn store(vault: &Vault, name: &SecretName<'_>, body: &[u8]) -> Answer {
    let stored: Stored = match serde_json::from_slice(body) {
        Ok(stored) => stored,
        Err(error) => {
            return Answer::bad_request(&format!("failed to parse JSON input: {error}"));
        }
    };
    let Some(refresh_token) = stored.refresh_token.map(SecretString::from) else {
        return Answer::bad_request("missing code");
    };
    let server = stored.server;
    if !vault.settings.issuers().any(|issuer| issuer == server) {
        let words = format!("server {server:?} has configuration problems: no such server");
        return Answer::bad_request(&words);
    }
    match vault.issuer.refresh(&server, &refresh_token).await {
        Ok(refreshed) => {
            let mut credential = Credential::onboarded(&server, refresh_token);
            credential.refreshed(Ok(refreshed));
            vault.store(name.whole.to_owned(), credential);
            Answer::nothing()
        }
        Err(failure) => failed("refresh", failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::policy::Operation;
    use axum::http::HeaderMap;

    fn asked(query: &str, known: &[&str]) -> Result<Asked, String> {
        let headers = HeaderMap::new();
        let call = Call {
            operation: Operation::Read,
            path: "",
            query,
            headers: &headers,
            body: b"",
            client: None,
        };
        Asked::read(&call, known)
    }

    #[test]
    fn strangers_are_ignored_with_a_warning() {
        let query = "minimum_seconds=2400&audience=https://x.example";
        let creds = asked(query, &CREDS_PARAMETERS).unwrap();
        assert_eq!(creds.minimum, Duration::from_mins(40));
        assert_eq!(creds.ignored, ["audience"]);
        let sts = asked(
            "scopes=a,b%20c&audiences=d&minimum_seconds=60",
            &STS_PARAMETERS,
        )
        .unwrap();
        assert_eq!(sts.scopes, ["a", "b", "c"]);
        assert_eq!(sts.audiences, ["d"]);
        assert_eq!(sts.ignored, Vec::<String>::new());
    }

    #[test]
    fn a_minimum_that_is_no_duration_is_refused() {
        let words = asked("minimum_seconds=soon", &CREDS_PARAMETERS).unwrap_err();
        assert!(
            words.ends_with("time: invalid duration \"soon\""),
            "{words}"
        );
        let negative = asked("minimum_seconds=-5", &CREDS_PARAMETERS).unwrap();
        assert_eq!(negative.minimum, Duration::ZERO);
    }
}
