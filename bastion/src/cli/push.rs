//! `push` and `retry`: an order to the running service, with its progress until the end.

use std::convert::Infallible;

use super::progress::Progress;
use super::{CommandError, Done, status};
use crate::api::client::Client;
use crate::cli::arguments::{Global, SelectionArguments};
use crate::engine::pause_of_watchers;
use crate::engine::report::{Line, OrderedDeliveries, Report};
use crate::model::delivery::Selection;
use crate::policy::plan::State;

/// Pushes new vault tokens now.
pub(crate) async fn push(
    global: &Global,
    arguments: &SelectionArguments,
) -> Result<Done, CommandError> {
    let selection = arguments.selection();
    let is_meant = |line: &Line| line.takes_push_of(&selection);
    let left_out = |number: usize, _| {
        if number == 0 {
            return String::new();
        }
        format!(
            "\n{number} left out, revoked or at a schedd that is gone: to have a revoked one delivered again, name its \
             schedd (--schedd)\n"
        )
    };
    let report = order(global, arguments, "push", is_meant, left_out).await?;
    // A push that was asked for and not made is seen by the exit code, too.
    Ok(Done::when(
        report.is_good() && !report.deliveries.is_empty(),
    ))
}

/// Retries failed deliveries now.
pub(crate) async fn retry(
    global: &Global,
    arguments: &SelectionArguments,
) -> Result<Done, CommandError> {
    let has_failed = |line: &Line| line.state == State::Failed;
    let left_out = |_, is_empty| {
        let text = if is_empty {
            "nothing waits after a failure\n"
        } else {
            ""
        };
        text.to_owned()
    };
    let report = order(global, arguments, "retry", has_failed, left_out).await?;
    Ok(Done::when(report.is_good()))
}

/// Sends an order for the selected deliveries and waits until those of them that are meant are done. `left_out` gives
/// the message for those that are not, by their number, and whether no other is there.
async fn order(
    global: &Global,
    arguments: &SelectionArguments,
    name: &'static str,
    is_meant: impl Fn(&Line) -> bool,
    left_out: impl Fn(usize, bool) -> String,
) -> Result<Report, CommandError> {
    let selection = arguments.selection();
    let client = Client::connect(&global.socket()?).await?;
    let mut before = client.status(&selection).await?.deliveries;
    let selected = before.len();
    before.retain(is_meant);
    let progress = Progress::begin(name);
    let report = tokio::select! {
        report = client.order(name, &selection) => report,
        never = show(&progress, &client, &selection, &before) => match never {},
    };
    progress.end();
    let report: Report = report?;
    arguments.output.print(&report, |width| {
        let is_empty = report.deliveries.is_empty();
        let table = if is_empty {
            String::new()
        } else {
            status::with_problems(&report, width)
        };
        table + &left_out(selected - before.len(), is_empty)
    })?;
    Ok(report)
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
