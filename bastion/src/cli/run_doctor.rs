//! `doctor`: a check of everything that deliveries depend on, step by step.

use clap::Args;

use super::table::TableStyle;
use super::{CommandError, Done, print, print_json};
use crate::cli::arguments::{Global, Output, SelectionArguments};
use crate::cli::doctor::{self, Section};
use crate::cli::local;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    selected: SelectionArguments,
    #[command(flatten)]
    output: Output,
}

/// Checks each step and prints the results.
pub(crate) fn doctor(global: &Global, arguments: &DoctorArguments) -> Result<Done, CommandError> {
    let config = global.load()?;
    let selection = arguments.selected.selection();
    let json = arguments.output.json;
    let width = TableStyle::of_stdout().width;
    let mut printed = Ok(());
    let show = |section: &Section| {
        if !json && printed.is_ok() {
            printed = print(&section.text(width));
        }
    };
    let work = async |parts| doctor::examine(&config, &parts, &selection, show).await;
    let examination = local::beside(&config, work)?.map_err(|why| CommandError::wrong([why]))?;
    printed?;
    if json {
        print_json(&examination)?;
    } else {
        print(&examination.sum())?;
    }
    Ok(Done::when(examination.is_good()))
}
