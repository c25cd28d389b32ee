//! `revoke`: revocation of deliveries by the running service; without one, as far as that is possible.

use clap::{Args, ValueHint};

use super::executor::Executor;
use super::output::Output;
use super::table::{explained, wrapped};
use super::{CommandError, Done, complain};
use crate::api::bodies::RevokeOrder;
use crate::cli::arguments::Global;
use crate::engine::Command;
use crate::engine::revoke::{RevocationReport, Step};

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
    /// Revoke at Vault, and send no request to the schedd: it is shown no access token.
    #[arg(long)]
    leave_schedd: bool,
    #[command(flatten)]
    output: Output,
}

/// Revokes deliveries; prints each step with its outcome.
pub(crate) async fn revoke(
    global: &Global,
    arguments: &RevokeArguments,
) -> Result<Done, CommandError> {
    let order = RevokeOrder {
        account: arguments.account.clone(),
        service: arguments.service.clone(),
        schedd: arguments.schedd.clone().or(arguments.all_at.clone()),
        leave_schedd: arguments.leave_schedd,
    };
    let executor = Executor::find(global).await?;
    let reports = send(&executor, &order).await?;
    // A service itself refuses names that no delivery has.
    if reports.is_empty() && !executor.is_service() {
        let message =
            "no delivery has these names; see `token-bastion check` for those that there are";
        return Err(CommandError::wrong([message]));
    }
    let text = |width| reports.iter().map(|report| text(report, width)).collect();
    arguments.output.print(&reports, text)?;
    Ok(Done::when(reports.iter().all(RevocationReport::is_done)))
}

/// Has deliveries revoked. A service refuses names that no delivery has; without one, nothing is reported.
pub(super) async fn send(
    executor: &Executor,
    order: &RevokeOrder,
) -> Result<Vec<RevocationReport>, CommandError> {
    if !executor.is_service() {
        complain(["no service runs here: tokens that it made are known by their accessors only"]);
    }
    let command = |answer| Command::Revoke(order.selection(), order.leave_schedd, answer);
    executor.order("revoke", order, command).await
}

/// Formats the steps of one delivery.
pub(super) fn text(report: &RevocationReport, width: Option<u16>) -> String {
    steps_text(&report.id.to_string(), &report.steps, width)
}

/// Formats steps below a title.
pub(super) fn steps_text(title: &str, steps: &[Step], width: Option<u16>) -> String {
    let rows = steps.iter().map(|step| {
        let outcome = step.outcome.words().to_owned();
        [step.what.words(), outcome, step.why.clone()]
    });
    wrapped(title, width) + &explained(rows, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::revoke::tests::{report, step};
    use crate::engine::revoke::{StepObject, StepOutcome};

    #[test]
    fn people_see_each_step_under_its_delivery() {
        let stored = Step::new(StepObject::Stored, StepOutcome::NotDone, "refused");
        assert_eq!(
            text(&report(vec![step(StepOutcome::Done), stored]), None),
            "a/cms at ap1\n  vault token abc           done      why\n  credential at the schedd  NOT DONE  refused\n"
        );
    }

    #[test]
    fn on_a_terminal_reasons_stay_in_their_column() {
        let accessor = "NwgmoZDXOO1PDl6AbTuiCQHX".to_owned();
        let why = "no answer from the schedd; run this again when it runs";
        let steps = vec![
            Step::new(
                StepObject::VaultToken { accessor },
                StepOutcome::Done,
                "it is dead",
            ),
            Step::new(StepObject::Stored, StepOutcome::NotDone, why),
        ];
        assert_eq!(
            text(&report(steps), Some(80)),
            "a/cms at ap1\n\
            \x20 vault token               done      it is dead\n\
            \x20 NwgmoZDXOO1PDl6AbTuiCQHX\n\
            \x20 credential at the schedd  NOT DONE  no answer from the schedd; run this again\n\
            \x20                                     when it runs\n"
        );
    }
}
