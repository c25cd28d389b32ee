//! `offboard`: everything of an account is revoked and deleted, and that is checked.

use std::io::{self, IsTerminal as _, Write as _};

use clap::{Args, ValueHint};
use console::Term;
use serde_json::json;

use super::executor::Executor;
use super::output::Output;
use super::table::{width, wrapped};
use super::{CommandError, Done, complain, onboard, revoke};
use crate::api::bodies::{ForgetOrder, RevokeOrder};
use crate::cli::arguments::Global;
use crate::config::Config;
use crate::engine::Command;
use crate::engine::offboard::{self, Offboarded};
use crate::engine::revoke::is_wanted;
use crate::model::delivery::{DeliveryId, Selection};
use crate::model::grants;

/// Arguments of `offboard`.
#[derive(Debug, Args)]
pub(crate) struct OffboardArguments {
    /// The account.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    account: String,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
    /// Print the steps, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Forget the refresh tokens though a schedd could not be asked to delete what it has.
    #[arg(long)]
    forget_anyway: bool,
    #[command(flatten)]
    output: Output,
}

/// Revokes and deletes everything of an account.
pub(crate) async fn offboard(
    global: &Global,
    arguments: &OffboardArguments,
) -> Result<Done, CommandError> {
    let (account, output) = (&arguments.account, arguments.output);
    let order = RevokeOrder {
        account: Some(account.clone()),
        ..RevokeOrder::default()
    };
    let selection = order.selection();
    let config = global.load()?;
    let credentials = onboard::credentials(&config, &selection)?;
    let executor = Executor::find(global).await?;
    let mut steps = revocations(&executor, &config, &selection).await?;
    let has_deliveries = !steps.is_empty();
    let grants = offboard::each_grant(&credentials);
    let names = grants.iter().map(|credential| grants::name(credential));
    steps.extend(names.map(|name| format!("forget refresh token {name} at Vault")));
    let listed = steps.join("\n") + "\n";
    if arguments.dry_run {
        let plan = json!({"account": account, "would": steps});
        output.print(&plan, |width| wrapped(&listed, width))?;
        return Ok(Done::Good);
    }
    if !arguments.yes {
        confirm(account, &listed)?;
    }
    let reports = match revoke::send(&executor, &order).await {
        // The service refuses an account without deliveries, as when a search has found no schedd yet; the
        // configuration knows it, and its refresh tokens are left to forget.
        Err(refused) if executor.is_service() && refused.is_wrong() && !has_deliveries => {
            Vec::new()
        }
        reports => reports?,
    };
    let needed = offboard::in_need(&reports);
    let vault = if needed.is_empty() || arguments.forget_anyway {
        let order = ForgetOrder {
            account: account.clone(),
        };
        let command = |answer| Command::Forget(account.clone(), answer);
        executor.order("forget", &order, command).await?
    } else {
        offboard::kept(&credentials, &needed)
    };
    let whole = Offboarded::new(account.clone(), reports, vault);
    let printed = output.print(&whole, |width| text(&whole, width));
    complain([if whole.done {
        format!(
            "account {account} is offboarded; remove it from the configuration, and its keytab from this host"
        )
    } else {
        format!(
            "account {account} is NOT offboarded yet: see what is not done, and run this again; leave it in the \
             configuration until then"
        )
    }]);
    printed?;
    Ok(Done::when(whole.done))
}

/// Steps of the revocations, for people.
async fn revocations(
    executor: &Executor,
    config: &Config,
    selection: &Selection,
) -> Result<Vec<String>, CommandError> {
    // Of all deliveries: those that are not wanted any more may be the only ones.
    let report = executor.report(&Selection::default()).await?;
    let wanted = report.deliveries.into_iter();
    let wanted = wanted.map(|line| (line.wanted.id(), "", Vec::from_iter(line.accessor)));
    let unwanted = report.unwanted.into_iter().map(|unwanted| {
        let note = note_of_unwanted(config, &unwanted.id);
        (unwanted.id, note, unwanted.accessors)
    });
    let meant = wanted
        .chain(unwanted)
        .filter(|(id, ..)| selection.matches(id));
    let steps = meant.map(|(id, note, accessors)| {
        let tokens = match accessors.as_slice() {
            [] => String::new(),
            accessors => format!("revoke vault token {}, ", accessors.join(", ")),
        };
        format!("revoke {id}{note}: {tokens}delete what is stored there")
    });
    Ok(steps.collect())
}

/// Why nothing is delivered any more.
fn note_of_unwanted(config: &Config, id: &DeliveryId) -> &'static str {
    if is_wanted(&[], &config.searches, id) {
        " (its schedd is not found)"
    } else if is_wanted(&config.deliveries, &[], id) {
        " (the service has not read that configuration: see reload)"
    } else {
        " (the configuration has it no longer)"
    }
}

/// Asks on the terminal.
fn confirm(account: &str, plan: &str) -> Result<(), CommandError> {
    if !io::stdin().is_terminal() {
        let message = "this cannot be undone and there is no terminal to ask on: use --yes, or --dry-run to see what would be done";
        return Err(CommandError::wrong([message]));
    }
    let last = "This cannot be undone: somebody has to log in again for the account.";
    let shown = wrapped(&format!("{plan}{last}"), width(&Term::stderr()));
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{shown}Type the account's name to go on: ");
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

/// Formats all steps.
fn text(whole: &Offboarded, width: Option<u16>) -> String {
    let deliveries = whole.deliveries.iter();
    let deliveries = deliveries.map(|report| revoke::text(report, width));
    let title = format!("{} at Vault", whole.account);
    deliveries.collect::<String>() + &revoke::steps_text(&title, &whole.vault, width)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::config::{DeliveryTemplate, NameFilter};
    use crate::fixtures;

    #[test]
    fn a_delivery_whose_schedd_is_not_found_is_not_told_as_configured_away() {
        let credential = Arc::new(fixtures::credential("a", "cms"));
        let template = DeliveryTemplate {
            schedds: NameFilter::all(),
            at: None,
            authorize: Arc::clone(&credential),
            credential,
            lifetime: Duration::from_hours(2),
            renew_below: Duration::from_hours(1),
        };
        let mut config = fixtures::config(Vec::new());
        config.searches = vec![fixtures::search(vec![template])];
        let note = |account| note_of_unwanted(&config, &fixtures::id(account));
        assert_eq!(note("a"), " (its schedd is not found)");
        assert_eq!(note("b"), " (the configuration has it no longer)");
        config.deliveries = vec![Arc::new(fixtures::delivery_to(fixtures::credd("ap1")))];
        config.searches.clear();
        let note = note_of_unwanted(&config, &config.deliveries[0].id);
        assert!(note.ends_with("see reload)"), "{note}");
    }
}
