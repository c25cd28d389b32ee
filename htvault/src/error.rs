//! Errors of an HTVault, sorted by what must happen next.
//!
//! The sorting follows recorded answers of a real server. Two things are easily mistaken:
//! - A 403 has two forms. `permission denied` alone *may* mean a dead token, and only `lookup-self`
//!   tells; `1 error occurred: … permission denied` means a living token that the policy refuses.
//! - `400 token expired` on a read of an access token speaks of the access token that cannot be
//!   had (with that many seconds left), never of the vault token.

mod kind;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::budget::Denied;

use crate::tls::TlsSettings;

use kind::classify;
pub use kind::{Action, ErrorKind};

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct Error {
    kind: ErrorKind,
    /// Method and URL without query, or empty when no request was made.
    request: String,
    /// HTTP status, when there was an answer.
    status: Option<u16>,
    /// The server's or the library's own words, on one line.
    words: String,
    /// How long to wait at least, where that is known.
    retry_after: Option<Duration>,
}

impl Error {
    fn new(kind: ErrorKind, request: &str, words: String) -> Self {
        Self {
            kind,
            request: request.to_owned(),
            status: None,
            words,
            retry_after: None,
        }
    }

    pub(crate) fn configuration(words: String) -> Self {
        Self::new(ErrorKind::Configuration, "", words)
    }

    pub(crate) fn bad_answer(request: &str, words: String) -> Self {
        Self::new(ErrorKind::BadAnswer, request, words)
    }

    pub(crate) fn unreachable(request: &str, words: String) -> Self {
        Self::new(ErrorKind::Unreachable, request, words)
    }

    /// A request that was not sent, for the budget's sake.
    pub(crate) fn denied(request: &str, denied: Denied) -> Self {
        let (words, until) = match denied {
            Denied::Full(until) => ("not sent: our own bound on requests is reached", until),
            Denied::Blocked(until) => ("not sent: the server refuses requests for now", until),
        };
        let wait = until.saturating_duration_since(Instant::now());
        Self::new(
            ErrorKind::RateLimited,
            request,
            format!("{words}, for {} s more", wait.as_secs_f64().ceil()),
        )
        .after(Some(wait))
    }

    /// Sorts an answer that is no success.
    pub(crate) fn from_answer(request: &str, status: u16, words: &[String], login: bool) -> Self {
        let kind = classify(status, words, login);
        let words = words
            .join("; ")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        Self {
            status: Some(status),
            ..Self::new(kind, request, words)
        }
    }

    /// Sorts a failure to get an answer.
    pub(crate) fn from_transport(request: &str, error: &reqwest::Error, tls: &TlsSettings) -> Self {
        if let Some(words) = tls_failure(error) {
            let words = format!("{words} (trusted: {})", tls.places());
            Self::new(ErrorKind::Untrusted, request, words)
        } else if error.is_timeout() {
            Self::new(ErrorKind::TimedOut, request, "no answer in time".to_owned())
        } else if error.is_builder() {
            Self::new(ErrorKind::Configuration, request, deepest_words(error))
        } else {
            Self::new(ErrorKind::Unreachable, request, deepest_words(error))
        }
    }

    /// One error for a request that no address answered: what each of them said. Its sort is that
    /// of an address that answered, if one did: it knows more than one that is dead.
    pub(crate) fn of_all_addresses(request: &str, mut failures: Vec<(SocketAddr, Self)>) -> Self {
        if failures.len() == 1
            && let Some((_, error)) = failures.pop()
        {
            return error;
        }
        let words: Vec<String> = failures
            .iter()
            .map(|(address, error)| match error.status {
                Some(status) => format!("{address}: {status} {}", error.words),
                None => format!("{address}: {}", error.words),
            })
            .collect();
        let kind = failures
            .iter()
            .max_by_key(|(_, error)| error.status.is_some())
            .map_or(ErrorKind::Unreachable, |(_, error)| error.kind);
        let retry_after = failures.iter().filter_map(|(_, e)| e.retry_after).min();
        Self::new(kind, request, words.join("; ")).after(retry_after)
    }

    /// Adds how long to wait at least.
    pub(crate) fn after(self, retry_after: Option<Duration>) -> Self {
        Self {
            retry_after,
            ..self
        }
    }

