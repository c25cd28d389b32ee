//! `offboard`: everything of an account undone, and seen to be.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;

use clap::{Args, ValueHint};
use serde_json::json;

use super::revoke::order_revocation;
use super::table::TableStyle;
use super::{CommandError, Done, ask_if_running, complain, print, print_json};
use crate::api::bodies::ForgetOrder;
use crate::cli::arguments::{Global, Output};
use crate::cli::local;
use crate::cli::onboard;
use crate::config::Config;
use crate::engine::Command;
use crate::engine::offboard::{self, Offboarded};
use crate::engine::revoke::Step;
use crate::model::delivery::{Credential, Selection};
use crate::model::grants;

/// Arguments of `offboard`.
#[derive(Debug, Args)]
pub(crate) struct OffboardArguments {
    /// The account.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    account: String,
    /// Do not ask whether that is meant.
    #[arg(long)]
    yes: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Forget the refresh tokens though a schedd could not be asked to delete what it has.
    #[arg(long)]
    forget_anyway: bool,
    #[command(flatten)]
    output: Output,
}

/// Undoes everything of an account.
pub(crate) fn offboard(
    global: &Global,
    arguments: &OffboardArguments,
) -> Result<Done, CommandError> {
    let config = global.load()?;
    let selection = Selection {
        account: Some(arguments.account.clone()),
        ..Selection::default()
    };
    let credentials =
        onboard::credentials(&config, &selection).map_err(|what| CommandError::wrong([what]))?;
    let plan = plan(global, &config, &selection, &credentials)?;
    if arguments.dry_run {
        if arguments.output.json {
            let would: Vec<&str> = plan.lines().collect();
            print_json(&json!({"account": arguments.account, "would": would}))?;
        } else {
            print(&plan)?;
        }
        return Ok(Done::Good);
    }
    if !arguments.yes {
        confirm(&arguments.account, &plan)?;
    }
    let reports = order_revocation(global, &selection, false)?;
    let needed = offboard::in_need(&reports);
    let vault = if needed.is_empty() || arguments.forget_anyway {
        forget(global, &config, &arguments.account)?
    } else {
        offboard::kept(&credentials, &needed)
    };
    let whole = Offboarded::new(arguments.account.clone(), reports, vault);
    let printed = if arguments.output.json {
        print_json(&whole)
    } else {
        print(&whole.table(TableStyle::of_stdout().width))
    };
    complain([if whole.done {
        format!(
            "account {} is offboarded; remove it from the configuration, and its keytab from this host",
            whole.account
        )
    } else {
        format!(
            "account {} is NOT offboarded yet: see what is not done, and run this again; leave it in the \
             configuration until then",
            whole.account
        )
    }]);
    printed?;
    Ok(Done::when(whole.done))
}

/// Describes the steps, for people.
fn plan(
    global: &Global,
    config: &Config,
    selection: &Selection,
    credentials: &[Arc<Credential>],
) -> Result<String, CommandError> {
    // Writing to a string cannot fail, in all of this.
    let mut text = String::new();
    // Of all, for what is wanted no longer may be all that there is.
    let all = Selection::default();
    let report = match ask_if_running(global, async |client| client.status(&all).await)? {
        Some(report) => report,
        None => local::at_start(config)?,
    };
    let lines = report.deliveries.iter();
    for line in lines.filter(|line| selection.matches(&line.wanted.id())) {
        let _ = write!(text, "revoke {}", line.wanted.id());
        if let Some(accessor) = &line.accessor {
            let _ = write!(text, ": revoke vault token {accessor}");
        }
        text.push_str(", delete what is stored there\n");
    }
    let unwanted = report.unwanted.iter();
    for unwanted in unwanted.filter(|unwanted| selection.matches(&unwanted.id)) {
        let _ = writeln!(
            text,
            "revoke {} (the configuration has it no longer): revoke vault token {}, delete what is stored there",
            unwanted.id,
            unwanted.accessors.join(", ")
        );
    }
    let mut names: Vec<String> = credentials.iter().map(|c| grants::name(c)).collect();
    names.dedup();
    for name in names {
        let _ = writeln!(text, "forget refresh token {name} at Vault");
    }
    Ok(text)
}

/// Asks on the terminal.
fn confirm(account: &str, plan: &str) -> Result<(), CommandError> {
    if !io::stdin().is_terminal() {
        let what = "this cannot be undone and there is no terminal to ask on: say --yes, or --dry-run to see what would be done";
        return Err(CommandError::wrong([what]));
    }
    let mut stderr = io::stderr().lock();
    let _ = write!(
        stderr,
        "{plan}This cannot be undone: somebody has to log in again for the account.\nType the account's name to go on: "
    );
    let _ = stderr.flush();
    let mut typed = String::new();
    // No answer is a no.
    let _ = io::stdin().read_line(&mut typed);
    if typed.trim() == account {
        return Ok(());
    }
    Err(CommandError::not_good(
        "that is another name; nothing was done",
    ))
}

/// Forgets by the running service, which can read the keytab; without one here.
fn forget(global: &Global, config: &Config, account: &str) -> Result<Vec<Step>, CommandError> {
    let order = ForgetOrder {
        account: account.to_owned(),
    };
    let steps = ask_if_running(global, async |client| client.order("forget", &order).await)?;
    if let Some(steps) = steps {
        return Ok(steps);
    }
    let command = |answer| Command::Forget(account.to_owned(), answer);
    Ok(local::wait(local::order(config, command))??)
}
