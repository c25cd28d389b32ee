//! From what was typed to what is meant: the Vault, the schedule, the targets, the deliveries.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use htvault::{RequestLimit, ServerUrl, TlsSettings};

use super::faults::{At, Faults, hint};
use super::raw::{self, Raw};
use super::resolve_account::{Defaults, deliveries};
use super::tree::Located;
use super::{Config, Cron, VaultSettings};
use crate::delivery::{Delivery, DeliveryId, Opening, Target};

const DEFAULT_CHECK: &str = "*/10 * * * *";
const DEFAULT_SPREAD: Duration = Duration::from_mins(5);
const DEFAULT_SERVICE: &str = "host";

/// A target and the name that people know it by.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) target: Target,
}

/// Groups of schedds by name.
pub(crate) type Places = BTreeMap<String, Vec<Place>>;

/// The configuration; `None`, or one that is of no use, when there are faults.
pub(crate) fn config(raw: &Raw, faults: &mut Faults) -> Option<Config> {
    let whole = raw.whole.clone()?;
    let vault = vault(raw, &whole, faults);
    let check = match &raw.check {
        None => Cron::parse(DEFAULT_CHECK).ok(),
        Some(text) => Cron::parse(&text.value)
            .map_err(|why| text.fault(faults, why))
            .ok(),
    };
    let places = places(&raw.schedds, faults);
    let defaults = Defaults::new(raw, faults);
    if raw.accounts.is_empty() {
        faults.add(
            &whole,
            "accounts",
            "no account is named, name at least one under `accounts`",
        );
    }
    let mut all: BTreeMap<DeliveryId, Arc<Delivery>> = BTreeMap::new();
    for account in &raw.accounts {
        // Without a good address the rest is still judged, against one that nobody asks.
        let server = vault
            .as_ref()
            .and_then(|vault| vault.servers.first().cloned());
        let server = server.or_else(|| "https://vault.invalid".parse().ok())?;
        for delivery in deliveries(account, &defaults, &places, &server, faults) {
            all.insert(delivery.id.clone(), Arc::new(delivery));
        }
    }
    Some(Config {
        vault: vault?,
        kerberos_service: raw
            .kerberos_service
            .as_ref()
            .map_or_else(|| DEFAULT_SERVICE.to_owned(), |text| text.value.clone()),
        check: check?,
        spread: raw.spread.as_ref().map_or(DEFAULT_SPREAD, |d| d.value),
        deliveries: all.into_values().collect(),
        searches: Vec::new(),
        listen: None,
        control: super::DEFAULT_CONTROL.into(),
        state: super::DEFAULT_STATE.into(),
    })
}

fn vault(raw: &Raw, whole: &At, faults: &mut Faults) -> Option<VaultSettings> {
    let servers = servers(raw, whole, faults);
    let path = |text: &Option<Located<String>>| text.as_ref().map(|t| PathBuf::from(&t.value));
    let limit = raw.vault.limit.as_ref().and_then(|text| {
        let limit = text.value.parse::<u32>().ok().filter(|n| *n > 0);
        if limit.is_none() {
            text.fault(faults, "a number of requests must stand here, at least 1");
        }
        limit
    });
    let requests = match (limit, &raw.vault.per) {
        (Some(limit), Some(per)) => Some(RequestLimit {
            limit,
            per: per.value,
        }),
        _ => None,
    };
    Some(VaultSettings {
        servers: servers?,
        tls: TlsSettings {
            ca_file: path(&raw.vault.ca_file),
            ca_dir: path(&raw.vault.ca_dir),
        },
        requests,
    })
}

fn servers(raw: &Raw, whole: &At, faults: &mut Faults) -> Option<Vec<ServerUrl>> {
    let addresses = raw.vault.address.as_deref().unwrap_or_default();
    if addresses.is_empty() {
        faults.add(
            whole,
            "vault.address",
            "the Vault's address is missing, write for example https://htvault.example.org:8200",
        );
        return None;
    }
    let read = |address: &Located<String>| {
        let parsed = address.value.parse();
        parsed
            .map_err(|error: htvault::Error| address.fault(faults, error.words()))
            .ok()
    };
    let servers: Vec<Option<ServerUrl>> = addresses.iter().map(read).collect();
    servers.into_iter().collect()
}