    /// Says whose request it was, where the URL does not.
    #[cfg(feature = "kerberos")]
    pub(crate) fn of_account(self, account: &str) -> Self {
        Self {
            request: format!("{account}: {}", self.request),
            ..self
        }
    }

    /// How long to wait at least before the next try, where that is known: by the server's
    /// `Retry-After`, a block that is still on, or our own bound on requests.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The sort of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// HTTP status of the answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The server's or the library's own words.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.words
    }

    /// What should happen next.
    #[must_use]
    pub fn action(&self) -> Action {
        self.kind.action()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if !self.request.is_empty() {
            text.push_str(&self.request);
            text.push_str(": ");
        }
        if let Some(status) = self.status {
            text.push_str(&status.to_string());
            text.push(' ');
        }
        text.push_str(if self.words.is_empty() {
            "(no words)"
        } else {
            &self.words
        });
        if self.kind != ErrorKind::Configuration {
            text.push_str("; ");
            text.push_str(self.kind.advice());
        }
        text
    }
}

/// An error's text for somebody who does not try again unasked, as services do.
#[must_use]
pub fn without_promise(text: &str) -> &str {
    let promises = ["; it is tried again later", "; it is tried again"];
    let without = promises.iter().find_map(|again| text.strip_suffix(again));
    without.unwrap_or(text)
}

/// The words at the end of the chain of causes: the ones that name the true reason.
fn deepest_words(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// The words of a TLS failure anywhere in the chain of causes.
fn tls_failure(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls.to_string());
    }
    // An I/O error hides what it wraps from `source`.
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
        .and_then(|inner| tls_failure(inner));
    wrapped.or_else(|| tls_failure(error.source()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, word: &str) -> ErrorKind {
        Error::from_answer("GET https://v/", status, &[word.to_owned()], false).kind()
    }

    #[test]
    fn recorded_answers_are_sorted() {
        assert_eq!(kind(403, "permission denied"), ErrorKind::TokenRejected);
        assert_eq!(
            kind(403, "1 error occurred:\n\t* permission denied\n\n"),
            ErrorKind::Forbidden
        );
        assert_eq!(kind(400, "token expired"), ErrorKind::NotLongEnough);
        assert_eq!(
            kind(
                400,
                "refresh failed: server rejected request: invalid_grant: Invalid refresh token"
            ),
            ErrorKind::RefreshRefused
        );
        assert_eq!(
            kind(429, "request path \"x\": rate limit quota exceeded"),
            ErrorKind::RateLimited
        );
        assert_eq!(kind(503, "Vault is sealed"), ErrorKind::Sealed);
        assert_eq!(
            kind(
                500,
                "local node not active but active cluster node not found"
            ),
            ErrorKind::NoLeader
        );
        assert_eq!(
            kind(
                500,
                "1 error occurred:\n\t* transient: Post \"https://i/token\""
            ),
            ErrorKind::IssuerDown
        );
        assert_eq!(
            kind(500, "could not connect to LDAP"),
            ErrorKind::ServerError
        );
        assert_eq!(kind(401, "Unauthorised."), ErrorKind::LoginRefused);
        assert_eq!(kind(404, ""), ErrorKind::NoneStored);
        assert_eq!(kind(405, "unsupported operation"), ErrorKind::Refused);
    }

    #[test]
    fn whoever_tries_once_is_promised_nothing() {
        let sealed = || Error::from_answer("GET https://v/", 503, &["sealed".to_owned()], false);
        assert!(sealed().to_string().ends_with("; it is tried again"));
        for status in [403, 429, 500, 503] {
            let error = Error::from_answer("GET https://v/", status, &[], false).to_string();
            let once = without_promise(&error);
            assert!(!once.contains("tried again"), "{once}");
            assert!(once.starts_with("GET https://v/"), "{once}");
        }
    }

    #[test]
    fn the_text_names_the_request_the_words_and_what_to_do_on_one_line() {
        let error = Error::from_answer(
            "GET https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:crab",
            403,
            &["1 error occurred:\n\t* permission denied\n\n".to_owned()],
            false,
        );
        assert_eq!(
            error.to_string(),
            "GET https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:crab: \
             403 1 error occurred: * permission denied; \
             check issuer, role and credkey, or have the Vault's policy extended"
        );
    }
}
