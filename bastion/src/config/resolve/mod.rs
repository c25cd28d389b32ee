//! From sections to the configuration: the Vault, the schedule, the deliveries.
//!
//! Always true: values that are good one by one are judged together here and nowhere else; everything
//! is judged, whatever else is wrong.

mod account;
mod credential;
mod judge;
mod schedds;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use htvault::{RequestLimit, ServerUrl, TlsSettings};

use self::account::{AccountContext, Resolved};
use self::schedds::Groups;
use super::faults::{Faults, Located, Position};
use super::given::Given;
use super::sections::{FileSections, VaultSection};
use super::values::{AbsolutePath, TypedDuration};
use super::{Config, Cron, Search, VaultSettings};
use crate::model::delivery::{Delivery, DeliveryId};
use crate::model::duration;

const DEFAULT_CHECK: &str = "*/10 * * * *";
const DEFAULT_SPREAD: Duration = Duration::from_mins(5);
const DEFAULT_SERVICE: &str = "host";

/// The configuration; `None`, or one that is of no use, when there are faults. `file` is what lacks
/// the sections that stand nowhere.
pub(crate) fn config(file: &str, sections: &FileSections, faults: &mut Faults) -> Option<Config> {
    let vault_section = sections.vault.get().cloned().unwrap_or_default();
    let vault = vault(file, &vault_section, faults);
    let schedule = sections.schedule.get().cloned().unwrap_or_default();
    let check = match schedule.check.get() {
        Some(check) => Some(check.clone()),
        None => Cron::parse(DEFAULT_CHECK).ok(),
    };
    if let Some(section) = sections.listen.located()
        && section.value.address.is_missing()
    {
        let what = "`address` is missing, write for example {address: \"127.0.0.1:9118\"}";
        faults.add(section.place, what);
    }
    let groups = Groups::new(sections.schedds.entries(), faults);
    // Without a good address the rest is still judged, against one that nobody asks.
    let server = vault
        .as_ref()
        .and_then(|vault| vault.servers.first().cloned());
    let server = server.or_else(|| "https://vault.invalid".parse().ok())?;
    let context = AccountContext::new(sections, &groups, &server, faults);
    if sections.accounts.is_empty() {
        faults.add_at(
            Position::file(file, "accounts"),
            "no account is named, name at least one under `accounts`",
        );
    }
    let mut all: BTreeMap<DeliveryId, Arc<Delivery>> = BTreeMap::new();
    let mut used = BTreeSet::new();
    let mut searches: BTreeMap<String, Search> = BTreeMap::new();
    for (name, account) in sections.accounts.entries() {
        for resolved in account::resolve(name, account, &context, faults) {
            match resolved {
                Resolved::Known(group, delivery) => {
                    used.insert(group);
                    // A schedd in two groups is one.
                    all.entry(delivery.id.clone()).or_insert(Arc::new(delivery));
                }
                Resolved::Found(base, template) => {
                    used.insert(base.group.clone());
                    let search = searches.entry(base.group.clone());
                    search.or_insert(base).templates.push(template);
                }
            }
        }
    }
    judge::unused_groups(sections, &used, faults);
    let listen = sections.listen.get();
    let control = sections.control.get();
    let kerberos = sections.kerberos.get();
    let service = kerberos.and_then(|kerberos| kerberos.service.get().cloned());
    let config = Config {
        vault: vault?,
        kerberos_service: service.unwrap_or_else(|| DEFAULT_SERVICE.to_owned()),
        check: check?,
        spread: schedule
            .spread
            .get()
            .map_or(DEFAULT_SPREAD, |spread| spread.0),
        deliveries: all.into_values().collect(),
        searches: searches.into_values().collect(),
        listen: listen.and_then(|listen| Some(listen.address.get()?.0)),
        control: path(control.and_then(|control| control.socket.get()))
            .unwrap_or_else(|| super::DEFAULT_CONTROL.into()),
        state: path(sections.state.get()).unwrap_or_else(|| super::DEFAULT_STATE.into()),
        warnings: Vec::new(),
    };
    judge::checks(file, &schedule, &config, faults);
    judge::requests(&vault_section, &config, faults);
    Some(config)
}

fn path(path: Option<&AbsolutePath>) -> Option<PathBuf> {
    path.map(|path| path.0.clone())
}

fn vault(file: &str, section: &VaultSection, faults: &mut Faults) -> Option<VaultSettings> {
    let servers = section.address.items().iter();
    let servers: Vec<ServerUrl> = servers.map(|server| server.value.0.clone()).collect();
    if section.address.is_empty() {
        faults.add_at(
            Position::file(file, "vault.address"),
            "the Vault's address is missing, write for example https://htvault.example.org:8200",
        );
    }
    let mut bound = None;
    if let Some(requests) = section.requests.located() {
        let Located { value, place } = requests;
        if value.limit.is_missing() || value.per.is_missing() {
            faults.add(
                *place,
                "limit and per belong together, write for example {limit: 300, per: 5m}",
            );
        }
        bound = value.limit.get().zip(value.per.get());
    }
    Some(VaultSettings {
        servers: Some(servers).filter(|servers| !servers.is_empty())?,
        tls: TlsSettings {
            ca_file: path(section.ca_file.get()),
            ca_dir: path(section.ca_dir.get()),
        },
        requests: bound.map(|(limit, per)| RequestLimit {
            limit: limit.0,
            per: per.0,
        }),
    })
}

/// The value of the nearest level that has one.
fn nearest<'a, S, T>(
    levels: &[Option<&'a S>],
    key: impl Fn(&'a S) -> &'a Given<T>,
) -> Option<&'a Located<T>> {
    let mut levels = levels.iter().flatten();
    levels.find_map(|section| key(section).located())
}

/// A key's name, its value, and the key in a section.
type Limit<'a, S> = (&'a str, Duration, fn(&S) -> &Given<TypedDuration>);

/// A fault where a duration is not shorter than another, at the nearest level that has either.
fn judge_order<S>(
    levels: &[Option<&S>],
    short: Limit<'_, S>,
    long: Limit<'_, S>,
    faults: &mut Faults,
) {
    if short.1 < long.1 {
        return;
    }
    let mut levels = levels.iter().flatten();
    let place = levels.find_map(|section| {
        let nearest = short.2(section).located().or(long.2(section).located());
        nearest.map(|duration| duration.place)
    });
    let what = format!(
        "{} ({}) must be shorter than {} ({})",
        short.0,
        duration::format(short.1),
        long.0,
        duration::format(long.1)
    );
    if let Some(place) = place {
        faults.add(place, what);
    }
}

/// Puts values where their names stand in braces; other braces are a fault.
fn fill(text: &Located<String>, values: &[(&str, &str)], faults: &mut Faults) -> String {
    let mut filled = text.value.clone();
    for (name, value) in values {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    if filled.contains(['{', '}']) {
        let names: Vec<String> = (values.iter())
            .map(|(name, _)| format!("{{{name}}}"))
            .collect();
        let names = names.join(" and ");
        faults.add(
            text.place,
            format!("only {names} can be filled in, remove other braces"),
        );
    }
    filled
}

/// A name that is longer than HTCondor or a file system takes is a fault.
fn judge_length(name: &Located<String>, limit: usize, faults: &mut Faults) {
    let length = name.value.len();
    if length > limit {
        let what = format!("it has {length} characters, and {limit} are allowed; shorten it");
        faults.add(name.place, what);
    }
}
