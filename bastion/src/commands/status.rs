//! `status`: what the running service knows.

use clap::Args;

use super::{Done, Failure, complain, print, print_json};
use crate::cli::{Global, Output, Which};
use crate::control::client::{Client, unexpected};
use crate::control::protocol::{Answer, Request};

/// What `status` takes.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    output: Output,
}

/// Asks the running service where every delivery stands.
pub(crate) fn status(global: &Global, arguments: &Arguments) -> Result<Done, Failure> {
    let client = Client::connect(&global.socket())?;
    let request = Request::Status {
        selection: arguments.which.selection(),
    };
    let Answer::Report(report) = client.ask(&request, |_| {})? else {
        return Err(unexpected());
    };
    if arguments.output.json {
        print_json(&report);
    } else {
        print(&report.table());
        complain(report.problem_lines());
        complain(report.grant_warnings());
    }
    Ok(Done::when(report.is_good()))
}
