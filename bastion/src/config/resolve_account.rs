//! From an account as typed, and the defaults, to what is wanted for it.
//!
//! What a key means is looked for from the nearest place outwards: `at` of a credential, the
//! credential, the account, `defaults`, the whole file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use htvault::ServerUrl;

use super::duration;
use super::faults::Faults;
use super::judge;
use super::raw::{self, Named, Raw};
use super::resolve::absolute;
use super::resolve_credential::{Account, Typed, authorize_with, credential, judge_twins};
use super::resolve_schedds::{Chosen, Groups, glob};
use super::search::{Pattern, Search};
use super::template::fill;
use super::tree::Located;
use super::{Glob, Names};
use crate::delivery::{Credential, Delivery, Identity};

const LIFETIME: Duration = Duration::from_hours(7 * 24);
const RENEW_BELOW: Duration = Duration::from_hours(3 * 24);

/// Limit for the length of an account's name: a file name has 255 bytes, and HTCondor writes
/// `ACCOUNT.mark`.
const ACCOUNT_LIMIT: usize = 250;

/// What an account falls back on, level by level.
pub(crate) struct Defaults<'a> {
    pub(super) account: &'a raw::Account,
    tokens: &'a raw::Tokens,
    pub(super) grant: &'a raw::Grant,
}

impl<'a> Defaults<'a> {
    pub(crate) fn new(raw: &'a Raw, faults: &mut Faults) -> Self {
        // A template that means nothing is a fault even when no account uses it.
        let account = &raw.defaults;
        for text in [&account.principal, &account.keytab].into_iter().flatten() {
            fill(text, &[("account", "")], faults);
        }
        if let Some(text) = &account.credkey {
            fill(text, &[("account", ""), ("service", "")], faults);
        }
        Self {
            account,
            tokens: &raw.tokens,
            grant: &raw.grant,
        }
    }
}

/// Something that is wanted for an account.
pub(crate) enum Wanted {
    /// At a schedd that is known, of this group.
    Known(String, Delivery),
    /// At those that a search finds.
    Found(Search, Pattern),
}

/// What a delivery is made of, but for its schedd.
struct Terms {
    credential: Arc<Credential>,
    lifetime: Duration,
    renew_below: Duration,
}

/// What is wanted for one account. What has faults is left out.
pub(crate) fn wanted(
    account: &Named<raw::Account>,
    defaults: &Defaults<'_>,
    groups: &Groups,
    server: &ServerUrl,
    faults: &mut Faults,
) -> Vec<Wanted> {
    let name = &account.name;
    let own = &account.value;
    if !is_plain_name(&name.value) {
        let what = format!(
            "{:?} is no account: letters, digits and `-_.` are allowed",
            name.value
        );
        name.fault(faults, what);
    }
    judge_length(name, ACCOUNT_LIMIT, faults);
    let missing = |what: &str, example: &str, faults: &mut Faults| {
        let what = format!("{what} is missing here and in `defaults`, write for example {example}");
        name.fault(faults, what);
    };
    let identity = identity(account, defaults, faults);
    let levels = [&own.tokens, &defaults.account.tokens, defaults.tokens];
    tokens(name, &levels, faults);
    let typed = own
        .credentials
        .as_ref()
        .or(defaults.account.credentials.as_ref());
    if typed.is_none_or(Vec::is_empty) {
        missing("`credentials`", "credentials: {cms: {}}", faults);
    }
    let schedds = own.schedds.as_ref().or(defaults.account.schedds.as_ref());
    let everywhere = |typed: &Named<raw::Credential>| typed.value.schedds.is_some();
    if schedds.is_none_or(Vec::is_empty) && !typed.is_some_and(|t| t.iter().all(everywhere)) {
        missing("`schedds`", "schedds: [GROUP]", faults);
    }
    // Names are judged even where no credential is good.
    let account_wide = schedds.map_or_else(Vec::new, |schedds| groups.choose(schedds, faults));
    // Without a good identity the names are still judged.
    let complete = identity.is_some();
    let identity = identity.unwrap_or_else(|| Identity {
        account: name.value.clone(),
        principal: "none@NONE".to_owned(),
        keytab: PathBuf::new(),
    });
    let owner = Account {
        identity: Arc::new(identity),
        own,
        defaults,
        server,
    };
    let credentials: Vec<Typed<'_>> = typed
        .into_iter()
        .flatten()
        .filter_map(|typed| {
            let credential = credential(typed, None, &owner, faults)?;
            Some((typed, Arc::new(credential)))
        })
        .collect();
    judge_twins(&credentials, faults);
    judge::opening_scopes(&credentials, faults);

    let mut list = Vec::new();
    for (typed, base) in &credentials {
        let own_choice = typed.value.schedds.as_ref();
        let own_choice = own_choice.map(|schedds| groups.choose(schedds, faults));
        let chosen = own_choice.as_ref().unwrap_or(&account_wide);
        if chosen.is_empty() {
            typed.name.warn(
                faults,
                "it is delivered nowhere: its `schedds` name none, or take away what they name",
            );
        }
        let authorize = authorize_with(typed, base, &credentials, faults);
        let terms = terms(typed, None, base, &owner, faults);
        let different = different(typed, base, &owner, groups, faults);
        if let (Some(authorize), Some(terms), true) = (authorize, terms, complete) {
            let placing = Placing {
                groups,
                authorize,
                terms,
                different,
            };
            list.extend(chosen.iter().flat_map(|chosen| placing.at(chosen)));
        }
    }
    list
}

