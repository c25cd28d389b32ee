//! Login by Kerberos ticket.
//!
//! What always holds: a token is given only after a [`TicketCheck`] said whose the ticket is. The
//! shipped server has one such check, the GSSAPI acceptor with the host's keytab.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use htvault::kerberos::Acceptor;

use super::answers::Answer;
use super::node::{Call, Node};
use super::policy::{Operation, Owner};
use super::settings::RoleName;
use super::token_calls;

/// What the real server says when it cannot reach the directory, whose address is made up here.
const LDAP_IS_DOWN: &str = "could not connect to LDAP: 1 error occurred:\n\t* error connecting to \
    host \"ldap://127.0.0.1:1389\": LDAP Result Code 200 \"Network Error\": dial tcp \
    127.0.0.1:1389: connect: connection refused\n\n";

/// Whoever can tell whose a ticket is.
pub trait TicketCheck: Send + Sync {
    /// The owner of a Negotiate token, or why it is refused. May block.
    fn check(&self, token: &[u8]) -> Result<Owner, String>;
}

impl TicketCheck for Acceptor {
    fn check(&self, token: &[u8]) -> Result<Owner, String> {
        let principal = self.accept(token).map_err(|error| error.to_string())?;
        Ok(Owner {
            name: principal.name,
            domain: principal.realm,
        })
    }
}

/// Answers `auth/kerberos-ISSUER_ROLE/login`.
pub async fn log_in(node: &Node, role: &RoleName, call: &Call<'_>) -> Answer {
    if !matches!(call.operation, Operation::Read | Operation::Update) {
        return Answer::unsupported();
    }
    let header = call.headers.get(AUTHORIZATION);
    let negotiate = header
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Negotiate "));
    let Some(encoded) = negotiate else {
        return Answer::ticket_required();
    };
    let Ok(token) = STANDARD.decode(encoded.trim()) else {
        return refuse(role, "not base64");
    };
    let tickets = Arc::clone(&node.tickets);
    let checked = tokio::task::spawn_blocking(move || tickets.check(&token)).await;
    if node.controls.ldap_is_down() && matches!(checked, Ok(Ok(_))) {
        // The user is looked up after the ticket was found to be good.
        return Answer::error(StatusCode::INTERNAL_SERVER_ERROR, LDAP_IS_DOWN);
    }
    let owner = match checked {
        Ok(Ok(owner)) => owner,
        Ok(Err(reason)) => return refuse(role, &reason),
        Err(_) => return Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
    };
    match node.vault.log_in(role, owner, node.vault.clock.now()) {
        Some(issued) => token_calls::given(&node.vault, &issued, &[]),
        None => Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
    }
}

/// Says to the operator what the client is not told.
fn refuse(role: &RoleName, reason: &str) -> Answer {
    tracing::info!(mount = %format_args!("kerberos-{role}"), reason, "login refused");
    Answer::ticket_refused()
}
