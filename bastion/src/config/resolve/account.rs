//! From an account's section, and the defaults, to its deliveries.
//!
//! A key's value is that of the nearest place that has it: an entry of `at`, the credential, the account, `defaults`,
//! the top of the file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use htvault::ServerUrl;

use super::credential::{Typed, authorize_with, check_duplicates, credential};
use super::schedds::Groups;
use super::{Durations, Resolved, check_length, fill};
use crate::config::faults::{Faults, Located};
use crate::config::given::Given;
use crate::config::sections::{AccountSection, FileSections, OverrideSection};
use crate::config::values::AbsolutePath;
use crate::config::{DeliveryTemplate, NameFilter};
use crate::model::delivery::Identity;

const LIFETIME: Duration = Duration::from_hours(7 * 24);
const RENEW_BELOW: Duration = Duration::from_hours(3 * 24);

/// Limit for the length of an account's name: a file name has 255 bytes, and HTCondor writes
/// `ACCOUNT.mark`.
const ACCOUNT_LIMIT: usize = 250;

/// The account whose credentials are resolved, and what all accounts share.
pub(super) struct Owner<'a> {
    pub(super) identity: Arc<Identity>,
    pub(super) own: &'a AccountSection,
    pub(super) sections: &'a FileSections,
    pub(super) groups: &'a Groups,
    pub(super) server: &'a ServerUrl,
}

/// Checks the templates of the defaults, which may be used by no account.
pub(super) fn check_defaults(defaults: &AccountSection, faults: &mut Faults) {
    let account = ("account", "");
    for (text, values) in [
        (&defaults.principal, [account].as_slice()),
        (&defaults.keytab, &[account]),
        (&defaults.credkey, &[account, ("service", "")]),
    ] {
        text.located().map(|text| fill(text, values, faults));
    }
}

/// Resolves one account. Parts with faults are left out.
pub(super) fn resolve(
    name: &Located<String>,
    owner: &Owner<'_>,
    resolved: &mut Resolved,
    faults: &mut Faults,
) {
    if !is_plain_name(&name.value) {
        let message = format!(
            "{:?} is not an account name: letters, digits and `-_.` are allowed",
            name.value
        );
        faults.add(name.place, message);
    }
    check_length(name, ACCOUNT_LIMIT, faults);
    let (own, defaults) = (owner.own, &owner.sections.defaults);
    let credentials = own.credentials.or(&defaults.credentials);
    if credentials.is_empty() {
        missing(name, "credentials", "credentials: {cms: {}}", faults);
    }
    let credentials = credentials.entries();
    let schedds = own.schedds.or(&defaults.schedds);
    let have_others = !credentials.is_empty()
        && (credentials.iter()).all(|(_, credential)| !credential.schedds.is_missing());
    if schedds.is_empty() && !have_others {
        missing(name, "schedds", "schedds: [GROUP]", faults);
    }
    // Names are checked even where no credential is good.
    let for_account = owner.groups.choose(schedds, faults);
    let own = OverrideSection::default();
    let mut typed: Vec<Typed<'_>> = Vec::new();
    for (name, section) in credentials {
        if let Some(credential) = credential(name, section, &own, owner, faults) {
            let credential = Arc::new(credential);
            typed.push(Typed {
                name,
                section,
                credential,
            });
        }
    }
    check_duplicates(&typed, faults);
    for one in &typed {
        let own_choice = (!one.section.schedds.is_missing())
            .then(|| owner.groups.choose(&one.section.schedds, faults));
        let chosen = own_choice.as_ref().unwrap_or(&for_account);
        if chosen.is_empty() {
            faults.warn(
                one.name.place,
                "it is delivered nowhere: its `schedds` match none, or exclude all that they match",
            );
        }
        let templates = templates(one, &typed, owner, faults);
        for chosen in chosen {
            resolved.add(chosen, &templates, owner.groups);
        }
    }
}

