//! From an account as typed, and the defaults, to its deliveries.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use htvault::{CredentialUrl, ServerUrl};

use super::duration;
use super::faults::{Faults, hint};
use super::raw::{self, Named, Raw};
use super::resolve::{Places, group};
use super::search::Pattern;
use super::tree::Located;
use crate::delivery::{Credential, Delivery, Identity};

const LIFETIME: Duration = Duration::from_hours(7 * 24);
const RENEW_BELOW: Duration = Duration::from_hours(3 * 24);

/// What an account falls back on, level by level.
pub(crate) struct Defaults<'a> {
    account: &'a raw::Account,
    tokens: &'a raw::Tokens,
}

impl<'a> Defaults<'a> {
    pub(crate) fn new(raw: &'a Raw, faults: &mut Faults) -> Self {
        // A template that means nothing is a fault even when no account uses it.
        let account = &raw.defaults;
        for text in [&account.principal, &account.keytab, &account.credkey]
            .into_iter()
            .flatten()
        {
            fill(text, "", faults);
        }
        Self {
            account,
            tokens: &raw.tokens,
        }
    }
}

/// The deliveries of one account. Those that have faults are left out.
pub(crate) fn deliveries(
    account: &Named<raw::Account>,
    defaults: &Defaults<'_>,
    places: &Places,
    server: &ServerUrl,
    faults: &mut Faults,
) -> Vec<Delivery> {
    let name = &account.name;
    let own = &account.value;
    if !is_plain_name(&name.value) {
        name.fault(
            faults,
            format!(
                "{:?} is no account: letters, digits and `-_.` are allowed",
                name.value
            ),
        );
    }
    let missing = |what: &str, example: &str, faults: &mut Faults| {
        let what = format!("{what} is missing here and in `defaults`, write for example {example}");
        name.fault(faults, what);
    };
    let identity = identity(account, defaults, faults);
    let credkey = own.credkey.as_ref().or(defaults.account.credkey.as_ref());
    let credkey = match credkey {
        Some(text) => Some(fill(text, &name.value, faults)),
        None => identity
            .as_ref()
            .and_then(|i| i.principal.rsplit_once('@'))
            .map(|(name, _realm)| name.to_owned()),
    };
    let (lifetime, renew_below) = tokens(name, own, defaults, faults);

    let groups = own.schedds.as_ref().or(defaults.account.schedds.as_ref());
    if groups.is_none_or(Vec::is_empty) {
        missing("`schedds`", "schedds: [GROUP]", faults);
    }
    let places: Vec<_> = groups
        .into_iter()
        .flatten()
        .flat_map(|name| group(name, places, faults))
        .collect();

    let typed = own
        .credentials
        .as_ref()
        .or(defaults.account.credentials.as_ref());
    if typed.is_none_or(Vec::is_empty) {
        missing("`credentials`", "credentials: {cms: {}}", faults);
    }
    let typed: Vec<_> = typed.into_iter().flatten().collect();
    // Without identity or key the names are still judged.
    let stand_in = Arc::new(Identity {
        account: name.value.clone(),
        principal: String::new(),
        keytab: PathBuf::new(),
    });
    let complete = identity.is_some() && credkey.is_some();
    let identity = identity.map_or(stand_in, Arc::new);
    let credkey = credkey.unwrap_or_else(|| "none".to_owned());
    let credentials: Vec<(&Named<raw::Credential>, Arc<Credential>)> = typed
        .iter()
        .filter_map(|typed| {
            let credential = credential(typed, &identity, &credkey, name, server, faults)?;
            Some((*typed, Arc::new(credential)))
        })
        .collect();

    let mut list = Vec::new();
    for (typed, credential) in &credentials {
        let Some(authorize) = authorize_with(typed, credential, &credentials, faults) else {
            continue;
        };
        for place in places.iter().filter(|_| complete) {
            let pattern = Pattern {
                credential: Arc::clone(credential),
                authorize: Arc::clone(&authorize),
                lifetime,
                renew_below,
                release_held: false,
            };
            list.push(pattern.at(&place.name, place.target.clone()));
        }
    }
    list
}

fn identity(
    account: &Named<raw::Account>,
    defaults: &Defaults<'_>,
    faults: &mut Faults,
) -> Option<Identity> {
    let name = &account.name;
    let principal = account
        .value
        .principal
        .as_ref()
        .or(defaults.account.principal.as_ref());
    let keytab = account
        .value
        .keytab
        .as_ref()
        .or(defaults.account.keytab.as_ref());
    for (what, value, example) in [
        ("`principal`", principal, "principal: NAME@REALM"),
        (
            "`keytab`",
            keytab,
            "keytab: /etc/token-bastion/keytabs/NAME.keytab",
        ),
    ] {
        if value.is_none() {
            name.fault(
                faults,
                format!("{what} is missing here and in `defaults`, write for example {example}"),
            );
        }
    }
    let typed = principal;
    let principal = principal.map(|text| fill(text, &name.value, faults));
    if let (Some(typed), Some(principal)) = (typed, &principal)
        && !is_principal(principal)
    {
        typed.fault(
            faults,
            format!("{principal:?} is no principal, write NAME@REALM"),
        );
    }
    let path = keytab.map(|text| PathBuf::from(fill(text, &name.value, faults)));
    if let (Some(typed), Some(path)) = (keytab, &path)
        && !path.is_absolute()
    {
        typed.fault(faults, "the path must begin with /");
    }
    Some(Identity {
        account: name.value.clone(),
        principal: principal?,
        keytab: path?,
    })
}

