//! `reload`: the running service reads its configuration again.

use clap::Args;

use super::output::Output;
use super::{CommandError, Done};
use crate::api::bodies::{ReloadOrder, Reloaded};
use crate::api::client::Client;
use crate::cli::arguments::Global;

/// Arguments of `reload`.
#[derive(Debug, Args)]
pub(crate) struct ReloadArguments {
    /// Only print the changes.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
}

/// Reloads the configuration and prints the changes.
pub(crate) async fn reload(
    global: &Global,
    arguments: &ReloadArguments,
) -> Result<Done, CommandError> {
    let ReloadArguments { dry_run, output } = *arguments;
    let client = Client::connect(&global.socket()?).await?;
    let result: Reloaded = client.order("reload", &ReloadOrder { dry_run }).await?;
    if result.faults.is_empty() || output.json {
        output.print(&result, |_| text(&result))?;
    }
    if result.faults.is_empty() {
        return Ok(Done::Good);
    }
    let last = "the old configuration stays in force".to_owned();
    Err(CommandError::wrong(result.faults.into_iter().chain([last])))
}

fn text(result: &Reloaded) -> String {
    let last = match (result.changes.is_empty(), result.used) {
        (true, _) => "nothing changes",
        (false, true) => "the new configuration is in force",
        (false, false) => "nothing was done: this was a dry run",
    };
    let lines = result.changes.iter().map(String::as_str).chain([last]);
    lines.collect::<Vec<_>>().join("\n") + "\n"
}
