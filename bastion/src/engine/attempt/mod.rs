//! One delivery brought to good: observe, make a token, check it, store it, wait for the credmon. The effects of one attempt.
//!
//! Always true:
//! - A token is checked by reading an access token with it before it is stored anywhere.
//! - *Good* is reported only when the credmon at the schedd has made an access token since the push.
//! - The token that jobs live on is revoked only after its replacement is good; an attempt that fails
//!   revokes nothing that may be stored somewhere.
//! - A token that was made and was never good at its schedd is used again at the next attempt: an outage of a schedd makes no
//!   new logins. One that ends meanwhile is revoked. One that was good and is gone is replaced.

mod observe;
mod parts;
mod push;
mod served;
mod tokens;

use std::time::Duration;

use htvault::{AccessTokenAnswer, VaultToken};
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::warn;

use observe::Decision;
pub use parts::Parts;
pub use tokens::{AtSchedd, Tokens};

use crate::engine::Status;
use crate::limits::Permit;
use crate::limits::resources;
use crate::model::delivery::Delivery;
use crate::model::moment::until;
use crate::model::problem::{Cause, Kind, Problem};
use crate::model::records::{AccessRead, TokenSubject};
use crate::policy::jobs;
use crate::policy::plan::{self, PlanStep, Policy, PushReason};
use crate::policy::verify;
use crate::schedd::{Observation, Transport};
use crate::system::stages::Stage;
use crate::vault::Vault;

/// Facts of the access token that was read with the current vault token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessFacts {
    /// Its identifier.
    pub jti: Option<String>,
    /// Expiry.
    pub expires: Option<Timestamp>,
    /// Its whole life: what it says of itself, or at least what was left.
    pub life: Option<Duration>,
    /// Its issuer and subject.
    pub subject: Option<TokenSubject>,
    /// It and some before it, for [`jobs::safe_until`].
    pub reads: Vec<AccessRead>,
}

/// Result of an attempt, apart from the tokens, which stay with their owner.
#[derive(Debug)]
pub struct Outcome {
    /// Last observation of the schedd.
    pub seen: Option<Observation>,
    /// The access token that was read last.
    pub access: Option<AccessFacts>,
    /// A new token was stored at the schedd, whatever came of it.
    pub pushed: bool,
    /// Good, or what is wrong; `None` for an attempt that was cancelled.
    pub result: Option<Result<(), Problem>>,
}

/// Makes one attempt under a permit, of a delivery with this status. `until` ends it early, but never while a vault token
/// is being made: so the owner of `tokens` knows every token that there is.
pub(crate) async fn bring<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    policy: &Policy<'_>,
    begun: &Status,
    step: PlanStep,
    tokens: &mut Tokens,
    permit: &Permit,
    until: impl Future<Output = ()>,
) -> Outcome {
    let mut work = Attempt {
        parts,
        policy,
        begun,
        delivery: &begun.delivery,
        tokens,
        seen: None,
        access: None,
        pushed: false,
        permit,
        is_issuing: watch::Sender::new(false),
        less: None,
        accepts_subject: begun.record.changed || begun.record.asked,
    };
    let mut is_issuing = work.is_issuing.subscribe();
    let until = async {
        until.await;
        let _ = is_issuing.wait_for(|is_issuing| !is_issuing).await;
    };
    let result = tokio::select! {
        biased;
        () = until => None,
        result = work.bring(step) => Some(result),
    };
    Outcome {
        seen: work.seen,
        access: work.access,
        pushed: work.pushed,
        result,
    }
}

/// Two services that replace each other's tokens for ever; jobs are served all the same.
fn contested(delivery: &Delivery, times: &[Timestamp]) -> Problem {
    let since = times
        .first()
        .map_or(String::new(), |at| format!(" since {at:.0}"));
    Problem::new(
        Cause::schedd(delivery),
        Kind::Contested,
        format!(
            "somebody else stores tokens for it, too: ours was replaced {} times{since}. Look for another token-bastion \
             with this delivery (an old host, a test) or for condor_vault_storer and condor_store_cred, and stop one",
            times.len()
        ),
    )
}

fn is_dead(checked: &Result<(), Problem>) -> bool {
    let problem = checked.as_ref().err();
    problem.is_some_and(|problem| problem.kind == Kind::TokenDead)
}

struct Attempt<'a, V, T> {
    parts: &'a Parts<V, T>,
    policy: &'a Policy<'a>,
    /// Status before the attempt.
    begun: &'a Status,
    delivery: &'a Delivery,
    tokens: &'a mut Tokens,
    seen: Option<Observation>,
    access: Option<AccessFacts>,
    /// A new token was stored.
    pushed: bool,
    permit: &'a Permit,
    /// A vault token is being made.
    is_issuing: watch::Sender<bool>,
    /// Reason why the last access token lives less than it should.
    less: Option<Problem>,
    /// A person, or the configuration, asks for a token: it may be of another issuer or subject.
    accepts_subject: bool,
}

