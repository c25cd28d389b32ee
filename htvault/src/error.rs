//! Errors of an HTVault, sorted by what must happen next.
//!
//! The sorting follows recorded answers of a real server. Two things are easily mistaken:
//! - A 403 has two forms. `permission denied` alone *may* mean a dead token, and only `lookup-self`
//!   tells; `1 error occurred: … permission denied` means a living token that the policy refuses.
//! - `400 token expired` on a read of an access token speaks of the access token that cannot be
//!   had (with that many seconds left), never of the vault token.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::budget::Denied;
use crate::tls::TlsSettings;

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

/// The sorts of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// 403 `permission denied`: the vault token is dead, or (at login) the mount does not exist.
    /// Ask `lookup-self` before believing the first.
    TokenRejected,
    /// 403 from a policy: the token lives, but may not do this.
    Forbidden,
    /// 400 `token expired`: no access token with the seconds asked for can be had now (the
    /// issuer is down, or its tokens live less). A smaller `minimum_seconds` may still succeed.
    NotLongEnough,
    /// The issuer refuses the stored refresh token. A smaller `minimum_seconds` may still succeed.
    RefreshRefused,
    /// 404: no refresh token is stored.
    NoneStored,
    /// 401: the Negotiate token was refused.
    LoginRefused,
    /// 429: a rate limit; it hits every call until it ends.
    RateLimited,
    /// 503 `Vault is sealed`.
    Sealed,
    /// 500: a new leader of the cluster is being elected. Other addresses answer the same.
    NoLeader,
    /// 500 `transient: …`: the issuer does not answer an exchange.
    IssuerDown,
    /// Another answer of 5xx, or of 412, 472, 473.
    ServerError,
    /// Another answer of 4xx.
    Refused,
    /// An answer that is not what HTVault answers: no JSON, fields missing, too large.
    BadAnswer,
    /// The server's certificate is not trusted, expired, or for another name.
    Untrusted,
    /// No connection: name not found, refused, unreachable, reset.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The request could not be made with these settings.
    Configuration,
}

/// What a loop or a person should do about an error.
///
/// ```
/// use htvault::{Action, ErrorKind};
///
/// assert_eq!(ErrorKind::Sealed.action(), Action::Retry);
/// assert_eq!(ErrorKind::RefreshRefused.action(), Action::Onboard);
/// // Of a 403 that may mean a dead token, only a look-up tells.
/// assert_eq!(ErrorKind::TokenRejected.action(), Action::CheckToken);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Wait and try again; nobody needs to act yet.
    Retry,
    /// Wait longer: the server asks for fewer requests.
    SlowDown,
    /// Ask `lookup-self` whether the vault token lives; when it does not, get a new one.
    CheckToken,
    /// The vault token is dead: get a new one. Only [`Client::judge`](crate::Client::judge) says so.
    NewToken,
    /// Somebody has to log in by OIDC once, so that a refresh token is stored.
    Onboard,
    /// An admin of Vault has to allow it, or the issuer, role or credkey is wrong.
    FixPolicy,
    /// An admin of this host has to correct keytab, address or certificate authorities.
    FixConfiguration,
}

impl ErrorKind {
    /// What should happen next.
    #[must_use]
    pub fn action(self) -> Action {
        match self {
            Self::TokenRejected => Action::CheckToken,
            Self::Forbidden | Self::Refused => Action::FixPolicy,
            Self::RefreshRefused | Self::NoneStored => Action::Onboard,
            Self::LoginRefused | Self::Untrusted | Self::Configuration => Action::FixConfiguration,
            Self::RateLimited => Action::SlowDown,
            Self::NotLongEnough
            | Self::Sealed
            | Self::NoLeader
            | Self::IssuerDown
            | Self::ServerError
            | Self::BadAnswer
            | Self::Unreachable
            | Self::TimedOut => Action::Retry,
        }
    }

    /// Whether another address of the same cluster may do better. A [`Client`](crate::Client) has
    /// tried all of them by then.
    #[must_use]
    pub fn fails_over(self) -> bool {
        matches!(
            self,
            Self::Sealed
                | Self::NoLeader
                | Self::ServerError
                | Self::BadAnswer
                | Self::Untrusted
                | Self::Unreachable
                | Self::TimedOut
        )
    }

    /// What to do, as a sentence for a person.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::TokenRejected => {
                "the vault token is dead, or the issuer or role has no mount at this Vault"
            }
            Self::Forbidden => {
                "check issuer, role and credkey, or have the Vault's policy extended"
            }
            Self::NotLongEnough => {
                "the issuer is down or its tokens live less than asked for; it is tried again"
            }
            Self::RefreshRefused | Self::NoneStored => {
                "the account must be onboarded (log in by OIDC once, for example with htgettoken)"
            }
            Self::LoginRefused => {
                "check the keytab, the service principal's host name and the clocks"
            }
            Self::RateLimited => "the Vault's rate limit is reached; it is tried again later",
            Self::Sealed => "the Vault's admins must unseal it; it is tried again",
            Self::NoLeader => "the Vault's cluster elects a leader; it is tried again",
            Self::IssuerDown => "the token issuer does not answer Vault; it is tried again",
            Self::ServerError => "the Vault has a problem; it is tried again",
            Self::Refused => "check the configuration against the Vault's",
            Self::BadAnswer => "check that the address is that of an HTVault; it is tried again",
            Self::Untrusted => {
                "check the CA file or directory, and that the address is the name in the server's certificate"
            }
            Self::Unreachable => {
                "check the address, the network and whether the Vault runs; it is tried again"
            }
            Self::TimedOut => "the Vault is slow or unreachable; it is tried again",
            Self::Configuration => "correct the configuration",
        }
    }
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

fn classify(status: u16, words: &[String], login: bool) -> ErrorKind {
    let said = |part: &str| words.iter().any(|w| w.contains(part));
    match status {
        401 => ErrorKind::LoginRefused,
        403 if words.iter().any(|w| w.trim() == "permission denied") => ErrorKind::TokenRejected,
        403 => ErrorKind::Forbidden,
        404 if !login => ErrorKind::NoneStored,
        429 => ErrorKind::RateLimited,
        400 if said("refresh failed") => ErrorKind::RefreshRefused,
        400 if said("token expired") => ErrorKind::NotLongEnough,
        503 if said("sealed") => ErrorKind::Sealed,
        500 if said("active cluster node not found") => ErrorKind::NoLeader,
        500 if said("transient:") => ErrorKind::IssuerDown,
        412 | 472 | 473 | 500.. => ErrorKind::ServerError,
        _ => ErrorKind::Refused,
    }
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

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry => "wait",
            Self::SlowDown => "wait for the rate limit",
            Self::CheckToken => "check the vault token",
            Self::NewToken => "new vault token",
            Self::Onboard => "onboard",
            Self::FixPolicy => "fix policy",
            Self::FixConfiguration => "fix configuration",
        })
    }
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
