//! `once`: one attempt of every delivery, without a service.

use super::progress::Progress;
use super::table::{self, TableStyle};
use super::{CommandError, Done, complain, print, print_json};
use crate::cli::arguments::Output;
use crate::cli::local;
use crate::config::Config;
use crate::config::host::{self, HostFault};
use crate::engine::report::Line;

/// Attempts every delivery; prints the states and problems.
pub(crate) fn once(config: &Config, output: Output) -> Result<Done, CommandError> {
    let progress = Progress::begin("deliveries");
    let report = local::once(config, |report| {
        let settled = |line: &&Line| line.is_settled_since(0);
        let settled = report.deliveries.iter().filter(settled).count();
        progress.show(settled, &report.deliveries);
    });
    progress.end();
    let report = report?;
    // An account whose tokens are still valid is good now, but cannot be renewed.
    let other_faults: Vec<HostFault> = local::wait(host::keytab_faults(config))?
        .into_iter()
        .filter(|fault| fault.stops && fault.accounts.iter().all(|a| report.is_good_for(a)))
        .collect();
    let printed = if output.json {
        print_json(&report)
    } else {
        let printed = print(&table::deliveries(&report, TableStyle::of_stdout()));
        complain(report.problem_lines());
        complain(report.grant_warnings());
        printed
    };
    complain(&other_faults);
    printed?;
    Ok(Done::when(report.is_good() && other_faults.is_empty()))
}
