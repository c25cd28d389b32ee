//! Checks of searches: schedds that collectors find.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};

use super::{ASKED_AT_A_TIME, Section, Verdict};
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
    let ask = |search| async move { (search, find(parts, search).await) };
    let asked = stream::iter(&config.searches).map(ask);
    let mut asked = asked.buffered(ASKED_AT_A_TIME);
    while let Some((search, found)) = asked.next().await {
        let what = format!("group {}", search.group);
        let Some(known) = section.take(what.clone(), found) else {
            continue;
        };
        let names: Vec<&str> = known.0.keys().map(String::as_str).collect();
        if names.is_empty() {
            let words = "the collector names no schedd that satisfies `constraint`; correct it, or wait for the schedds";
            section.add(what, Verdict::Wrong, words);
            continue;
        }
        section.add(what, Verdict::Ok, names.join(", "));
        for name in names {
            deliveries.extend(search.deliveries(name));
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
    let transport = &parts.transport;
    let mut ads = transport.find(search, &FoundSchedds::default()).await?;
    ads.retain(|ad| ad.matches);
    let mut known = FoundSchedds::default();
    known.take(ads, parts.clock.now(), search.longest_lifetime());
    transport.learn(search, &known);
    Ok(known)
}