/// A credential that is to be brought to places.
struct Placing<'a> {
    groups: &'a Groups,
    authorize: Arc<Credential>,
    terms: Terms,
    /// The first that fits counts, before `terms`.
    different: Vec<(Glob, Terms)>,
}

impl Placing<'_> {
    fn at(&self, chosen: &Chosen<'_>) -> Vec<Wanted> {
        match chosen {
            Chosen::Place(group, place) => {
                let mut different = self.different.iter();
                let found = different.find(|(at, _)| self.groups.fits(at, place));
                let terms = found.map_or(&self.terms, |(_, terms)| terms);
                let pattern = self.pattern(terms);
                let delivery = pattern.at(&place.name, place.target.clone());
                vec![Wanted::Known(group.name.value.clone(), delivery)]
            }
            Chosen::Search(group, search, names) => {
                let mut list = Vec::new();
                let mut add = |terms: &Terms, at: Option<Glob>| {
                    let pattern = Pattern {
                        at,
                        schedds: names.clone(),
                        ..self.pattern(terms)
                    };
                    list.push(Wanted::Found((*search).clone(), pattern));
                };
                for (at, terms) in &self.different {
                    if at.fits(&group.name.value) {
                        // It holds for the whole group, which leaves nothing to those behind.
                        add(terms, None);
                        return list;
                    }
                    add(terms, Some(at.clone()));
                }
                add(&self.terms, None);
                list
            }
        }
    }

    /// What is wanted, anywhere.
    fn pattern(&self, terms: &Terms) -> Pattern {
        Pattern {
            schedds: Names::all(),
            at: None,
            credential: Arc::clone(&terms.credential),
            authorize: Arc::clone(&self.authorize),
            lifetime: terms.lifetime,
            renew_below: terms.renew_below,
        }
    }
}

/// What is different at some schedds, in the order in which it was typed.
fn different(
    typed: &Named<raw::Credential>,
    base: &Arc<Credential>,
    owner: &Account<'_>,
    groups: &Groups,
    faults: &mut Faults,
) -> Vec<(Glob, Terms)> {
    let mut list = Vec::new();
    for other in &typed.value.at {
        let at = match glob(&other.name.value) {
            Ok(at) => at,
            Err(why) => {
                other.name.fault(faults, why);
                continue;
            }
        };
        groups.judge(&other.name, &other.name.value, faults);
        if let Some(terms) = terms(typed, Some(other), base, owner, faults) {
            list.push((at, terms));
        }
    }
    list
}

