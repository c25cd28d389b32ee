//! Things that deliveries share, and the one that a failure speaks of.
//!
//! A server's answer about one path, credential or account says nothing of others.

use crate::model::delivery::{Credential, Delivery, Identity};
use crate::model::problem::{Cause, Kind, Problem, Request};
use crate::model::records::requested_content;

/// A thing that deliveries share: one failure speaks for all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    Vault(String),
    Realm(String),
    /// Kerberos principal, with its keytab.
    Principal(String),
    /// Logins of an account at one of Vault's mounts.
    Login(Cause),
    /// Credential at Vault, with what is asked of it, for one principal: another one may have other rights.
    Credential(String),
    /// The same, of the creation of vault tokens for it.
    Creation(String),
    Schedd(String),
}

/// Resources of a read of an access token for jobs.
pub(crate) fn read_by(credential: &Credential) -> [Resource; 2] {
    of_read(credential, &requested_content(credential))
}

/// Resources of a read of an access token that opens a credd.
pub(crate) fn opened_by(credential: &Credential) -> [Resource; 2] {
    of_read(credential, &credential.full_url.to_string())
}

fn of_read(credential: &Credential, content: &str) -> [Resource; 2] {
    let read = Resource::Credential(by_principal(credential, content));
    [vault(credential), read]
}

/// The creation of a vault token.
pub(crate) fn creation(credential: &Credential) -> Resource {
    Resource::Creation(by_principal(credential, &requested_content(credential)))
}

fn by_principal(credential: &Credential, content: &str) -> String {
    format!("{content} by {}", credential.identity.principal)
}

/// Resources of a login.
pub(crate) fn login_by(credential: &Credential) -> [Resource; 4] {
    let identity = &credential.identity;
    [
        vault(credential),
        Resource::Realm(identity.realm().to_owned()),
        principal(identity),
        Resource::Login(Cause::login(credential)),
    ]
}

pub(crate) fn principal(identity: &Identity) -> Resource {
    let Identity {
        principal, keytab, ..
    } = identity;
    Resource::Principal(format!("{principal} by {}", keytab.display()))
}

pub(crate) fn vault(credential: &Credential) -> Resource {
    Resource::Vault(credential.url.server().to_string())
}

pub(crate) fn schedd(delivery: &Delivery) -> Resource {
    Resource::Schedd(delivery.id.schedd.clone())
}

/// The resource that a delivery's problem speaks of; `None` for one that says nothing of others.
pub(crate) fn blamed(delivery: &Delivery, problem: &Problem) -> Option<Resource> {
    let (credential, opener) = (&delivery.credential, &delivery.authorize);
    match &problem.cause {
        Cause::Vault(server) => Some(Resource::Vault(server.clone())),
        Cause::Realm(realm) => Some(Resource::Realm(realm.clone())),
        Cause::Credd(schedd) => Some(Resource::Schedd(schedd.clone())),
        Cause::Account(account) => {
            let mut used = [credential, opener].into_iter();
            let credential = used.find(|c| c.identity.account == *account)?;
            Some(principal(&credential.identity))
        }
        cause @ Cause::Login(_) => Some(Resource::Login(cause.clone())),
        Cause::Credential(_) if problem.request == Some(Request::Creation) => {
            Some(creation(credential))
        }
        cause @ Cause::Credential(_) => {
            let [_, read] = if Cause::credential(credential) == *cause {
                read_by(credential)
            } else if Cause::credential(opener) == *cause {
                opened_by(opener)
            } else {
                return None;
            };
            let is_lasting = matches!(
                problem.kind,
                Kind::IssuerDown | Kind::NotOnboarded | Kind::Forbidden | Kind::VaultDown
            );
            // What may be done with vault tokens says nothing of reads with those that are there.
            let is_of_read = problem.request != Some(Request::VaultToken);
            (is_lasting && is_of_read).then_some(read)
        }
        Cause::Schedd(_) | Cause::Group(_) => None,
    }
}
