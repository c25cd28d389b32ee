//! What is different in another configuration: shown before a reload, and when one was done.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::Serialize;

use super::duration::format;
use super::search::Pattern;
use super::{Config, Search};
use crate::delivery::{Delivery, DeliveryId, Opening, Target};

/// What a change of configurations changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Deliveries at schedds that are known.
    pub deliveries: Part<DeliveryId>,
    /// Searches, and what is wanted at each schedd that they find.
    pub searches: Part<String>,
    /// Keys that concern everything.
    pub settings: Vec<Difference>,
}

/// One sort of things, in the order of names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part<K> {
    /// There are these now.
    pub added: Vec<K>,
    /// There are these no longer. Nothing is revoked or deleted by that.
    pub removed: Vec<K>,
    /// These are different.
    pub changed: Vec<Changed<K>>,
}

/// A thing that is different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed<K> {
    /// Which one.
    pub name: K,
    /// In what.
    pub differences: Vec<Difference>,
}

/// One value that is different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key, as in the configuration.
    pub key: &'static str,
    /// What it was; `None` for nothing.
    pub from: Option<String>,
    /// What it is; `None` for nothing.
    pub to: Option<String>,
}

/// Keys and their values, in a fixed order.
type Values = Vec<(&'static str, Option<String>)>;

impl Changes {
    /// From `old` to `new`.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let deliveries = |config: &Config| {
            let deliveries = config.deliveries.iter();
            deliveries.map(|d| (d.id.clone(), delivery(d))).collect()
        };
        Self {
            deliveries: Part::between(&deliveries(old), &deliveries(new)),
            searches: Part::between(&searches(old), &searches(new)),
            settings: differences(&settings(old), &settings(new)),
        }
    }

    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.searches.is_empty() && self.settings.is_empty()
    }

    /// One line for each thing that is different.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.deliveries.lines();
        lines.extend(self.searches.lines());
        lines.extend(self.settings.iter().map(|one| format!("~ {one}")));
        lines
    }
}

impl<K: Ord + Clone + Display> Part<K> {
    fn between(old: &BTreeMap<K, Values>, new: &BTreeMap<K, Values>) -> Self {
        let only = |a: &BTreeMap<K, Values>, b: &BTreeMap<K, Values>| {
            let names = a.keys().filter(|name| !b.contains_key(name));
            names.cloned().collect()
        };
        let changed = new.iter().filter_map(|(name, values)| {
            let differences = differences(old.get(name)?, values);
            let name = name.clone();
            (!differences.is_empty()).then_some(Changed { name, differences })
        });
        Self {
            added: only(new, old),
            removed: only(old, new),
            changed: changed.collect(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let added = self.added.iter().map(|name| format!("+ {name}"));
        let removed = self.removed.iter().map(|name| format!("- {name}"));
        let changed = self.changed.iter().map(|one| {
            let differences: Vec<String> =
                one.differences.iter().map(ToString::to_string).collect();
            format!("~ {}: {}", one.name, differences.join(", "))
        });
        added.chain(removed).chain(changed).collect()
    }
}

impl<K> Part<K> {
    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changes");
        }
        f.write_str(&self.lines().join("\n"))
    }
}

const CONTROL: &str = "control.socket";
const LISTEN: &str = "listen.address";
const STATE: &str = "state";

impl Difference {
    /// What a person must know of a key that a reload does not put into force: sockets and the
    /// folder of the state are opened once.
    fn note(&self) -> Option<String> {
        let note = "from the next start on".to_owned();
        match (self.key, &self.from) {
            // Commands read the configuration, and look for the service at the new place.
            (CONTROL, Some(old)) => {
                Some(format!("{note}; until then, commands need --socket {old}"))
            }
            (CONTROL | LISTEN | STATE, _) => Some(note),
            _ => None,
        }
    }
}

impl Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{} {} → {}", self.key, word(&self.from), word(&self.to))?;
        match self.note() {
            Some(note) => write!(f, " ({note})"),
            None => Ok(()),
        }
    }
}

