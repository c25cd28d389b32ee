//! One delivery brought to good: look, token, check, store, job's end. The effects of one try.
//!
//! What holds:
//! - A token is checked by reading an access token with it before it is stored anywhere.
//! - *Good* is said only when the credmon at the schedd has made an access token since the push.
//! - The token that jobs live on is revoked only after its replacement is good; a try that fails
//!   revokes nothing that may be stored somewhere.
//! - A token that was made and could not be stored is used again at the next try: an outage of a
//!   schedd makes no new logins.

use std::sync::Arc;
use std::time::Duration;

use htvault::clock::Clock;
use htvault::{AccessToken, VaultToken};
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::delivery::Delivery;
use crate::moment::before;
use crate::opener::Openers;
use crate::plan::{Life, Step, Why};
use crate::problem::{Cause, Kind, Problem};
use crate::top_file;
use crate::transport::{Observed, Transport};
use crate::vault::{Held, Reading, Vault};
use crate::verify;

/// What tries need, shared by all of them.
pub struct Parts<V, T> {
    /// Vault.
    pub vault: V,
    /// The way to schedds.
    pub transport: T,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    pub(crate) openers: Openers,
}

impl<V, T> Parts<V, T> {
    /// Puts the parts together.
    pub fn new(vault: V, transport: T, clock: Arc<dyn Clock>) -> Self {
        Self {
            vault,
            transport,
            clock,
            openers: Openers::default(),
        }
    }
}

/// The vault tokens of one delivery, in memory.
#[derive(Debug, Default)]
pub struct Tokens {
    /// The one at the schedd, and when it was stored by the schedd's clock.
    pub current: Option<(Held, Option<Timestamp>)>,
    /// One that is made and not known to be stored.
    pub candidate: Option<Held>,
    /// Replaced ones, to be revoked when the current one is good.
    pub former: Vec<Held>,
}

/// What is known of the access token that was read with the current vault token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessFacts {
    /// Its identifier.
    pub jti: Option<String>,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// What came of a try.
#[derive(Debug)]
pub struct Outcome {
    /// The tokens after it.
    pub tokens: Tokens,
    /// The schedd was seen.
    pub looked: bool,
    /// The access token that was read, if one was.
    pub access: Option<AccessFacts>,
    /// Good, or what is wrong.
    pub result: Result<(), Problem>,
}

impl Tokens {
    /// The life of the token at the schedd.
    #[must_use]
    pub fn life(&self) -> Option<Life> {
        self.current.as_ref().map(|(held, _)| held.life)
    }
}

/// Makes one try.
pub async fn bring<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    delivery: &Delivery,
    step: Step,
    tokens: Tokens,
) -> Outcome {
    let mut work = Try {
        parts,
        delivery,
        tokens,
        looked: false,
        access: None,
    };
    let result = work.bring(step).await;
    if let Err(problem) = &result
        && problem.kind == Kind::CreddRefused
    {
        parts.openers.forget(&delivery.authorize).await;
    }
    Outcome {
        tokens: work.tokens,
        looked: work.looked,
        access: work.access,
        result,
    }
}

/// What a look says.
enum Verdict {
    Good,
    Unserved,
    Push(Why),
}

struct Try<'a, V, T> {
    parts: &'a Parts<V, T>,
    delivery: &'a Delivery,
    tokens: Tokens,
    looked: bool,
    access: Option<AccessFacts>,
}

