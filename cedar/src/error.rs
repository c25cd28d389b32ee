//! Errors: the daemon and the step, what happened, and what to do about it.
//!
//! No error holds a token, a credential, a key or the id of a session. Texts of servers and
//! libraries are bounded and escaped when they enter an error.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::packet::Fault;
use crate::text::printable;

/// Kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value of the caller's cannot be sent: an address, a name, a credential, a token.
    BadValue,
    /// The address says that the daemon is reachable through a connection broker (CCB) only.
    BrokerOnly,
    /// No connection: name not found, refused, no route.
    Unreachable,
    /// This process or host cannot do it (descriptors, memory, ports, its own firewall), which says nothing
    /// of the daemon.
    Local,
    /// The deadline passed.
    TimedOut,
    /// The daemon closed the connection without a reason, as HTCondor does for most refusals.
    HungUp,
    /// The certificate is from an authority that is not trusted.
    Untrusted,
    /// The certificate has expired, or is not valid yet.
    OutOfValidity,
    /// The certificate is for another name than the one configured.
    WrongName,
    /// No TLS with the daemon: it has no usable certificate or key, or nothing in common with this side.
    NoTls,
    /// The daemon accepts none of the methods that this library has.
    NoCommonMethod,
    /// The daemon offers less than was asked for: no authentication, no encryption, no key.
    TooWeak,
    /// The daemon does not accept the token.
    TokenRefused,
    /// The token is valid, but its scopes do not allow the command.
    Denied,
    /// The daemon does not know the command.
    UnknownCommand,
    /// The daemon does not know the session that was to be resumed.
    UnknownSession,
    /// An answer that is not what the protocol says, or is larger than its bound.
    BadAnswer,
    /// The credd carried the command out and reports a failure.
    Credd(Refusal),
}

/// Result code of a credd that is a failure (HTCondor's `store_cred` codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// 0: failed, no reason given.
    Failed,
    /// 5: there is no such credential.
    NotFound,
    /// 7: the bearer of this token may not act for this account.
    NotAllowed,
    /// 8: arguments that the credd does not take.
    BadArguments,
    /// 9: the credd did not understand the request.
    Protocol,
    /// 10: stored, but the credmon did not process it in time.
    CredmonTimeout,
    /// 11: the credd's configuration is incomplete.
    Configuration,
    /// 12: the credential is not JSON.
    NotJson,
    /// 13: a credential with other scopes or another audience is stored under this name.
    ScopesMismatch,
    /// 14: the credential names a Vault that is not in `TRUSTED_VAULT_HOSTS`.
    UntrustedVault,
    /// A code that this library does not know.
    Other(i64),
}

impl Refusal {
    /// Refusal of a result code; `None` for codes of success (1, 6, and above 100).
    pub(crate) fn of(code: i64) -> Option<Self> {
        Some(match code {
            1 | 6 | 101.. => return None,
            0 => Self::Failed,
            5 => Self::NotFound,
            7 => Self::NotAllowed,
            8 => Self::BadArguments,
            9 => Self::Protocol,
            10 => Self::CredmonTimeout,
            11 => Self::Configuration,
            12 => Self::NotJson,
            13 => Self::ScopesMismatch,
            14 => Self::UntrustedVault,
            other => Self::Other(other),
        })
    }

    fn words(self) -> String {
        match self {
            Self::Failed => "the credd failed to do it (code 0)".to_owned(),
            Self::NotFound => "no such credential is stored (code 5)".to_owned(),
            Self::NotAllowed => "the token's user may not act for this account (code 7)".to_owned(),
            Self::BadArguments => "the credd does not take these arguments (code 8)".to_owned(),
            Self::Protocol => "the credd did not understand the request (code 9)".to_owned(),
            Self::CredmonTimeout => {
                "stored, but not processed by the credmon in time (code 10)".to_owned()
            }
            Self::Configuration => "the credd's configuration is incomplete (code 11)".to_owned(),
            Self::NotJson => "the credential is not JSON (code 12)".to_owned(),
            Self::ScopesMismatch => {
                "stored under this name with other scopes or audience (code 13)".to_owned()
            }
            Self::UntrustedVault => "the credd does not trust the Vault host (code 14)".to_owned(),
            Self::Other(code) => format!("the credd answers with the unknown code {code}"),
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Failed | Self::Protocol | Self::Other(_) => {
                "read the credd's log (CredLog) at that time"
            }
            Self::NotFound => "store it first",
            Self::NotAllowed => {
                "use a token of that account, correct the credd's map file, or add the user to CRED_SUPER_USERS"
            }
            Self::BadArguments => "check account and service name; the account may not exist there",
            Self::CredmonTimeout => "check that a credmon runs at the schedd, and read its log",
            Self::Configuration => "set SEC_CREDENTIAL_DIRECTORY_OAUTH at the schedd",
            Self::NotJson => "store a JSON document",
            Self::ScopesMismatch => "delete the stored credential first, or use another handle",
            Self::UntrustedVault => "add the Vault's host to TRUSTED_VAULT_HOSTS at the schedd",
        }
    }
}

