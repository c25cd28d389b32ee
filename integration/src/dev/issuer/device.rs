//! The device flow (RFC 8628): a code that a person approves in a browser while a client polls.
//!
//! [`DeviceFlows`] decides, purely, what a poll is told; the issuer's methods below share it between
//! connections. What always holds: a flow gives tokens once, and only after somebody approved it;
//! device codes are kept as hashes; a flow that has expired can neither be approved nor used.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::{CLIENT_ID, Issuer, Refusal, TokenAnswer, TokenRequest};
use crate::dev::duration::after;
use crate::dev::random;
use crate::dev::settings::RoleName;
use crate::dev::tokens::TokenKey;

/// The grant type of a poll.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A client that waits as told may be seen this much early.
const GRACE: Duration = Duration::from_millis(500);
/// More flows than this are not open at once.
const MOST: usize = 10_000;

/// What a person said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, and who they are.
    Approved(String),
    /// No.
    Denied,
}

/// Why a flow cannot be decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpen {
    /// There is no such code, or it has expired.
    Unknown,
    /// Somebody did so already.
    Decided,
    /// What was given is no credkey.
    BadCredkey,
}

#[derive(Clone, Debug)]
struct Flow {
    role: RoleName,
    user_code: String,
    ends: Timestamp,
    polled: Option<Timestamp>,
    decision: Option<Decision>,
}

/// All flows that have not ended.
#[derive(Debug, Default)]
pub struct DeviceFlows {
    flows: HashMap<TokenKey, Flow>,
}

impl DeviceFlows {
    /// Opens a flow; refuses when too many are open.
    fn open(&mut self, key: TokenKey, flow: Flow, now: Timestamp) -> bool {
        self.flows.retain(|_, flow| now < flow.ends);
        let room = self.flows.len() < MOST;
        if room {
            self.flows.insert(key, flow);
        }
        room
    }

    fn undecided(&mut self, user_code: &str, now: Timestamp) -> Result<&mut Flow, NotOpen> {
        let wanted = plain(user_code);
        let mut flows = self.flows.values_mut();
        let found = flows.find(|flow| flow.user_code == wanted && now < flow.ends);
        match found {
            Some(flow) if flow.decision.is_none() => Ok(flow),
            Some(_) => Err(NotOpen::Decided),
            None => Err(NotOpen::Unknown),
        }
    }

    /// What a poll is told: whose tokens it gets, or the error code of RFC 8628.
    fn poll(
        &mut self,
        key: &TokenKey,
        issuer: &str,
        interval: Duration,
        now: Timestamp,
    ) -> Result<(RoleName, String), &'static str> {
        let flow = (self.flows.get_mut(key))
            .filter(|flow| flow.role.issuer == issuer)
            .ok_or("invalid_grant")?;
        if flow.ends <= now {
            self.flows.remove(key);
            return Err("expired_token");
        }
        let next = (flow.polled).map(|last| after(last, interval.saturating_sub(GRACE)));
        flow.polled = Some(now);
        match flow.decision.clone() {
            // An answer that is there is given at once, however fast somebody asks.
            Some(decision) => {
                let role = flow.role.clone();
                self.flows.remove(key);
                match decision {
                    Decision::Approved(credkey) => Ok((role, credkey)),
                    Decision::Denied => Err("access_denied"),
                }
            }
            None if next.is_some_and(|next| now < next) => Err("slow_down"),
            None => Err("authorization_pending"),
        }
    }
}

