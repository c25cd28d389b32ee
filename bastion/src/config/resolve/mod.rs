//! From sections to the configuration: the Vault, the schedule, the deliveries.
//!
//! Always true: values that are good one by one are checked against each other here and nowhere else; everything is
//! checked, whatever else is wrong.

mod account;
mod consistency;
mod credential;
mod schedds;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use htvault::{RequestLimit, Settings, TlsSettings};

use self::account::Owner;
use self::schedds::{Chosen, Groups};
use super::faults::{Faults, Located, Place, Position};
use super::given::Given;
use super::sections::{FileSections, VaultSection};
use super::values::{AbsolutePath, TypedDuration};
use super::{Config, Cron, DeliveryTemplate, Search};
use crate::model::delivery::{Delivery, DeliveryId};
use crate::model::duration;

const DEFAULT_CHECK: &str = "*/10 * * * *";
const DEFAULT_SPREAD: Duration = Duration::from_mins(5);
const DEFAULT_SERVICE: &str = "host";
/// Longest wait of a request for the configured limit, which is no failure.
const LIMIT_WAIT: Duration = Duration::from_hours(24);

/// The configuration; `None`, or one that is of no use, when there are faults. `file` is named for sections that are
/// missing.
pub(crate) fn config(file: &str, sections: &FileSections, faults: &mut Faults) -> Option<Config> {
    let vault = vault(file, &sections.vault, faults);
    let schedule = &sections.schedule;
    let check = match schedule.check.get() {
        Some(check) => Some(check.clone()),
        None => Cron::parse(DEFAULT_CHECK).ok(),
    };
    let listen = &sections.listen;
    if let Some(place) = listen.place
        && listen.address.is_missing()
    {
        let message = "`address` is missing, write for example {address: \"127.0.0.1:9118\"}";
        faults.add(place, message);
    }
    let authorities = authorities(&sections.vault.ca_file, &sections.vault.ca_dir);
    let groups = Groups::new(sections.schedds.entries(), &authorities, faults);
    // Without a good address the rest is still checked, with one that is never used.
    let server = match &vault {
        Some(vault) => vault.server().clone(),
        None => "https://vault.invalid".parse().ok()?,
    };
    account::check_defaults(&sections.defaults, faults);
    if sections.accounts.is_empty() {
        faults.add_at(
            Position::file(file, "accounts"),
            "no account is configured, add at least one under `accounts`",
        );
    }
    let mut resolved = Resolved::default();
    for (name, own) in sections.accounts.entries() {
        let owner = Owner {
            identity: account::identity(name, own, &sections.defaults, faults).into(),
            own,
            sections,
            groups: &groups,
            server: &server,
        };
        account::resolve(name, &owner, &mut resolved, faults);
    }
    consistency::unused_groups(sections, &resolved.groups, faults);
    let service = sections.kerberos.service.get().cloned();
    let config = Config {
        vault: vault?,
        kerberos_service: service.unwrap_or_else(|| DEFAULT_SERVICE.to_owned()),
        check: check?,
        spread: schedule
            .spread
            .get()
            .map_or(DEFAULT_SPREAD, |spread| spread.0),
        deliveries: resolved.listed.into_values().collect(),
        searches: resolved.searches.into_values().collect(),
        listen: listen.address.get().map(|address| address.0),
        control: path(&sections.control.socket).unwrap_or_else(|| super::DEFAULT_CONTROL.into()),
        state: path(&sections.state).unwrap_or_else(|| super::DEFAULT_STATE.into()),
        warnings: Vec::new(),
    };
    consistency::checks(file, schedule, &config, faults);
    consistency::requests(&sections.vault, &config, faults);
    Some(config)
}

fn path(path: &Given<AbsolutePath>) -> Option<PathBuf> {
    path.get().map(|path| path.0.clone())
}

fn authorities(file: &Given<AbsolutePath>, directory: &Given<AbsolutePath>) -> TlsSettings {
    TlsSettings {
        ca_file: path(file),
        ca_dir: path(directory),
    }
}