/// Step of an exchange at which a failure came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Before anything was sent.
    Prepare,
    /// TCP connection, and the hand-over by the shared port.
    Connect,
    /// `DC_AUTHENTICATE`: the security that both sides agree on.
    Negotiate,
    /// TLS handshake inside the authentication.
    Tls,
    /// The token is shown.
    Token,
    /// The daemon decides whether the user may run the command.
    Authorize,
    /// A session is resumed.
    Resume,
    /// The command itself.
    Command,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "preparation",
            Self::Connect => "connection",
            Self::Negotiate => "security negotiation",
            Self::Tls => "TLS handshake",
            Self::Token => "authentication by token",
            Self::Authorize => "authorization",
            Self::Resume => "session resumption",
            Self::Command => "command",
        })
    }
}

/// Failure of an operation: daemon, step, what happened, and advice.
///
/// `Display` is [`message`](Self::message), then `; `, then [`advice`](Self::advice).
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    step: Step,
    /// The daemon as the configuration names it; empty when none is concerned.
    peer: String,
    words: String,
    /// Account that the daemon takes the caller for, where that is known and matters.
    user: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, step: Step, words: &str) -> Self {
        Self {
            kind,
            step,
            peer: String::new(),
            words: printable(words),
            user: None,
            source: None,
        }
    }

    pub(crate) fn bad_value(words: &str) -> Self {
        Self::new(ErrorKind::BadValue, Step::Prepare, words)
    }

    pub(crate) fn bad_answer(step: Step, words: &str) -> Self {
        Self::new(ErrorKind::BadAnswer, step, words)
    }

    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self::new(ErrorKind::Credd(refusal), Step::Command, &refusal.words())
    }

    /// `kind`, unless it is a failure of this host.
    pub(crate) fn io(kind: ErrorKind, step: Step, error: io::Error) -> Self {
        let kind = if is_local(&error) {
            ErrorKind::Local
        } else {
            kind
        };
        Self::new(kind, step, &error.to_string()).caused_by(error)
    }

    /// Failure to send or receive a message.
    pub(crate) fn wire(step: Step, fault: Fault) -> Self {
        match fault {
            Fault::Closed => Self::new(ErrorKind::HungUp, step, "the daemon closed the connection"),
            Fault::TimedOut => Self::new(ErrorKind::TimedOut, step, "no answer in time"),
            Fault::Io(error) => Self::io(ErrorKind::HungUp, step, error),
            Fault::TooLarge(what) | Fault::Malformed(what) => Self::bad_answer(step, what),
            Fault::NotSent(what) => Self::bad_value(what),
            Fault::NoRandom => {
                Self::new(ErrorKind::Local, step, "the system has no random numbers")
            }
        }
    }

    pub(crate) fn at(self, peer: &str) -> Self {
        Self {
            peer: printable(peer),
            ..self
        }
    }

    /// Adds to the words whom the daemon takes the caller for.
    pub(crate) fn for_user(self, user: &str) -> Self {
        let words = printable(&format!("{} (as {user})", self.words));
        Self {
            words,
            user: Some(printable(user)),
            ..self
        }
    }

    pub(crate) fn caused_by(self, source: impl StdError + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..self
        }
    }

    /// Kind of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Step at which it failed.
    #[must_use]
    pub fn step(&self) -> Step {
        self.step
    }

    /// Account that the credd took the token's bearer for (`account@domain`), in a refusal of the command.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The daemon, the step and what happened, on one line; no advice.
    #[must_use]
    pub fn message(&self) -> String {
        let Self {
            step, peer, words, ..
        } = self;
        match (peer.is_empty(), step) {
            (_, Step::Prepare) => words.clone(),
            (true, _) => format!("{step}: {words}"),
            (false, _) => format!("{peer}: {step}: {words}"),
        }
    }

    /// True when the same call may succeed later without anybody's action; with a daemon that was
    /// restarted, at a new address.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Unreachable
                | ErrorKind::Local
                | ErrorKind::TimedOut
                | ErrorKind::HungUp
                | ErrorKind::UnknownSession
                | ErrorKind::BadAnswer
                | ErrorKind::Credd(Refusal::Failed | Refusal::CredmonTimeout)
        )
    }

    /// Advice for a person: what to do, or what the cause may be. It promises no retry.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.kind {
            ErrorKind::BadValue => "correct the value",
            ErrorKind::BrokerOnly => {
                "give the daemon an address that can be reached: connections by CCB are not supported"
            }
            ErrorKind::Unreachable => {
                "check that HTCondor runs there and that no firewall is between; a daemon that was restarted has a new address"
            }
            ErrorKind::Local => {
                "raise the limits of this process or host (descriptors, memory, ports), or correct its firewall"
            }
            ErrorKind::TimedOut => "the daemon or the network is slow or overloaded",
            ErrorKind::HungUp => self.hung_up(),
            ErrorKind::Untrusted => {
                "check the authorities trusted here, and the certificate of the daemon"
            }
            ErrorKind::OutOfValidity => {
                "renew the certificate of the daemon, or compare the clocks"
            }
            ErrorKind::WrongName => {
                "correct the host name in the configuration, or give the daemon a certificate for it"
            }
            ErrorKind::NoTls => {
                "check the daemon's host certificate and its key (AUTH_SSL_SERVER_CERTFILE, AUTH_SSL_SERVER_KEYFILE) and the authorities there; its log says why"
            }
            ErrorKind::NoCommonMethod => {
                "add SCITOKENS to the daemon's SEC_DEFAULT_AUTHENTICATION_METHODS, and give it a host certificate"
            }
            ErrorKind::TooWeak => {
                "the daemon must take part in authentication and encryption (SEC_DEFAULT_ENCRYPTION, AES in SEC_DEFAULT_CRYPTO_METHODS)"
            }
            ErrorKind::TokenRefused => {
                "the daemon gives no reason: the token may be expired, for another audience or not in its map file, or the issuer may be unreachable from there; its log says which"
            }
            ErrorKind::Denied => {
                "the access token needs a scope that may write (condor:/WRITE), and the user a place in the daemon's ALLOW_WRITE"
            }
            ErrorKind::UnknownCommand => "the daemon at this address is not the one expected",
            ErrorKind::UnknownSession => "authenticate anew",
            ErrorKind::BadAnswer => {
                "the daemon may be of a version that is not supported, or no HTCondor daemon at all"
            }
            ErrorKind::Credd(refusal) => refusal.advice(),
        }
    }

    fn hung_up(&self) -> &'static str {
        match self.step {
            Step::Prepare | Step::Connect | Step::Resume => {
                "a daemon that was restarted has a new address: look it up again"
            }
            Step::Negotiate => {
                "the address may be out of date; or the daemon allows no SCITOKENS or no AES, or refuses this host (ALLOW_READ, ALLOW_WRITE): its log says which"
            }
            Step::Tls => "check the daemon's host certificate and its log",
            Step::Token | Step::Authorize => "the daemon may have been restarted: its log says why",
            Step::Command => {
                "the daemon may have been restarted; a collector closes the connection after a bad expression"
            }
        }
    }
}

/// True for a failure that this process or host causes.
pub(crate) fn is_local(error: &io::Error) -> bool {
    // EPERM, EAGAIN, ENOMEM, ENFILE, EMFILE, EADDRNOTAVAIL, ENOBUFS of Linux. Not EACCES: over IPv6 a router's
    // or the daemon's firewall answers so.
    matches!(error.raw_os_error(), Some(1 | 11 | 12 | 23 | 24 | 99 | 105))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message(), self.advice())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source: &(dyn StdError + 'static) = self.source.as_deref()?;
        Some(source)
    }
}
