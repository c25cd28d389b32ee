//! Brings about what a case takes, and takes it back.
//!
//! What always holds: every token that a server gives is noted in [`Stage::made`], so that it is
//! revoked at the end; no token is ever printed.

mod stored;
mod tokens;

use secrecy::SecretString;

use super::admin::Admin;
use super::cases::{Bearer, Case, Needs, State};
use super::names::{Names, Slots};
use super::recorded::{Answer, Request, exchange};
use super::server::Server;
use super::ticket::Tickets;

/// Why a case cannot run.
#[derive(Debug)]
pub enum Unready {
    /// It does not apply here, and why.
    Skip(String),
    /// What it builds on went wrong.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Unready {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

fn skip<T>(reason: impl Into<String>) -> Result<T, Unready> {
    Err(Unready::Skip(reason.into()))
}

/// The server, who looks at it, and what was made so far.
pub struct Stage {
    /// The server.
    pub server: Server,
    /// Its names.
    pub names: Names,
    /// The principal's tickets.
    pub tickets: Tickets,
    /// A robot's tickets.
    pub robot: Option<Tickets>,
    /// The operator's side.
    pub admin: Option<Admin>,
    /// Whether something may be left changed.
    pub destructive: bool,
    /// Whether the server has no oauthapp plugin, but another store in its place.
    pub without_plugin: bool,
    /// Whether the node says that it is a standby.
    pub standby: bool,
    /// Tokens that live, or did.
    pub made: Vec<SecretString>,
    login: Option<SecretString>,
    oidc: Option<(SecretString, SecretString)>,
}

impl Stage {
    /// A stage on which nothing happened yet.
    #[must_use]
    pub fn new(server: Server, names: Names, tickets: Tickets) -> Self {
        Self {
            server,
            names,
            tickets,
            robot: None,
            admin: None,
            destructive: false,
            without_plugin: false,
            standby: false,
            made: Vec::new(),
            login: None,
            oidc: None,
        }
    }

    /// Brings about what a case takes; gives what is put into its request.
    pub async fn set(&mut self, case: &Case, request: &Request) -> Result<Slots, Unready> {
        if let Some(what) = case.destroys.filter(|_| !self.destructive) {
            return skip(what);
        }
        if let Some(why) = case.plugin.filter(|_| self.without_plugin) {
            return skip(why);
        }
        let mut slots = Slots::default();
        self.check(case)?;
        slots.token = self.bearer(case.bearer).await?;
        if case.bearer == Bearer::Oidc {
            slots.refresh_token = self.oidc.as_ref().map(|(_, refresh)| refresh.clone());
        } else {
            // Refused before anybody looks at it.
            slots.refresh_token = Some("none".into());
        }
        let wants_ticket = request.headers.iter().any(|(_, v)| v.contains("<base64>"));
        if wants_ticket {
            let tickets = match (case.needs, &self.robot) {
                (Needs::Robot, Some(robot)) => robot,
                _ => &self.tickets,
            };
            slots.ticket = Some(tickets.fresh(case.mechanism).await?);
        }
        match case.needs {
            Needs::Stored
            | Needs::StoredAnd(_)
            | Needs::RefusedBefore
            | Needs::Scopes
            | Needs::Audience => slots.lives = self.lives().await?,
            Needs::NoneStored => slots.credkey = Some(self.never_stored().await?),
            Needs::Deleted => {
                let login = self.login().await?;
                self.named("creds-delete", &with_token(&login)).await?;
            }
            Needs::Flow => slots.state = Some(self.begin_flow().await?.0),
            Needs::Approved => slots.state = Some(self.approved_flow().await?),
            Needs::Nothing | Needs::Active | Needs::Robot | Needs::State(_) => {}
        }
        match case.needs {
            Needs::State(state) | Needs::StoredAnd(state) => self.bring(state).await?,
            Needs::RefusedBefore => {
                self.bring(State::RefreshRefused).await?;
                self.named("creds-read-refresh-refused", &slots).await?;
            }
            _ => {}
        }
        Ok(slots)
    }

