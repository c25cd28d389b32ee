//! `once`: one attempt of every delivery, without a service.

use std::sync::Arc;

use super::executor::store;
use super::output::Output;
use super::{CommandError, Done, complain, progress, status};
use crate::config::{Config, host};
use crate::engine::real::{engine, lock, parts, warn_of_host};
use crate::engine::report::{Line, Report};

/// Attempts every delivery; prints the states and problems.
pub(crate) async fn once(config: Config, output: Output) -> Result<Done, CommandError> {
    let config = Arc::new(config);
    let _lock = lock(&config)?;
    warn_of_host(Arc::clone(&config)).await;
    let parts = parts(&config, store(&config)?).map_err(anyhow::Error::from)?;
    let mut engine = engine(&config, &parts);
    let bar = progress::of_deliveries("deliveries");
    let show = |report: &Report| {
        let settled = |line: &&Line| line.is_settled_since(0);
        let settled = report.deliveries.iter().filter(settled).count();
        progress::show(&bar, settled, &report.deliveries);
    };
    engine.settle(|engine| show(&engine.report())).await;
    let mut report = engine.report();
    engine.close().await;
    for line in &mut report.deliveries {
        // Nobody is left who would take it.
        (line.next_at, line.next_try) = (None, None);
    }
    bar.finish_and_clear();
    let mut other_faults = host::keytab_faults(&config).await;
    // An account whose tokens are still valid is good now, but cannot be renewed.
    other_faults.retain(|fault| {
        let mut accounts = fault.accounts.iter();
        fault.stops && accounts.all(|account| report.is_good_for(account))
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
