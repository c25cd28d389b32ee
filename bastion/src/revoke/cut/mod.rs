//! One delivery cut off: the effects.

mod find;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use find::{Found, find};

use super::{Became, Cut, Step, What, admin_command, run_again};
use crate::delivery::Delivery;
use crate::problem::{Kind, Problem};
use crate::push::{Parts, Tokens};
use crate::store::Named;
use crate::transport::Transport;
use crate::vault::{Held, Vault};

/// Schedds that were found not to answer while many deliveries are cut off: each is waited for once.
#[derive(Debug, Default)]
pub struct Silent(Mutex<BTreeMap<String, Problem>>);

impl Silent {
    fn get(&self, schedd: &str) -> Option<Problem> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(schedd).cloned()
    }

    fn note(&self, schedd: &str, problem: &Problem) {
        if matches!(problem.kind, Kind::CreddDown | Kind::Transport) {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(schedd.to_owned(), problem.clone());
        }
    }
}

/// Cuts a delivery off. `leave_schedd` asks nothing of the schedd. Gives the tokens that could not
/// be revoked, to be tried again.
pub async fn cut<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    delivery: &Delivery,
    tokens: &Tokens,
    leave_schedd: bool,
    silent: &Silent,
) -> (Tokens, Cut) {
    let when_named = find::named_at(tokens);
    let (mut held, names) = sorted(tokens);
    let found = if leave_schedd {
        Found::Nothing
    } else {
        find(parts, delivery, &held, when_named).await
    };
    let mut unnamed = None;
    match found {
        Found::Nothing => {}
        Found::Living(found) => held.push(found),
        Found::Unnamed(problem) => unnamed = Some(problem),
    }
    let at_schedd = async {
        match &unnamed {
            None => delete(parts, delivery, leave_schedd, silent).await,
            Some(problem) => find::left_to_be_revoked(problem),
        }
    };
    let (at_vault, at_schedd) = tokio::join!(revoke_all(parts, delivery, held), at_schedd);
    let (mut steps, former) = at_vault;
    if let Some(problem) = &unnamed {
        let accessor = String::new();
        let why = run_again(&problem.to_string());
        steps.push(Step::new(
            What::VaultToken { accessor },
            Became::NotDone,
            why,
        ));
    }
    let now = parts.clock.now();
    let is_known = |steps: &[Step], name: &str| {
        let is =
            |step: &Step| matches!(&step.what, What::VaultToken { accessor } if accessor == name);
        steps.iter().any(is)
    };
    let mut lost = Vec::new();
    for token in names {
        if token.expires > now && !is_known(&steps, &token.accessor) {
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
            What::VaultToken { accessor },
            Became::Nothing,
            why,
        ));
    }
    steps.push(at_schedd);
    let tokens = Tokens {
        former,
        lost,
        ..Tokens::default()
    };
    let id = delivery.id.clone();
    (tokens, Cut { id, steps })
}

/// The tokens that can be revoked, and those of which only the name is known. One whose life is an
/// estimate has no name.
fn sorted(tokens: &Tokens) -> (Vec<Held>, Vec<Named>) {
    let current = tokens.current.iter().map(|(held, _)| held);
    let held = current.chain(&tokens.candidate).chain(&tokens.former);
    let noted = tokens.noted.iter().map(|placed| &placed.token);
    let known = tokens.lost.iter().chain(noted).cloned();
    let inherited = tokens.inherited.iter().map(|inherited| Named {
        accessor: inherited.accessor.clone().unwrap_or_default(),
        issued: inherited.life.issued,
        expires: inherited.life.expires,
    });
    let mut names: Vec<Named> = known.chain(inherited).collect();
    names.sort_by(|a, b| (b.expires, &a.accessor).cmp(&(a.expires, &b.accessor)));
    names.dedup_by(|a, b| a.accessor == b.accessor);
    (held.cloned().collect(), names)
}

/// The step of a token that only Vault's admins can revoke.
pub(super) fn by_admins(token: &Named) -> Step {
    let accessor = token.accessor.clone();
    let why = if accessor.is_empty() {
        format!(
            "one was stored before the service started, and nothing is noted of it; Vault's admins find it among the \
             account's accessors; else it ends at {:.0} at the latest",
            token.expires
        )
    } else {
        format!(
            "it was made by a service that has ended, so only its accessor is known; Vault's admins revoke it: {}; else \
             it ends at {:.0}",
            admin_command(&accessor),
            token.expires
        )
    };
    Step::new(What::VaultToken { accessor }, Became::NotDone, why)
}

async fn revoke_all<V: Vault, T>(
    parts: &Parts<V, T>,
    delivery: &Delivery,
    held: Vec<Held>,
) -> (Vec<Step>, Vec<Held>) {
    let (mut steps, mut left) = (Vec::new(), Vec::new());
    for held in held {
        let accessor = held.accessor.clone();
        let what = What::VaultToken { accessor };
        steps.push(match revoke(parts, delivery, &held).await {
            Ok(()) => Step::new(what, Became::Done, "revoked; Vault says that it is dead"),
            Err(why) => {
                left.push(held);
                Step::new(what, Became::NotDone, why)
            }
        });
    }
    (steps, left)
}

async fn revoke<V: Vault, T>(
    parts: &Parts<V, T>,
    delivery: &Delivery,
    held: &Held,
) -> Result<(), String> {
    let ended = parts.end_of(&delivery.credential, held).await;
    ended.map_err(|problem| match problem.kind {
        Kind::Forbidden => problem.message,
        _ => run_again(&problem.to_string()),
    })
}

async fn delete<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    delivery: &Delivery,
    leave: bool,
    silent: &Silent,
) -> Step {
    if leave {
        return Step::new(
            What::Stored,
            Became::Left,
            "nothing was asked of the schedd",
        );
    }
    let deleted = match silent.get(&delivery.id.schedd) {
        Some(problem) => Err(problem),
        None => try_delete(parts, delivery).await,
    };
    match deleted {
        Ok(true) => Step::new(
            What::Stored,
            Became::Done,
            "deleted; the schedd says that nothing is there",
        ),
        Ok(false) => Step::new(
            What::Stored,
            Became::Nothing,
            "the schedd says that nothing is there",
        ),
        Err(problem) => {
            silent.note(&delivery.id.schedd, &problem);
            let why = run_again(&problem.message);
            Step::new(What::Stored, Became::NotDone, why)
        }
    }
}

/// Deletes what is there; whether anything was. Seen to be gone afterwards.
async fn try_delete<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    delivery: &Delivery,
) -> Result<bool, Problem> {
    let opener = parts.opener(delivery).await?;
    let transport = &parts.transport;
    let before = transport.observe(delivery, opener.as_ref()).await?;
    if before.stored.is_none() && before.served.is_none() {
        return Ok(false);
    }
    transport.delete(delivery, opener.as_ref()).await?;
    let after = transport.observe(delivery, opener.as_ref()).await?;
    if after.stored.is_some() {
        return Err(Problem::new(
            crate::problem::Cause::schedd(delivery),
            Kind::CreddRefused,
            "the schedd took the request and still has the credential; have its admin delete it",
        ));
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
