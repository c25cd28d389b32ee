//! Problems of deliveries: cause, kind, remedy and message.
//!
//! Always true: the cause decides how far a problem reaches. All problems of one cause and kind are reported as one
//! message, however many deliveries are affected.

use std::fmt;
use std::time::Duration;

use htcondor_cedar::Step;
use htvault::kerberos::{KerberosError, KerberosErrorKind};
use htvault::{ErrorKind, FailureScope, ServerUrl};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::delivery::{Credential, Delivery, Identity};
use crate::model::grants;

/// Wait after Vault asked for fewer requests and did not say how long; its block lasts minutes.
const RATE_LIMIT_PAUSE: Duration = Duration::from_mins(1);
/// Longest wait that Vault may ask for.
const LONGEST_RATE_LIMIT: Duration = Duration::from_mins(5);

/// Subject of a problem: the person, host or service that it affects as a whole.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The Vault at this address: every delivery is affected.
    Vault(String),
    /// The KDCs of this realm: every account of the realm is affected.
    Realm(String),
    /// This account's principal or keytab.
    Account(String),
    /// One service credential of an account, at every schedd: `ACCOUNT/SERVICE`.
    Credential(String),
    /// Logins of one account at one of Vault's mounts: `ACCOUNT at kerberos-ISSUER_ROLE`.
    Login(String),
    /// One schedd, for one account: `ACCOUNT at SCHEDD`.
    Schedd(String),
    /// A group of schedds that a collector is asked for.
    Group(String),
    /// A schedd that does not answer: every delivery there is affected.
    Credd(String),
}

/// Kind of a problem.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Vault does not answer, or not usefully.
    VaultDown,
    /// Vault's cluster elects a leader: over in half a minute.
    NoLeader,
    /// Vault asks for fewer requests.
    RateLimited,
    /// Vault's certificate is not trusted.
    VaultUntrusted,
    /// A vault token became invalid before its expiry; another one is created.
    TokenDead,
    /// Vault refuses the ticket.
    LoginRefused,
    /// Vault has no such issuer or role, or does not allow it.
    Forbidden,
    /// No refresh token, or one that the issuer refuses.
    NotOnboarded,
    /// The token issuer does not answer Vault.
    IssuerDown,
    /// No KDC answers, or not usefully; or this host cannot ask one for now.
    KdcDown,
    /// Keytab or principal are wrong.
    Keytab,
    /// Kerberos is set up wrongly on this host.
    Kerberos,
    /// The access token is not what the configuration demands.
    WrongToken,
    /// By this host's clock the access token has expired, or is not valid yet.
    Clock,
    /// The credential directory, or HTCondor's tool, cannot be used.
    Transport,
    /// This host lacks something for now: descriptors, memory, ports, room on a disk, a file system that answers.
    Local,
    /// The collector does not answer, or not usefully.
    CollectorDown,
    /// The credd does not answer.
    CreddDown,
    /// The credd refuses.
    CreddRefused,
    /// The credd's certificate comes from an authority that is not trusted here.
    CreddUntrusted,
    /// The credd's certificate has expired, or is for another name.
    CreddCertificate,
    /// The credmon at the schedd makes no access token of it.
    NotServed,
    /// Another program stores tokens for it, too.
    Contested,
    /// A revocation is not finished.
    NotRevoked,
    /// A fault of this program.
    Internal,
}

/// Remedy of a problem: the person who must act, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// Nobody: the service retries.
    Wait,
    /// An admin of this host.
    FixThisHost,
    /// An admin of Vault, or the author of issuer, role and scopes in the configuration.
    FixVault,
    /// A person who may log in for the account.
    Onboard,
    /// An admin of the schedd.
    FixSchedd,
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}: {message}")]
pub struct Problem {
    /// Subject.
    pub cause: Cause,
    /// Kind.
    pub kind: Kind,
    /// One line: what happened and what to do.
    pub message: String,
    /// Time that a server asks to wait, where it does.
    pub retry_after: Option<Duration>,
    /// Step of an exchange with a credd at which it came, where that is known.
    pub step: Option<Step>,
    /// The request to Vault that failed, where it was one.
    pub request: Option<Request>,
}

/// Kind of request to Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Login by Kerberos.
    Login,
    /// Creation of a vault token.
    Creation,
    /// About a vault token that is there: look up, revoke.
    VaultToken,
    /// Read of an access token.
    AccessToken,
}

