//! `reload`: the running service reads its configuration again.

use clap::Args;

use super::{Done, Failure, print, print_json};
use crate::cli::{Global, Output};
use crate::control::client::{Client, unexpected};
use crate::control::protocol::{Answer, Request};

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
    let client = Client::connect(&global.socket()?)?;
    let request = Request::Reload {
        dry_run: arguments.dry_run,
    };
    let Answer::Reloaded(said) = client.ask(&request, |_| {})? else {
        return Err(unexpected());
    };
    let printed = if arguments.output.json {
        print_json(&said)
    } else {
        Ok(())
    };
    if !said.faults.is_empty() {
        let mut lines = said.faults;
        lines.push("the configuration of before stays in force".to_owned());
        return Err(Failure::wrong(lines));
    }
    printed?;
    if !arguments.output.json {
        for change in &said.changes {
            print(&format!("{change}\n"))?;
        }
        print(match (said.changes.is_empty(), said.used) {
            (true, _) => "nothing changes\n",
            (false, true) => "the new configuration is in force\n",
            (false, false) => "nothing was done: this was a dry run\n",
        })?;
    }
    Ok(Done::Good)
}
