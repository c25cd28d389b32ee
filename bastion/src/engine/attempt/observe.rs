//! Observation of the schedd, and the decision on it.

use std::time::Duration;

use htvault::VaultToken;
use jiff::Timestamp;
use tracing::info;

use super::served::stopped;
use super::{AtSchedd, Attempt};
use crate::model::moment::{after, before};
use crate::model::problem::{Kind, Problem};
use crate::model::records::{Life, requested_content};
use crate::policy::jobs::{self, Credmon};
use crate::policy::plan::inherit::{self, FoundToken};
use crate::policy::plan::{self, PushReason};
use crate::schedd::top_file;
use crate::schedd::{Observation, Transport};
use crate::system::stages::Stage;
use crate::vault::{OwnedToken, Vault};

/// Decision on an observation.
pub(super) enum Decision {
    Good,
    Unserved,
    Push(PushReason),
}

impl<V: Vault, T: Transport> Attempt<'_, V, T> {
    /// Sees what the schedd has and what that means; with `prove`, whether a token that is
    /// owned still gives access tokens as wanted.
    pub(super) async fn examine(&mut self, prove: bool) -> Result<Decision, Problem> {
        let observed = self.observe().await?;
        let Some(stored) = observed.stored else {
            let known = self.give_up();
            return Ok(Decision::Push(if known {
                PushReason::Missing
            } else {
                PushReason::First
            }));
        };
        let there = observed
            .content
            .as_ref()
            .map(|text| top_file::token_of(&self.delivery.credential, text));
        if let Some(Some(token)) = &there {
            self.tokens.found(token, stored);
        }
        let Some((owned, at)) = self.tokens.current() else {
            return match there {
                Some(Some(token)) => self.adopt(token, stored, &observed).await,
                Some(None) => {
                    let why = if self.is_outdated() {
                        PushReason::Changed
                    } else {
                        PushReason::Replaced
                    };
                    self.tokens.let_go();
                    Ok(Decision::Push(why))
                }
                None => match self.inherit(stored, &observed) {
                    Decision::Good if prove => self.prove_by_session().await,
                    decision => Ok(decision),
                },
            };
        };
        let ours = match there {
            Some(there) => there.is_some_and(|there| there.expose() == owned.token.expose()),
            None => *at == Some(stored),
        };
        if !ours {
            // What is there is not known where the time of ours was not seen: ours is stored again.
            let is_seen = at.is_some() || self.delivery.target.is_readable();
            self.give_up();
            return Ok(Decision::Push(if is_seen {
                PushReason::Replaced
            } else {
                PushReason::Missing
            }));
        }
        *at = Some(stored);
        let owned = owned.clone();
        let credmon = jobs::credmon(stored, observed.served, self.begun.access.life, self.now());
        if prove || credmon == Credmon::Stopped {
            if self.is_dead(&owned.token).await? {
                return Ok(Decision::Push(PushReason::Dead));
            }
            // Long after the access token of jobs ended, Vault would give another.
            if let Some(served) = observed.served
                && credmon == Credmon::Stopped
                && observed.is_served(None)
                && self
                    .begun
                    .access
                    .life
                    .is_some_and(|life| self.now() > after(served, life))
            {
                return Err(stopped(self.delivery, served));
            }
        }
        Ok(Self::served(&observed))
    }

    /// Reads an access token with the vault token that is at the schedd; where this process does not have
    /// that, with a login of the same credential: that proves the grant, and what Vault gives jobs.
    pub(super) async fn prove(&mut self) -> Result<Decision, Problem> {
        if let Some((owned, _)) = self.tokens.current() {
            let token = owned.token.clone();
            let is_dead = self.is_dead(&token).await?;
            return Ok(if is_dead {
                Decision::Push(PushReason::Dead)
            } else {
                Decision::Good
            });
        }
        self.prove_by_session().await
    }

    async fn prove_by_session(&mut self) -> Result<Decision, Problem> {
        let sessions = &self.parts.sessions;
        let session = sessions.get(&self.delivery.credential).await?;
        let at_least = self.begun.access.life.map(plan::at_least);
        let read = sessions.prove(&session, at_least);
        let read = self.parts.stages.time(Stage::Read, read).await;
        let checked = read.and_then(|(answer, less)| self.take_over(answer, less, false));
        if checked.as_ref().is_err_and(|p| p.kind == Kind::TokenDead) {
            // It died before its time; the next proof makes another one.
            sessions.close_dead(&session).await;
        }
        checked.map(|()| Decision::Good)
    }

    /// Gives up what is not at the schedd any more. One that was never good there is stored again: a schedd that loses what
    /// it takes costs no further logins. One that was good is replaced, and revoked then: whoever took it away may have it,
    /// as may the machine that had the schedd's name before. Returns `true` if anything was known.
    fn give_up(&mut self) -> bool {
        let sent = self.tokens.sent.map(|(sent, _)| sent);
        let was_good = sent.is_none_or(|sent| self.begun.succeeded >= Some(sent));
        if was_good {
            self.tokens.let_go()
        } else {
            self.tokens.take_back()
        }
    }

    fn served(observed: &Observation) -> Decision {
        if observed.is_served(None) {
            Decision::Good
        } else {
            Decision::Unserved
        }
    }

    /// Returns `true` when the current token is dead. Another failure is an error.
    async fn is_dead(&mut self, token: &VaultToken) -> Result<bool, Problem> {
        match self.check(token, false).await {
            Err(problem) if problem.kind == Kind::TokenDead => Ok(true),
            checked => checked.map(|()| false),
        }
    }

    /// `true` when what was stored before a restart is other content than is wanted now.
    fn is_outdated(&self) -> bool {
        let requested = requested_content(&self.delivery.credential);
        match &self.tokens.at_schedd {
            Some(AtSchedd::Recorded(recorded)) => recorded.requested != requested,
            _ => false,
        }
    }

    /// Decides on a token at a credd that was stored before a restart.
    fn inherit(&mut self, stored: Timestamp, observed: &Observation) -> Decision {
        let now = self.now();
        if let Some(AtSchedd::Inherited(inherited)) = &self.tokens.at_schedd {
            let why = if inherited.stored != stored {
                PushReason::Replaced
            } else if jobs::credmon(stored, observed.served, self.begun.access.life, now)
                == Credmon::Stopped
            {
                PushReason::Stale
            } else {
                return Self::served(observed);
            };
            self.tokens.let_go();
            return Decision::Push(why);
        }
        let requested = requested_content(&self.delivery.credential);
        let installed = match &self.tokens.at_schedd {
            Some(AtSchedd::Recorded(recorded)) => Some(&**recorded),
            _ => None,
        };
        let found = FoundToken {
            installed,
            requested: &requested,
            stored,
            served: observed.served,
        };
        match inherit::inherit(self.policy, &found, now) {
            Ok(inherited) => {
                let id = &self.delivery.id;
                info!(
                    account = id.account, service = id.service, schedd = id.schedd,
                    accessor = inherited.accessor.as_deref().unwrap_or("unknown"),
                    expires = %format_args!("{:.0}", inherited.life.expires),
                    "kept what the credd has"
                );
                self.tokens.at_schedd = Some(AtSchedd::Inherited(inherited));
                Self::served(observed)
            }
            Err(why) => {
                self.tokens.let_go();
                Decision::Push(why)
            }
        }
    }

    /// A token found at the schedd after a restart: kept when it is what we would write.
    async fn adopt(
        &mut self,
        token: VaultToken,
        stored: Timestamp,
        observed: &Observation,
    ) -> Result<Decision, Problem> {
        let credential = &self.delivery.credential;
        let found = self.parts.vault.look_up(credential, &token).await;
        // Until Vault names it nothing is pushed over it: nobody would know of it any more.
        let found = found.inspect_err(|_| self.seen = None)?;
        let Some((life, accessor)) = found else {
            self.tokens.let_go();
            return Ok(Decision::Push(PushReason::Replaced));
        };
        // It is named by itself from here on; another that was recorded was replaced by somebody.
        self.tokens.let_go();
        self.tokens.lost.retain(|named| named.accessor != accessor);
        let owned = OwnedToken {
            token,
            parent: None,
            accessor,
            // When it was issued is not known; this much before its end at the latest.
            life: Life {
                issued: before(life.expires, self.delivery.lifetime),
                expires: life.expires,
            },
            server: credential.url.server(),
        };
        let left = owned.left(self.now());
        // Never longer than configured; a minute is for clocks and the way.
        if left <= self.delivery.renew_below
            || left > self.delivery.lifetime + Duration::from_mins(1)
        {
            self.tokens.former.push(owned);
            return Ok(Decision::Push(PushReason::Renewal));
        }
        let id = &self.delivery.id;
        info!(
            account = id.account, service = id.service, schedd = id.schedd,
            accessor = owned.accessor, expires = %format_args!("{:.0}", owned.life.expires),
            "kept the token found there"
        );
        let token = owned.token.clone();
        // Before the check, which may be cut short.
        self.tokens.at_schedd = Some(AtSchedd::Owned(owned, Some(stored)));
        self.check(&token, false).await?;
        Ok(Self::served(observed))
    }
}