impl<V: Vault, T: Transport> Try<'_, V, T> {
    async fn bring(&mut self, step: Step) -> Result<(), Problem> {
        let why = match step {
            Step::Push(why) => why,
            Step::Look => match self.look().await? {
                Verdict::Good => return self.revoke_former().await,
                Verdict::Unserved => return self.await_served(None).await,
                Verdict::Push(why) => why,
            },
        };
        let served_before = self.push(why).await?;
        self.await_served(served_before).await
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    async fn opener(&self) -> Result<Option<AccessToken>, Problem> {
        if !self.delivery.target.needs_opener() {
            return Ok(None);
        }
        let openers = &self.parts.openers;
        let opener = openers.get(&self.parts.vault, &self.delivery.authorize, self.now());
        opener.await.map(Some)
    }

    async fn observe(&mut self) -> Result<Observed, Problem> {
        let opener = self.opener().await?;
        let observed = self
            .parts
            .transport
            .observe(self.delivery, opener.as_ref())
            .await?;
        self.looked = true;
        Ok(observed)
    }

    /// Sees what the schedd has and what that means.
    async fn look(&mut self) -> Result<Verdict, Problem> {
        let observed = self.observe().await?;
        let Some(stored) = observed.stored else {
            let known = self.tokens.current.take();
            let why = if known.is_some() {
                Why::Missing
            } else {
                Why::First
            };
            self.tokens.former.extend(known.map(|(held, _)| held));
            return Ok(Verdict::Push(why));
        };
        let there = observed
            .content
            .as_ref()
            .map(|text| top_file::token_of(&self.delivery.credential, text));
        let Some((held, at)) = &mut self.tokens.current else {
            return match there.flatten() {
                Some(token) => self.adopt(token, stored, &observed).await,
                None => Ok(Verdict::Push(Why::Replaced)),
            };
        };
        let ours = match there {
            Some(there) => there.is_some_and(|there| there.expose() == held.token.expose()),
            None => at.is_none_or(|at| at == stored),
        };
        if !ours {
            let known = self.tokens.current.take();
            self.tokens.former.extend(known.map(|(held, _)| held));
            return Ok(Verdict::Push(Why::Replaced));
        }
        *at = Some(stored);
        Ok(Self::served(&observed))
    }

    fn served(observed: &Observed) -> Verdict {
        if verify::is_served(observed, None) {
            Verdict::Good
        } else {
            Verdict::Unserved
        }
    }

    /// A token found at the schedd after a restart: kept when it is what we would write.
    async fn adopt(
        &mut self,
        token: VaultToken,
        stored: Timestamp,
        observed: &Observed,
    ) -> Result<Verdict, Problem> {
        let credential = &self.delivery.credential;
        let Some((life, accessor)) = self.parts.vault.look_up(credential, &token).await? else {
            return Ok(Verdict::Push(Why::Replaced));
        };
        let held = Held {
            token,
            parent: None,
            accessor,
            // When it was issued is not known; this much before its end at the latest.
            life: Life {
                issued: before(life.expires, self.delivery.lifetime),
                expires: life.expires,
            },
        };
        let left = held.left(self.now());
        // Never longer than configured; a minute is for clocks and the way.
        if left <= self.delivery.renew_below
            || left > self.delivery.lifetime + Duration::from_mins(1)
        {
            self.tokens.former.push(held);
            return Ok(Verdict::Push(Why::Renewal));
        }
        let checked = self.check(&held).await;
        let DeliveryLog {
            account,
            service,
            schedd,
        } = log(self.delivery);
        info!(account, service, schedd, accessor = held.accessor, expires = %format_args!("{:.0}", held.life.expires), "kept the token found there");
        self.tokens.current = Some((held, Some(stored)));
        checked?;
        Ok(Self::served(observed))
    }

    /// Reads an access token with a vault token, and checks what it says.
    async fn check(&mut self, held: &Held) -> Result<(), Problem> {
        let credential = &self.delivery.credential;
        let vault = &self.parts.vault;
        let answer = vault
            .read(credential, &held.token, Reading::ForJobs)
            .await?;
        verify::access_token(credential, &answer, self.now())?;
        self.access = Some(AccessFacts {
            expires: answer.expires(),
            jti: answer.claims.and_then(|claims| claims.id),
        });
        Ok(())
    }

    /// Makes a token, checks it and stores it. When the credmon last served before that.
    async fn push(&mut self, why: Why) -> Result<Option<Timestamp>, Problem> {
        let seen = self.observe().await?;
        let held = self.candidate().await?;
        let checked = self.check(&held).await;
        if let Err(problem) = checked {
            // A dead token is of no use; any other may be good at the next try.
            if problem.kind != Kind::TokenDead {
                self.tokens.candidate = Some(held);
            }
            return Err(problem);
        }
        let top = top_file::write(&self.delivery.credential, &held.token);
        let opener = self.opener().await?;
        let stored = self
            .parts
            .transport
            .store(self.delivery, &top, opener.as_ref())
            .await;
        if let Err(failure) = stored {
            if failure.misplaced {
                self.revoke(&held).await;
            } else {
                self.tokens.candidate = Some(held);
            }
            return Err(failure.problem);
        }
        let DeliveryLog {
            account,
            service,
            schedd,
        } = log(self.delivery);
        info!(
            account, service, schedd, why = ?why,
            accessor = held.accessor,
            expires = %format_args!("{:.0}", held.life.expires),
            jti = self.access.as_ref().and_then(|a| a.jti.as_deref()).unwrap_or_default(),
            "pushed"
        );
        let former = self.tokens.current.replace((held, None));
        self.tokens.former.extend(former.map(|(held, _)| held));
        Ok(seen.served)
    }

    /// The token of a try before, if it still has most of its life; else a new one.
    async fn candidate(&mut self) -> Result<Held, Problem> {
        let delivery = self.delivery;
        if let Some(held) = self.tokens.candidate.take() {
            let useful = delivery.lifetime.saturating_sub(delivery.renew_below);
            if held.left(self.now()) > delivery.renew_below + useful / 2 {
                return Ok(held);
            }
            // It may have been stored by a try that seemed to fail.
            self.tokens.former.push(held);
        }
        let vault = &self.parts.vault;
        vault.issue(&delivery.credential, delivery.lifetime).await
    }

    /// Waits until the credmon has made an access token since the push.
    async fn await_served(&mut self, served_before: Option<Timestamp>) -> Result<(), Problem> {
        let limit = served_limit(self.delivery);
        let deadline = Instant::now() + limit;
        let (mut pause, longest) = if self.delivery.target.needs_opener() {
            (Duration::from_millis(500), Duration::from_secs(5))
        } else {
            (Duration::from_millis(20), Duration::from_secs(1))
        };
        loop {
            let observed = self.observe().await?;
            if let Some((_, at)) = &mut self.tokens.current
                && at.is_none()
            {
                *at = observed.stored;
            }
            if verify::is_served(&observed, served_before) {
                let DeliveryLog {
                    account,
                    service,
                    schedd,
                } = log(self.delivery);
                let accessor = self
                    .tokens
                    .current
                    .as_ref()
                    .map_or("", |(held, _)| &held.accessor);
                info!(
                    account,
                    service, schedd, accessor, "good: jobs there have an access token made with it"
                );
                return self.revoke_former().await;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(not_served(self.delivery, &observed, limit));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Revokes what was replaced. What cannot be revoked now is tried again at the next look.
    async fn revoke_former(&mut self) -> Result<(), Problem> {
        for held in std::mem::take(&mut self.tokens.former) {
            if held.left(self.now()).is_zero() && held.parent.is_none() {
                continue;
            }
            if !self.revoke(&held).await {
                self.tokens.former.push(held);
            }
        }
        Ok(())
    }

    async fn revoke(&self, held: &Held) -> bool {
        let DeliveryLog {
            account,
            service,
            schedd,
        } = log(self.delivery);
        let accessor = held.accessor.as_str();
        match self
            .parts
            .vault
            .revoke(&self.delivery.credential, held.root())
            .await
        {
            Ok(()) => {
                info!(
                    account,
                    service, schedd, accessor, "revoked the former token"
                );
                true
            }
            Err(problem) => {
                warn!(account, service, schedd, accessor, %problem, "the former token could not be revoked yet");
                false
            }
        }
    }
}

/// How long the credmon may take: HTCondor's own looks once a minute.
fn served_limit(delivery: &Delivery) -> Duration {
    (delivery.renew_below / 2).clamp(Duration::from_secs(30), Duration::from_mins(3))
}

fn not_served(delivery: &Delivery, observed: &Observed, limit: Duration) -> Problem {
    let service = &delivery.id.service;
    let what = match (observed.stored, observed.served) {
        (None, _) => format!("{service}.top vanished after the push"),
        (_, None) => format!("there is no {service}.use"),
        (_, Some(served)) => format!("{service}.use is still that of {served:.0}"),
    };
    debug!(%what, "not served");
    Problem::new(
        Cause::schedd(delivery),
        Kind::NotServed,
        format!(
            "{}, {} s after the push; check that the credmon at the schedd runs, and its log",
            what,
            limit.as_secs()
        ),
    )
}

struct DeliveryLog<'a> {
    account: &'a str,
    service: &'a str,
    schedd: &'a str,
}

fn log(delivery: &Delivery) -> DeliveryLog<'_> {
    DeliveryLog {
        account: &delivery.id.account,
        service: &delivery.id.service,
        schedd: &delivery.id.schedd,
    }
}
