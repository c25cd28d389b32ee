//! `push` and `retry`: an order to the running service, followed to its end.

use std::convert::Infallible;

use clap::Args;

use super::progress::Progress;
use super::table::{self, Look};
use super::{Done, Failure, ask, print, print_json};
use crate::api::client::Client;
use crate::cli::arguments::{Global, Output, Which};
use crate::engine::pause_of_watchers;
use crate::engine::report::{Followed, Line, Report};
use crate::model::delivery::Selection;
use crate::policy::plan::State;

/// What `push` and `retry` take.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    output: Output,
}

/// New vault tokens, now.
pub(crate) fn push(global: &Global, arguments: &Arguments) -> Result<Done, Failure> {
    order(global, arguments, "push", |_| true)
}

/// New attempts, now, where the last one failed.
pub(crate) fn retry(global: &Global, arguments: &Arguments) -> Result<Done, Failure> {
    order(global, arguments, "retry", |line| {
        line.state == State::Failed
    })
}

/// Gives an order about the deliveries that are selected and `meant`.
fn order(
    global: &Global,
    arguments: &Arguments,
    what: &'static str,
    meant: fn(&Line) -> bool,
) -> Result<Done, Failure> {
    let selection = arguments.which.selection();
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
        print(&table::status(&report, Look::of_stdout()))?;
    }
    Ok(Done::when(report.is_good()))
}

/// Shows again and again how many of these deliveries have been tried since.
async fn show(
    progress: &Progress,
    client: &Client,
    selection: &Selection,
    before: &[Line],
) -> Infallible {
    let followed = Followed::new(before);
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
