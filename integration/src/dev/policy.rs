//! Policies as htvault-config sets them: what a token may do to which path.
//!
//! Pure. What always holds: a Kerberos login reads, lists and deletes what is stored under its own
//! name for the issuer and role it logged in for, nothing else; only an OIDC login may store.

use std::fmt;
use std::str::FromStr;

use super::settings::RoleName;

/// Who a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The principal without its realm, or the credkey of an OIDC login.
    pub name: String,
    /// The realm; empty for an OIDC login.
    pub domain: String,
}

/// A policy of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// `kerberos-ISSUER_ROLE`: the owner's own credentials, but not storing them.
    Kerberos(RoleName),
    /// `oidc-ISSUER_ROLE`: the same, and storing.
    Oidc(RoleName),
    /// `tokenops`: create, look up and revoke one's own token.
    TokenOps,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kerberos(role) => write!(f, "kerberos-{role}"),
            Self::Oidc(role) => write!(f, "oidc-{role}"),
            Self::TokenOps => f.write_str("tokenops"),
        }
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Neither issuers nor roles have an underscore in their names.
        let role = |rest: &str| rest.replacen('_', ":", 1).parse::<RoleName>();
        match text.split_once('-') {
            None if text == "tokenops" => Ok(Self::TokenOps),
            Some(("kerberos", rest)) => role(rest).map(Self::Kerberos),
            Some(("oidc", rest)) => role(rest).map(Self::Oidc),
            _ => Err(format!("{text:?} is no policy")),
        }
    }
}

/// What is done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `GET`
    Read,
    /// `LIST`, or `GET` with `list=true`
    List,
    /// `POST` or `PUT`
    Update,
    /// `DELETE`
    Delete,
}

/// The path of a request, below `/v1/`, as far as policies and routes care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `auth/token/create`
    CreateToken,
    /// `auth/token/lookup-self`
    LookupSelf,
    /// `auth/token/revoke-self`
    RevokeSelf,
    /// `secret/oauth/creds/…`
    Creds(SecretName<'a>),
    /// `secret/oauth/sts/…`
    Sts(SecretName<'a>),
    /// Anything else.
    Other,
}

/// The name of a stored credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretName<'a> {
    /// All of it: `ISSUER/CREDKEY:ROLE`.
    pub whole: &'a str,
    /// The issuer.
    pub issuer: &'a str,
    /// Whose it is.
    pub credkey: &'a str,
    /// The role.
    pub role: &'a str,
}

impl<'a> SecretName<'a> {
    /// Takes `ISSUER/CREDKEY:ROLE` apart.
    #[must_use]
    pub fn parse(whole: &'a str) -> Option<Self> {
        let (issuer, rest) = whole.split_once('/')?;
        let (credkey, role) = rest.rsplit_once(':')?;
        let complete = [issuer, credkey, role].iter().all(|part| !part.is_empty());
        complete.then_some(Self {
            whole,
            issuer,
            credkey,
            role,
        })
    }
}

impl<'a> Target<'a> {
    /// Finds out what a path is.
    #[must_use]
    pub fn of(path: &'a str) -> Self {
        let secret = |prefix| path.strip_prefix(prefix).and_then(SecretName::parse);
        match path {
            "auth/token/create" => Self::CreateToken,
            "auth/token/lookup-self" => Self::LookupSelf,
            "auth/token/revoke-self" => Self::RevokeSelf,
            _ => secret("secret/oauth/creds/")
                .map(Self::Creds)
                .or_else(|| secret("secret/oauth/sts/").map(Self::Sts))
                .unwrap_or(Self::Other),
        }
    }
}

/// Whether one of the policies lets the owner do this.
#[must_use]
pub fn allows(
    policies: &[Policy],
    owner: &Owner,
    target: &Target<'_>,
    operation: Operation,
) -> bool {
    policies.iter().any(|policy| match policy {
        Policy::TokenOps => matches!(
            (target, operation),
            (Target::LookupSelf, Operation::Read | Operation::Update)
                | (Target::CreateToken | Target::RevokeSelf, Operation::Update)
        ),
        Policy::Kerberos(role) | Policy::Oidc(role) => {
            let stores = matches!(policy, Policy::Oidc(_));
            match target {
                Target::Creds(name) => {
                    (stores || operation != Operation::Update) && own(role, owner, name)
                }
                Target::Sts(name) => {
                    matches!(operation, Operation::Read | Operation::List) && own(role, owner, name)
                }
                _ => false,
            }
        }
    })
}

