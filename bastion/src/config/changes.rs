//! Differences between two configurations, shown before and after a reload.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use super::Config;
use crate::model::delivery::{Delivery, DeliveryId, Target, Way};
use crate::model::duration::format;

/// Keys and their values, in an order that is fixed for each kind of thing.
type Values = Vec<(&'static str, Option<String>)>;
/// Things of one kind by their names.
type Things<K> = BTreeMap<K, Values>;

/// One line for each thing that differs from `old` to `new`.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = compare(&deliveries(old), &deliveries(new));
    lines.extend(compare(&searches(old), &searches(new)));
    let settings = differences(&settings(old), &settings(new));
    lines.extend(settings.iter().map(|difference| format!("~ {difference}")));
    lines
}

/// Names of things that `other` does not have.
fn only<'a, K: Ord>(things: &'a Things<K>, other: &Things<K>) -> impl Iterator<Item = &'a K> {
    things.keys().filter(|name| !other.contains_key(name))
}

/// One line for each thing that is added, removed or changed.
fn compare<K: Ord + Display>(old: &Things<K>, new: &Things<K>) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(only(new, old).map(|name| format!("+ {name}")));
    lines.extend(only(old, new).map(|name| format!("- {name}")));
    for (name, values) in new {
        let differences = old.get(name).map(|before| differences(before, values));
        let differences = differences.unwrap_or_default();
        if !differences.is_empty() {
            lines.push(format!("~ {name}: {}", differences.join(", ")));
        }
    }
    lines
}

const CONTROL: &str = "control.socket";
const LISTEN: &str = "listen.address";
const STATE: &str = "state";

/// `KEY OLD → NEW` for each value that differs between two things of one kind, whose keys are the same. Keys that take
/// effect at the next start have a remark: sockets and the directory of the state are opened once.
fn differences(old: &Values, new: &Values) -> Vec<String> {
    let mut differences = Vec::new();
    for ((key, from), (_, to)) in old.iter().zip(new) {
        if from == to {
            continue;
        }
        let [from, to] = [from, to].map(|value| value.as_deref().unwrap_or("nothing"));
        let remark = match *key {
            // Commands read the configuration, and look for the service at the new place.
            CONTROL => {
                format!(" (from the next start on; until then, commands need --socket {from})")
            }
            LISTEN | STATE => " (from the next start on)".to_owned(),
            _ => String::new(),
        };
        differences.push(format!("{key} {from} → {to}{remark}"));
    }
    differences
}

fn deliveries(config: &Config) -> Things<DeliveryId> {
    let deliveries = config.deliveries.iter();
    deliveries.map(|d| (d.id.clone(), delivery(d))).collect()
}

fn delivery(delivery: &Delivery) -> Values {
    let (directory, host, collector) = match &delivery.target {
        Target::Directory(path) => (Some(shown(path)), None, None),
        Target::Credd(credd) => (None, Some(credd.host.clone()), credd.collector.clone()),
    };
    let mut values = common(delivery);
    values.extend([
        ("directory", directory),
        ("credds", host),
        ("collector", collector),
    ]);
    values.extend(opening(&delivery.target));
    values
}

/// Values of a delivery that do not depend on its schedd.
fn common(delivery: &Delivery) -> Values {
    let credential = &delivery.credential;
    let identity = &credential.identity;
    let scopes = credential.scopes.join(" ");
    // The opener may be delivered nowhere, where its own values would be seen.
    let opener = Some(&delivery.authorize).filter(|opener| opener.service != credential.service);
    let opener =
        opener.map(|opener| format!("{} ({}/{})", opener.service, opener.issuer, opener.role));
    vec![
        ("principal", Some(identity.principal.clone())),
        ("keytab", Some(shown(&identity.keytab))),
        ("credkey", Some(credential.credkey.clone())),
        ("issuer", Some(credential.issuer.clone())),
        ("role", Some(credential.role.clone())),
        ("scopes", Some(scopes).filter(|scopes| !scopes.is_empty())),
        ("audience", credential.audience.clone()),
        ("authorize_with", opener),
        ("tokens.lifetime", Some(format(delivery.lifetime))),
        ("tokens.renew_below", Some(format(delivery.renew_below))),
        ("grant.lifetime", credential.grant.lifetime.map(format)),
        ("grant.warn", Some(format(credential.grant.warn))),
    ]
}

/// Way to credds, and authentication there.
fn opening(target: &Target) -> Values {
    let way = target.way();
    let authentication = target.credd().map(|credd| &credd.authentication);
    let authorities = way.and_then(Way::authorities);
    let ca_file = authorities.and_then(|all| all.ca_file.as_deref());
    let ca_dir = authorities.and_then(|all| all.ca_dir.as_deref());
    let method = authentication.map(|how| how.method.to_string());
    vec![
        ("transport", way.map(|way| way.name().to_owned())),
        ("ca_file", ca_file.map(shown)),
        ("ca_dir", ca_dir.map(shown)),
        ("authenticate", method),
        (
            "superuser_for",
            authentication.and_then(|how| how.domain.clone()),
        ),
    ]
}

/// Searches by their groups, and their deliveries by all that distinguishes them.
fn searches(config: &Config) -> Things<String> {
    let mut all = BTreeMap::new();
    for search in &config.searches {
        let mut values = vec![
            ("collector", search.collector.clone()),
            ("constraint", search.constraint.clone()),
        ];
        values.extend(opening(&search.target("")));
        all.insert(search.to_string(), values);
        // The first entry of `at` that matches counts.
        let mut places: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for wanted in &search.templates {
            let credential = &wanted.credential;
            let (account, service) = (&credential.identity.account, &credential.service);
            let place = places.entry((account, service)).or_default();
            *place += 1;
            let mut name = format!(
                "{account}/{service} at {}: {}",
                search.group, wanted.schedds
            );
            let mut values = common(&wanted.at("", search.target("")));
            if let Some(at) = &wanted.at {
                name = format!("{name}, where {}", at.as_str());
                values.push(("place in `at`", Some(place.to_string())));
            }
            all.insert(name, values);
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