fn places(groups: &[raw::Named<raw::Group>], faults: &mut Faults) -> Places {
    let mut places = Places::new();
    // Which group first named a target, or a name, so that each name means one target.
    let mut known: BTreeMap<String, (Target, String)> = BTreeMap::new();
    for group in groups {
        let name = &group.name;
        let mut list = Vec::new();
        for (at, place) in group_places(group, faults) {
            match known.get(&place.name) {
                Some((target, first)) if *target != place.target => at.fault(
                    faults,
                    format!("schedd {:?} is another one in group {first:?}, use one name for one schedd", place.name),
                ),
                _ => {
                    if let Target::Directory(path) = &place.target
                        && let Some((_, (_, first))) = known.iter().find(|(_, (t, _))| *t == place.target)
                    {
                        at.fault(
                            faults,
                            format!("group {first:?} has the directory {} already, use that group", path.display()),
                        );
                    }
                    known.insert(place.name.clone(), (place.target.clone(), name.value.clone()));
                    list.push(place);
                }
            }
        }
        places.insert(name.value.clone(), list);
    }
    places
}

/// The places of one group, with what named each.
fn group_places<'a>(
    group: &'a raw::Named<raw::Group>,
    faults: &mut Faults,
) -> Vec<(&'a Located<String>, Place)> {
    let raw = &group.value;
    let name = &group.name;
    match (&raw.directory, &raw.credds) {
        (Some(directory), None) => {
            for other in [&raw.collector, &raw.constraint].into_iter().flatten() {
                other.fault(faults, "a directory has none, remove it");
            }
            let path = PathBuf::from(&directory.value);
            if !path.is_absolute() {
                directory.fault(faults, "the path must begin with /");
            }
            let place = Place {
                name: name.value.clone(),
                target: Target::Directory(path),
            };
            vec![(directory, place)]
        }
        (None, Some(credds)) => {
            if let Some(constraint) = &raw.constraint {
                constraint.fault(
                    faults,
                    "it is for schedds found through a collector, remove it or `credds`",
                );
            }
            if credds.is_empty() {
                name.fault(faults, "`credds` names no host, name at least one");
            }
            let collector = raw.collector.as_ref().map(|text| text.value.clone());
            credds
                .iter()
                .map(|credd| {
                    if credd.value.contains(char::is_whitespace) {
                        credd.fault(faults, "a host name must stand here");
                    }
                    let target = Target::Credd {
                        host: credd.value.clone(),
                        collector: collector.clone(),
                        opening: Opening::default(),
                    };
                    let name = credd.value.clone();
                    (credd, Place { name, target })
                })
                .collect()
        }
        (Some(_), Some(credds)) => {
            let at = credds.first().unwrap_or(name);
            at.fault(
                faults,
                "a group has either `directory` or `credds`, make two groups of it",
            );
            Vec::new()
        }
        (None, None) => {
            if let Some(found) = raw.constraint.as_ref().or(raw.collector.as_ref()) {
                found.fault(
                    faults,
                    "finding schedds through a collector is not supported yet, list the hosts as `credds: [..]`",
                );
            } else {
                name.fault(
                    faults,
                    "a group needs `directory: PATH` or `credds: [HOST, ..]`",
                );
            }
            Vec::new()
        }
    }
}

/// The group of that name; a fault when there is none.
pub(crate) fn group<'a>(
    name: &Located<String>,
    places: &'a Places,
    faults: &mut Faults,
) -> &'a [Place] {
    if let Some(group) = places.get(&name.value) {
        return group;
    }
    let what = if places.is_empty() {
        "define it under `schedds`".to_owned()
    } else {
        hint(&name.value, places.keys().map(String::as_str))
    };
    name.fault(
        faults,
        format!("there is no group of schedds {:?}, {what}", name.value),
    );
    &[]
}