/// What both name and has another value, and what only one of them names.
fn differences(old: &Values, new: &Values) -> Vec<Difference> {
    let value = |values: &Values, key| {
        let found = values.iter().find(|(known, _)| *known == key);
        found.and_then(|(_, value)| value.clone())
    };
    let gone = old
        .iter()
        .filter(|(key, _)| new.iter().all(|(k, _)| k != key));
    let keys = new.iter().chain(gone).map(|(key, _)| *key);
    keys.map(|key| Difference {
        key,
        from: value(old, key),
        to: value(new, key),
    })
    .filter(|difference| difference.from != difference.to)
    .collect()
}

fn delivery(delivery: &Delivery) -> Values {
    let pattern = Pattern::of(delivery);
    let mut values = wanted(&pattern);
    match &delivery.target {
        Target::Directory(path) => values.push(("directory", Some(path.display().to_string()))),
        Target::Credd {
            host,
            collector,
            opening: how,
        } => {
            values.push(("credds", Some(host.clone())));
            values.push(("collector", collector.clone()));
            values.extend(opening(how));
        }
    }
    values
}

/// What is wanted, wherever it is.
fn wanted(pattern: &Pattern) -> Values {
    let credential = &pattern.credential;
    let list = |scopes: &[String]| (!scopes.is_empty()).then(|| scopes.join(" "));
    let opener = &pattern.authorize.service;
    vec![
        ("principal", Some(credential.identity.principal.clone())),
        (
            "keytab",
            Some(credential.identity.keytab.display().to_string()),
        ),
        ("credkey", Some(credential.credkey.clone())),
        ("issuer", Some(credential.issuer.clone())),
        ("role", Some(credential.role.clone())),
        ("scopes", list(&credential.scopes)),
        ("audience", credential.audience.clone()),
        (
            "authorize_with",
            (*opener != credential.service).then(|| opener.clone()),
        ),
        ("tokens.lifetime", Some(format(pattern.lifetime))),
        ("tokens.renew_below", Some(format(pattern.renew_below))),
        ("grant.lifetime", credential.grant.lifetime.map(format)),
        ("grant.warn", Some(format(credential.grant.warn))),
    ]
}

fn opening(opening: &Opening) -> Values {
    vec![
        ("authenticate", Some(opening.method.to_string())),
        ("superuser_for", opening.domain.clone()),
    ]
}

fn searches(config: &Config) -> BTreeMap<String, Values> {
    let mut all = BTreeMap::new();
    for search in &config.searches {
        let mut values = vec![
            ("collector", search.collector.clone()),
            ("constraint", search.constraint.clone()),
        ];
        values.extend(opening(&search.opening));
        all.insert(search.to_string(), values);
        for pattern in &search.wanted {
            all.insert(pattern.name(&search.group), wanted(pattern));
        }
    }
    all
}

impl Pattern {
    /// Which one it is among those of all searches.
    pub(super) fn name(&self, group: &str) -> String {
        let credential = &self.credential;
        let at = self.at.as_ref().map(|at| format!(", where {at}"));
        format!(
            "{}/{} at {group}: {}{}",
            credential.identity.account,
            credential.service,
            self.schedds,
            at.unwrap_or_default()
        )
    }
}

impl Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "search {}", self.group)
    }
}

fn settings(config: &Config) -> Values {
    let vault = &config.vault;
    let addresses: Vec<String> = vault.servers.iter().map(ToString::to_string).collect();
    let path = |path: &std::path::Path| Some(path.display().to_string());
    let requests = vault.requests.map(|requests| {
        let per = format(requests.per);
        format!("{} in {per}", requests.limit)
    });
    vec![
        ("vault.address", Some(addresses.join(" "))),
        ("vault.ca_file", vault.tls.ca_file.as_deref().and_then(path)),
        ("vault.ca_dir", vault.tls.ca_dir.as_deref().and_then(path)),
        ("vault.requests", requests),
        ("kerberos.service", Some(config.kerberos_service.clone())),
        ("schedule.check", Some(config.check.to_string())),
        ("schedule.spread", Some(format(config.spread))),
        (LISTEN, config.listen.map(|address| address.to_string())),
        (CONTROL, path(&config.control)),
        (STATE, path(&config.state)),
    ]
}
