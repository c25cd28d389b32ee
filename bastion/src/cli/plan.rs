//! `plan`: what the running service does next for every delivery, and when; without one, what it
//! would do at its start.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Done, Failure, ask_if_running, complain, print, print_json};
use crate::cli::arguments::{Global, Output, Which};
use crate::cli::local;
use crate::engine::report::{Report, table};
use crate::model::duration;
use crate::model::moment::until;
use crate::policy::plan::Why;
use crate::policy::plan::outlook::{PlannedAction, Reason};

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Plan {
    /// The service runs, and this is what it will do.
    running: bool,
    #[serde(flatten)]
    report: Report,
}

/// Says what comes next.
pub(crate) fn plan(global: &Global, arguments: &Arguments) -> Result<Done, Failure> {
    let selection = arguments.which.selection();
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
                .map_err(|wrong| Failure::wrong([wrong]))?,
        }
    };
    if arguments.output.json {
        print_json(&plan)?;
    } else {
        if !plan.running {
            complain(["the service does not run; this is what it would do at its start"]);
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
        let (what, why) = match pause {
            Some(_) => (what(line.next_step), why(line.next_why)),
            None => ("nothing", "cut off by order; `push` delivers it again"),
        };
        [
            line.wanted.account.clone(),
            line.wanted.service.clone(),
            line.wanted.schedd.clone(),
            at,
            what.to_owned(),
            why.to_owned(),
        ]
    });
    table(
        ["ACCOUNT", "SERVICE", "SCHEDD", "WHEN", "WHAT", "WHY"],
        rows,
    )
}

fn what(step: PlannedAction) -> &'static str {
    match step {
        PlannedAction::Observe => "look",
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
        Reason::Push(Why::First) => "nothing is known to be there",
        Reason::Push(Why::Missing) => "the schedd has none any more",
        Reason::Push(Why::Replaced) => "the schedd has another one",
        Reason::Push(Why::Changed) => "the configuration changed",
        Reason::Push(Why::Renewal) => "renewal",
        Reason::Push(Why::Asked) => "asked for",
        Reason::Push(_) => "needed",
    }
}
