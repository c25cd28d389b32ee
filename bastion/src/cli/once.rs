//! `once`: every delivery tried, and where each stands.

use super::progress::Progress;
use super::table::{self, Look};
use super::{Done, Failure, complain, print, print_json};
use crate::cli::arguments::Output;
use crate::cli::local;
use crate::config::Config;
use crate::config::host::{self, HostFault};
use crate::engine::report::Line;

/// Tries every delivery, and says where each stands and what is wrong.
pub(crate) fn once(config: &Config, output: Output) -> Result<Done, Failure> {
    let progress = Progress::begin("deliveries");
    let report = local::once(config, |report| {
        let settled = |line: &&Line| line.is_settled_since(0);
        let settled = report.deliveries.iter().filter(settled).count();
        progress.show(settled, &report.deliveries);
    });
    progress.end();
    let report = report?;
    // An account whose tokens still live is good now, and yet cannot be renewed.
    let unsaid: Vec<HostFault> = local::wait(host::keytab_faults(config))?
        .into_iter()
        .filter(|fault| fault.stops() && fault.accounts().iter().all(|a| report.is_good_for(a)))
        .collect();
    let printed = if output.json {
        print_json(&report)
    } else {
        let printed = print(&table::deliveries(&report, Look::of_stdout()));
        complain(report.problem_lines());
        complain(report.grant_warnings());
        printed
    };
    complain(&unsaid);
    printed?;
    Ok(Done::when(report.is_good() && unsaid.is_empty()))
}
