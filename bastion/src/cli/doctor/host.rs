//! Checks of this host: files and tools that the configuration needs.

use std::sync::Arc;

use super::{Section, Verdict};
use crate::config::{Config, host};
use crate::model::delivery::{Delivery, Way};
use crate::schedd::{condor, directory};

pub(super) async fn section(config: &Config, deliveries: &[Arc<Delivery>]) -> Section {
    let mut section = Section::new("This host");
    section.add(
        "configuration",
        Verdict::Ok,
        format!("valid; deliveries to check: {}", deliveries.len()),
    );
    match host::authority_fault(config) {
        Some(fault) => section.add("authorities", Verdict::Wrong, fault),
        None => section.add("authorities", Verdict::Ok, "they can be read"),
    }
    for fault in directory::faults(config).await {
        section.add("directories", Verdict::Wrong, fault);
    }
    let ways = deliveries
        .iter()
        .filter_map(|delivery| delivery.target.way());
    let mut ways = ways.chain(config.searches.iter().map(|search| &search.way));
    if ways.any(|way| *way == Way::Condor) {
        match condor::tool_path() {
            Ok(path) => section.add("HTCondor", Verdict::Ok, path.display().to_string()),
            Err(fault) => section.add("HTCondor", Verdict::Wrong, fault),
        }
    }
    section
}
