//! Requests to credds, and laws that hold in whatever way they are reached: how far a problem reaches, and for whom they
//! take us.
//!
//! Always true: a credential is stored for nobody but the account that is meant.

use htcondor_cedar::Step;
use htvault::text::printable;
use htvault::{AccessToken, Claims};
use secrecy::SecretString;

use super::advice;
use super::discovery::QueryFailure;
use crate::model::delivery::{CreddTarget, Delivery, Method};
use crate::model::problem::{Cause, Kind, Problem};

/// Longest name of others in a message, in characters.
const NAME_LIMIT: usize = 200;

#[derive(Clone, Copy)]
pub(super) enum Operation<'a> {
    Query,
    /// For the account that is named, whomever the credd takes us for.
    Store(&'a SecretString),
    Delete,
}

#[derive(Clone, Copy)]
pub(super) struct CreddRequest<'a> {
    pub(super) delivery: &'a Delivery,
    /// Its target.
    pub(super) credd: &'a CreddTarget,
    pub(super) operation: Operation<'a>,
}

#[cfg(test)]
impl<'a> CreddRequest<'a> {
    pub(super) fn of(delivery: &'a Delivery, operation: Operation<'a>) -> Self {
        Self {
            delivery,
            credd: delivery.target.credd().unwrap(),
            operation,
        }
    }
}

/// Failure of one try at a credd.
pub(super) struct CreddFailure {
    pub(super) problem: Problem,
    pub(super) again: Again,
    /// The access token was refused: it is not used again.
    pub(super) is_of_token: bool,
}

/// Places where another try is worthwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Nowhere,
    /// At another address than before.
    Elsewhere,
    /// At the same address, too.
    Anywhere,
}

impl From<Problem> for CreddFailure {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            again: Again::Nowhere,
            is_of_token: false,
        }
    }
}

impl CreddRequest<'_> {
    /// A problem with the credd. One that does not answer does so for everybody, and its certificate is the same for
    /// all.
    pub(super) fn problem(&self, kind: Kind, message: impl Into<String>) -> Problem {
        let cause = match kind {
            Kind::CreddDown | Kind::CreddUntrusted | Kind::CreddCertificate => {
                Cause::credd(self.delivery)
            }
            _ => Cause::schedd(self.delivery),
        };
        Problem::new(cause, kind, message)
    }

    /// The problem that no address of the credd is known; `fault`: why its collector did not answer. A collector that this
    /// host cannot ask says nothing of the credd.
    pub(super) fn no_address(&self, fault: Option<&QueryFailure>) -> Problem {
        let host = &self.credd.host;
        let unknown = |why: &str| format!("the address of the credd of {host} is not known: {why}");
        let (kind, message) = match fault {
            Some((kind @ (Kind::Transport | Kind::Local | Kind::Internal), why)) => {
                (*kind, unknown(why))
            }
            Some((_, why)) => (Kind::CreddDown, unknown(why)),
            None => {
                let collector = self.credd.collector.as_deref();
                let collector = collector.unwrap_or("of this host's HTCondor configuration");
                let message = format!(
                    "the collector {collector} knows no credd of {host}; {}",
                    advice::NO_ADDRESS
                );
                (Kind::CreddDown, message)
            }
        };
        self.problem(kind, message).at(Step::Prepare)
    }

    /// Checks that the credd takes us for the account; `user` is whom it takes us for, `None` for somebody of whom it
    /// says only that it is another one. A super-user has a name of its own, and says itself for whom it stores.
    pub(super) fn check_user(&self, user: Option<&str>) -> Result<(), Problem> {
        let account = &self.delivery.id.account;
        let user = match user {
            _ if self.credd.authentication.domain.is_some() => return Ok(()),
            Some(user) if user.split('@').next() == Some(account) => return Ok(()),
            Some(user) => format!("user {}", printable(user, NAME_LIMIT)),
            None => "another user".to_owned(),
        };
        let words = match self.credd.authentication.method {
            Method::Scitokens => format!(
                "the credd takes the access token of {} for {user}, not for {account}; correct the SCITOKENS line of the \
                 schedd's map file (without ^ and $ it takes all subjects that contain it), or the account's name here",
                self.delivery.authorize.service
            ),
            method => format!(
                "the credd takes this host for {user} by {}, not for {account}; set `superuser_for` here and \
                 CRED_SUPER_USERS at the schedd, or correct its map file",
                method_name(method)
            ),
        };
        Err(self.problem(Kind::CreddRefused, words))
    }
}

pub(super) fn method_name(method: Method) -> String {
    method.to_string().to_uppercase()
}

/// Issuer and subject of an access token, as a map file names them.
pub(super) fn bearer(opener: Option<&AccessToken>) -> Option<String> {
    let claims = Claims::read(opener?.expose())?;
    let bearer = format!("{},{}", claims.issuer?, claims.subject?);
    Some(printable(&bearer, NAME_LIMIT))
}
