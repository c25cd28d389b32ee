//! Differences between two configurations, shown before and after a reload.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Config;
use super::search::DeliveryTemplate;
use crate::model::delivery::{Authentication, Delivery, DeliveryId, Target, Way};
use crate::model::duration::format;

/// Everything that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Deliveries at schedds that are known.
    pub deliveries: Part<DeliveryId>,
    /// Searches, and deliveries to each schedd that they find.
    pub searches: Part<String>,
    /// Keys that concern everything.
    pub settings: Vec<Difference>,
}

/// Things of one kind, in the order of names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part<K> {
    /// Only the new configuration has these.
    pub added: Vec<K>,
    /// Only the old one has these. Nothing is revoked or deleted by that.
    pub removed: Vec<K>,
    /// These differ.
    pub changed: Vec<Changed<K>>,
}

/// A thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed<K> {
    /// Its name.
    pub name: K,
    /// Its values that differ.
    pub differences: Vec<Difference>,
}

/// One value that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key, as in the configuration.
    pub key: &'static str,
    /// Old value; `None` for nothing.
    pub from: Option<String>,
    /// New value; `None` for nothing.
    pub to: Option<String>,
}

/// Keys and their values, in an order that is fixed for each kind of thing.
type Values = Vec<(&'static str, Option<String>)>;

impl Changes {
    /// From `old` to `new`.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        Self {
            deliveries: Part::between(&deliveries(old), &deliveries(new)),
            searches: Part::between(&searches(old), &searches(new)),
            settings: differences(&settings(old), &settings(new)),
        }
    }

    /// True when nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines().is_empty()
    }

    /// One line for each thing that differs.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let settings = self.settings.iter().map(|one| format!("~ {one}"));
        let things = self.deliveries.lines().chain(self.searches.lines());
        things.chain(settings).collect()
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

    fn lines(&self) -> impl Iterator<Item = String> {
        let added = self.added.iter().map(|name| format!("+ {name}"));
        let removed = self.removed.iter().map(|name| format!("- {name}"));
        let changed = self.changed.iter().map(|one| {
            let differences: Vec<String> =
                one.differences.iter().map(ToString::to_string).collect();
            format!("~ {}: {}", one.name, differences.join(", "))
        });
        added.chain(removed).chain(changed)
    }
}

impl Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines();
        if lines.is_empty() {
            return f.write_str("nothing changes");
        }
        f.write_str(&lines.join("\n"))
    }
}

const CONTROL: &str = "control.socket";
const LISTEN: &str = "listen.address";
const STATE: &str = "state";

/// `KEY OLD → NEW`, and a remark on keys that take effect at the next start: sockets and the directory of the state are
/// opened once.
impl Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{} {} → {}", self.key, word(&self.from), word(&self.to))?;
        match (self.key, &self.from) {
            // Commands read the configuration, and look for the service at the new place.
            (CONTROL, Some(old)) => write!(
                f,
                " (from the next start on; until then, commands need --socket {old})"
            ),
            (CONTROL | LISTEN | STATE, _) => f.write_str(" (from the next start on)"),
            _ => Ok(()),
        }
    }
}

/// Values that differ between two things of one kind, whose keys are the same.
fn differences(old: &Values, new: &Values) -> Vec<Difference> {
    let pairs = old.iter().zip(new);
    let differing = pairs.filter(|((_, from), (_, to))| from != to);
    let differences = differing.map(|((key, from), (_, to))| Difference {
        key,
        from: from.clone(),
        to: to.clone(),
    });
    differences.collect()
}

fn deliveries(config: &Config) -> BTreeMap<DeliveryId, Values> {
    let deliveries = config.deliveries.iter();
    deliveries.map(|d| (d.id.clone(), delivery(d))).collect()
}

fn delivery(delivery: &Delivery) -> Values {
    let mut values = template(&DeliveryTemplate::of(delivery));
    let (directory, credd) = match &delivery.target {
        Target::Directory(path) => (Some(path), None),
        Target::Credd {
            host,
            collector,
            way,
            authentication,
        } => (
            None,
            Some((host, collector.as_ref(), (way, authentication))),
        ),
    };
    values.extend([
        ("directory", directory.map(|path| shown(path))),
        ("credds", credd.map(|(host, ..)| host.clone())),
        ("collector", credd.and_then(|(_, name, _)| name.cloned())),
    ]);
    values.extend(opening(credd.map(|(.., how)| how)));
    values
}

