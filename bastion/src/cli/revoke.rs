//! `revoke`: revocation of deliveries by the running service; without one, as far as that is possible.

use clap::{Args, ValueHint};

use super::table::TableStyle;
use super::{CommandError, Done, ask_if_running, complain, print, print_json};
use crate::api::bodies::RevokeOrder;
use crate::cli::arguments::{Global, Output};
use crate::cli::local;
use crate::engine::Command;
use crate::engine::revoke::RevocationReport;
use crate::model::delivery::Selection;

/// Arguments of `revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeArguments {
    /// The account.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other, required_unless_present = "all_at")]
    account: Option<String>,
    /// Only this service.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    service: Option<String>,
    /// The schedd.
    #[arg(long, value_name = "HOST", value_hint = ValueHint::Other, required_unless_present = "all_at")]
    schedd: Option<String>,
    /// Every delivery of every account at this schedd, as when it is stolen.
    #[arg(long, value_name = "HOST", value_hint = ValueHint::Other, conflicts_with_all = ["account", "service", "schedd"])]
    all_at: Option<String>,
    /// Revoke at Vault, and ask nothing of the schedd: it is shown no access token.
    #[arg(long)]
    leave_schedd: bool,
    #[command(flatten)]
    output: Output,
}

/// Revokes deliveries; prints each step with its outcome.
pub(crate) fn revoke(global: &Global, arguments: &RevokeArguments) -> Result<Done, CommandError> {
    let selection = Selection {
        account: arguments.account.clone(),
        service: arguments.service.clone(),
        schedd: arguments.schedd.clone().or(arguments.all_at.clone()),
    };
    let reports = order_revocation(global, &selection, arguments.leave_schedd)?;
    if arguments.output.json {
        print_json(&reports)?;
    } else {
        let width = TableStyle::of_stdout().width;
        print(
            &reports
                .iter()
                .map(|report| report.table(width))
                .collect::<String>(),
        )?;
    }
    Ok(Done::when(reports.iter().all(RevocationReport::is_done)))
}

/// Revokes deliveries by the running service; without one, as far as that is possible.
pub(super) fn order_revocation(
    global: &Global,
    selection: &Selection,
    leave_schedds: bool,
) -> Result<Vec<RevocationReport>, CommandError> {
    let order = RevokeOrder {
        account: selection.account.clone(),
        service: selection.service.clone(),
        schedd: selection.schedd.clone(),
        leave_schedd: leave_schedds,
    };
    let reports = ask_if_running(global, async |client| client.order("revoke", &order).await)?;
    if let Some(reports) = reports {
        return Ok(reports);
    }
    let config = global.load()?;
    complain(["no service runs here: tokens that it made are known by their accessors only"]);
    let command = |answer| Command::Revoke(selection.clone(), leave_schedds, answer);
    let reports = local::wait(local::order(&config, command))??;
    if reports.is_empty() {
        let what = "no delivery is meant; see `token-bastion check` for those that there are";
        return Err(CommandError::wrong([what]));
    }
    Ok(reports)
}
