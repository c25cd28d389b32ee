//! What the development server is told to be: roles, stored grants, lifetimes.
//!
//! Plain data, the same for the command line and for tests in process. What always holds for a
//! [`Settings`] that passed [`Settings::check`]: each grant names a role that exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

/// A role of an issuer, written `ISSUER:ROLE`, shown as Vault's mounts do: `ISSUER_ROLE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName {
    /// The issuer as Vault names it.
    pub issuer: String,
    /// The set of scopes.
    pub role: String,
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.issuer, self.role)
    }
}

impl FromStr for RoleName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((issuer, role)) if is_name(issuer) && is_name(role) => Ok(Self {
                issuer: issuer.into(),
                role: role.into(),
            }),
            _ => Err(format!("{text:?} is not of the form ISSUER:ROLE")),
        }
    }
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    !text.is_empty() && text.chars().all(plain)
}

/// A role and its scopes, written `ISSUER:ROLE=SCOPE SCOPE …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleScopes {
    /// Which role.
    pub name: RoleName,
    /// What its tokens may do.
    pub scopes: Vec<String>,
}

impl FromStr for RoleScopes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, scopes) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is not of the form ISSUER:ROLE=SCOPES"))?;
        let scopes: Vec<String> = scopes.split_whitespace().map(String::from).collect();
        if scopes.is_empty() {
            return Err(format!("{text:?} names no scope"));
        }
        Ok(Self {
            name: name.parse()?,
            scopes,
        })
    }
}

/// A refresh token that is stored from the start, written `ISSUER:CREDKEY:ROLE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which role.
    pub role: RoleName,
    /// Whose it is.
    pub credkey: String,
}

impl Grant {
    /// The name that Vault stores it under: `ISSUER/CREDKEY:ROLE`.
    #[must_use]
    pub fn secret_name(&self) -> String {
        format!("{}/{}:{}", self.role.issuer, self.credkey, self.role.role)
    }
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not of the form ISSUER:CREDKEY:ROLE");
        let (issuer, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (credkey, role) = rest.rsplit_once(':').ok_or_else(wrong)?;
        if credkey.is_empty() || credkey.contains(':') {
            return Err(wrong());
        }
        Ok(Self {
            role: format!("{issuer}:{role}").parse().map_err(|_| wrong())?,
            credkey: credkey.into(),
        })
    }
}

/// The whole of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the cluster, as its certificate and its Kerberos principal have it.
    pub name: String,
    /// The issuer's address without a path; an issuer's own URL is this and its name.
    pub issuer_url: String,
    /// Roles and their scopes.
    pub roles: BTreeMap<RoleName, Vec<String>>,
    /// Who has onboarded already.
    pub grants: Vec<Grant>,
    /// The `sub` claim of a credkey, where it is not the credkey's first part.
    pub subjects: BTreeMap<String, String>,
    /// The `aud` claim when none is asked for.
    pub audience: String,
    /// How long access tokens live.
    pub access_token_life: Duration,
    /// How long refresh tokens live without being used.
    pub refresh_token_life: Duration,
    /// How long the token of a login lives.
    pub login_life: Duration,
    /// The longest life that any Vault token is given.
    pub max_life: Duration,
    /// How long the Vault half waits for the issuer.
    pub issuer_timeout: Duration,
    /// How long a device flow waits for approval; the Vault half forgets it after ten minutes.
    pub device_life: Duration,
    /// How long a client of a device flow is to wait between polls, in whole seconds.
    pub poll_interval: Duration,
    /// The secret of the issuer's client, where another server than this Vault half has it too; else
    /// a random one.
    pub client_secret: Option<SecretString>,
    /// The URLs of issuers that stand elsewhere, by name. The Vault half is their client with the same
    /// name and secret.
    pub outside_issuers: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        let month = Duration::from_hours(28 * 24);
        Self {
            name: "vault.test".into(),
            issuer_url: "https://issuer.test:8443".into(),
            roles: default_roles(),
            grants: Vec::new(),
            subjects: BTreeMap::new(),
            audience: "https://wlcg.cern.ch/jwt/v1/any".into(),
            access_token_life: Duration::from_hours(1),
            refresh_token_life: Duration::from_hours(30 * 24),
            login_life: month,
            max_life: month,
            issuer_timeout: Duration::from_secs(30),
            device_life: Duration::from_mins(10),
            poll_interval: Duration::from_secs(3),
            client_secret: None,
            outside_issuers: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Refuses what cannot work, in words for the person who wrote it.
    pub fn check(&self) -> Result<(), String> {
        for grant in &self.grants {
            if !self.roles.contains_key(&grant.role) {
                let known: Vec<String> = (self.roles.keys())
                    .map(|role| format!("{}:{}", role.issuer, role.role))
                    .collect();
                return Err(format!(
                    "grant for {:?}: there is no role {:?} of issuer {:?}; roles are {}",
                    grant.credkey,
                    grant.role.role,
                    grant.role.issuer,
                    known.join(", ")
                ));
            }
            if self.outside_issuers.contains_key(&grant.role.issuer) {
                return Err(format!(
                    "grant for {:?}: only issuer {:?} itself, which stands elsewhere, can make one",
                    grant.credkey, grant.role.issuer
                ));
            }
        }
        for name in self.outside_issuers.keys() {
            if !self.issuers().any(|known| known == name) {
                return Err(format!("the outside issuer {name:?} has no role"));
            }
            if self.client_secret.is_none() {
                return Err(format!(
                    "the outside issuer {name:?} needs to know the secret of the client: give a \
                     file with it"
                ));
            }
        }
        Ok(())
    }

    /// The issuers that the roles name.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        let mut last = "";
        self.roles.keys().filter_map(move |role| {
            let new = role.issuer != last;
            last = &role.issuer;
            new.then_some(role.issuer.as_str())
        })
    }

    /// The role of an issuer that has just these scopes; `openid` is not looked at, since clients ask
    /// for it always.
    #[must_use]
    pub fn role_with_scopes(&self, issuer: &str, scopes: &str) -> Option<&RoleName> {
        fn set<'a>(scopes: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
            scopes.filter(|scope| *scope != "openid").collect()
        }
        let wanted = set(scopes.split_whitespace());
        let mut roles = self.roles.iter().filter(|(role, _)| role.issuer == issuer);
        let found = roles.find(|(_, scopes)| set(scopes.iter().map(String::as_str)) == wanted);
        found.map(|(role, _)| role)
    }

    /// The `sub` claim for a credkey.
    #[must_use]
    pub fn subject(&self, credkey: &str) -> String {
        let first = credkey.split(['/', '@']).next().unwrap_or(credkey);
        (self.subjects.get(credkey)).map_or_else(|| first.to_owned(), Clone::clone)
    }
}