impl Kind {
    /// Returns the remedy.
    #[must_use]
    pub fn remedy(self) -> Remedy {
        match self {
            Self::VaultDown
            | Self::NoLeader
            | Self::RateLimited
            | Self::TokenDead
            | Self::IssuerDown
            | Self::KdcDown
            | Self::CollectorDown
            | Self::CreddDown
            | Self::NotRevoked => Remedy::Wait,
            Self::VaultUntrusted
            | Self::LoginRefused
            | Self::Keytab
            | Self::Kerberos
            | Self::Clock
            | Self::Transport
            | Self::Local
            | Self::CreddUntrusted
            | Self::Contested
            | Self::Internal => Remedy::FixThisHost,
            Self::Forbidden | Self::WrongToken => Remedy::FixVault,
            Self::NotOnboarded => Remedy::Onboard,
            Self::CreddRefused | Self::CreddCertificate | Self::NotServed => Remedy::FixSchedd,
        }
    }
}

impl Remedy {
    /// One or two words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::FixThisHost => "fix here",
            Self::FixVault => "fix at Vault",
            Self::Onboard => "onboard",
            Self::FixSchedd => "fix at schedd",
        }
    }
}

impl Cause {
    /// Returns true when all users of the same dependency are affected, so that one attempt tests it for all.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Vault(_) | Self::Realm(_) | Self::Credd(_))
    }

    /// The Vault at `server`.
    #[must_use]
    pub fn vault(server: &ServerUrl) -> Self {
        Self::Vault(server.to_string())
    }

    /// The realm of an identity.
    #[must_use]
    pub fn realm(identity: &Identity) -> Self {
        Self::Realm(identity.realm().to_owned())
    }

    /// Logins for a credential.
    #[must_use]
    pub fn login(credential: &Credential) -> Self {
        let Credential { issuer, role, .. } = credential;
        let account = &credential.identity.account;
        Self::Login(format!("{account} at kerberos-{issuer}_{role}"))
    }

    /// A credential, at every schedd.
    #[must_use]
    pub fn credential(credential: &Credential) -> Self {
        Self::Credential(format!(
            "{}/{}",
            credential.identity.account, credential.service
        ))
    }

    /// A schedd, for one account.
    #[must_use]
    pub fn schedd(delivery: &Delivery) -> Self {
        Self::Schedd(format!("{} at {}", delivery.id.account, delivery.id.schedd))
    }

    /// A schedd, for everybody.
    #[must_use]
    pub fn credd(delivery: &Delivery) -> Self {
        Self::Credd(delivery.id.schedd.clone())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vault(vault) => write!(f, "Vault {vault}"),
            Self::Realm(realm) => write!(f, "realm {realm}"),
            Self::Account(account) => write!(f, "account {account}"),
            Self::Login(login) => write!(f, "login of {login}"),
            Self::Credential(credential) => write!(f, "credential {credential}"),
            Self::Schedd(schedd) => write!(f, "account {schedd}"),
            Self::Group(group) => write!(f, "schedds of {group}"),
            Self::Credd(schedd) => write!(f, "schedd {schedd}"),
        }
    }
}

impl Problem {
    /// A problem with a given message.
    #[must_use]
    pub fn new(cause: Cause, kind: Kind, message: impl Into<String>) -> Self {
        Self {
            cause,
            kind,
            message: message.into(),
            retry_after: None,
            step: None,
            request: None,
        }
    }

    /// The same, with the step of an exchange with a credd.
    #[must_use]
    pub fn at(self, step: Step) -> Self {
        let step = Some(step);
        Self { step, ..self }
    }

    /// The same, of a request to Vault.
    pub(crate) fn of(self, request: Request) -> Self {
        let request = Some(request);
        Self { request, ..self }
    }

