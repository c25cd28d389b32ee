//! `reload`: the running service reads its configuration again.

use clap::Args;

use super::{CommandError, Done, ask, print, print_json};
use crate::api::bodies::{ReloadOrder, Reloaded};
use crate::cli::arguments::{Global, Output};

/// Arguments of `reload`.
#[derive(Debug, Args)]
pub(crate) struct ReloadArguments {
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
}

/// Reloads the configuration and prints the changes.
pub(crate) fn reload(global: &Global, arguments: &ReloadArguments) -> Result<Done, CommandError> {
    let order = ReloadOrder {
        dry_run: arguments.dry_run,
    };
    let result: Reloaded = ask(global, async |client| client.order("reload", &order).await)?;
    let printed = if arguments.output.json {
        print_json(&result)
    } else {
        Ok(())
    };
    if !result.faults.is_empty() {
        let mut lines = result.faults;
        lines.push("the old configuration stays in force".to_owned());
        return Err(CommandError::wrong(lines));
    }
    printed?;
    if !arguments.output.json {
        for change in &result.changes {
            print(&format!("{change}\n"))?;
        }
        print(match (result.changes.is_empty(), result.used) {
            (true, _) => "nothing changes\n",
            (false, true) => "the new configuration is in force\n",
            (false, false) => "nothing was done: this was a dry run\n",
        })?;
    }
    Ok(Done::Good)
}