fn vault(file: &str, section: &VaultSection, faults: &mut Faults) -> Option<Settings> {
    if section.address.is_empty() {
        faults.add_at(
            Position::file(file, "vault.address"),
            "the Vault's address is missing, write for example https://htvault.example.org:8200",
        );
    }
    let requests = &section.requests;
    if let Some(place) = requests.place
        && (requests.limit.is_missing() || requests.per.is_missing())
    {
        let message = "limit and per belong together, write for example {limit: 300, per: 5m}";
        faults.add(place, message);
    }
    let servers = section.address.items().iter();
    let servers = servers.map(|server| server.value.0.clone()).collect();
    let mut settings = Settings::for_cluster(servers).ok()?;
    settings.tls = authorities(&section.ca_file, &section.ca_dir);
    let limit = requests.limit.get().zip(requests.per.get());
    settings.limit = limit.map(|(limit, per)| RequestLimit {
        limit: limit.0,
        per: per.0,
    });
    settings.limit_wait = LIMIT_WAIT;
    Some(settings)
}

/// Deliveries of all accounts.
#[derive(Default)]
struct Resolved {
    listed: BTreeMap<DeliveryId, Arc<Delivery>>,
    /// Searches with deliveries, by their group.
    searches: BTreeMap<String, Search>,
    /// Groups with deliveries.
    groups: BTreeSet<String>,
}

impl Resolved {
    /// Adds a credential's deliveries to schedds that were chosen for it: at each, the first template that matches.
    fn add(&mut self, chosen: &Chosen<'_>, templates: &[DeliveryTemplate], groups: &Groups) {
        match chosen {
            Chosen::Listed(group, schedd) => {
                let mut templates = templates.iter();
                let first = templates.find(|template| {
                    let at = template.at.as_ref();
                    at.is_none_or(|at| groups.match_schedd(at, schedd))
                });
                let Some(template) = first else { return };
                let delivery = template.at(&schedd.name, schedd.target.clone());
                self.groups.insert((*group).to_owned());
                // A schedd in two groups is one.
                let id = delivery.id.clone();
                self.listed.entry(id).or_insert_with(|| Arc::new(delivery));
            }
            Chosen::Search(search, names) => {
                self.groups.insert(search.group.clone());
                let known = self.searches.entry(search.group.clone());
                let known = known.or_insert_with(|| (*search).clone());
                for template in templates {
                    // A template for the whole group leaves nothing to those after it.
                    let at = template.at.clone();
                    let at = at.filter(|at| !at.matches(&search.group));
                    let is_last = at.is_none();
                    known.templates.push(DeliveryTemplate {
                        at,
                        schedds: names.clone(),
                        ..template.clone()
                    });
                    if is_last {
                        break;
                    }
                }
            }
        }
    }
}

/// A lifetime, and the margin (`renew_below`, `warn`) that must be shorter, each from the nearest level that has it.
struct Durations {
    lifetime: Option<Duration>,
    margin: Option<Duration>,
    /// Place of either at the nearest level that has one.
    place: Option<Place>,
}

impl Durations {
    /// Of lifetimes and margins, those of the nearest level first.
    fn nearest<const N: usize>(
        levels: [(&Given<TypedDuration>, &Given<TypedDuration>); N],
    ) -> Self {
        let value = |given: &Given<TypedDuration>| given.get().map(|typed| typed.0);
        let place =
            |(lifetime, margin): &(&Given<_>, &Given<_>)| margin.place().or(lifetime.place());
        Self {
            lifetime: levels.iter().find_map(|(lifetime, _)| value(lifetime)),
            margin: levels.iter().find_map(|(_, margin)| value(margin)),
            place: levels.iter().find_map(place),
        }
    }

    /// Adds a fault where the margin, named `key`, is not shorter than the lifetime.
    fn check(&self, key: &str, margin: Duration, lifetime: Duration, faults: &mut Faults) {
        if let Some(place) = self.place
            && margin >= lifetime
        {
            let (margin, lifetime) = (duration::format(margin), duration::format(lifetime));
            let message = format!("{key} ({margin}) must be shorter than lifetime ({lifetime})");
            faults.add(place, message);
        }
    }
}

/// Replaces names in braces by their values; other braces are a fault.
fn fill(text: &Located<String>, values: &[(&str, &str)], faults: &mut Faults) -> String {
    let mut filled = text.value.clone();
    for (name, value) in values {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    if filled.contains(['{', '}']) {
        let names = values.iter().map(|(name, _)| format!("{{{name}}}"));
        let names = names.collect::<Vec<String>>().join(" and ");
        let message = format!("only {names} can be filled in, remove other braces");
        faults.add(text.place, message);
    }
    filled
}

/// Adds a fault for a name that is longer than HTCondor or a file system allows.
fn check_length(name: &Located<String>, limit: usize, faults: &mut Faults) {
    let length = name.value.len();
    if length > limit {
        let message = format!("it has {length} characters, and {limit} are allowed; shorten it");
        faults.add(name.place, message);
    }
}
