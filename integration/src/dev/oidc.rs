//! Login by OIDC, device flow: for the first time, to get a refresh token that can be stored.
//!
//! What always holds: a token is given only after the issuer gave tokens for the flow, which it
//! does once and after somebody approved; a wrong nonce ends the flow. The refresh token goes to the
//! caller and is not kept beside the Vault token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answers::Answer;
use super::duration::after;
use super::issuer_client::{DeviceTokens, PollFailure};
use super::node::Call;
use super::policy::{Operation, Owner, Policy};
use super::random;
use super::settings::RoleName;
use super::token_calls;
use super::tokens::{NewToken, TokenKind};
use super::vault::Vault;

/// How long the real server keeps the state of a flow.
const FLOW_LIFE: Duration = Duration::from_mins(10);
/// More flows than this are not open at once.
const MOST: usize = 10_000;

/// A flow that was begun.
#[derive(Clone)]
pub struct Flow {
    role: RoleName,
    nonce: String,
    device_code: SecretString,
    ends: Timestamp,
}

/// All flows that have not ended, by their state. Pure.
#[derive(Default)]
pub struct Flows {
    open: HashMap<String, Flow>,
}

impl Flows {
    fn begin(&mut self, state: String, flow: Flow, now: Timestamp) -> bool {
        self.open.retain(|_, flow| now < flow.ends);
        let room = self.open.len() < MOST;
        if room {
            self.open.insert(state, flow);
        }
        room
    }

    /// The flow that somebody may go on with; a wrong nonce ends it.
    fn resume(&mut self, state: &str, nonce: &str, now: Timestamp) -> Result<Flow, &'static str> {
        match self.open.get(state) {
            Some(flow) if now < flow.ends && flow.nonce == nonce => Ok(flow.clone()),
            Some(flow) if now < flow.ends => {
                self.end(state);
                Err("invalid client_nonce")
            }
            _ => Err("Vault login failed. Expired or missing OAuth state."),
        }
    }

    fn end(&mut self, state: &str) {
        self.open.remove(state);
    }
}

/// A call below `auth/oidc-ISSUER/oidc/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `auth_url`
    Begin,
    /// `poll`
    Poll,
    /// `callback`
    Callback,
}

impl Step {
    /// Takes a path apart: which issuer, which step.
    #[must_use]
    pub fn of(path: &str) -> Option<(&str, Self)> {
        let (issuer, step) = path.strip_prefix("auth/oidc-")?.split_once("/oidc/")?;
        let step = match step {
            "auth_url" => Self::Begin,
            "poll" => Self::Poll,
            "callback" => Self::Callback,
            _ => return None,
        };
        Some((issuer, step))
    }
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Body {
    role: String,
    client_nonce: String,
    state: String,
}

#[derive(Serialize)]
struct Begun<'a> {
    auth_url: &'a str,
    poll_interval: String,
    state: &'a str,
}

/// Answers a step of the flow.
pub async fn answer(vault: &Vault, issuer: &str, step: Step, call: &Call<'_>) -> Answer {
    match (step, call.operation) {
        (Step::Callback, Operation::Read) => {
            // Only browsers of the direct flow come here, which this server does not have.
            return Answer::bad_request("Vault login failed. Expired or missing OAuth state.");
        }
        (Step::Begin | Step::Poll, Operation::Update) => {}
        _ => return Answer::unsupported(),
    }
    let body = if call.body.trim_ascii().is_empty() {
        Ok(Body::default())
    } else {
        serde_json::from_slice(call.body)
    };
    match (body, step) {
        (Err(error), _) => Answer::bad_request(&format!("failed to parse JSON input: {error}")),
        (Ok(body), Step::Begin) => begin(vault, issuer, body).await,
        (Ok(body), _) => poll(vault, body).await,
    }
}

