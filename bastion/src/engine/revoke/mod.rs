//! Revocation of deliveries: their vault tokens are revoked, what is stored at the schedds is deleted.
//!
//! Always true:
//! - Each delivery is revoked alone, and each step is attempted whatever the outcome of the others: a schedd that
//!   does not answer keeps no token alive, a Vault that does not answer keeps nothing stored.
//! - A step is *done* when it was seen to be: Vault says that the token is dead, the schedd says that
//!   nothing is there. What could not be done is reported with the reason, and can be tried again.
//! - A token of before a restart cannot be revoked without Vault's admins, whom its accessor is
//!   named to, unless it can be read back at the schedd.

mod delivery;
mod leftover;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::delivery::DeliveryId;

pub use delivery::{Revoked, revoke};
pub use leftover::{by_name, is_wanted, leftover};

/// Object of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum StepObject {
    /// A vault token is revoked.
    VaultToken {
        /// Names it to Vault's admins.
        accessor: String,
    },
    /// The credential that is stored at the schedd is deleted.
    Stored,
    /// It is not delivered again until a person asks for it.
    KeptOff,
    /// The refresh token at Vault is forgotten.
    RefreshToken {
        /// Its place, as `ISSUER/CREDKEY:ROLE`.
        grant: String,
    },
}

/// Outcome of a step.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// Nothing had to be done.
    Nothing,
    /// It was not asked for.
    Left,
    /// It is done, and was seen to be.
    Done,
    /// It is not; the reason says what to do.
    NotDone,
}

/// A step with its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Object of the step.
    #[serde(flatten)]
    pub what: StepObject,
    /// Outcome.
    #[serde(rename = "became")]
    pub outcome: StepOutcome,
    /// Evidence, or the reason why it is not done and what to do.
    pub why: String,
}

/// Steps that were done for one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevocationReport {
    /// The delivery.
    #[serde(flatten)]
    pub id: DeliveryId,
    /// Each step.
    pub steps: Vec<Step>,
}

impl Step {
    pub(crate) fn new(what: StepObject, outcome: StepOutcome, why: impl Into<String>) -> Self {
        Self {
            what,
            outcome,
            why: why.into(),
        }
    }
}

impl RevocationReport {
    /// It broke off by a fault of this program.
    pub(crate) fn broke_off(id: DeliveryId) -> Self {
        let why = "it broke off by a fault of token-bastion, please report it; run this again";
        let steps = vec![Step::new(StepObject::Stored, StepOutcome::NotDone, why)];
        Self { id, steps }
    }

    /// Nothing is left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.steps
            .iter()
            .all(|step| step.outcome < StepOutcome::NotDone)
    }
}

impl StepObject {
    /// Name of the object for people.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::VaultToken { accessor } if accessor.is_empty() => "vault token".to_owned(),
            Self::VaultToken { accessor } => format!("vault token {accessor}"),
            Self::Stored => "credential at the schedd".to_owned(),
            Self::KeptOff => "recorded".to_owned(),
            Self::RefreshToken { grant } => format!("refresh token {grant}"),
        }
    }
}

impl StepOutcome {
    /// One or two words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing there",
            Self::Left => "left",
            Self::Done => "done",
            Self::NotDone => "NOT DONE",
        }
    }
}

/// The step that keeps a delivery off. `wanted`: the configuration has it still; `fault` is why a
/// restart would undo it.
#[must_use]
pub fn kept_off_step(id: &DeliveryId, wanted: bool, fault: Option<String>) -> Step {
    let until = if wanted {
        "not delivered again before its configuration changes, or"
    } else {
        "the configuration has it no longer; in it again, it is not delivered before"
    };
    match fault {
        None => Step::new(
            StepObject::KeptOff,
            StepOutcome::Done,
            format!(
                "{until}: token-bastion push --account {} --service {} --schedd {}",
                id.account, id.service, id.schedd
            ),
        ),
        Some(fault) => Step::new(
            StepObject::KeptOff,
            StepOutcome::NotDone,
            format!("a restart of the service would deliver it again: {fault}"),
        ),
    }
}

/// Problem and what comes next. Problems of Vault may promise a retry, as for deliveries; `then` stands
/// instead.
#[must_use]
pub fn and_then(problem: &str, then: &str) -> String {
    let problem = problem
        .strip_suffix("; it is tried again")
        .unwrap_or(problem);
    format!("{problem}; {then}")
}

/// Message for somebody who gave an order that is not retried unasked.
#[must_use]
pub fn run_again(problem: &str) -> String {
    and_then(problem, "run this again then")
}

/// The command by which Vault's admins revoke a token that is known by its accessor.
#[must_use]
pub fn admin_command(accessor: &str) -> String {
    format!("bao token revoke -accessor {accessor}")
}

#[cfg(test)]
pub(crate) mod tests;