    /// Returns the real subject of a failure of Vault, and its kind: a server's answer about one path says nothing
    /// about others. Each issuer and role has a mount of its own for logins.
    #[must_use]
    pub fn charge(
        credential: &Credential,
        (error, scope): (ErrorKind, FailureScope),
        request: Request,
    ) -> (Cause, Kind) {
        let vault = || Cause::vault(&credential.url.server());
        let own = || match request {
            Request::Login => Cause::login(credential),
            _ => Cause::credential(credential),
        };
        match error {
            ErrorKind::RateLimited => (vault(), Kind::RateLimited),
            ErrorKind::NoLeader | ErrorKind::Standby => (vault(), Kind::NoLeader),
            // What one credential asks for cannot be sent: that says nothing of the Vault.
            ErrorKind::Configuration if scope == FailureScope::Credential => {
                (own(), Kind::Forbidden)
            }
            ErrorKind::Untrusted | ErrorKind::Configuration => (vault(), Kind::VaultUntrusted),
            ErrorKind::TokenRejected if request == Request::Login => (own(), Kind::Forbidden),
            ErrorKind::TokenRejected => (own(), Kind::TokenDead),
            ErrorKind::Forbidden | ErrorKind::Refused => (own(), Kind::Forbidden),
            ErrorKind::RefreshRefused | ErrorKind::NoneStored => (own(), Kind::NotOnboarded),
            ErrorKind::NotLongEnough | ErrorKind::IssuerDown => (own(), Kind::IssuerDown),
            ErrorKind::LoginRefused => (own(), Kind::LoginRefused),
            // A proxy answered for this path: that says nothing about the Vault.
            ErrorKind::NotVault if scope != FailureScope::Host => (own(), Kind::Forbidden),
            // A hang while reading an access token is the issuer's: Vault waits for it.
            ErrorKind::TimedOut
                if request == Request::AccessToken && scope != FailureScope::Host =>
            {
                (own(), Kind::IssuerDown)
            }
            _ if scope == FailureScope::Host => (vault(), Kind::VaultDown),
            _ => (own(), Kind::VaultDown),
        }
    }

    /// A failure of Vault, charged to its real subject.
    #[must_use]
    pub fn from_vault(credential: &Credential, error: &htvault::Error, request: Request) -> Self {
        let (cause, kind) = Self::charge(credential, (error.kind(), error.scope()), request);
        let message = match &cause {
            // The same message for everybody: without the path of an issuer.
            Cause::Vault(_) => {
                let status = error.status().map_or(String::new(), |s| format!("{s} "));
                format!("{status}{}; {}", error.words(), error.advice())
            }
            _ if kind == Kind::LoginRefused => format!(
                "login as {} with keytab {}: {error}",
                credential.identity.principal,
                credential.identity.keytab.display()
            ),
            _ if kind == Kind::NotOnboarded => format!(
                "{} refresh token {}{}; have somebody log in: {}",
                match error.kind() {
                    ErrorKind::NoneStored => "Vault has no",
                    _ => "the issuer refuses the",
                },
                grants::name(credential),
                match error.words() {
                    "" => String::new(),
                    words => format!(" ({words})"),
                },
                grants::command(credential)
            ),
            _ => error.to_string(),
        };
        Self {
            retry_after: error.retry_after(),
            ..Self::new(cause, kind, message).of(request)
        }
    }

    /// Time for which Vault's rate limit lets nothing through; `None` for other problems. The client sends nothing
    /// before that, and one request then, so nobody waits for longer or shorter.
    #[must_use]
    pub fn rate_limit_wait(&self) -> Option<Duration> {
        let wait = self.retry_after.unwrap_or(RATE_LIMIT_PAUSE);
        (self.kind == Kind::RateLimited).then(|| wait.min(LONGEST_RATE_LIMIT))
    }

    /// A failure of Kerberos.
    #[must_use]
    pub fn from_kerberos(identity: &Identity, error: &KerberosError) -> Self {
        use KerberosErrorKind as K;
        let (cause, kind) = match error.kind() {
            K::KdcUnreachable | K::KdcFault | K::TimedOut | K::Busy => {
                (Cause::realm(identity), Kind::KdcDown)
            }
            // It may be the file system of one keytab: no other account waits for it.
            K::HostFault => (Cause::Account(identity.account.clone()), Kind::KdcDown),
            // Another realm's KDC may know the service.
            K::RealmUnknown | K::ServiceUnknown | K::ClockSkew | K::LibraryMissing => {
                (Cause::realm(identity), Kind::Kerberos)
            }
            _ => (Cause::Account(identity.account.clone()), Kind::Keytab),
        };
        Self::new(cause, kind, error.to_string())
    }

    /// A bug of this program.
    #[must_use]
    pub fn internal(cause: Cause, what: &str) -> Self {
        let message = format!("{what}; this is a fault of token-bastion, please report it");
        Self::new(cause, Kind::Internal, message)
    }
}

#[cfg(test)]
mod tests;
