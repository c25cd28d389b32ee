//! Overview of a configuration, as a table for people and as data: every delivery, every search, and how
//! each credd is opened.

use std::time::Duration;

use serde::Serialize;

use super::wrap::wrapped;
use crate::config::{Config, DeliveryTemplate, Search};
use crate::engine::report::{DesiredDelivery, table};
use crate::model::delivery::{Authentication, Delivery, Method, Target};
use crate::model::duration::format;

/// Columns that name a line: account and service.
const NAMED_BY: usize = 2;

/// Everything that a configuration asks for.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Overview {
    /// Deliveries to listed schedds.
    pub(crate) deliveries: Vec<ListedDelivery>,
    /// Deliveries to schedds that a collector finds.
    pub(crate) searches: Vec<SearchedDelivery>,
}

/// A delivery to a listed schedd.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ListedDelivery {
    #[serde(flatten)]
    wanted: DesiredDelivery,
    #[serde(flatten)]
    settings: DeliverySettings,
}

/// A delivery to each schedd that is found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SearchedDelivery {
    group: String,
    /// Collector that is asked; the local configuration's when `None`.
    collector: Option<String>,
    constraint: Option<String>,
    /// Globs over the names of the schedds that are found; `!` excludes.
    schedds: String,
    /// Glob over these, for which other values are configured.
    at: Option<String>,
    #[serde(flatten)]
    wanted: DesiredDelivery,
    #[serde(flatten)]
    settings: DeliverySettings,
}

/// Settings of a delivery besides its name and lifetime.
#[derive(Clone, Debug, Serialize)]
struct DeliverySettings {
    /// Renewal margin, in seconds.
    renew_below_seconds: u64,
    /// Scopes that access tokens are reduced to.
    scopes: Vec<String>,
    audience: Option<String>,
    /// Authentication at the credd: method, service of the token, user; `None` for a directory.
    opened: Option<String>,
}

impl Overview {
    /// The overview of `config`.
    pub(crate) fn new(config: &Config) -> Self {
        let deliveries = config.deliveries.iter().map(|delivery| ListedDelivery {
            wanted: DesiredDelivery::new(delivery),
            settings: settings(delivery),
        });
        let searches = config.searches.iter().flat_map(|search| {
            let templates = search.templates.iter();
            templates.map(|template| found(search, template))
        });
        Self {
            deliveries: deliveries.collect(),
            searches: searches.collect(),
        }
    }

    /// Formats the overview as a table; where no terminal is so wide, as a list with a paragraph for each delivery.
    pub(crate) fn text(&self, terminal: Option<usize>) -> String {
        let known = self
            .deliveries
            .iter()
            .map(|one| (&one.wanted, &one.settings));
        let found = self.searches.iter().map(|one| (&one.wanted, &one.settings));
        let lines = known.chain(found).map(|(wanted, settings)| {
            let length = |seconds| format(Duration::from_secs(seconds));
            [
                wanted.account.clone(),
                wanted.service.clone(),
                format!("{}/{}", wanted.issuer, wanted.role),
                wanted.credkey.clone(),
                wanted.transport.clone(),
                length(wanted.lifetime_seconds),
                length(settings.renew_below_seconds),
                settings.opened.clone().unwrap_or_else(|| "-".to_owned()),
                wanted.schedd.clone(),
            ]
        });
        let head = [
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
        let lines: Vec<_> = lines.collect();
        let text = table(head, lines.iter().cloned());
        let is_wide = |width| text.lines().any(|line| line.chars().count() > width);
        match terminal.filter(|width| is_wide(*width)) {
            None => text,
            width => lines
                .iter()
                .map(|line| paragraph(&head, line, width))
                .collect(),
        }
    }
}

/// One line of the table, for narrow terminals.
fn paragraph(head: &[&str], line: &[String], width: Option<usize>) -> String {
    let mut words = head.iter().zip(line).map(|(title, word)| {
        let title = title.to_lowercase();
        format!("{title} {word}")
    });
    let name: Vec<String> = words.by_ref().take(NAMED_BY).collect();
    let rest: Vec<String> = words.collect();
    wrapped(&name.join(", "), 0, 2, width) + "  " + &wrapped(&rest.join(", "), 2, 2, width)
}

fn found(search: &Search, template: &DeliveryTemplate) -> SearchedDelivery {
    // Placeholder for the schedds' names.
    let mut words = vec![
        format!(
            "collector {}",
            search.collector.as_deref().unwrap_or("of this host")
        ),
        search.constraint.as_ref().map_or_else(
            || "all schedds".to_owned(),
            |constraint| format!("constraint {constraint}"),
        ),
    ];
    let schedds = template.schedds.to_string();
    if schedds != "*" {
        words.push(format!("named {schedds}"));
    }
    if let Some(at) = &template.at {
        words.push(format!("at {}", at.as_str()));
    }
    let target = search.target("");
    let mut delivery = template.at("", target);
    delivery.id.schedd = format!("{} ({})", search.group, words.join(", "));
    SearchedDelivery {
        group: search.group.clone(),
        collector: search.collector.clone(),
        constraint: search.constraint.clone(),
        schedds,
        at: template.at.as_ref().map(|at| at.as_str().to_owned()),
        wanted: DesiredDelivery::new(&delivery),
        settings: settings(&delivery),
    }
}

fn settings(delivery: &Delivery) -> DeliverySettings {
    let credential = &delivery.credential;
    DeliverySettings {
        renew_below_seconds: delivery.renew_below.as_secs(),
        scopes: credential.scopes.clone(),
        audience: credential.audience.clone(),
        opened: match &delivery.target {
            Target::Directory(_) => None,
            Target::Credd { authentication, .. } => Some(opened(authentication, delivery)),
        },
    }
}

/// `scitokens cms for user@example.org`.
fn opened(authentication: &Authentication, delivery: &Delivery) -> String {
    let mut text = authentication.method.to_string();
    if authentication.method == Method::Scitokens {
        text.push(' ');
        text.push_str(&delivery.authorize.service);
    }
    if let Some(domain) = &authentication.domain {
        for part in [" for ", delivery.id.account.as_str(), "@", domain.as_str()] {
            text.push_str(part);
        }
    }
    text
}
