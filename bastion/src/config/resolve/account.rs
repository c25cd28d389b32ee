//! From an account's section, and the defaults, to its deliveries.
//!
//! A key's value is that of the nearest place that has it: an entry of `at`, the credential, the
//! account, `defaults`, the top of the file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use htvault::ServerUrl;

use super::credential::{Owner, Typed, authorize_with, credential, judge_twins};
use super::schedds::{Chosen, Groups, glob};
use super::{fill, judge, judge_length, judge_order, nearest};
use crate::config::faults::{Faults, Located};
use crate::config::given::Given;
use crate::config::sections::{AccountSection, FileSections, GrantSection, TokensSection};
use crate::config::values::AbsolutePath;
use crate::config::{DeliveryTemplate, Glob, NameFilter, Search};
use crate::model::delivery::{Delivery, Identity};

const LIFETIME: Duration = Duration::from_hours(7 * 24);
const RENEW_BELOW: Duration = Duration::from_hours(3 * 24);

/// Limit for the length of an account's name: a file name has 255 bytes, and HTCondor writes
/// `ACCOUNT.mark`.
const ACCOUNT_LIMIT: usize = 250;

/// Sections and groups that all accounts share.
pub(super) struct AccountContext<'a> {
    pub(super) defaults: AccountSection,
    pub(super) tokens: Option<&'a TokensSection>,
    pub(super) grant: Option<&'a GrantSection>,
    groups: &'a Groups,
    pub(super) server: &'a ServerUrl,
}

impl<'a> AccountContext<'a> {
    pub(super) fn new(
        sections: &'a FileSections,
        groups: &'a Groups,
        server: &'a ServerUrl,
        faults: &mut Faults,
    ) -> Self {
        let defaults = sections.defaults.get().cloned().unwrap_or_default();
        // A template that means nothing is a fault even when no account uses it.
        for text in [&defaults.principal, &defaults.keytab] {
            text.located()
                .map(|text| fill(text, &[("account", "")], faults));
        }
        let credkey = defaults.credkey.located();
        credkey.map(|text| fill(text, &[("account", ""), ("service", "")], faults));
        Self {
            defaults,
            tokens: sections.tokens.get(),
            grant: sections.grant.get(),
            groups,
            server,
        }
    }
}

/// Deliveries of an account.
pub(super) enum Resolved {
    /// At a schedd that is known, of this group.
    Known(String, Delivery),
    /// At those that a search finds.
    Found(Search, DeliveryTemplate),
}

/// Resolves one account. What has faults is left out.
pub(super) fn resolve(
    name: &Located<String>,
    own: &AccountSection,
    context: &AccountContext<'_>,
    faults: &mut Faults,
) -> Vec<Resolved> {
    if !is_plain_name(&name.value) {
        let what = format!(
            "{:?} is no account: letters, digits and `-_.` are allowed",
            name.value
        );
        faults.add(name.place, what);
    }
    judge_length(name, ACCOUNT_LIMIT, faults);
    let owner = Owner {
        identity: Arc::new(identity(name, own, context, faults)),
        own,
        context,
    };
    let defaults = &context.defaults;
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
    // Names are judged even where no credential is good.
    let account_wide = context.groups.choose(schedds, faults);
    let credentials: Vec<Typed<'_>> = (credentials.iter())
        .filter_map(|(name, section)| {
            let credential = credential(name, section, None, &owner, faults)?;
            Some((name, section, Arc::new(credential)))
        })
        .collect();
    judge_twins(&credentials, faults);
    judge::opening_scopes(&credentials, faults);
    let mut list = Vec::new();
    for typed in &credentials {
        let (name, section, _) = typed;
        let own_choice = (!section.schedds.is_missing())
            .then(|| context.groups.choose(&section.schedds, faults));
        let chosen = own_choice.as_ref().unwrap_or(&account_wide);
        if chosen.is_empty() {
            faults.warn(
                name.place,
                "it is delivered nowhere: its `schedds` name none, or take away what they name",
            );
        }
        let templates = templates(typed, &credentials, &owner, faults);
        for chosen in chosen {
            add_at(chosen, &templates, context.groups, &mut list);
        }
    }
    list
}

