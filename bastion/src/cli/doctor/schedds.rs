//! Checks of searches: schedds that collectors find.

use std::sync::Arc;

use super::{Section, Verdict};
use crate::config::{Config, Search};
use crate::engine::attempt::Parts;
use crate::model::delivery::Delivery;
use crate::model::problem::Problem;
use crate::schedd::Transport;
use crate::schedd::discovery::FoundSchedds;
use crate::vault::Vault;

/// Checks of all searches, and all deliveries: to listed schedds, and to those that were found.
pub(super) async fn section<V: Vault, T: Transport>(
    config: &Config,
    parts: &Parts<V, T>,
) -> (Section, Vec<Arc<Delivery>>) {
    let mut section = Section::new("Schedds");
    let mut deliveries = config.deliveries.clone();
    for search in &config.searches {
        let what = format!("group {}", search.group);
        match find(parts, search).await {
            Ok(known) if known.0.is_empty() => section.add(
                what,
                Verdict::Wrong,
                "the collector names no schedd that satisfies `constraint`; correct it, or wait for the schedds",
            ),
            Ok(known) => {
                let names: Vec<&str> = known.0.keys().map(String::as_str).collect();
                section.add(what, Verdict::Ok, names.join(", "));
                for name in names {
                    deliveries.extend(search.deliveries(name));
                }
            }
            Err(problem) => section.add(what, Verdict::Wrong, problem.message),
        }
    }
    deliveries.sort_by(|a, b| a.id.cmp(&b.id));
    deliveries.dedup_by(|a, b| a.id == b.id);
    (section, deliveries)
}

async fn find<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    search: &Search,
) -> Result<FoundSchedds, Problem> {
    let ads = parts
        .transport
        .find(search, &FoundSchedds::default())
        .await?;
    let mut known = FoundSchedds::default();
    let wanted = search.templates.iter().map(|template| template.lifetime);
    let asked_for = ads.into_iter().filter(|ad| ad.matches).collect();
    known.take(
        asked_for,
        parts.clock.now(),
        wanted.max().unwrap_or_default(),
    );
    parts.transport.learn(search, &known);
    Ok(known)
}
