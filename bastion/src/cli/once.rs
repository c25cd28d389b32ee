//! `once`: one attempt of every delivery, without a service.

use super::output::Output;
use super::progress::Progress;
use super::{CommandError, Done, complain, executor, status};
use crate::config::Config;
use crate::config::host;
use crate::engine::report::Line;

/// Attempts every delivery; prints the states and problems.
pub(crate) async fn once(config: &Config, output: Output) -> Result<Done, CommandError> {
    let progress = Progress::begin("deliveries");
    let report = executor::once(config, |report| {
        let settled = |line: &&Line| line.is_settled_since(0);
        let settled = report.deliveries.iter().filter(settled).count();
        progress.show(settled, &report.deliveries);
    });
    let report = report.await;
    progress.end();
    let report = report?;
    let mut other_faults = host::keytab_faults(config).await;
    // An account whose tokens are still valid is good now, but cannot be renewed.
    other_faults.retain(|fault| {
        fault.stops
            && fault
                .accounts
                .iter()
                .all(|account| report.is_good_for(account))
    });
    let printed = output.print(&report, |width| status::deliveries(&report, width));
    if !output.json {
        complain(report.problem_lines());
        complain(report.grant_warnings());
    }
    complain(&other_faults);
    printed?;
    Ok(Done::when(report.is_good() && other_faults.is_empty()))
}