/// Values of a delivery that do not depend on its schedd.
fn template(template: &DeliveryTemplate) -> Values {
    let credential = &template.credential;
    let identity = &credential.identity;
    let scopes = credential.scopes.join(" ");
    let authorize = Some(&template.authorize.service);
    let authorize = authorize.filter(|service| **service != credential.service);
    vec![
        ("principal", Some(identity.principal.clone())),
        ("keytab", Some(shown(&identity.keytab))),
        ("credkey", Some(credential.credkey.clone())),
        ("issuer", Some(credential.issuer.clone())),
        ("role", Some(credential.role.clone())),
        ("scopes", Some(scopes).filter(|scopes| !scopes.is_empty())),
        ("audience", credential.audience.clone()),
        ("authorize_with", authorize.cloned()),
        ("tokens.lifetime", Some(format(template.lifetime))),
        ("tokens.renew_below", Some(format(template.renew_below))),
        ("grant.lifetime", credential.grant.lifetime.map(format)),
        ("grant.warn", Some(format(credential.grant.warn))),
    ]
}

/// How credds are reached and opened.
fn opening(how: Option<(&Way, &Authentication)>) -> Values {
    let authorities = how.and_then(|(way, _)| way.authorities());
    let path = |path: Option<&PathBuf>| path.map(|path| shown(path));
    let authentication = how.map(|(_, authentication)| authentication);
    let mut values = vec![
        ("transport", how.map(|(way, _)| way.name().to_owned())),
        (
            "ca_file",
            path(authorities.and_then(|all| all.ca_file.as_ref())),
        ),
        (
            "ca_dir",
            path(authorities.and_then(|all| all.ca_dir.as_ref())),
        ),
    ];
    values.extend(authenticate(authentication));
    values
}

fn authenticate(how: Option<&Authentication>) -> Values {
    vec![
        ("authenticate", how.map(|how| how.method.to_string())),
        ("superuser_for", how.and_then(|how| how.domain.clone())),
    ]
}

/// Searches by their groups, and their deliveries by all that distinguishes them.
fn searches(config: &Config) -> BTreeMap<String, Values> {
    let mut all = BTreeMap::new();
    for search in &config.searches {
        let mut values = vec![
            ("collector", search.collector.clone()),
            ("constraint", search.constraint.clone()),
        ];
        values.extend(opening(Some((&search.way, &search.authentication))));
        all.insert(search.to_string(), values);
        for wanted in &search.templates {
            let credential = &wanted.credential;
            let (account, service) = (&credential.identity.account, &credential.service);
            let at = wanted
                .at
                .as_ref()
                .map(|at| format!(", where {}", at.as_str()));
            let name = format!(
                "{account}/{service} at {}: {}{}",
                search.group,
                wanted.schedds,
                at.unwrap_or_default()
            );
            all.insert(name, template(wanted));
        }
    }
    all
}

fn settings(config: &Config) -> Values {
    let vault = &config.vault;
    let addresses: Vec<String> = vault.servers().iter().map(ToString::to_string).collect();
    let requests = vault
        .limit
        .map(|limit| format!("{} in {}", limit.limit, format(limit.per)));
    vec![
        ("vault.address", Some(addresses.join(" "))),
        ("vault.ca_file", vault.tls.ca_file.as_deref().map(shown)),
        ("vault.ca_dir", vault.tls.ca_dir.as_deref().map(shown)),
        ("vault.requests", requests),
        ("kerberos.service", Some(config.kerberos_service.clone())),
        ("schedule.check", Some(config.check.to_string())),
        ("schedule.spread", Some(format(config.spread))),
        (LISTEN, config.listen.map(|address| address.to_string())),
        (CONTROL, Some(shown(&config.control))),
        (STATE, Some(shown(&config.state))),
    ]
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
