//! Overview of a configuration, as a table for people and as data: every delivery, every search, and how
//! each credd is opened.

use std::time::Duration;

use serde::Serialize;

use super::table::{listed, wrapped};
use crate::config::{Config, DeliveryTemplate, Search};
use crate::engine::report::DesiredDelivery;
use crate::model::delivery::{Delivery, Method};
use crate::model::duration::format;

/// Everything that a configuration asks for, and what is wrong with it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Overview {
    /// Deliveries to listed schedds.
    pub(super) deliveries: Vec<ListedDelivery>,
    /// Deliveries to schedds that a collector finds.
    pub(super) searches: Vec<ListedDelivery>,
    /// Faults of this host's files.
    pub(super) faults: Vec<String>,
    /// Settings that are allowed and probably not meant.
    pub(super) warnings: Vec<String>,
}

/// A configured delivery.
#[derive(Debug, Serialize)]
pub(super) struct ListedDelivery {
    #[serde(flatten)]
    wanted: DesiredDelivery,
    /// Renewal margin, in seconds.
    renew_below_seconds: u64,
    /// Scopes that access tokens are reduced to.
    scopes: Vec<String>,
    audience: Option<String>,
    /// Authentication at the credd: method, service of the token, user; `None` for a directory.
    opened: Option<String>,
    /// Search for its schedds, unless they are listed.
    #[serde(flatten)]
    search: Option<ListedSearch>,
}

/// A search for schedds.
#[derive(Debug, Serialize)]
struct ListedSearch {
    group: String,
    /// Collector that is asked; the local configuration's when `None`.
    collector: Option<String>,
    constraint: Option<String>,
    /// Globs over the names of the schedds that are found; `!` excludes.
    schedds: String,
    /// Glob over these, for which other values are configured.
    at: Option<String>,
}

impl Overview {
    /// The overview of `config`.
    pub(super) fn new(config: &Config, faults: Vec<String>) -> Self {
        let deliveries = config.deliveries.iter();
        let searches = config.searches.iter().flat_map(|search| {
            let templates = search.templates.iter();
            templates.map(move |template| ListedDelivery::to_find(search, template))
        });
        Self {
            deliveries: deliveries
                .map(|delivery| ListedDelivery::new(delivery, None))
                .collect(),
            searches: searches.collect(),
            faults,
            warnings: config.warnings.iter().map(ToString::to_string).collect(),
        }
    }

    /// Formats the deliveries as a table; on a terminal that is not so wide with a paragraph for each.
    pub(super) fn text(&self, width: Option<u16>) -> String {
        let seconds = |seconds| format(Duration::from_secs(seconds));
        let rows = self.deliveries.iter().chain(&self.searches).map(|listed| {
            let wanted = &listed.wanted;
            [
                wanted.account.clone(),
                wanted.service.clone(),
                format!("{}/{}", wanted.issuer, wanted.role),
                wanted.credkey.clone(),
                wanted.transport.clone(),
                seconds(wanted.lifetime_seconds),
                seconds(listed.renew_below_seconds),
                listed.opened.clone().unwrap_or_else(|| "-".to_owned()),
                wanted.schedd.clone(),
            ]
        });
        let heading = [
            "ACCOUNT",
            "SERVICE",
            "ISSUER/ROLE",
            "CREDKEY",
            "TRANSPORT",
            "LIFETIME",
            "RENEW BELOW",
            "OPENED BY",
            "SCHEDD",
        ];
        let rows: Vec<_> = rows.collect();
        let table = listed(heading, rows.iter().cloned());
        let is_wide = |width: &u16| {
            table
                .lines()
                .any(|line| line.chars().count() > usize::from(*width))
        };
        match width.filter(is_wide) {
            None => table,
            width => rows
                .iter()
                .map(|row| paragraph(&heading, row, width))
                .collect(),
        }
    }
}

/// Formats a delivery for narrow terminals: its account and service, and the rest below.
fn paragraph(heading: &[&str], row: &[String], width: Option<u16>) -> String {
    let mut words = heading.iter().zip(row).map(|(title, value)| {
        let title = title.to_lowercase();
        format!("{title} {value}")
    });
    let name: Vec<String> = words.by_ref().take(2).collect();
    let rest: Vec<String> = words.collect();
    wrapped(
        &format!("{}\n  {}", name.join(", "), rest.join(", ")),
        width,
    )
}

impl ListedDelivery {
    fn new(delivery: &Delivery, search: Option<ListedSearch>) -> Self {
        Self {
            wanted: DesiredDelivery::new(delivery),
            renew_below_seconds: delivery.renew_below.as_secs(),
            scopes: delivery.credential.scopes.clone(),
            audience: delivery.credential.audience.clone(),
            opened: opened(delivery),
            search,
        }
    }

    /// A delivery to the schedds that a search finds. A description of the search stands for their names.
    fn to_find(search: &Search, template: &DeliveryTemplate) -> Self {
        let schedds = template.schedds.to_string();
        let at = template.at.as_ref().map(|at| at.as_str().to_owned());
        let collector = search.collector.as_deref().unwrap_or("of this host");
        let mut words = vec![format!("collector {collector}")];
        words.push(match &search.constraint {
            Some(constraint) => format!("constraint {constraint}"),
            None => "all schedds".to_owned(),
        });
        words.extend((schedds != "*").then(|| format!("named {schedds}")));
        words.extend(at.iter().map(|at| format!("at {at}")));
        let mut delivery = template.at("", search.target(""));
        delivery.id.schedd = format!("{} ({})", search.group, words.join(", "));
        let search = ListedSearch {
            group: search.group.clone(),
            collector: search.collector.clone(),
            constraint: search.constraint.clone(),
            schedds,
            at,
        };
        Self::new(&delivery, Some(search))
    }
}

/// `scitokens cms for user@example.org`.
fn opened(delivery: &Delivery) -> Option<String> {
    let authentication = &delivery.target.credd()?.authentication;
    let mut text = authentication.method.to_string();
    if authentication.method == Method::Scitokens {
        text = format!("{text} {}", delivery.authorize.service);
    }
    if let Some(domain) = &authentication.domain {
        text = format!("{text} for {}@{domain}", delivery.id.account);
    }
    Some(text)
}
