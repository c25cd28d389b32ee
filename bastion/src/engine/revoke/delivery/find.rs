//! The token that is stored at a schedd and that nobody here holds, where it can be read.

use jiff::Timestamp;

use super::{Step, StepObject, StepOutcome, and_then};
use crate::engine::attempt::{AtSchedd, Parts, Tokens};
use crate::model::delivery::Delivery;
use crate::model::problem::Problem;
use crate::schedd::Transport;
use crate::schedd::top_file;
use crate::vault::{OwnedToken, Vault};

/// Time when the token that is at the schedd and has a name was stored, by the schedd's clock.
pub(super) fn named_at(tokens: &Tokens) -> Option<Timestamp> {
    let token = tokens.at_schedd.as_ref()?;
    let is_named = !matches!(token, AtSchedd::Owned(..)) && token.accessor().is_some();
    token.stored().filter(|_| is_named)
}

/// Token at the schedd that is not known yet.
pub(super) enum Found {
    Nothing,
    /// A token that lives.
    Living(OwnedToken),
    /// A token of which nothing is recorded, and Vault does not say what it is.
    Unnamed(Problem),
}

/// The token that is stored at the schedd, where it can be read and is not known. `named` is when
/// one was stored whose accessor is recorded.
///
/// # Errors
/// The schedd does not say what is there.
pub(super) async fn find<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    delivery: &Delivery,
    known: &[OwnedToken],
    named: Option<Timestamp>,
) -> Result<Found, Problem> {
    if !delivery.target.is_readable() {
        return Ok(Found::Nothing);
    }
    let credential = &delivery.credential;
    let observed = parts.transport.observe(delivery).await?;
    let token = observed.content.as_ref();
    let token = token.and_then(|content| top_file::token_of(credential, content));
    let Some(token) = token else {
        return Ok(Found::Nothing);
    };
    if known
        .iter()
        .any(|owned| owned.token.expose() == token.expose())
    {
        return Ok(Found::Nothing);
    }
    Ok(match parts.vault.look_up(credential, &token).await {
        Ok(Some((life, accessor))) => Found::Living(OwnedToken {
            token,
            parent: None,
            accessor,
            life,
            server: credential.url.server(),
        }),
        // Dead, or named to Vault's admins.
        Ok(None) => Found::Nothing,
        Err(_) if named.is_some() && named == observed.stored => Found::Nothing,
        Err(problem) => Found::Unnamed(problem),
    })
}

/// The step of what is not deleted, for it is all that is known of its token. While Vault does not
/// answer nobody gets an access token with it.
pub(super) fn left_to_be_revoked(problem: &Problem, then: &str) -> Step {
    let why = format!(
        "left there: nothing is recorded of its token, which can be revoked only as long as it can be read there; {}",
        and_then(&problem.to_string(), then)
    );
    Step::new(StepObject::Stored, StepOutcome::NotDone, why)
}
