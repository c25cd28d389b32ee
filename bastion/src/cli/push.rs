//! `push` and `retry`: an order to the running service, with its progress until the end.

use std::convert::Infallible;

use indicatif::ProgressBar;

use super::table::wrapped;
use super::{CommandError, Done, progress, status};
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
    let (report, left_out) = order(global, &selection, "push", is_meant).await?;
    let note = match left_out {
        0 => String::new(),
        number => format!(
            "{number} left out, revoked or at a schedd that is gone: to have a revoked one delivered again, name its \
             schedd (--schedd)\n"
        ),
    };
    print(arguments, &report, &note)?;
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
    let (report, _) = order(global, &arguments.selection(), "retry", has_failed).await?;
    let note = if report.deliveries.is_empty() {
        "nothing waits after a failure\n"
    } else {
        ""
    };
    print(arguments, &report, note)?;
    Ok(Done::when(report.is_good()))
}

/// Sends an order for the selected deliveries and waits until those of them that are meant are done. Returns the number
/// of the others, too.
async fn order(
    global: &Global,
    selection: &Selection,
    name: &'static str,
    is_meant: impl Fn(&Line) -> bool,
) -> Result<(Report, usize), CommandError> {
    let client = Client::connect(&global.socket()?).await?;
    let mut before = client.status(selection).await?.deliveries;
    let selected = before.len();
    before.retain(is_meant);
    let bar = progress::of_deliveries(name);
    let report = tokio::select! {
        report = client.order(name, selection) => report,
        never = show(&bar, &client, selection, &before) => match never {},
    };
    bar.finish_and_clear();
    Ok((report?, selected - before.len()))
}

/// Prints the deliveries that are done, if there are any, and a note.
fn print(arguments: &SelectionArguments, report: &Report, note: &str) -> Result<(), CommandError> {
    arguments.output.print(report, |width| {
        let note = wrapped(note, width);
        if report.deliveries.is_empty() {
            return note;
        }
        let gap = if note.is_empty() { "" } else { "\n" };
        status::with_problems(report, width) + gap + &note
    })
}

/// Shows the number of these deliveries that were attempted since, again and again.
async fn show(
    bar: &ProgressBar,
    client: &Client,
    selection: &Selection,
    before: &[Line],
) -> Infallible {
    let followed = OrderedDeliveries::new(before);
    progress::show(bar, 0, before);
    loop {
        tokio::time::sleep(pause_of_watchers(before.len())).await;
        // The order itself reports a service that does not answer.
        if let Ok(report) = client.status(selection).await {
            let lines = followed.lines(&report);
            progress::show(bar, followed.settled(&lines), &lines);
        }
    }
}