fn default_roles() -> BTreeMap<RoleName, Vec<String>> {
    const COMPUTE: &str = "compute.create compute.modify compute.cancel compute.read";
    let login = "openid offline_access";
    [
        format!("cms:default=condor:/WRITE {COMPUTE} storage.read:/ wlcg {login}"),
        format!(
            "cms:crab=condor:/WRITE {COMPUTE} storage.read:/ storage.create:/store/temp/user \
             storage.modify:/store/temp/user {login}"
        ),
        format!(
            "cms:production=condor:/WRITE {COMPUTE} storage.read:/ storage.create:/store \
             storage.modify:/store {login}"
        ),
    ]
    .iter()
    .filter_map(|text| text.parse::<RoleScopes>().ok())
    .map(|role| (role.name, role.scopes))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_may_be_a_robots() {
        let grant: Grant = "cms:cmsprod/bastion/ap.test:crab".parse().unwrap();
        assert_eq!(grant.secret_name(), "cms/cmsprod/bastion/ap.test:crab");
        for wrong in ["cms:crab", "cms::crab", "cms:a:b:crab", "", "c/s:a:crab"] {
            assert!(wrong.parse::<Grant>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_grant_needs_a_role() {
        let mut settings = Settings::default();
        settings.grants.push("cms:cmsprod:crab".parse().unwrap());
        assert_eq!(settings.check(), Ok(()));
        settings.grants.push("cms:cmsprod:nope".parse().unwrap());
        let words = settings.check().unwrap_err();
        assert!(words.contains("cms:production"), "{words}");
    }

    #[test]
    fn an_outside_issuer_needs_a_role_and_a_secret_and_makes_its_grants_itself() {
        let mut settings = Settings::default();
        let url = "https://sso.example.org/realms/grid".to_owned();
        settings.outside_issuers.insert("grid".to_owned(), url);
        assert!(settings.check().unwrap_err().contains("has no role"));
        let role: RoleScopes = "grid:default=compute.read".parse().unwrap();
        settings.roles.insert(role.name, role.scopes);
        assert!(settings.check().unwrap_err().contains("secret"));
        settings.client_secret = Some("s".into());
        assert_eq!(settings.check(), Ok(()));
        settings
            .grants
            .push("grid:cmsprod:default".parse().unwrap());
        assert!(settings.check().unwrap_err().contains("itself"));
    }

    #[test]
    fn the_subject_is_the_first_part_unless_told() {
        let mut settings = Settings::default();
        assert_eq!(settings.subject("cmsprod/bastion/ap.test"), "cmsprod");
        settings.subjects.insert("cmsprod".into(), "1234".into());
        assert_eq!(settings.subject("cmsprod"), "1234");
    }

    #[test]
    fn a_role_is_found_by_its_scopes() {
        let mut settings = Settings::default();
        let own: RoleScopes = "atlas:pilot=compute.read offline_access".parse().unwrap();
        settings.roles.insert(own.name.clone(), own.scopes);
        let found = |issuer, scopes| settings.role_with_scopes(issuer, scopes);
        assert_eq!(
            found("atlas", "openid offline_access compute.read"),
            Some(&own.name)
        );
        assert_eq!(found("atlas", "openid compute.read"), None);
        assert_eq!(found("cms", "openid offline_access compute.read"), None);
    }

    #[test]
    fn there_are_sensible_roles() {
        let settings = Settings::default();
        assert_eq!(settings.roles.len(), 3);
        assert_eq!(settings.issuers().collect::<Vec<_>>(), ["cms"]);
        let own: RoleScopes = "atlas:pilot=compute.read openid".parse().unwrap();
        assert_eq!(own.scopes, ["compute.read", "openid"]);
    }
}