impl<V: Vault, T: Transport> Attempt<'_, V, T> {
    /// Good is only what has an access token as long-lived as it should be, and is served by this service
    /// alone.
    async fn bring(&mut self, step: PlanStep) -> Result<(), Problem> {
        self.bring_served(step).await?;
        if let Some(less) = self.less.take() {
            return Err(less);
        }
        let now = self.now();
        match self.tokens.contested(now) {
            Some(times) => Err(contested(self.delivery, times)),
            None => Ok(()),
        }
    }

    async fn bring_served(&mut self, step: PlanStep) -> Result<(), Problem> {
        let has_candidate = self.tokens.candidate.is_some();
        let verdict = match step {
            PlanStep::Push(why)
                if self.tokens.at_schedd.is_none() && self.delivery.target.is_readable() =>
            {
                // Nobody would know any more of a token that is there and was never read.
                let verdict = Box::pin(self.examine(false)).await?;
                // Its storing only seemed to fail.
                self.pushed = has_candidate && self.tokens.candidate.is_none();
                if self.pushed {
                    verdict
                } else {
                    Decision::Push(why)
                }
            }
            PlanStep::Push(why) => Decision::Push(why),
            PlanStep::Prove => Box::pin(self.prove()).await?,
            PlanStep::Observe => Box::pin(self.examine(false)).await?,
            PlanStep::Examine => Box::pin(self.examine(true)).await?,
        };
        let why = match verdict {
            Decision::Good => {
                self.revoke_former().await;
                return Ok(());
            }
            Decision::Unserved => return self.await_served(None).await,
            Decision::Push(why) => why,
        };
        match why {
            // Where there was a candidate it may be that one, whose storing seemed to fail.
            PushReason::Replaced if !has_candidate => {
                let now = self.now();
                self.tokens.replaced_by_others(now);
            }
            PushReason::Changed => self.accepts_subject = true,
            _ => {}
        }
        let served_before = Box::pin(self.push(why)).await?;
        let parts = self.parts;
        let served = self.await_served(served_before);
        parts.stages.time(Stage::Verify, served).await
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    async fn observe(&mut self) -> Result<Observation, Problem> {
        let observed = self.parts.transport.observe(self.delivery);
        let observed = self.parts.stages.time(Stage::Observe, observed).await?;
        self.permit.worked(&[resources::schedd(self.delivery)]);
        self.seen = Some(Observation {
            content: None,
            ..observed.clone()
        });
        Ok(observed)
    }

    /// Reads an access token with a vault token, and checks what it says; `is_new`: the vault token was just
    /// made. It is asked for as much life as a credmon wants, so that an issuer that does not answer, or a grant
    /// that is refused, is seen while jobs still have a token.
    async fn read(&mut self, token: &VaultToken, is_new: bool) -> Result<(), Problem> {
        let at_least = self.begun.access.life.map(plan::at_least);
        let answer = (self.parts.vault).read_for_jobs(&self.delivery.credential, token, at_least);
        let (answer, less) = self.parts.stages.time(Stage::Read, answer).await?;
        self.take_over(answer, less, is_new)
    }

    /// The same with a token that counts as dead only when Vault says so: a policy's refusal looks alike, and a new
    /// token would change nothing.
    async fn check(&mut self, token: &VaultToken, is_new: bool) -> Result<(), Problem> {
        let checked = self.read(token, is_new).await;
        if !is_dead(&checked) {
            return checked;
        }
        let credential = &self.delivery.credential;
        let is_alive = self.parts.vault.look_up(credential, token).await?.is_some();
        checked.map_err(|problem| Problem {
            kind: if is_alive {
                Kind::Forbidden
            } else {
                problem.kind
            },
            ..problem
        })
    }

    /// Checks what was read for jobs, and takes it over. `less`: the reason why it lives less than it should.
    fn take_over(
        &mut self,
        answer: AccessTokenAnswer,
        less: Option<Problem>,
        is_new: bool,
    ) -> Result<(), Problem> {
        let credential = &self.delivery.credential;
        verify::access_token(credential, &answer, self.now())?;
        if let Some(odd) = verify::odd_claims(&answer).filter(|_| is_new) {
            let id = &self.delivery.id;
            warn!(account = id.account, service = id.service, "{odd}");
        }
        let subject = TokenSubject::of(&answer);
        if !self.accepts_subject {
            let before = self.begun.access.subject.as_ref();
            verify::subject(self.delivery, before, subject.as_ref())?;
        }
        self.less = less;
        if self.less.is_none() {
            self.permit.worked(&resources::read_by(credential));
        }
        let (now, expires) = (self.now(), answer.expires());
        let issued = answer.claims.as_ref().and_then(|claims| claims.issued);
        let mut reads = self.begun.access.reads.clone();
        if let Some(expires) = expires {
            let read = AccessRead {
                at: now,
                expires,
                before_store: false,
            };
            jobs::record(&mut reads, read);
        }
        self.access = Some(AccessFacts {
            expires,
            life: expires.map(|end| until(issued.unwrap_or(now).min(now), end)),
            jti: answer.claims.and_then(|claims| claims.id),
            subject,
            reads,
        });
        Ok(())
    }
}
