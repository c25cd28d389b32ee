//! One delivery brought to good: look, token, check, store, job's end. The effects of one try.
//!
//! What holds:
//! - A token is checked by reading an access token with it before it is stored anywhere.
//! - *Good* is said only when the credmon at the schedd has made an access token since the push.
//! - The token that jobs live on is revoked only after its replacement is good; a try that fails
//!   revokes nothing that may be stored somewhere.
//! - A token that was made and could not be stored is used again at the next try: an outage of a
//!   schedd makes no new logins.

mod look;
mod served;

use std::sync::Arc;
use std::time::Duration;

use htvault::clock::Clock;
use jiff::Timestamp;
use tracing::info;

use look::Verdict;

use crate::delivery::Delivery;
use crate::ledger::{Named, Note, Placed};
use crate::moment::{before, until};
use crate::opener::Openers;
use crate::plan::{self, Basis, Life, Policy, Step, Why};
use crate::problem::{Cause, Kind, Problem};
use crate::stages::{Stage, Stages};
use crate::top_file;
use crate::transport::{Observed, StoreFailure, Transport};
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
    /// How long stages take.
    pub stages: Arc<Stages>,
    pub(crate) openers: Openers,
}

impl<V, T> Parts<V, T> {
    /// Puts the parts together.
    pub fn new(vault: V, transport: T, clock: Arc<dyn Clock>) -> Self {
        Self {
            vault,
            transport,
            clock,
            stages: Arc::default(),
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
    /// The one at the schedd when it is of before a restart and cannot be read back: it is known
    /// by name at most. Never there together with `current`.
    pub inherited: Option<Inherited>,
    /// Ones that may live and that this process cannot revoke, since it knows only their names:
    /// Vault's admins can.
    pub lost: Vec<Named>,
    /// What the ledger says is at the schedd, until the schedd was looked at.
    pub noted: Option<Placed>,
}

/// A vault token at a schedd that this process did not make and does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// Names it to Vault's admins; `None` when its life is an estimate.
    pub accessor: Option<String>,
    /// Its life: as noted at its issue, or at most.
    pub life: Life,
    /// When it was stored, by the schedd's clock.
    pub stored: Timestamp,
    /// When it is replaced at the latest.
    pub renew_by: Option<Timestamp>,
}

/// What is known of the access token that was read with the current vault token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessFacts {
    /// Its identifier.
    pub jti: Option<String>,
    /// When it was read.
    pub read: Option<Timestamp>,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// Its whole life: what it says of itself, or at least what was left.
    pub life: Option<Duration>,
}

/// What came of a try.
#[derive(Debug)]
pub struct Outcome {
    /// The tokens after it.
    pub tokens: Tokens,
    /// What the schedd has, if it was seen: the last time that it was.
    pub seen: Option<Observed>,
    /// The access token that was read, if one was.
    pub access: Option<AccessFacts>,
    /// Good, or what is wrong.
    pub result: Result<(), Problem>,
}

impl Tokens {
    /// What is known after a restart.
    #[must_use]
    pub fn noted(note: &Note) -> Self {
        Self {
            noted: note.current.clone(),
            lost: note.others.clone(),
            ..Self::default()
        }
    }

    /// How the life of the token at the schedd is known.
    #[must_use]
    pub fn basis(&self) -> Basis {
        match &self.inherited {
            None => Basis::Held,
            Some(inherited) if inherited.accessor.is_some() => Basis::Noted,
            Some(_) => Basis::Estimated,
        }
    }

    /// The name at Vault of the token at the schedd.
    #[must_use]
    pub fn accessor(&self) -> Option<&str> {
        let held = self.current.as_ref().map(|(held, _)| &held.accessor);
        let inherited = self.inherited.as_ref();
        let named = held.or(inherited.and_then(|inherited| inherited.accessor.as_ref()));
        named
            .or(self.noted.as_ref().map(|noted| &noted.token.accessor))
            .map(String::as_str)
    }