/// A user code as people may type it: in lower case, with a dash or spaces.
fn plain(user_code: &str) -> String {
    (user_code.chars())
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

/// Whether this can be a credkey: a name, or one with slashes as robots have.
fn is_credkey(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    let part =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(plain);
    text.len() <= 256 && text.split('/').all(part)
}

/// What the device authorization endpoint gives.
#[derive(Serialize)]
pub struct DeviceAnswer {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    expires_in: u64,
    interval: u64,
}

/// The claims of an identity token.
#[derive(Serialize, Deserialize)]
struct Identity {
    iss: String,
    sub: String,
    aud: String,
    exp: i64,
    iat: i64,
    credkey: String,
}

impl Issuer {
    fn flows<R>(&self, work: impl FnOnce(&mut DeviceFlows) -> R) -> R {
        work(&mut self.devices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens a device flow for a role.
    pub fn authorize_device(&self, role: &RoleName) -> Result<DeviceAnswer, Refusal> {
        if !self.settings.roles.contains_key(role) {
            return Err(Refusal::new("invalid_scope", "No role has these scopes"));
        }
        let now = self.clock.now();
        let device_code = random::letters(43);
        let user_code: String = (random::uuid().chars().take(8))
            .map(|c| c.to_ascii_uppercase())
            .collect();
        let flow = Flow {
            role: role.clone(),
            user_code: user_code.clone(),
            ends: after(now, self.settings.device_life),
            polled: None,
            decision: None,
        };
        let key = TokenKey::of(device_code.as_bytes());
        if !self.flows(|flows| flows.open(key, flow, now)) {
            return Err(Refusal::new("server_error", "Too many device flows"));
        }
        let page = format!("{}/device", self.settings.issuer_url);
        Ok(DeviceAnswer {
            device_code,
            verification_uri_complete: format!("{page}?user_code={user_code}"),
            verification_uri: page,
            user_code,
            expires_in: self.settings.device_life.as_secs(),
            interval: self.settings.poll_interval.as_secs(),
        })
    }

    /// The role that an open flow asks for.
    pub fn asked_for(&self, user_code: &str) -> Result<RoleName, NotOpen> {
        let now = self.clock.now();
        self.flows(|flows| {
            let flow = flows.undecided(user_code, now)?;
            Ok(flow.role.clone())
        })
    }

    /// Approves an open flow in somebody's name, or denies it; says for which role it is.
    pub fn decide(&self, user_code: &str, decision: Decision) -> Result<RoleName, NotOpen> {
        if matches!(&decision, Decision::Approved(credkey) if !is_credkey(credkey)) {
            return Err(NotOpen::BadCredkey);
        }
        let now = self.clock.now();
        self.flows(|flows| {
            let flow = flows.undecided(user_code, now)?;
            flow.decision = Some(decision);
            Ok(flow.role.clone())
        })
    }

    /// Answers a poll at the token endpoint.
    pub(super) fn poll_device(
        &self,
        issuer: &str,
        request: &TokenRequest,
    ) -> Result<TokenAnswer, Refusal> {
        let now = self.clock.now();
        let key = TokenKey::of(request.device_code.expose_secret().as_bytes());
        let interval = self.settings.poll_interval;
        let (role, credkey) = self
            .flows(|flows| flows.poll(&key, issuer, interval, now))
            .map_err(|error| Refusal::new(error, "Device flow"))?;
        let refresh_token: SecretString = self.grant(&role, &credkey);
        let scopes = self.settings.roles.get(&role);
        let granted: Vec<&str> = scopes.into_iter().flatten().map(String::as_str).collect();
        let sub = self.settings.subject(&credkey);
        let identity = Identity {
            iss: self.url(issuer),
            sub: sub.clone(),
            aud: CLIENT_ID.to_owned(),
            exp: after(now, self.settings.access_token_life).as_second(),
            iat: now.as_second(),
            credkey,
        };
        let mut answer = self.issue(issuer, sub, &granted, &TokenRequest::default(), now)?;
        answer.id_token = Some(
            (self.key.sign(&identity))
                .map_err(|_| Refusal::new("server_error", "the key cannot sign"))?,
        );
        answer.refresh_token = Some(refresh_token.expose_secret().to_owned());
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(3);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn opened() -> (DeviceFlows, TokenKey) {
        let mut flows = DeviceFlows::default();
        let key = TokenKey::of(b"device");
        let flow = Flow {
            role: "cms:crab".parse().unwrap(),
            user_code: "D499B6CA".into(),
            ends: at(600),
            polled: None,
            decision: None,
        };
        assert!(flows.open(key, flow, at(0)));
        (flows, key)
    }

    fn poll(flows: &mut DeviceFlows, key: &TokenKey, second: i64) -> Result<String, &'static str> {
        let given = flows.poll(key, "cms", INTERVAL, at(second));
        given.map(|(_, credkey)| credkey)
    }

    #[test]
    fn a_poll_waits_for_approval_and_may_not_hurry() {
        let (mut flows, key) = opened();
        for (second, told) in [
            (0, "authorization_pending"),
            (2, "slow_down"),
            (4, "slow_down"),
            (7, "authorization_pending"),
        ] {
            assert_eq!(poll(&mut flows, &key, second), Err(told), "{second}");
        }
        let flow = flows.undecided(" d499-b6ca", at(8)).unwrap();
        flow.decision = Some(Decision::Approved("cmsprod".into()));
        assert_eq!(
            flows.undecided("D499B6CA", at(8)).err(),
            Some(NotOpen::Decided)
        );
        assert_eq!(
            flows.poll(&key, "atlas", INTERVAL, at(8)),
            Err("invalid_grant")
        );
        assert_eq!(poll(&mut flows, &key, 8), Ok("cmsprod".into()));
        assert_eq!(
            poll(&mut flows, &key, 60),
            Err("invalid_grant"),
            "once only"
        );
    }

    #[test]
    fn a_flow_is_denied_or_expires() {
        let (mut flows, key) = opened();
        flows.undecided("D499B6CA", at(0)).unwrap().decision = Some(Decision::Denied);
        assert_eq!(poll(&mut flows, &key, 1), Err("access_denied"));
        let (mut flows, key) = opened();
        assert_eq!(
            flows.undecided("D499B6CA", at(600)).err(),
            Some(NotOpen::Unknown)
        );
        assert_eq!(poll(&mut flows, &key, 600), Err("expired_token"));
    }

    #[test]
    fn a_credkey_is_a_name_or_a_robots() {
        for good in ["cmsprod", "cmsprod/bastion/ap.test", "a.b-c_d@TEST"] {
            assert!(is_credkey(good), "{good}");
        }
        for bad in [
            "",
            "a:b",
            "a//b",
            "/a",
            "a/..",
            "<b>",
            "a b",
            &"x".repeat(257),
        ] {
            assert!(!is_credkey(bad), "{bad}");
        }
    }
}