async fn begin(vault: &Vault, issuer: &str, body: Body) -> Answer {
    let role = RoleName {
        issuer: issuer.to_owned(),
        role: body.role.to_lowercase(),
    };
    if role.role.is_empty() {
        return Answer::bad_request("missing role");
    }
    let Some(scopes) = vault.settings.roles.get(&role) else {
        return Answer::bad_request(&format!("role {:?} could not be found", role.role));
    };
    if body.client_nonce.is_empty() {
        return Answer::bad_request("missing client_nonce");
    }
    let begun = match vault.issuer.authorize_device(&role, scopes).await {
        Ok(begun) => begun,
        Err(words) => return failed("error authorizing device", &words),
    };
    let state = format!("st_{}", random::letters(20));
    let now = vault.clock.now();
    let flow = Flow {
        role,
        nonce: body.client_nonce,
        device_code: begun.device_code,
        ends: after(now, FLOW_LIFE),
    };
    if !vault.oidc(|flows| flows.begin(state.clone(), flow, now)) {
        return failed("error authorizing device", "too many flows are open");
    }
    let data = Begun {
        auth_url: &begun.url,
        poll_interval: begun.interval.to_string(),
        state: &state,
    };
    Answer::data(data, &[])
}

async fn poll(vault: &Vault, body: Body) -> Answer {
    let now = vault.clock.now();
    let resumed = vault.oidc(|flows| flows.resume(&body.state, &body.client_nonce, now));
    let flow = match resumed {
        Ok(flow) => flow,
        Err(words) => return Answer::bad_request(words),
    };
    let polled = (vault.issuer)
        .poll_device(&flow.role.issuer, &flow.device_code)
        .await;
    if let Err(PollFailure::Waiting(words)) = &polled {
        return Answer::bad_request(words);
    }
    vault.oidc(|flows| flows.end(&body.state));
    match polled {
        Ok(tokens) => give(vault, &flow.role, tokens),
        Err(PollFailure::Waiting(words)) => Answer::bad_request(&words),
        Err(PollFailure::Refused(error)) => {
            Answer::bad_request(&format!("authorization failed: {error}"))
        }
        Err(PollFailure::Transient(words)) => {
            failed("error polling for device authorization", &words)
        }
    }
}

fn give(vault: &Vault, role: &RoleName, tokens: DeviceTokens) -> Answer {
    let mount = format!("oidc-{}", role.issuer);
    let credkey = tokens.credkey;
    let spec = NewToken {
        kind: TokenKind::Service,
        accessor: random::letters(24),
        display_name: format!("{mount}-{credkey}"),
        meta: Some(json!({"credkey": credkey, "role": role.role})),
        path: format!("auth/{mount}/oidc/poll"),
        life: vault.settings.login_life.min(vault.settings.max_life),
        explicit_max: Duration::ZERO,
        renewable: true,
        parent: None,
        owner: Arc::new(Owner {
            name: credkey.clone(),
            domain: String::new(),
        }),
        policies: Arc::new([Policy::Oidc(role.clone()), Policy::TokenOps]),
    };
    let Some(issued) = vault.issue(spec, vault.clock.now()) else {
        return Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "internal error");
    };
    let metadata = json!({
        "credkey": credkey,
        "oauth2_refresh_token": tokens.refresh_token.expose_secret(),
        "role": role.role,
    });
    token_calls::given_with(vault, &issued, Some(&metadata), &[])
}

fn failed(what: &str, words: &str) -> Answer {
    Answer::wrapped_error(
        StatusCode::INTERNAL_SERVER_ERROR,
        &format!("{what}: {words}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn begun() -> Flows {
        let mut flows = Flows::default();
        let flow = Flow {
            role: "cms:crab".parse().unwrap(),
            nonce: "mine".into(),
            device_code: "d".into(),
            ends: at(600),
        };
        assert!(flows.begin("st_1".into(), flow, at(0)));
        flows
    }

    #[test]
    fn paths_name_issuer_and_step() {
        assert_eq!(
            Step::of("auth/oidc-cms/oidc/poll"),
            Some(("cms", Step::Poll))
        );
        for other in ["auth/oidc-cms/login", "auth/oidc-cms/oidc/x", "oidc/poll"] {
            assert_eq!(Step::of(other), None, "{other}");
        }
    }

    #[test]
    fn a_wrong_nonce_ends_the_flow() {
        let mut flows = begun();
        assert!(flows.resume("st_1", "mine", at(1)).is_ok());
        let wrong = flows.resume("st_1", "guessed", at(1)).err();
        assert_eq!(wrong, Some("invalid client_nonce"));
        let gone = flows.resume("st_1", "mine", at(1)).err().unwrap();
        assert!(gone.contains("Expired or missing OAuth state"), "{gone}");
    }

    #[test]
    fn a_flow_expires() {
        let mut flows = begun();
        assert!(flows.resume("st_1", "mine", at(599)).is_ok());
        assert!(flows.resume("st_1", "mine", at(600)).is_err());
    }
}