    /// This host's clock was set back by `by`: what was noted by it moves along.
    pub(crate) fn set_back(&mut self, by: Duration) {
        let held = self.current.iter_mut().map(|(held, _)| held);
        let held = held.chain(&mut self.candidate).chain(&mut self.former);
        let inherited = self.inherited.iter_mut().map(|there| &mut there.life);
        for life in held.map(|held| &mut held.life).chain(inherited) {
            *life = life.set_back(by);
        }
        let noted = self.noted.iter_mut().map(|noted| &mut noted.token);
        for named in self.lost.iter_mut().chain(noted) {
            named.issued = before(named.issued, by);
            named.expires = before(named.expires, by);
        }
        if let Some(renew_by) = self
            .inherited
            .as_mut()
            .and_then(|there| there.renew_by.as_mut())
        {
            *renew_by = before(*renew_by, by);
        }
    }

    /// Gives up what is at the schedd: it is replaced, or it is gone. Whether anything was known.
    pub(crate) fn let_go(&mut self) -> bool {
        let held = self.current.take().map(|(held, _)| held);
        let inherited = self.inherited.take();
        let noted = self.noted.take().map(|noted| noted.token);
        let known = held.is_some() || inherited.is_some() || noted.is_some();
        self.former.extend(held);
        self.lost.extend(noted);
        self.lost.extend(inherited.and_then(|inherited| {
            Some(Named {
                accessor: inherited.accessor?,
                issued: inherited.life.issued,
                expires: inherited.life.expires,
            })
        }));
        known
    }

    /// When the last of them is over; `None` when there is none.
    pub(crate) fn end(&self) -> Option<Timestamp> {
        let held = self.current.iter().map(|(held, _)| held);
        let held = held.chain(&self.candidate).chain(&self.former);
        let inherited = self.inherited.iter().map(|there| there.life);
        let lives = held.map(|held| held.life).chain(inherited);
        let noted = self.noted.iter().map(|noted| &noted.token);
        let named = self.lost.iter().chain(noted).map(|named| named.expires);
        lives.map(|life| life.expires).chain(named).max()
    }

    /// The life of the token at the schedd.
    #[must_use]
    pub fn life(&self) -> Option<Life> {
        let current = self.current.as_ref().map(|(held, _)| held.life);
        current.or(self.inherited.as_ref().map(|inherited| inherited.life))
    }
}

/// Makes one try. `access` is what was known of access tokens before it. `until` ends it early, with
/// every token that is known by then.
pub async fn bring<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    policy: &Policy<'_>,
    delivery: &Delivery,
    step: Step,
    tokens: Tokens,
    access: &AccessFacts,
    until: impl Future<Output = ()>,
) -> Outcome {
    let mut work = Try {
        parts,
        policy,
        delivery,
        tokens,
        known: access,
        seen: None,
        access: None,
    };
    let result = tokio::select! {
        biased;
        () = until => Err(Problem::internal(delivery, "the try was ended")),
        result = work.bring(step) => result,
    };
    let result = result.map_err(|problem| about_the_schedd(delivery, problem));
    if let Err(problem) = &result
        && problem.kind == Kind::CreddRefused
    {
        parts.openers.forget(&delivery.authorize).await;
    }
    Outcome {
        tokens: work.tokens,
        seen: work.seen,
        access: work.access,
        result,
    }
}

/// A credd that does not answer answers nobody: one message, and one try that finds out for all.
fn about_the_schedd(delivery: &Delivery, problem: Problem) -> Problem {
    if problem.kind == Kind::CreddDown {
        Problem {
            cause: Cause::credd(delivery),
            ..problem
        }
    } else {
        problem
    }
}

struct Try<'a, V, T> {
    parts: &'a Parts<V, T>,
    policy: &'a Policy<'a>,
    delivery: &'a Delivery,
    tokens: Tokens,
    /// What was known of access tokens before.
    known: &'a AccessFacts,
    seen: Option<Observed>,
    access: Option<AccessFacts>,
}

