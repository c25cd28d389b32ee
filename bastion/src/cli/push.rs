//! `push` and `retry`: an order to the running service, with its progress until the end.

use std::convert::Infallible;

use clap::Args;

use super::progress::Progress;
use super::table::{self, TableStyle};
use super::{CommandError, Done, ask, print, print_json};
use crate::api::client::Client;
use crate::cli::arguments::{Global, Output, SelectionArguments};
use crate::engine::pause_of_watchers;
use crate::engine::report::{Line, OrderedDeliveries, Report};
use crate::model::delivery::Selection;
use crate::policy::plan::State;

/// Arguments of `push` and `retry`.
#[derive(Debug, Args)]
pub(crate) struct PushArguments {
    #[command(flatten)]
    selected: SelectionArguments,
    #[command(flatten)]
    output: Output,
}

/// Pushes new vault tokens now.
pub(crate) fn push(global: &Global, arguments: &PushArguments) -> Result<Done, CommandError> {
    order(global, arguments, "push", |_| true)
}

/// Retries failed deliveries now.
pub(crate) fn retry(global: &Global, arguments: &PushArguments) -> Result<Done, CommandError> {
    order(global, arguments, "retry", |line| {
        line.state == State::Failed
    })
}

/// Sends an order for the selected deliveries and waits until those that are `meant` are done.
fn order(
    global: &Global,
    arguments: &PushArguments,
    what: &'static str,
    meant: fn(&Line) -> bool,
) -> Result<Done, CommandError> {
    let selection = arguments.selected.selection();
    let report: Report = ask(global, async |client| {
        let mut before = client.status(&selection).await?.deliveries;
        before.retain(meant);
        let progress = Progress::begin(what);
        let order = client.order(what, &selection);
        let report = tokio::select! {
            report = order => report,
            never = show(&progress, &client, &selection, &before) => match never {},
        };
        progress.end();
        report
    })?;
    if arguments.output.json {
        print_json(&report)?;
    } else if report.deliveries.is_empty() {
        print("nothing waits after a failure\n")?;
    } else {
        print(&table::status(&report, TableStyle::of_stdout()))?;
    }
    Ok(Done::when(report.is_good()))
}

/// Shows the number of these deliveries that were attempted since, again and again.
async fn show(
    progress: &Progress,
    client: &Client,
    selection: &Selection,
    before: &[Line],
) -> Infallible {
    let followed = OrderedDeliveries::new(before);
    progress.show(0, before);
    loop {
        tokio::time::sleep(pause_of_watchers(before.len())).await;
        // The order itself reports a service that does not answer.
        if let Ok(report) = client.status(selection).await {
            let lines = followed.lines(&report);
            progress.show(followed.settled(&lines), &lines);
        }
    }
}