    /// Takes back what a case brought about.
    pub async fn clear(&mut self, case: &Case) -> anyhow::Result<()> {
        let Some(admin) = self.admin.clone() else {
            return Ok(());
        };
        match case.needs {
            Needs::State(State::RefreshRefused)
            | Needs::StoredAnd(State::RefreshRefused)
            | Needs::RefusedBefore
            | Needs::Deleted => self.onboard().await,
            Needs::State(_) | Needs::StoredAnd(_) => admin.restore().await,
            _ => Ok(()),
        }
    }

    /// Notes what an answer gave.
    pub fn note(&mut self, case: &Case, answer: &Answer) {
        let body = answer.json();
        let text = |value: &serde_json::Value| value.as_str().map(SecretString::from);
        let Some(token) = body.pointer("/auth/client_token").and_then(text) else {
            return;
        };
        if case.name == "oidc-poll-done"
            && let Some(refresh) =
                (body.pointer("/auth/metadata/oauth2_refresh_token")).and_then(text)
        {
            self.oidc = Some((token.clone(), refresh));
        }
        self.made.push(token);
    }

    /// Whether the case applies to this server at all.
    fn check(&self, case: &Case) -> Result<(), Unready> {
        match case.needs {
            Needs::Active if self.standby => skip("the node is a standby: give the leader's URL"),
            Needs::Robot if self.robot.is_none() => {
                skip("no robot: give --robot-principal and --robot-keytab")
            }
            Needs::Scopes if self.names.scopes.is_none() => skip("no scopes: give --scopes"),
            Needs::Audience if self.names.scopes.is_none() || self.names.audience.is_none() => {
                skip("no scopes and audience: give --scopes and --audience")
            }
            Needs::Approved if self.admin.is_none() => skip("a person would have to approve"),
            Needs::State(state) | Needs::StoredAnd(state) => self.check_state(state),
            Needs::RefusedBefore => self.check_state(State::RefreshRefused),
            _ => Ok(()),
        }
    }

    fn check_state(&self, state: State) -> Result<(), Unready> {
        let from_outside = match state {
            State::Standby => self.standby,
            State::RateLimited => self.destructive,
            _ => false,
        };
        if from_outside || self.admin.is_some() {
            Ok(())
        } else {
            skip(state.reason())
        }
    }

    async fn bring(&mut self, state: State) -> Result<(), Unready> {
        match (&self.admin, state) {
            (_, State::Standby) if self.standby => {}
            (Some(admin), _) => {
                if !admin.bring(state, &self.names).await? {
                    return skip(state.reason());
                }
                if state == State::RateLimited {
                    self.use_up_quota(&Slots::default()).await?;
                }
            }
            (None, State::RateLimited) => {
                // Quotas count what is refused, too. After this nothing can be revoked.
                let login = self.login().await?;
                self.revoke_all().await;
                self.use_up_quota(&with_token(&login)).await?;
            }
            (None, _) => return skip(state.reason()),
        }
        Ok(())
    }

    async fn use_up_quota(&self, slots: &Slots) -> Result<(), Unready> {
        for _ in 0..5_000 {
            if self.named("rate-limited", slots).await?.status == 429 {
                return Ok(());
            }
        }
        skip("5,000 requests did not use up the quota")
    }

    /// The recorded request as it is to be sent to this server.
    #[must_use]
    pub fn request(&self, recorded: &Request, slots: &Slots) -> Request {
        let mut request = self.names.request(recorded, slots);
        if self.without_plugin {
            request.path = without_minimum(&request.path);
        }
        request
    }

    /// Sends the request of another recording.
    async fn named(&self, name: &str, slots: &Slots) -> anyhow::Result<Answer> {
        let request = self.request(&exchange(name)?.request, slots);
        self.server.send(&request).await
    }
}

fn with_token(token: &SecretString) -> Slots {
    Slots {
        token: Some(token.clone()),
        ..Slots::default()
    }
}

/// A path without the life that is asked for: any other store than the plugin warns that it does not
/// know this parameter.
fn without_minimum(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else {
        return path.to_owned();
    };
    let rest: Vec<&str> = (query.split('&'))
        .filter(|part| !part.starts_with("minimum_seconds="))
        .collect();
    match rest.as_slice() {
        [] => path.to_owned(),
        rest => format!("{path}?{}", rest.join("&")),
    }
}