fn is_principal(principal: &str) -> bool {
    principal.rsplit_once('@').is_some_and(|(name, realm)| {
        !name.is_empty() && !realm.is_empty() && !principal.contains(char::is_whitespace)
    })
}

/// Life and margin, each from the nearest level that has it.
fn tokens(
    name: &Located<String>,
    own: &raw::Account,
    defaults: &Defaults<'_>,
    faults: &mut Faults,
) -> (Duration, Duration) {
    let levels = [&own.tokens, &defaults.account.tokens, defaults.tokens];
    let lifetime = levels.iter().find_map(|tokens| tokens.lifetime.as_ref());
    let renew_below = levels.iter().find_map(|tokens| tokens.renew_below.as_ref());
    let (long, margin) = (
        lifetime.map_or(LIFETIME, |d| d.value),
        renew_below.map_or(RENEW_BELOW, |d| d.value),
    );
    if margin >= long {
        let at = own
            .tokens
            .renew_below
            .as_ref()
            .or(own.tokens.lifetime.as_ref())
            .or(renew_below)
            .or(lifetime);
        let what = format!(
            "renew_below ({}) must be shorter than lifetime ({})",
            duration::format(margin),
            duration::format(long)
        );
        match at {
            Some(at) => at.fault(faults, what),
            None => name.fault(faults, what),
        }
    }
    (long, margin)
}

fn credential(
    typed: &Named<raw::Credential>,
    identity: &Arc<Identity>,
    credkey: &str,
    account: &Located<String>,
    server: &ServerUrl,
    faults: &mut Faults,
) -> Option<Credential> {
    // Credentials of the defaults have their place there; say whose they are.
    let service = &typed.name;
    let value = &typed.value;
    if !is_service_name(&service.value) {
        service.fault(
            faults,
            format!("{:?} is no service name: letters, digits and `-+=_.` are allowed, none of `_.` at its ends", service.value),
        );
        return None;
    }
    let (issuer, role) = match (&value.issuer, &value.role) {
        (Some(issuer), role) => (
            issuer.value.clone(),
            role.as_ref()
                .map_or_else(|| "default".to_owned(), |role| role.value.clone()),
        ),
        (None, role) => {
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
            (
                issuer,
                role.as_ref().map_or(from_name, |role| role.value.clone()),
            )
        }
    };
    let words = |texts: &Option<Vec<Located<String>>>| -> Vec<String> {
        texts
            .iter()
            .flatten()
            .flat_map(|text| text.value.split([',', ' ']))
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let scopes = words(&value.scopes);
    let audience = words(&value.audience);
    let full_url = CredentialUrl::creds(server, &issuer, credkey, &role);
    let url = if scopes.is_empty() && audience.is_empty() {
        CredentialUrl::creds(server, &issuer, credkey, &role)
    } else {
        CredentialUrl::sts(server, &issuer, credkey, &role)
    };
    let (url, full_url) = match (url, full_url) {
        (Ok(url), Ok(full_url)) => (url, full_url),
        (Err(error), _) | (_, Err(error)) => {
            service.fault(
                faults,
                format!("account {}: {}", account.value, error.words()),
            );
            return None;
        }
    };
    Some(Credential {
        identity: Arc::clone(identity),
        service: service.value.clone(),
        issuer,
        role,
        credkey: credkey.to_owned(),
        scopes,
        audience: (!audience.is_empty()).then(|| audience.join(",")),
        url,
        full_url,
    })
}

fn authorize_with(
    typed: &Named<raw::Credential>,
    own: &Arc<Credential>,
    all: &[(&Named<raw::Credential>, Arc<Credential>)],
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

/// Puts the account's name where `{account}` stands; other braces are a fault.
fn fill(text: &Located<String>, account: &str, faults: &mut Faults) -> String {
    let filled = text.value.replace("{account}", account);
    if filled.contains(['{', '}']) {
        text.fault(
            faults,
            "only {account} can be filled in, remove other braces",
        );
    }
    filled
}

/// A name that is one plain part of a path and one word everywhere.
fn is_plain_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with(['.', '-']) && name.chars().all(allowed)
}

/// A name that HTCondor takes for a service.
fn is_service_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-+=_.".contains(c);
    !name.is_empty()
        && !name.starts_with(['.', '_', '-'])
        && !name.ends_with('_')
        && name.chars().all(allowed)
}
