//! Kinds of failure, the action and the advice for each, and the kind of an answer.

use std::fmt;

use super::scope::FailureScope;

/// Kind of failure.
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
    /// 404 without words: no refresh token is stored.
    NoneStored,
    /// 401 at a login: the Negotiate token was refused.
    LoginRefused,
    /// 429: a quota of the server; or our own limit on requests ([`FailureScope::Local`]).
    RateLimited,
    /// 503 `Vault is sealed`.
    Sealed,
    /// 307 without a body (or 472, 473): a standby that does not serve, because it knows no living
    /// leader. The redirect is never followed.
    Standby,
    /// 500: a new leader of the cluster is being elected. Other addresses answer the same.
    NoLeader,
    /// 500 `transient: …`: the issuer does not answer an exchange.
    IssuerDown,
    /// Another answer of 5xx, or 412.
    ServerError,
    /// Another answer of 4xx, such as a 404 for a path that the Vault does not have.
    Refused,
    /// An answer that is not Vault's: something between (load balancer, firewall, proxy) answered.
    NotVault,
    /// An answer that is not what HTVault answers: fields missing, of another type, too large, or no HTTP.
    BadAnswer,
    /// The server's certificate is not trusted, expired, or for another name.
    Untrusted,
    /// No connection, or one that was cut: name not found, refused, unreachable, reset.
    Unreachable,
    /// No connection or no answer in time.
    TimedOut,
    /// This process or host lacks descriptors, memory, threads or ports.
    LocalResource,
    /// The request could not be made with these settings or values.
    Configuration,
}

/// Next step of a loop or a person after an error.
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
#[non_exhaustive]
pub enum Action {
    /// Wait and retry; nobody needs to act yet.
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
    /// Next step of a loop or a person.
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
            | Self::Standby
            | Self::NoLeader
            | Self::IssuerDown
            | Self::ServerError
            | Self::NotVault
            | Self::BadAnswer
            | Self::Unreachable
            | Self::TimedOut
            | Self::LocalResource => Action::Retry,
        }
    }

    /// Scope of a failure of this kind, where nothing else is known. [`Error::scope`](crate::Error::scope)
    /// knows more: a timeout while connecting, for example, speaks of the host.
    #[must_use]
    pub fn scope(self) -> FailureScope {
        match self {
            Self::NotLongEnough | Self::IssuerDown => FailureScope::Issuer,
            Self::RateLimited => FailureScope::Quota,
            Self::Sealed | Self::Standby | Self::NoLeader | Self::Untrusted | Self::Unreachable => {
                FailureScope::Host
            }
            Self::LocalResource | Self::Configuration => FailureScope::Local,
            Self::TokenRejected
            | Self::Forbidden
            | Self::RefreshRefused
            | Self::NoneStored
            | Self::LoginRefused
            | Self::ServerError
            | Self::Refused
            | Self::NotVault
            | Self::BadAnswer
            | Self::TimedOut => FailureScope::Credential,
        }
    }

    /// True when another address of the same cluster may do better.
    pub(crate) fn fails_over(self) -> bool {
        matches!(
            self,
            Self::Sealed
                | Self::Standby
                | Self::NoLeader
                | Self::ServerError
                | Self::NotVault
                | Self::BadAnswer
                | Self::Untrusted
                | Self::Unreachable
                | Self::TimedOut
                | Self::LocalResource
        )
    }

    /// Advice for a person: what to do, or what the cause may be.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::TokenRejected => {
                "the vault token is dead, or the issuer or role has no mount at this Vault"
            }
            Self::Forbidden => {
                "check issuer, role and credkey, or have the Vault's policy extended"
            }
            Self::NotLongEnough => "the issuer is down or its tokens live less than asked for",
            Self::RefreshRefused | Self::NoneStored => {
                "the account must be onboarded (log in by OIDC once, for example with htgettoken)"
            }
            Self::LoginRefused => {
                "check the keytab, the service principal's host name and the clocks"
            }
            Self::RateLimited => "the Vault's rate limit is reached",
            Self::Sealed => "the Vault's admins must unseal it",
            Self::Standby => "this server is a standby and its cluster has no leader for now",
            Self::NoLeader => "the Vault's cluster elects a leader",
            Self::IssuerDown => "the token issuer does not answer Vault",
            Self::ServerError => "the Vault has a problem; its log says more",
            Self::Refused => "check the configuration against the Vault's",
            Self::NotVault => {
                "something between here and the Vault answered (load balancer, firewall, proxy), \
                 not the Vault: ask its admin"
            }
            Self::BadAnswer => "check that the address is that of an HTVault",
            Self::Untrusted => {
                "check the CA file or directory, and that the address is the name in the server's certificate"
            }
            Self::Unreachable => "check the address, the network and whether the Vault runs",
            Self::TimedOut => "the Vault is slow or unreachable",
            Self::LocalResource => {
                "raise the limits of this process or host (descriptors, memory, threads, ports)"
            }
            Self::Configuration => "correct the configuration",
        }
    }
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

/// Kind of a Vault's answer that is no success, by its status and the server's words.
pub(super) fn classify(status: u16, words: &[String], login: bool) -> ErrorKind {
    let mentions = |part: &str| words.iter().any(|w| w.contains(part));
    match status {
        307 | 472 | 473 => ErrorKind::Standby,
        401 if login => ErrorKind::LoginRefused,
        // "bad token": a node of a cluster that learns of a revocation while it answers `lookup-self`.
        403 if words
            .iter()
            .any(|w| matches!(w.trim(), "permission denied" | "bad token")) =>
        {
            ErrorKind::TokenRejected
        }
        403 => ErrorKind::Forbidden,
        // With words it speaks of the path: its mount is disabled, moved or misspelt.
        404 if !login && words.iter().all(|w| w.trim().is_empty()) => ErrorKind::NoneStored,
        429 => ErrorKind::RateLimited,
        400 if mentions("refresh failed") => ErrorKind::RefreshRefused,
        400 if mentions("token expired") => ErrorKind::NotLongEnough,
        503 if mentions("sealed") => ErrorKind::Sealed,
        500 | 503 if mentions("standby mode") => ErrorKind::Standby,
        500 | 503 if mentions("active cluster node not found") => ErrorKind::NoLeader,
        500 if mentions("transient:") => ErrorKind::IssuerDown,
        412 | 500.. => ErrorKind::ServerError,
        _ => ErrorKind::Refused,
    }
}