fn terms(
    typed: &Named<raw::Credential>,
    other: Option<&Named<raw::Override>>,
    base: &Arc<Credential>,
    owner: &Account<'_>,
    faults: &mut Faults,
) -> Option<Terms> {
    let nothing = raw::Tokens::default();
    let levels = [
        other.map_or(&nothing, |other| &other.value.tokens),
        &typed.value.tokens,
        &owner.own.tokens,
        &owner.defaults.account.tokens,
        owner.defaults.tokens,
    ];
    let (lifetime, renew_below) = tokens(&typed.name, &levels, faults);
    let other = other.map(|other| &other.value);
    let changed = other.filter(|other| other.scopes.is_some() || other.audience.is_some());
    let credential = match changed {
        Some(other) => Arc::new(credential(typed, Some(other), owner, faults)?),
        None => Arc::clone(base),
    };
    Some(Terms {
        credential,
        lifetime,
        renew_below,
    })
}

fn identity(
    account: &Named<raw::Account>,
    defaults: &Defaults<'_>,
    faults: &mut Faults,
) -> Option<Identity> {
    let name = &account.name;
    let (own, others) = (&account.value, defaults.account);
    let principal = own.principal.as_ref().or(others.principal.as_ref());
    let keytab = own.keytab.as_ref().or(others.keytab.as_ref());
    let example = "keytab: /etc/token-bastion/keytabs/NAME.keytab";
    for (what, value, example) in [
        ("`principal`", principal, "principal: NAME@REALM"),
        ("`keytab`", keytab, example),
    ] {
        if value.is_none() {
            name.fault(
                faults,
                format!("{what} is missing here and in `defaults`, write for example {example}"),
            );
        }
    }
    let filled = |text: &Located<String>, faults: &mut Faults| Located {
        value: fill(text, &[("account", &name.value)], faults),
        ..text.clone()
    };
    let principal = principal.map(|text| filled(text, faults));
    if let Some(principal) = &principal
        && !is_principal(&principal.value)
    {
        let what = format!("{:?} is no principal, write NAME@REALM", principal.value);
        principal.fault(faults, what);
    }
    let keytab = keytab.map(|text| filled(text, faults));
    let keytab = keytab.map(|text| absolute(&text, faults));
    Some(Identity {
        account: name.value.clone(),
        principal: principal?.value,
        keytab: keytab?,
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
    levels: &[&raw::Tokens],
    faults: &mut Faults,
) -> (Duration, Duration) {
    let lifetime = levels.iter().find_map(|tokens| tokens.lifetime.as_ref());
    let renew_below = levels.iter().find_map(|tokens| tokens.renew_below.as_ref());
    let long = lifetime.map_or(LIFETIME, |d| d.value);
    let margin = renew_below.map_or(RENEW_BELOW, |d| d.value);
    if margin >= long {
        let what = format!(
            "renew_below ({}) must be shorter than lifetime ({})",
            duration::format(margin),
            duration::format(long)
        );
        let nearest = levels
            .iter()
            .find_map(|tokens| tokens.renew_below.as_ref().or(tokens.lifetime.as_ref()));
        match nearest {
            Some(at) => at.fault(faults, what),
            None => name.fault(faults, what),
        }
    }
    (long, margin)
}

/// A name that is longer than HTCondor or a file system takes is a fault.
pub(super) fn judge_length(name: &Located<String>, limit: usize, faults: &mut Faults) {
    let length = name.value.len();
    if length > limit {
        let what = format!("it has {length} characters, and {limit} are allowed; shorten it");
        name.fault(faults, what);
    }
}

/// A name that is one plain part of a path and one word everywhere.
fn is_plain_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with(['.', '-']) && name.chars().all(allowed)
}
