//! Report on one delivery.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::Status;
use crate::model::delivery::{Delivery, DeliveryId, Selection};
use crate::model::moment::until;
use crate::model::problem::{Cause, Kind, Remedy};
use crate::policy::plan::outlook::{PlannedAction, PlannedStep, Reason};
use crate::policy::plan::{Basis, Failure, State};

/// One delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Desired delivery.
    #[serde(flatten)]
    pub wanted: DesiredDelivery,
    /// State.
    pub state: State,
    /// Expiry of the vault token at the schedd.
    pub vault_token_expires: Option<Timestamp>,
    /// Seconds until then.
    pub vault_token_seconds_left: Option<u64>,
    /// Evidence for that.
    pub life: Basis,
    /// Names that token to Vault's admins.
    pub accessor: Option<String>,
    /// Names others of this delivery that may still live: they will be revoked, or, being of before
    /// a restart, can be by Vault's admins alone.
    pub other_accessors: Vec<String>,
    /// Jobs there have a living access token.
    pub jobs_have_token: bool,
    /// Until then they surely have one if nothing more succeeds.
    pub jobs_safe_until: Option<Timestamp>,
    /// Expiry of the access token that was last read with it.
    pub access_token_expires: Option<Timestamp>,
    /// Its identifier.
    pub jti: Option<String>,
    /// Since when the collector does not know the schedd any more; nothing is pushed there.
    pub gone_since: Option<Timestamp>,
    /// Problem, with what to do.
    pub problem: Option<DeliveryProblem>,
    /// Time of the next retry.
    pub next_try: Option<Timestamp>,
    /// Next step.
    pub next_step: PlannedAction,
    /// Reason of the next step.
    pub next_why: Reason,
    /// Time of the next step; `None` when nothing is done until a person asks for it, and in what `once`
    /// prints.
    pub next_at: Option<Timestamp>,
    /// Time when an attempt last succeeded.
    pub last_success: Option<Timestamp>,
    /// A try runs now.
    pub working: bool,
    /// A person asked for a new token, and there is none yet.
    pub asked: bool,
    /// Number of attempts that have ended since the service started.
    pub tries: u64,
}

/// Problem of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryProblem {
    /// Object of the problem.
    pub cause: Cause,
    /// Kind of problem.
    pub kind: Kind,
    /// Person who must act.
    pub remedy: Remedy,
    /// Description, with what to do.
    pub message: String,
    /// Since when it fails.
    pub since: Timestamp,
    /// Number of attempts that failed since then.
    pub attempts: u32,
}

/// Desired state of a delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DesiredDelivery {
    /// Account at the schedd.
    pub account: String,
    /// HTCondor's service name.
    pub service: String,
    /// Issuer at Vault.
    pub issuer: String,
    /// Role at Vault.
    pub role: String,
    /// Whose credential it is at Vault.
    pub credkey: String,
    /// Host of the credd, or name of the directory's group.
    pub schedd: String,
    /// `directory` or `condor`.
    pub transport: String,
    /// Life of its vault tokens, in seconds.
    pub lifetime_seconds: u64,
}

impl DesiredDelivery {
    pub(crate) fn new(delivery: &Delivery) -> Self {
        let credential = &delivery.credential;
        Self {
            account: delivery.id.account.clone(),
            service: delivery.id.service.clone(),
            issuer: credential.issuer.clone(),
            role: credential.role.clone(),
            credkey: credential.credkey.clone(),
            schedd: delivery.id.schedd.clone(),
            transport: delivery.target.transport().to_owned(),
            lifetime_seconds: delivery.lifetime.as_secs(),
        }
    }

    /// Name of the delivery.
    #[must_use]
    pub fn id(&self) -> DeliveryId {
        DeliveryId {
            account: self.account.clone(),
            service: self.service.clone(),
            schedd: self.schedd.clone(),
        }
    }
}

impl DeliveryProblem {
    fn new(failure: &Failure) -> Self {
        let problem = &failure.problem;
        Self {
            cause: problem.cause.clone(),
            kind: problem.kind,
            remedy: problem.kind.remedy(),
            message: problem.message.clone(),
            since: failure.since,
            attempts: failure.attempts,
        }
    }
}

impl Line {
    pub(crate) fn new(status: &Status, planned: &PlannedStep, now: Timestamp) -> Self {
        let record = &status.record;
        let failure = record.failure.as_ref();
        let safe_until = record.safe_until;
        let expires = record.life.map(|life| life.expires);
        Self {
            wanted: DesiredDelivery::new(&status.delivery),
            state: status.state(now),
            gone_since: status.gone,
            vault_token_expires: expires,
            vault_token_seconds_left: expires.map(|end| until(now, end).as_secs()),
            life: record.basis,
            accessor: status.accessor.clone(),
            other_accessors: status.other_accessors.clone(),
            jobs_have_token: safe_until.is_some_and(|end| now < end),
            jobs_safe_until: safe_until,
            access_token_expires: status.access.expires,
            jti: status.access.jti.clone(),
            problem: failure.map(|failure| DeliveryProblem::new(failure)),
            next_try: failure.map(|failure| failure.next_try),
            next_step: planned.step,
            next_why: planned.why,
            next_at: Some(planned.at).filter(|at| *at < Timestamp::MAX && status.gone.is_none()),
            last_success: status.succeeded,
            working: status.running,
            asked: record.asked,
            tries: status.attempts,
        }
    }

    /// Returns `true` when a push of the selected deliveries is meant for this one: for a revoked one only when its
    /// schedd is named, never for one whose schedd is gone.
    pub(crate) fn takes_push_of(&self, selection: &Selection) -> bool {
        match self.state {
            State::Revoked => selection.delivers_revoked(),
            State::Gone => false,
            _ => true,
        }
    }

    /// Returns `true` when an attempt has ended since there had been `tries`, and whatever was asked for is done or
    /// failed.
    #[must_use]
    pub fn is_settled_since(&self, tries: u64) -> bool {
        // Nothing is attempted at a schedd that is gone.
        self.state == State::Gone
            || self.tries > tries && !self.working && (!self.asked || self.state == State::Failed)
    }
}