/// Deliveries of a credential: those of some schedds with other values, and those of all others. For a
/// schedd the first that fits counts.
fn templates(
    typed: &Typed<'_>,
    all: &[Typed<'_>],
    owner: &Owner<'_>,
    faults: &mut Faults,
) -> Vec<DeliveryTemplate> {
    let (name, section, base) = typed;
    let groups = owner.context.groups;
    let authorize = authorize_with(typed, all, faults);
    let mut list = Vec::new();
    let overrides = section.at.entries().iter().map(Some);
    for other in overrides.chain([None]) {
        let mut at = None;
        let mut credential_there = Arc::clone(base);
        if let Some((typed, other)) = other {
            match glob(&typed.value) {
                Ok(glob) => at = Some(glob),
                Err(why) => {
                    faults.add(typed.place, why);
                    continue;
                }
            }
            groups.judge(typed, &typed.value, faults);
            if !other.scopes.is_missing() || !other.audience.is_missing() {
                let Some(changed) = credential(name, section, Some(other), owner, faults) else {
                    continue;
                };
                credential_there = Arc::new(changed);
            }
        }
        let levels = [
            other.and_then(|(_, other)| other.tokens.get()),
            section.tokens.get(),
            owner.own.tokens.get(),
            owner.context.defaults.tokens.get(),
            owner.context.tokens,
        ];
        let (lifetime, renew_below) = tokens(&levels, faults);
        list.push(DeliveryTemplate {
            schedds: NameFilter::all(),
            at,
            credential: credential_there,
            authorize: Arc::clone(&authorize),
            lifetime,
            renew_below,
        });
    }
    list
}

/// Adds the deliveries to the chosen schedds.
fn add_at(
    chosen: &Chosen<'_>,
    templates: &[DeliveryTemplate],
    groups: &Groups,
    list: &mut Vec<Resolved>,
) {
    match chosen {
        Chosen::Listed(group, schedd) => {
            let matches = |template: &&DeliveryTemplate| {
                let at = template.at.as_ref();
                at.is_none_or(|at| groups.matches(at, schedd))
            };
            let first = templates.iter().find(matches);
            let delivery = first.map(|template| template.at(&schedd.name, schedd.target.clone()));
            list.extend(delivery.map(|delivery| Resolved::Known((*group).to_owned(), delivery)));
        }
        Chosen::Search(search, names) => {
            for template in templates {
                // Values for the whole group leave nothing to those behind.
                let is_whole = |at: &Glob| at.matches(&search.group);
                let at = template.at.clone().filter(|at| !is_whole(at));
                let is_last = at.is_none();
                let template = DeliveryTemplate {
                    at,
                    schedds: names.clone(),
                    ..template.clone()
                };
                list.push(Resolved::Found((*search).clone(), template));
                if is_last {
                    break;
                }
            }
        }
    }
}

/// A key that stands neither at the account nor in the defaults.
fn missing(name: &Located<String>, key: &str, example: &str, faults: &mut Faults) {
    let what = format!("`{key}` is missing here and in `defaults`, write for example {example}");
    faults.add(name.place, what);
}

/// The identity of an account. Without a good one the names are still judged, by one that nobody has.
fn identity(
    name: &Located<String>,
    own: &AccountSection,
    context: &AccountContext<'_>,
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
    let principal = own.principal.or(&context.defaults.principal);
    let principal = filled("principal", principal, "principal: NAME@REALM", faults);
    if let Some(principal) = &principal
        && !is_principal(&principal.value)
    {
        let what = format!("{:?} is no principal, write NAME@REALM", principal.value);
        faults.add(principal.place, what);
    }
    let keytab = own.keytab.or(&context.defaults.keytab);
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

/// Lifetime and margin, each from the nearest level that has it.
fn tokens(levels: &[Option<&TokensSection>], faults: &mut Faults) -> (Duration, Duration) {
    let lifetime = nearest(levels, |tokens| &tokens.lifetime);
    let lifetime = lifetime.map_or(LIFETIME, |typed| typed.value.0);
    let renew_below = nearest(levels, |tokens| &tokens.renew_below);
    let renew_below = renew_below.map_or(RENEW_BELOW, |typed| typed.value.0);
    judge_order(
        levels,
        ("renew_below", renew_below, |tokens| &tokens.renew_below),
        ("lifetime", lifetime, |tokens| &tokens.lifetime),
        faults,
    );
    (lifetime, renew_below)
}

/// A name that is one plain part of a path and one word everywhere.
fn is_plain_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with(['.', '-']) && name.chars().all(is_allowed)
}
