//! `plan`: the next step of the running service for every delivery, with its time; without a service, the steps after
//! a start.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{CommandError, Done, ask_if_running, complain, print, print_json};
use crate::cli::arguments::{Global, Output, SelectionArguments};
use crate::cli::local;
use crate::engine::report::{Report, table};
use crate::model::duration;
use crate::model::moment::until;
use crate::policy::plan::PushReason;
use crate::policy::plan::outlook::{PlannedAction, Reason};

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    selected: SelectionArguments,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Plan {
    /// True when the plan is that of a running service.
    running: bool,
    #[serde(flatten)]
    report: Report,
}

/// Prints the plan.
pub(crate) fn plan(global: &Global, arguments: &PlanArguments) -> Result<Done, CommandError> {
    let selection = arguments.selected.selection();
    let running = ask_if_running(global, async |client| client.status(&selection).await)?;
    let plan = if let Some(report) = running {
        Plan {
            running: true,
            report,
        }
    } else {
        let report = local::at_start(&global.load()?)?;
        Plan {
            running: false,
            report: report
                .only(&selection)
                .map_err(|wrong| CommandError::wrong([wrong]))?,
        }
    };
    if arguments.output.json {
        print_json(&plan)?;
    } else {
        if !plan.running {
            complain(["the service does not run; this is what it would do after a start"]);
        }
        print(&text(&plan.report))?;
    }
    Ok(Done::Good)
}

fn text(report: &Report) -> String {
    let rows = report.deliveries.iter().map(|line| {
        let pause = line.next_at.map(|next| until(report.at, next));
        let at = match pause {
            None => "-".to_owned(),
            Some(Duration::ZERO) => "now".to_owned(),
            Some(pause) => format!("in {}", duration::format(pause)),
        };
        let (action, why) = match pause {
            Some(_) => (action(line.next_step), why(line.next_why)),
            None => ("nothing", "revoked; `push` delivers it again"),
        };
        [
            line.wanted.account.clone(),
            line.wanted.service.clone(),
            line.wanted.schedd.clone(),
            at,
            action.to_owned(),
            why.to_owned(),
        ]
    });
    table(
        ["ACCOUNT", "SERVICE", "SCHEDD", "WHEN", "WHAT", "WHY"],
        rows,
    )
}

fn action(step: PlannedAction) -> &'static str {
    match step {
        PlannedAction::Observe => "observe",
        PlannedAction::Prove => "read",
        PlannedAction::Push => "push",
    }
}

fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::Start => "nothing is known yet",
        Reason::Retry => "it failed",
        Reason::Unserved => "the credmon has not served it yet",
        Reason::Schedule => "schedule",
        Reason::Push(PushReason::First) => "nothing is known to be there",
        Reason::Push(PushReason::Missing) => "the schedd has none any more",
        Reason::Push(PushReason::Replaced) => "the schedd has another one",
        Reason::Push(PushReason::Changed) => "the configuration changed",
        Reason::Push(PushReason::Renewal) => "renewal",
        Reason::Push(PushReason::Asked) => "asked for",
        Reason::Push(_) => "needed",
    }
}
