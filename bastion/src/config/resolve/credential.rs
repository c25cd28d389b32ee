//! From a credential's section to what is read at Vault, and which one opens the credds.

use std::sync::Arc;

use htvault::CredentialUrl;

use super::account::AccountContext;
use super::{fill, judge_length, judge_order, nearest};
use crate::config::faults::{Faults, Located, hint};
use crate::config::given::{Given, Several};
use crate::config::sections::{AccountSection, CredentialSection, GrantSection, OverrideSection};
use crate::model::delivery::{Credential, Grant, Identity};

/// Limit for the length of a service's name: a file name has 255 bytes, and HTCondor writes
/// `SERVICE.top.tmp`.
const SERVICE_LIMIT: usize = 247;

/// A credential with its name and section.
pub(super) type Typed<'a> = (&'a Located<String>, &'a CredentialSection, Arc<Credential>);

/// The account whose credentials are resolved.
pub(super) struct Owner<'a> {
    pub(super) identity: Arc<Identity>,
    pub(super) own: &'a AccountSection,
    pub(super) context: &'a AccountContext<'a>,
}

/// A credential, as it is at the schedds of `other` when that is given. Credentials of the defaults have
/// their place there; faults that only an account has say whose they are.
pub(super) fn credential(
    service: &Located<String>,
    section: &CredentialSection,
    other: Option<&OverrideSection>,
    owner: &Owner<'_>,
    faults: &mut Faults,
) -> Option<Credential> {
    if !is_service_name(&service.value) {
        let what = format!(
            "{:?} is no service name: letters, digits and `-+=_.` are allowed, it begins with none of \
             `-_.` and does not end in `_`",
            service.value
        );
        faults.add(service.place, what);
        return None;
    }
    judge_length(service, SERVICE_LIMIT, faults);
    let account = owner.identity.account.as_str();
    let (issuer, role) = issuer_and_role(service, section, account, faults)?;
    let values = [("account", account), ("service", &service.value)];
    let words = |there: Option<&Given<Several<String>>>,
                 key: &Given<Several<String>>,
                 faults: &mut Faults| {
        let texts = there.map_or(key, |there| there.or(key)).items();
        let filled: Vec<String> = texts
            .iter()
            .map(|text| fill(text, &values, faults))
            .collect();
        let words = filled.iter().flat_map(|text| text.split([',', ' ']));
        let words = words.filter(|word| !word.is_empty());
        words.map(str::to_owned).collect::<Vec<String>>()
    };
    let scopes = words(other.map(|other| &other.scopes), &section.scopes, faults);
    let audience = words(
        other.map(|other| &other.audience),
        &section.audience,
        faults,
    );
    let credkey = owner.own.credkey.or(&owner.context.defaults.credkey);
    let credkey = credkey.located().map(|text| fill(text, &values, faults));
    let credkey = credkey.unwrap_or_else(|| {
        let principal = owner.identity.principal.rsplit_once('@');
        // Without one there is a fault already, and the others are judged still.
        principal.map_or("none", |(name, _realm)| name).to_owned()
    });
    let server = owner.context.server;
    let full_url = CredentialUrl::creds(server, &issuer, &credkey, &role);
    let full_url = full_url.map_err(|error| {
        faults.add(
            service.place,
            format!("account {account}: {}", error.words()),
        );
    });
    let full_url = full_url.ok()?;
    let url = if scopes.is_empty() && audience.is_empty() {
        full_url.clone()
    } else {
        CredentialUrl::sts(server, &issuer, &credkey, &role).ok()?
    };
    let levels = [
        section.grant.get(),
        owner.own.grant.get(),
        owner.context.defaults.grant.get(),
        owner.context.grant,
    ];
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
        grant: grant(&levels, faults),
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
    let mut parts = service.value.split('_');
    let issuer = parts.next().unwrap_or_default().to_owned();
    let from_name = parts.next().unwrap_or("default").to_owned();
    if parts.next().is_some() {
        faults.add(
            service.place,
            "a service name is ISSUER or ISSUER_ROLE; give `issuer` and `role` for another one",
        );
        return None;
    }
    Some((issuer, role.unwrap_or(from_name)))
}

/// Lifetime of the refresh token, and the margin of warnings, each from the nearest level that has it.
fn grant(levels: &[Option<&GrantSection>], faults: &mut Faults) -> Grant {
    let lifetime = nearest(levels, |grant| &grant.lifetime).map(|typed| typed.value.0);
    let warn = nearest(levels, |grant| &grant.warn).map(|typed| typed.value.0);
    if let (Some(lifetime), Some(warn)) = (lifetime, warn) {
        judge_order(
            levels,
            ("warn", warn, |grant| &grant.warn),
            ("lifetime", lifetime, |grant| &grant.lifetime),
            faults,
        );
    }
    // Nobody is warned from the first day on who did not ask for it.
    let usual = Grant::default().warn;
    let usual = lifetime.map_or(usual, |lifetime| usual.min(lifetime / 2));
    Grant {
        lifetime,
        warn: warn.unwrap_or(usual),
    }
}

/// The same tokens under two names are a slip.
pub(super) fn judge_twins(all: &[Typed<'_>], faults: &mut Faults) {
    for (index, (name, _, credential)) in all.iter().enumerate() {
        let twin = all.iter().take(index).find(|(_, _, other)| {
            let service = credential.service.clone();
            let renamed = Credential {
                service,
                ..Credential::clone(other)
            };
            renamed.is_same_token(credential)
        });
        if let Some((_, _, twin)) = twin {
            let what = format!(
                "it is the same as {:?}: issuer {}, role {} and what is asked of tokens are equal, keep \
                 one of them",
                twin.service, credential.issuer, credential.role
            );
            faults.add(name.place, what);
        }
    }
}

/// The credential whose access token opens the credds.
pub(super) fn authorize_with(
    typed: &Typed<'_>,
    all: &[Typed<'_>],
    faults: &mut Faults,
) -> Arc<Credential> {
    let (_, section, own) = typed;
    let Some(name) = section.authorize_with.located() else {
        return Arc::clone(own);
    };
    let mut credentials = all.iter().map(|(_, _, credential)| credential);
    if let Some(found) = credentials.find(|credential| credential.service == name.value) {
        return Arc::clone(found);
    }
    let known = all.iter().map(|(name, ..)| name.value.as_str());
    let hint = hint(&name.value, known);
    faults.add(
        name.place,
        format!("the account has no credential {:?}, {hint}", name.value),
    );
    Arc::clone(own)
}

/// A name that HTCondor takes for a service.
fn is_service_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-+=_.".contains(c);
    !name.is_empty()
        && !name.starts_with(['.', '_', '-'])
        && !name.ends_with('_')
        && name.chars().all(is_allowed)
}