/// Deliveries of a credential: those to schedds with other values (`at`), then those to all others.
fn templates(
    typed: &Typed<'_>,
    all: &[Typed<'_>],
    owner: &Owner<'_>,
    faults: &mut Faults,
) -> Vec<DeliveryTemplate> {
    let authorize = authorize_with(typed, all, faults);
    let mut list = Vec::new();
    let own = OverrideSection::default();
    let others = typed.section.at.entries().iter();
    let others = others.map(|(name, other)| (Some(name), other));
    for (name, other) in others.chain([(None, &own)]) {
        let at = name.map(|name| owner.groups.glob(name.place, &name.value, faults));
        let at = match at {
            // It is a fault.
            Some(None) => continue,
            at => at.flatten(),
        };
        let has_others = !other.scopes.is_missing() || !other.audience.is_missing();
        let credential = if has_others {
            let changed = credential(typed.name, typed.section, other, owner, faults);
            let Some(changed) = changed else { continue };
            Arc::new(changed)
        } else {
            Arc::clone(&typed.credential)
        };
        let (lifetime, renew_below) = tokens(other, typed, owner, faults);
        list.push(DeliveryTemplate {
            schedds: NameFilter::all(),
            at,
            credential,
            authorize: Arc::clone(&authorize),
            lifetime,
            renew_below,
        });
    }
    list
}

/// Lifetime and renewal margin of vault tokens.
fn tokens(
    other: &OverrideSection,
    typed: &Typed<'_>,
    owner: &Owner<'_>,
    faults: &mut Faults,
) -> (Duration, Duration) {
    let levels = [
        &other.tokens,
        &typed.section.tokens,
        &owner.own.tokens,
        &owner.sections.defaults.tokens,
        &owner.sections.tokens,
    ];
    let durations = Durations::nearest(levels.map(|level| (&level.lifetime, &level.renew_below)));
    let lifetime = durations.lifetime.unwrap_or(LIFETIME);
    let renew_below = durations.margin.unwrap_or(RENEW_BELOW);
    durations.check("renew_below", renew_below, lifetime, faults);
    (lifetime, renew_below)
}

/// Adds a fault for a key that neither the account nor the defaults have.
fn missing(name: &Located<String>, key: &str, example: &str, faults: &mut Faults) {
    let message = format!("`{key}` is missing here and in `defaults`, write for example {example}");
    faults.add(name.place, message);
}

/// The identity of an account. With a faulty one the names are still checked, by an identity that nobody has.
pub(super) fn identity(
    name: &Located<String>,
    own: &AccountSection,
    defaults: &AccountSection,
    faults: &mut Faults,
) -> Identity {
    let filled = |key: &str, typed: &Given<String>, example: &str, faults: &mut Faults| {
        if typed.is_missing() {
            missing(name, key, example, faults);
        }
        let text = typed.located()?;
        let value = fill(text, &[("account", &name.value)], faults);
        Some(Located { value, ..*text })
    };
    let principal = own.principal.or(&defaults.principal);
    let principal = filled("principal", principal, "principal: NAME@REALM", faults);
    if let Some(principal) = &principal
        && !is_principal(&principal.value)
    {
        let message = format!("{:?} is not a principal, write NAME@REALM", principal.value);
        faults.add(principal.place, message);
    }
    let keytab = own.keytab.or(&defaults.keytab);
    let example = "keytab: /etc/token-bastion/keytabs/NAME.keytab";
    let keytab = filled("keytab", keytab, example, faults).and_then(|keytab| {
        let path = AbsolutePath::try_from(keytab.value);
        path.map_err(|why| faults.add(keytab.place, why)).ok()
    });
    Identity {
        account: name.value.clone(),
        principal: principal.map_or_else(|| "none@NONE".to_owned(), |principal| principal.value),
        keytab: keytab.map_or_else(PathBuf::new, |keytab| keytab.0),
    }
}

fn is_principal(principal: &str) -> bool {
    principal.rsplit_once('@').is_some_and(|(name, realm)| {
        !name.is_empty() && !realm.is_empty() && !principal.contains(char::is_whitespace)
    })
}

/// Returns true for a name that is one plain part of a path and one word everywhere.
fn is_plain_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with(['.', '-']) && name.chars().all(is_allowed)
}
