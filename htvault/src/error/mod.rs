//! Errors of an HTVault, sorted by what must happen next and by what they speak of.
//!
//! The sorting follows recorded answers of a real server. Two things are easily mistaken:
//! - A 403 has two forms. `permission denied` alone *may* mean a dead token, and only `lookup-self`
//!   tells; `1 error occurred: … permission denied` means a living token that the policy refuses.
//! - `400 token expired` on a read of an access token speaks of the access token that cannot be
//!   had (with that many seconds left), never of the vault token.
//!
//! Texts of servers and libraries are bounded and escaped when they enter an error.

mod kind;
mod scope;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::text::{LIMIT, one_line, printable};

use kind::classify;
pub use kind::{Action, ErrorKind};
pub use scope::FailureScope;

/// Advice after a login that the server answers like a path that does not exist.
const NO_LOGIN: &str = "this Vault has no Kerberos login for the issuer and role: correct their names, or \
    have its admins enable it (OpenBao from 2.7 on needs the plugin `kerberos` for that)";

/// Failure of a request: the request, the message of the server or of a library, and advice.
///
/// `Display` is [`message`](Self::message), then `; `, then [`advice`](Self::advice). Neither holds
/// a token or another secret.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    scope: FailureScope,
    /// Method and URL without query, or empty when no request was made.
    request: String,
    status: Option<u16>,
    /// The server's or the library's own words, on one line, bounded and escaped.
    words: String,
    advice: &'static str,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, request: &str, words: &str) -> Self {
        Self {
            kind,
            scope: kind.scope(),
            request: printable(request, LIMIT),
            status: None,
            words: one_line(words),
            advice: kind.advice(),
            retry_after: None,
            source: None,
        }
    }

    pub(crate) fn configuration(words: &str) -> Self {
        Self::new(ErrorKind::Configuration, "", words)
    }

    /// A value (URL, name, token) that no request can be made with: it speaks of that value only.
    pub(crate) fn bad_value(words: &str) -> Self {
        Self::configuration(words).in_scope(FailureScope::Credential)
    }

    pub(crate) fn bad_answer(request: &str, words: &str) -> Self {
        Self::new(ErrorKind::BadAnswer, request, words)
    }

    /// Error of a Vault's answer that is no success.
    pub(crate) fn from_answer(request: &str, status: u16, words: &[String], login: bool) -> Self {
        let kind = classify(status, words, login);
        let error = Self::new(kind, request, &words.join("; ")).with_status(status);
        match kind {
            ErrorKind::TokenRejected if login => error.advise(NO_LOGIN),
            _ => error,
        }
    }

    /// Error of an answer that is not Vault's.
    pub(crate) fn not_vault(request: &str, status: u16, words: &str) -> Self {
        let error = Self::new(ErrorKind::NotVault, request, words).with_status(status);
        match status {
            // A front's word about what is behind it.
            502..=504 => error.in_scope(FailureScope::Host),
            _ => error,
        }
    }

    /// One error for a request that no address answered: the message of each. Its kind and scope
    /// are those of the failure that speaks of the least: a path before an issuer before a host.
    pub(crate) fn of_all_addresses(request: &str, mut failures: Vec<(String, Self)>) -> Self {
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
        let retry_after = failures.iter().filter_map(|(_, e)| e.retry_after).min();
        let chosen = failures
            .into_iter()
            .min_by_key(|(_, error)| (error.scope, error.status.is_none()));
        match chosen {
            Some((_, chosen)) => Self {
                status: None,
                words: one_line(&words.join("; ")),
                retry_after,
                ..chosen
            },
            None => Self::new(ErrorKind::Unreachable, request, "no address is known"),
        }
    }

    pub(crate) fn with_status(self, status: u16) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    pub(crate) fn in_scope(self, scope: FailureScope) -> Self {
        Self { scope, ..self }
    }

    pub(crate) fn advise(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }

    pub(crate) fn caused_by(self, source: impl StdError + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..self
        }
    }

    /// Adds the least time to wait.
    pub(crate) fn after(self, retry_after: Option<Duration>) -> Self {
        Self {
            retry_after,
            ..self
        }
    }

    /// Names the account of the request, where the URL does not.
    #[cfg(feature = "kerberos")]
    pub(crate) fn of_account(self, account: &str) -> Self {
        Self {
            request: printable(&format!("{account}: {}", self.request), LIMIT),
            ..self
        }
    }

    /// Least time to wait before a retry, where it is known: the server's `Retry-After` (of a day at
    /// most), the rest of a block, or the wait for room below our own limit on requests.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Kind of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Part of the world that the failure says something about.
    #[must_use]
    pub fn scope(&self) -> FailureScope {
        self.scope
    }

    /// HTTP status of the answer, if there was one answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The server's or the library's own words, on one line, bounded and escaped.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.words
    }

    /// The request, the status and the words of the server or library, on one line; no advice.
    #[must_use]
    pub fn message(&self) -> String {
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
        text
    }

    /// Advice for a person: what to do, or what the cause may be. It promises no retry.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        self.advice
    }

    /// Next step of a loop or a person.
    #[must_use]
    pub fn action(&self) -> Action {
        self.kind.action()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message(), self.advice)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source: &(dyn StdError + 'static) = self.source.as_deref()?;
        Some(source)
    }
}

#[cfg(test)]
mod tests;
