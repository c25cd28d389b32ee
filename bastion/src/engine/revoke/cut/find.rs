//! The token that is stored at a schedd and that nobody here holds, where it can be read.

use jiff::Timestamp;

use super::{Step, StepOutcome, What, and_then};
use crate::engine::attempt::{Parts, Tokens};
use crate::model::delivery::Delivery;
use crate::model::problem::Problem;
use crate::schedd::Transport;
use crate::schedd::top_file;
use crate::vault::{Held, Vault};

/// Time when the token that is at the schedd and has a name was stored, by the schedd's clock.
pub(super) fn named_at(tokens: &Tokens) -> Option<Timestamp> {
    let noted = tokens.noted.as_ref().and_then(|placed| placed.stored);
    let inherited = tokens.inherited.as_ref();
    let inherited = inherited.filter(|inherited| inherited.accessor.is_some());
    noted.or(inherited.map(|inherited| inherited.stored))
}

/// Token at the schedd that is not known yet.
pub(super) enum Found {
    Nothing,
    /// A token that lives.
    Living(Held),
    /// A token of which nothing is noted, and Vault does not say what it is.
    Unnamed(Problem),
}

/// The token that is stored at the schedd, where it can be read and is not known. `named` is when
/// one was stored whose accessor is noted.
pub(super) async fn find<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    delivery: &Delivery,
    known: &[Held],
    named: Option<Timestamp>,
) -> Found {
    if !delivery.target.is_readable() {
        return Found::Nothing;
    }
    let credential = &delivery.credential;
    // What is wrong with the schedd is found again, and said, when something is deleted there.
    let Ok(observed) = parts.transport.observe(delivery).await else {
        return Found::Nothing;
    };
    let token = observed.content.as_ref();
    let token = token.and_then(|content| top_file::token_of(credential, content));
    let Some(token) = token else {
        return Found::Nothing;
    };
    if known
        .iter()
        .any(|held| held.token.expose() == token.expose())
    {
        return Found::Nothing;
    }
    match parts.vault.look_up(credential, &token).await {
        Ok(Some((life, accessor))) => Found::Living(Held {
            token,
            parent: None,
            accessor,
            life,
        }),
        // Dead, or named to Vault's admins.
        Ok(None) => Found::Nothing,
        Err(_) if named.is_some() && named == observed.stored => Found::Nothing,
        Err(problem) => Found::Unnamed(problem),
    }
}

/// The step of what is not deleted, for it is all that is known of its token. While Vault does not
/// answer nobody gets an access token with it.
pub(super) fn left_to_be_revoked(problem: &Problem, then: &str) -> Step {
    let why = format!(
        "left there: nothing is noted of its token, which can be revoked only as long as it can be read there; {}",
        and_then(&problem.to_string(), then)
    );
    Step::new(What::Stored, StepOutcome::NotDone, why)
}
