//! Revocation of one delivery: the effects.

mod find;

use find::{Found, find};

use super::{RevocationReport, Step, StepObject, StepOutcome, admin_command, and_then};
use crate::engine::attempt::{AtSchedd, Parts, Tokens};
use crate::model::delivery::Delivery;
use crate::model::problem::{Kind, Problem};
use crate::model::records::TokenRecord;
use crate::schedd::Transport;
use crate::vault::{OwnedToken, Vault};

/// Result of a revocation.
#[derive(Debug)]
pub struct Revoked {
    /// Each step.
    pub report: RevocationReport,
    /// Answer of Vault, or the reason why there is none; `None` when it was not asked.
    pub at_vault: Option<Result<(), Problem>>,
    /// The same of the schedd.
    pub at_schedd: Option<Result<(), Problem>>,
}

/// Revokes the tokens of a delivery and deletes what is at the schedd. Returns the tokens that could not be
/// revoked. `leave_schedd`: nothing is asked of the schedd. `then`: words for what becomes of a step that is not done.
pub async fn revoke<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    delivery: &Delivery,
    tokens: &Tokens,
    leave_schedd: bool,
    then: &str,
) -> (Tokens, Revoked) {
    let when_named = find::named_at(tokens);
    let (mut owned, names) = sorted(tokens);
    let found = if leave_schedd {
        Ok(Found::Nothing)
    } else {
        find(parts, delivery, &owned, when_named).await
    };
    let (mut unnamed, mut unread) = (None, None);
    match found {
        Ok(Found::Nothing) => {}
        Ok(Found::Living(found)) => owned.push(found),
        Ok(Found::Unnamed(problem)) => unnamed = Some(problem),
        Err(problem) => unread = Some(problem),
    }
    let at_schedd = async {
        match (&unnamed, unread) {
            (Some(problem), _) => (find::left_to_be_revoked(problem, then), None),
            // A token that nobody knows may be there.
            (None, Some(problem)) => deleted(Err(problem), then),
            (None, None) if leave_schedd => {
                let why = "nothing was asked of the schedd";
                (Step::new(StepObject::Stored, StepOutcome::Left, why), None)
            }
            (None, None) => deleted(delete(parts, delivery).await, then),
        }
    };
    let ((mut steps, former, at_vault), (stored, at_schedd)) =
        tokio::join!(revoke_tokens(parts, delivery, owned, then), at_schedd);
    if let Some(problem) = &unnamed {
        let accessor = String::new();
        let why = and_then(&problem.to_string(), then);
        steps.push(Step::new(
            StepObject::VaultToken { accessor },
            StepOutcome::NotDone,
            why,
        ));
    }
    let now = parts.clock.now();
    let is_known = |steps: &[Step], name: &str| {
        let is = |step: &Step| matches!(&step.what, StepObject::VaultToken { accessor } if accessor == name);
        steps.iter().any(is)
    };
    let mut lost = Vec::new();
    for token in names {
        if token.life.expires > now && !is_known(&steps, &token.accessor) {
            steps.push(by_admins(&token));
            if !token.accessor.is_empty() {
                lost.push(token);
            }
        }
    }
    if steps.is_empty() {
        let accessor = String::new();
        let why = "none is known of that lives";
        steps.push(Step::new(
            StepObject::VaultToken { accessor },
            StepOutcome::Nothing,
            why,
        ));
    }
    steps.push(stored);
    let tokens = Tokens {
        former,
        lost,
        ..Tokens::default()
    };
    let id = delivery.id.clone();
    let report = RevocationReport { id, steps };
    let revoked = Revoked {
        report,
        at_vault,
        at_schedd,
    };
    (tokens, revoked)
}

/// The tokens that can be revoked, and those of which only the name is known. One whose life is an
/// estimate has no name.
fn sorted(tokens: &Tokens) -> (Vec<OwnedToken>, Vec<TokenRecord>) {
    let at_schedd = tokens.at_schedd.iter();
    let unread = at_schedd.filter(|token| !matches!(token, AtSchedd::Owned(..)));
    let unread = unread.map(|token| TokenRecord {
        accessor: token.accessor().unwrap_or_default().to_owned(),
        life: token.life(),
    });
    let mut names: Vec<TokenRecord> = tokens.lost.iter().cloned().chain(unread).collect();
    names.sort_by(|a, b| (b.life.expires, &a.accessor).cmp(&(a.life.expires, &b.accessor)));
    names.dedup_by(|a, b| a.accessor == b.accessor);
    (tokens.owned().cloned().collect(), names)
}

/// The step of a token that only Vault's admins can revoke.
pub(super) fn by_admins(token: &TokenRecord) -> Step {
    let accessor = token.accessor.clone();
    let why = if accessor.is_empty() {
        format!(
            "one was stored before the service started, and nothing is recorded of it; Vault's admins find it among the \
             account's accessors; else it expires at {:.0} at the latest",
            token.life.expires
        )
    } else {
        format!(
            "it was made by a service that has ended, so only its accessor is known; Vault's admins revoke it: {}; else \
             it expires at {:.0}",
            admin_command(&accessor),
            token.life.expires
        )
    };
    Step::new(
        StepObject::VaultToken { accessor },
        StepOutcome::NotDone,
        why,
    )
}

async fn revoke_tokens<V: Vault, T>(
    parts: &Parts<V, T>,
    delivery: &Delivery,
    owned: Vec<OwnedToken>,
    then: &str,
) -> (Vec<Step>, Vec<OwnedToken>, Option<Result<(), Problem>>) {
    let (mut steps, mut left, mut answered) = (Vec::new(), Vec::new(), None);
    for owned in owned {
        let accessor = owned.accessor.clone();
        let what = StepObject::VaultToken { accessor };
        let ended = parts.end_of(&delivery.credential, &owned).await;
        steps.push(match &ended {
            Ok(()) => Step::new(
                what,
                StepOutcome::Done,
                "revoked; Vault says that it is dead",
            ),
            Err(problem) => {
                left.push(owned);
                let why = match problem.kind {
                    Kind::Forbidden => problem.message.clone(),
                    _ => and_then(&problem.to_string(), then),
                };
                Step::new(what, StepOutcome::NotDone, why)
            }
        });
        answered = Some(ended);
    }
    (steps, left, answered)
}

/// The step of what was stored, with the schedd's answer; `true` when something was there and is deleted.
fn deleted(answer: Result<bool, Problem>, then: &str) -> (Step, Option<Result<(), Problem>>) {
    let (outcome, why) = match &answer {
        Ok(true) => (
            StepOutcome::Done,
            "deleted; the schedd says that nothing is there".to_owned(),
        ),
        Ok(false) => (
            StepOutcome::Nothing,
            "the schedd says that nothing is there".to_owned(),
        ),
        Err(problem) => (StepOutcome::NotDone, and_then(&problem.message, then)),
    };
    let step = Step::new(StepObject::Stored, outcome, why);
    (step, Some(answer.map(drop)))
}

/// Deletes what is there, and sees that it is gone; `false` when nothing was.
async fn delete<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    delivery: &Delivery,
) -> Result<bool, Problem> {
    let transport = &parts.transport;
    if !transport.delete(delivery).await? {
        return Ok(false);
    }
    let after = transport.observe(delivery).await?;
    if after.stored.is_some() {
        return Err(Problem::new(
            crate::model::problem::Cause::schedd(delivery),
            Kind::CreddRefused,
            "the schedd took the request and still has the credential; have its admin delete it",
        ));
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
