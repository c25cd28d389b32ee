//! What a configuration means, as a table for people and as data: every delivery, every search,
//! and how each credd is opened.

use std::time::Duration;

use serde::Serialize;

use super::duration::format;
use super::search::Pattern;
use super::{Config, Search};
use crate::delivery::{Delivery, Opening, Target};
use crate::report::{Wanted, table};

/// What is wanted.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// At schedds that are known.
    pub deliveries: Vec<Known>,
    /// At schedds that are to be found.
    pub searches: Vec<Found>,
}

/// A delivery.
#[derive(Clone, Debug, Serialize)]
pub struct Known {
    /// As everywhere else.
    #[serde(flatten)]
    pub wanted: Wanted,
    /// What else was decided.
    #[serde(flatten)]
    pub terms: Terms,
}

/// A credential that is wanted at each schedd that is found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The group.
    pub group: String,
    /// Who is asked; the local configuration's collector when `None`.
    pub collector: Option<String>,
    /// For what.
    pub constraint: Option<String>,
    /// At which of those that are found: globs, those behind a `!` taken away.
    pub schedds: String,
    /// Only at these of them, where what is wanted differs.
    pub at: Option<String>,
    /// As everywhere else.
    #[serde(flatten)]
    pub wanted: Wanted,
    /// What else was decided.
    #[serde(flatten)]
    pub terms: Terms,
}

/// What was decided of a delivery besides its name and life.
#[derive(Clone, Debug, Serialize)]
pub struct Terms {
    /// A token is replaced when less is left, in seconds.
    pub renew_below_seconds: u64,
    /// Scopes that access tokens are reduced to.
    pub scopes: Vec<String>,
    /// Their audience.
    pub audience: Option<String>,
    /// How the credd is opened: the method, whose token, in whose name; `None` for a directory.
    pub opened: Option<String>,
}

impl Overview {
    /// What `config` means.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let deliveries = config.deliveries.iter().map(|delivery| Known {
            wanted: Wanted::new(delivery),
            terms: terms(delivery),
        });
        let searches = config.searches.iter().flat_map(|search| {
            let patterns = search.wanted.iter();
            patterns.map(|pattern| found(search, pattern))
        });
        Self {
            deliveries: deliveries.collect(),
            searches: searches.collect(),
        }
    }

    /// One line for each.
    #[must_use]
    pub fn table(&self) -> String {
        let known = self.deliveries.iter().map(|one| (&one.wanted, &one.terms));
        let found = self.searches.iter().map(|one| (&one.wanted, &one.terms));
        let lines = known.chain(found).map(|(wanted, terms)| {
            let length = |seconds| format(Duration::from_secs(seconds));
            [
                wanted.account.clone(),
                wanted.service.clone(),
                format!("{}/{}", wanted.issuer, wanted.role),
                wanted.credkey.clone(),
                wanted.transport.clone(),
                length(wanted.lifetime_seconds),
                length(terms.renew_below_seconds),
                terms.opened.clone().unwrap_or_else(|| "-".to_owned()),
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
        table(head, lines)
    }
}

fn found(search: &Search, pattern: &Pattern) -> Found {
    // What stands for the schedds' names until they are known.
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
    let schedds = pattern.schedds.to_string();
    if schedds != "*" {
        words.push(format!("named {schedds}"));
    }
    if let Some(at) = &pattern.at {
        words.push(format!("at {at}"));
    }
    let target = search.target("");
    let mut delivery = pattern.at("", target);
    delivery.id.schedd = format!("{} ({})", search.group, words.join(", "));
    Found {
        group: search.group.clone(),
        collector: search.collector.clone(),
        constraint: search.constraint.clone(),
        schedds,
        at: pattern.at.as_ref().map(ToString::to_string),
        wanted: Wanted::new(&delivery),
        terms: terms(&delivery),
    }
}

fn terms(delivery: &Delivery) -> Terms {
    let credential = &delivery.credential;
    Terms {
        renew_below_seconds: delivery.renew_below.as_secs(),
        scopes: credential.scopes.clone(),
        audience: credential.audience.clone(),
        opened: match &delivery.target {
            Target::Directory(_) => None,
            Target::Credd { opening, .. } => Some(opened(opening, delivery)),
        },
    }
}

/// `scitokens cms for user@example.org`.
fn opened(opening: &Opening, delivery: &Delivery) -> String {
    let mut text = opening.method.to_string();
    if opening.method == crate::delivery::Method::Scitokens {
        text.push(' ');
        text.push_str(&delivery.authorize.service);
    }
    if let Some(domain) = &opening.domain {
        for part in [" for ", delivery.id.account.as_str(), "@", domain.as_str()] {
            text.push_str(part);
        }
    }
    text
}