impl<V: Vault, T: Transport> Try<'_, V, T> {
    async fn bring(&mut self, step: Step) -> Result<(), Problem> {
        let why = match step {
            Step::Push(why) => why,
            Step::Look | Step::Prove => match self.look(step == Step::Prove).await? {
                Verdict::Good => return self.revoke_former().await,
                Verdict::Unserved => return self.await_served(None).await,
                Verdict::Push(why) => why,
            },
        };
        let served_before = self.push(why).await?;
        let parts = self.parts;
        let served = self.await_served(served_before);
        parts.stages.time(Stage::Verify, served).await
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    async fn observe(&mut self) -> Result<Observed, Problem> {
        let opener = self.parts.opener(self.delivery).await?;
        let observed = self.parts.transport.observe(self.delivery, opener.as_ref());
        let observed = self.parts.stages.time(Stage::Observe, observed).await?;
        self.seen = Some(Observed {
            content: None,
            ..observed.clone()
        });
        Ok(observed)
    }

    /// Reads an access token with a vault token, and checks what it says.
    async fn check(&mut self, held: &Held) -> Result<(), Problem> {
        let credential = &self.delivery.credential;
        let vault = &self.parts.vault;
        let answer = vault.read(credential, &held.token, Reading::ForJobs);
        let answer = self.parts.stages.time(Stage::Read, answer).await?;
        verify::access_token(credential, &answer, self.now())?;
        let (now, expires) = (self.now(), answer.expires());
        let issued = answer.claims.as_ref().and_then(|claims| claims.issued);
        self.access = Some(AccessFacts {
            read: Some(now),
            expires,
            life: expires.map(|end| until(issued.unwrap_or(now).min(now), end)),
            jti: answer.claims.and_then(|claims| claims.id),
        });
        Ok(())
    }

    /// Makes a token, checks it and stores it. When the credmon last served before that.
    async fn push(&mut self, why: Why) -> Result<Option<Timestamp>, Problem> {
        // Where the look of this try has just found nothing, nothing can be mistaken for new.
        let empty = |seen: &Observed| seen.stored.is_none() && seen.served.is_none();
        let seen = match self.seen.clone().filter(empty) {
            Some(seen) => seen,
            None => self.observe().await?,
        };
        let held = self.candidate().await?;
        // However the try ends, the token is known to the next one.
        self.tokens.candidate = Some(held.clone());
        let checked = self.check(&held).await;
        if let Err(problem) = checked {
            // A dead token is of no use; any other may be good at the next try.
            if problem.kind == Kind::TokenDead {
                self.tokens.candidate = None;
            }
            return Err(problem);
        }
        if let Err(failure) = self.store(&held).await {
            if failure.misplaced {
                self.revoke(&held).await;
                self.tokens.candidate = None;
            }
            return Err(failure.problem);
        }
        self.tokens.candidate = None;
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
        self.tokens.let_go();
        self.tokens.current = Some((held, None));
        Ok(seen.served)
    }

    async fn store(&self, held: &Held) -> Result<(), StoreFailure> {
        let not_misplaced = |problem| StoreFailure {
            problem,
            misplaced: false,
        };
        let top = top_file::write(&self.delivery.credential, &held.token);
        let opener = self
            .parts
            .opener(self.delivery)
            .await
            .map_err(not_misplaced)?;
        let transport = &self.parts.transport;
        let stored = transport.store(self.delivery, &top, opener.as_ref());
        self.parts.stages.time(Stage::Store, stored).await
    }

    /// The token of a try before, if it still has most of its life; else a new one.
    async fn candidate(&mut self) -> Result<Held, Problem> {
        let delivery = self.delivery;
        if let Some(held) = self.tokens.candidate.take() {
            if plan::is_fresh(delivery, held.life, self.now()) {
                return Ok(held);
            }
            // It may have been stored by a try that seemed to fail.
            self.tokens.former.push(held);
        }
        let Parts { vault, stages, .. } = self.parts;
        let credential = &delivery.credential;
        let login = stages.time(Stage::Login, vault.login(credential)).await?;
        let issued = vault.issue(credential, login, delivery.lifetime);
        stages.time(Stage::Issue, issued).await
    }
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
