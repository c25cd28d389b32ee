//! From a credential's section to what is read at Vault, and the credential that opens the credds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use htvault::CredentialUrl;

use super::account::Owner;
use super::{Durations, check_length, consistency, fill};
use crate::config::faults::{Faults, Located, hint};
use crate::config::given::{Given, Several};
use crate::config::sections::{CredentialSection, OverrideSection};
use crate::model::delivery::{Credential, Grant};
use crate::model::records::requested_content;

/// Limit for the length of a service's name: a file name has 255 bytes, and HTCondor writes
/// `SERVICE.top.tmp`.
const SERVICE_LIMIT: usize = 247;

/// A credential with its name and section.
pub(super) struct Typed<'a> {
    pub(super) name: &'a Located<String>,
    pub(super) section: &'a CredentialSection,
    pub(super) credential: Arc<Credential>,
}

/// A credential, with the values of `other` at some schedds. Faults of credentials of the defaults that depend on the
/// account name it.
pub(super) fn credential(
    service: &Located<String>,
    section: &CredentialSection,
    other: &OverrideSection,
    owner: &Owner<'_>,
    faults: &mut Faults,
) -> Option<Credential> {
    if !is_service_name(&service.value) {
        let message = format!(
            "{:?} is not a service name: letters, digits and `-+=_.` are allowed, it must not begin with one of \
             `-_.` or end with `_`",
            service.value
        );
        faults.add(service.place, message);
        return None;
    }
    check_length(service, SERVICE_LIMIT, faults);
    let account = owner.identity.account.as_str();
    let (issuer, role) = issuer_and_role(service, section, account, faults)?;
    let values = [("account", account), ("service", &service.value)];
    let mut words = |key: &Given<Several<String>>| -> Vec<String> {
        let texts = key.items().iter();
        let texts: Vec<String> = texts.map(|text| fill(text, &values, faults)).collect();
        let words = texts.iter().flat_map(|text| text.split([',', ' ']));
        let words = words.filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let scopes = words(other.scopes.or(&section.scopes));
    let audience = words(other.audience.or(&section.audience));
    let credkey = owner.own.credkey.or(&owner.sections.defaults.credkey);
    let credkey = credkey.located().map(|text| fill(text, &values, faults));
    let credkey = credkey.unwrap_or_else(|| {
        let principal = owner.identity.principal.rsplit_once('@');
        // Without a realm there is a fault already, and the rest is still checked.
        principal.map_or("none", |(name, _realm)| name).to_owned()
    });
    let server = owner.server;
    let full_url = match CredentialUrl::creds(server, &issuer, &credkey, &role) {
        Ok(url) => url,
        Err(error) => {
            faults.add(
                service.place,
                format!("account {account}: {}", error.words()),
            );
            return None;
        }
    };
    let url = if scopes.is_empty() && audience.is_empty() {
        full_url.clone()
    } else {
        CredentialUrl::sts(server, &issuer, &credkey, &role).ok()?
    };
    Some(Credential {
        identity: Arc::clone(&owner.identity),
        service: service.value.clone(),
        issuer,
        role,
        credkey,
        scopes,
        audience: (!audience.is_empty()).then(|| audience.join(",")),
        url,
        full_url,
        grant: grant(section, owner, faults),
    })
}

/// Issuer and role, as typed or as the service's name says.
fn issuer_and_role(
    service: &Located<String>,
    section: &CredentialSection,
    account: &str,
    faults: &mut Faults,
) -> Option<(String, String)> {
    let mut filled = |text: &Given<String>| {
        let text = text.located()?;
        Some(fill(text, &[("account", account)], faults))
    };
    let role = filled(&section.role);
    if let Some(issuer) = filled(&section.issuer) {
        return Some((issuer, role.unwrap_or_else(|| "default".to_owned())));
    }
    let parts = service.value.split_once('_');
    let (issuer, from_name) = parts.unwrap_or((&service.value, "default"));
    if from_name.contains('_') {
        faults.add(
            service.place,
            "a service name is ISSUER or ISSUER_ROLE; give `issuer` and `role` for another one",
        );
        return None;
    }
    let role = role.unwrap_or_else(|| from_name.to_owned());
    Some((issuer.to_owned(), role))
}

/// Lifetime of the refresh token, and the margin of warnings.
fn grant(section: &CredentialSection, owner: &Owner<'_>, faults: &mut Faults) -> Grant {
    let levels = [
        &section.grant,
        &owner.own.grant,
        &owner.sections.defaults.grant,
        &owner.sections.grant,
    ];
    let durations = Durations::nearest(levels.map(|level| (&level.lifetime, &level.warn)));
    let (lifetime, margin) = (durations.lifetime, durations.margin);
    if let (Some(lifetime), Some(warn)) = (lifetime, margin) {
        durations.check("warn", warn, lifetime, faults);
    }
    // Without a configured margin, nobody is warned in the first half of the lifetime.
    let usual = Grant::default().warn;
    let usual = lifetime.map_or(usual, |lifetime| usual.min(lifetime / 2));
    Grant {
        lifetime,
        warn: margin.unwrap_or(usual),
    }
}

/// Adds a fault for each credential of an account that has the same tokens as one before it.
pub(super) fn check_duplicates(all: &[Typed<'_>], faults: &mut Faults) {
    let mut known: HashMap<String, &str> = HashMap::new();
    for typed in all {
        let credential = &typed.credential;
        match known.entry(requested_content(credential)) {
            Entry::Vacant(new) => _ = new.insert(&credential.service),
            Entry::Occupied(same) => {
                let message = format!(
                    "it is the same as {:?}: issuer {}, role {}, scopes and audience are equal, keep one of them",
                    same.get(),
                    credential.issuer,
                    credential.role
                );
                faults.add(typed.name.place, message);
            }
        }
    }
}

/// The credential whose access token opens the credds.
pub(super) fn authorize_with(
    typed: &Typed<'_>,
    all: &[Typed<'_>],
    faults: &mut Faults,
) -> Arc<Credential> {
    let Some(name) = typed.section.authorize_with.located() else {
        return Arc::clone(&typed.credential);
    };
    let mut credentials = all.iter().map(|typed| &typed.credential);
    if let Some(found) = credentials.find(|credential| credential.service == name.value) {
        consistency::authorizing_scopes(name, found, faults);
        return Arc::clone(found);
    }
    let names = all.iter().map(|typed| typed.name.value.as_str());
    let hint = hint(&name.value, names);
    let message = format!("the account has no credential {:?}, {hint}", name.value);
    faults.add(name.place, message);
    Arc::clone(&typed.credential)
}

/// Returns true for a name that HTCondor accepts for a service.
fn is_service_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-+=_.".contains(c);
    !name.is_empty()
        && !name.starts_with(['.', '_', '-'])
        && !name.ends_with('_')
        && name.chars().all(is_allowed)
}