/// Whether a credential is the owner's: its name, with or without the domain, or a robot below it.
fn own(role: &RoleName, owner: &Owner, name: &SecretName<'_>) -> bool {
    if name.issuer != role.issuer || name.role != role.role {
        return false;
    }
    match name.credkey.strip_prefix(owner.name.as_str()) {
        Some("") => true,
        Some(rest) => {
            rest.starts_with('/')
                || rest
                    .strip_prefix('@')
                    .is_some_and(|domain| !domain.is_empty() && domain == owner.domain)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(policy: &Policy, name: &str, path: &str, operation: Operation) -> bool {
        let owner = Owner {
            name: name.into(),
            domain: "TEST".into(),
        };
        allows(
            std::slice::from_ref(policy),
            &owner,
            &Target::of(path),
            operation,
        )
    }

    fn crab() -> RoleName {
        "cms:crab".parse().unwrap()
    }

    #[test]
    fn a_principal_reads_its_own_credentials_only() {
        let kerberos = Policy::Kerberos(crab());
        for (path, allowed) in [
            ("secret/oauth/creds/cms/cmsprod:crab", true),
            ("secret/oauth/creds/cms/cmsprod@TEST:crab", true),
            ("secret/oauth/creds/cms/cmsprod/bastion/ap.test:crab", true),
            ("secret/oauth/sts/cms/cmsprod:crab", true),
            ("secret/oauth/creds/cms/cmsprod@ELSE:crab", false),
            ("secret/oauth/creds/cms/cmsprod2:crab", false),
            ("secret/oauth/creds/cms/crabtw:crab", false),
            ("secret/oauth/creds/cms/cmsprod:default", false),
            ("secret/oauth/creds/atlas/cmsprod:crab", false),
            ("secret/oauth/creds/cms/cmsprod", false),
            ("auth/token/create", false),
            ("nope/nope", false),
        ] {
            assert_eq!(
                may(&kerberos, "cmsprod", path, Operation::Read),
                allowed,
                "{path}"
            );
        }
    }

    #[test]
    fn a_robot_has_a_name_with_slashes() {
        let kerberos = Policy::Kerberos(crab());
        let robot = "cmsprod/bastion/ap.test";
        let own = "secret/oauth/creds/cms/cmsprod/bastion/ap.test:crab";
        let person = "secret/oauth/creds/cms/cmsprod:crab";
        assert!(may(&kerberos, robot, own, Operation::Read));
        assert!(!may(&kerberos, robot, person, Operation::Read));
    }

    #[test]
    fn only_an_oidc_login_stores() {
        let path = "secret/oauth/creds/cms/cmsprod:crab";
        let [kerberos, oidc] = [Policy::Kerberos(crab()), Policy::Oidc(crab())];
        assert!(!may(&kerberos, "cmsprod", path, Operation::Update));
        assert!(may(&kerberos, "cmsprod", path, Operation::Delete));
        assert!(may(&kerberos, "cmsprod", path, Operation::List));
        assert!(may(&oidc, "cmsprod", path, Operation::Update));
        let exchange = "secret/oauth/sts/cms/cmsprod:crab";
        assert!(!may(&oidc, "cmsprod", exchange, Operation::Update));
    }

    #[test]
    fn tokenops_is_three_calls() {
        for (path, operation, allowed) in [
            ("auth/token/create", Operation::Update, true),
            ("auth/token/lookup-self", Operation::Read, true),
            ("auth/token/revoke-self", Operation::Update, true),
            ("auth/token/renew-self", Operation::Update, false),
            ("auth/token/lookup-accessor", Operation::Update, false),
            ("auth/token/create", Operation::Delete, false),
        ] {
            assert_eq!(
                may(&Policy::TokenOps, "a", path, operation),
                allowed,
                "{path}"
            );
        }
    }
}
