//! `reload`: the running service reads its configuration again.

use clap::Args;

use super::{Done, Failure, ask, print, print_json};
use crate::api::bodies::{ReloadOrder, Reloaded};
use crate::cli::arguments::{Global, Output};

/// What `reload` takes.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
}

/// Has the configuration read again, and says what changes.
pub(crate) fn reload(global: &Global, arguments: &Arguments) -> Result<Done, Failure> {
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
        lines.push("the configuration of before stays in force".to_owned());
        return Err(Failure::wrong(lines));
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
