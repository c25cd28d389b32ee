//! From a credential as typed to what is read at Vault, and which one opens the credds.

use std::sync::Arc;

use htvault::{CredentialUrl, ServerUrl};

use super::faults::{Faults, hint};
use super::raw::{self, Named};
use super::resolve_account::{Defaults, judge_length};
use super::template::fill;
use super::tree::Located;
use crate::delivery::{Credential, Grant, Identity};

/// Limit for the length of a service's name: a file name has 255 bytes, and HTCondor writes
/// `SERVICE.top.tmp`.
const SERVICE_LIMIT: usize = 247;

/// A credential with what was typed for it.
pub(crate) type Typed<'a> = (&'a Named<raw::Credential>, Arc<Credential>);

/// Whose credentials are resolved.
pub(crate) struct Account<'a> {
    pub(crate) identity: Arc<Identity>,
    pub(crate) own: &'a raw::Account,
    pub(crate) defaults: &'a Defaults<'a>,
    pub(crate) server: &'a ServerUrl,
}

/// A credential, as it is at the schedds of `other` when that is given.
pub(crate) fn credential(
    typed: &Named<raw::Credential>,
    other: Option<&raw::Override>,
    account: &Account<'_>,
    faults: &mut Faults,
) -> Option<Credential> {
    // Credentials of the defaults have their place there; say whose they are.
    let service = &typed.name;
    let value = &typed.value;
    if !is_service_name(&service.value) {
        service.fault(
            faults,
            format!("{:?} is no service name: letters, digits and `-+=_.` are allowed, it begins with none of `-_.` and does not end in `_`", service.value),
        );
        return None;
    }
    judge_length(service, SERVICE_LIMIT, faults);
    let name = account.identity.account.as_str();
    let (issuer, role) = issuer_and_role(typed, name, faults)?;
    let values = [("account", name), ("service", service.value.as_str())];
    let words = |texts: &Option<Vec<Located<String>>>, faults: &mut Faults| -> Vec<String> {
        let texts = texts.iter().flatten();
        let filled: Vec<String> = texts.map(|text| fill(text, &values, faults)).collect();
        let words = filled.iter().flat_map(|text| text.split([',', ' ']));
        words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let scopes = other.map_or(&None, |other| &other.scopes);
    let scopes = if scopes.is_some() {
        scopes
    } else {
        &value.scopes
    };
    let audience = other.map_or(&None, |other| &other.audience);
    let audience = if audience.is_some() {
        audience
    } else {
        &value.audience
    };
    let scopes = words(scopes, faults);
    let audience = words(audience, faults);
    let typed_credkey = account.own.credkey.as_ref();
    let typed_credkey = typed_credkey.or(account.defaults.account.credkey.as_ref());
    let credkey = if let Some(text) = typed_credkey {
        fill(text, &values, faults)
    } else {
        let principal = account.identity.principal.rsplit_once('@');
        // Without one there is a fault already, and the rest is judged still.
        principal.map_or("none", |(name, _realm)| name).to_owned()
    };
    let full_url = CredentialUrl::creds(account.server, &issuer, &credkey, &role);
    let url = if scopes.is_empty() && audience.is_empty() {
        CredentialUrl::creds(account.server, &issuer, &credkey, &role)
    } else {
        CredentialUrl::sts(account.server, &issuer, &credkey, &role)
    };
    let (url, full_url) = match (url, full_url) {
        (Ok(url), Ok(full_url)) => (url, full_url),
        (Err(error), _) | (_, Err(error)) => {
            service.fault(faults, format!("account {name}: {}", error.words()));
            return None;
        }
    };
    let levels = [
        &value.grant,
        &account.own.grant,
        &account.defaults.account.grant,
        account.defaults.grant,
    ];
    Some(Credential {
        identity: Arc::clone(&account.identity),
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

/// As typed, or as the service's name says.
fn issuer_and_role(
    typed: &Named<raw::Credential>,
    account: &str,
    faults: &mut Faults,
) -> Option<(String, String)> {
    let service = &typed.name;
    let mut filled = |text: &Option<Located<String>>| {
        let text = text.as_ref()?;
        Some(fill(text, &[("account", account)], faults))
    };
    let role = filled(&typed.value.role);
    if let Some(issuer) = filled(&typed.value.issuer) {
        return Some((issuer, role.unwrap_or_else(|| "default".to_owned())));
    }
    let mut parts = service.value.split('_');
    let issuer = parts.next().unwrap_or_default().to_owned();
    let from_name = parts.next().unwrap_or("default").to_owned();
    if parts.next().is_some() {
        service.fault(
            faults,
            "a service name is ISSUER or ISSUER_ROLE; give `issuer` and `role` for another one",
        );
        return None;
    }
    Some((issuer, role.unwrap_or(from_name)))
}

/// What is known of the refresh token, each from the nearest level that has it.
fn grant(levels: &[&raw::Grant], faults: &mut Faults) -> Grant {
    let lifetime = levels.iter().find_map(|grant| grant.lifetime.as_ref());
    let warn = levels.iter().find_map(|grant| grant.warn.as_ref());
    let usual = Grant::default().warn;
    if let (Some(lifetime), Some(warn)) = (lifetime, warn)
        && warn.value >= lifetime.value
    {
        let what = format!(
            "warn ({}) must be shorter than lifetime ({})",
            super::duration::format(warn.value),
            super::duration::format(lifetime.value)
        );
        let nearest = levels
            .iter()
            .find_map(|grant| grant.warn.as_ref().or(grant.lifetime.as_ref()));
        nearest.unwrap_or(warn).fault(faults, what);
    }
    // Nobody is warned from the first day on who did not ask for it.
    let usual = lifetime.map_or(usual, |lifetime| usual.min(lifetime.value / 2));
    Grant {
        lifetime: lifetime.map(|lifetime| lifetime.value),
        warn: warn.map_or(usual, |warn| warn.value),
    }
}

/// The same tokens under two names are a slip.
pub(crate) fn judge_twins(all: &[Typed<'_>], faults: &mut Faults) {
    for (index, (typed, credential)) in all.iter().enumerate() {
        let twin = all.iter().take(index).find(|(_, other)| {
            let service = credential.service.clone();
            let renamed = Credential {
                service,
                ..Credential::clone(other)
            };
            renamed.is_same_token(credential)
        });
        if let Some((_, twin)) = twin {
            typed.name.fault(
                faults,
                format!(
                    "it is the same as {:?}: issuer {}, role {} and what is asked of tokens are equal, keep one of them",
                    twin.service, credential.issuer, credential.role
                ),
            );
        }
    }
}

/// The credential whose access token opens the credds.
pub(crate) fn authorize_with(
    typed: &Named<raw::Credential>,
    own: &Arc<Credential>,
    all: &[Typed<'_>],
    faults: &mut Faults,
) -> Option<Arc<Credential>> {
    let Some(name) = &typed.value.authorize_with else {
        return Some(Arc::clone(own));
    };
    let found = all
        .iter()
        .find(|(_, credential)| credential.service == name.value);
    if let Some((_, credential)) = found {
        return Some(Arc::clone(credential));
    }
    let hint = hint(&name.value, all.iter().map(|(_, c)| c.service.as_str()));
    name.fault(
        faults,
        format!("the account has no credential {:?}, {hint}", name.value),
    );
    None
}

/// A name that HTCondor takes for a service.
fn is_service_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-+=_.".contains(c);
    !name.is_empty()
        && !name.starts_with(['.', '_', '-'])
        && !name.ends_with('_')
        && name.chars().all(allowed)
}
