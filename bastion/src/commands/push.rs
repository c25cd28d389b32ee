//! `push` and `retry`: an order to the running service, followed to its end.

use clap::Args;

use super::progress::Progress;
use super::table::{self, Look};
use super::{Done, Failure, print, print_json};
use crate::cli::{Global, Output, Which};
use crate::control::client::{Client, unexpected};
use crate::control::protocol::{self, Answer, Request};

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
    let selection = arguments.which.selection();
    order(global, &Request::Push { selection }, "push", arguments)
}

/// What waits after a failure, now.
pub(crate) fn retry(global: &Global, arguments: &Arguments) -> Result<Done, Failure> {
    let selection = arguments.which.selection();
    order(global, &Request::Retry { selection }, "retry", arguments)
}

fn order(
    global: &Global,
    request: &Request,
    what: &'static str,
    arguments: &Arguments,
) -> Result<Done, Failure> {
    let client = Client::connect(&global.socket()?)?;
    let mut progress = Progress::begin(what);
    let answer = client.ask(request, |step| match step {
        protocol::Progress::Deliveries { settled, lines } => progress.show(settled, &lines),
    });
    progress.end();
    let Answer::Report(report) = answer? else {
        return Err(unexpected());
    };
    if arguments.output.json {
        print_json(&report)?;
    } else if report.deliveries.is_empty() {
        print("nothing waits after a failure\n")?;
    } else {
        print(&table::status(&report, Look::of_stdout()))?;
    }
    Ok(Done::when(report.is_good()))
}
