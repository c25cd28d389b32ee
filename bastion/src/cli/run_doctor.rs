//! `doctor`: everything that deliveries hang on, looked at step by step.

use clap::Args;

use super::table::Look;
use super::{Done, Failure, print, print_json};
use crate::cli::arguments::{Global, Output, Which};
use crate::cli::doctor::{self, Section};
use crate::cli::local;

/// What `doctor` takes.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    output: Output,
}

/// Looks, and says of each step how it is.
pub(crate) fn doctor(global: &Global, arguments: &Arguments) -> Result<Done, Failure> {
    let config = global.load()?;
    let selection = arguments.which.selection();
    let json = arguments.output.json;
    let width = Look::of_stdout().width;
    let mut printed = Ok(());
    let say = |section: &Section| {
        if !json && printed.is_ok() {
            printed = print(&section.text(width));
        }
    };
    let look = async |parts| doctor::examine(&config, &parts, &selection, say).await;
    let examination = local::beside(&config, look)?.map_err(|why| Failure::wrong([why]))?;
    printed?;
    if json {
        print_json(&examination)?;
    } else {
        print(&examination.sum())?;
    }
    Ok(Done::when(examination.is_good()))
}
