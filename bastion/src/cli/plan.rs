//! `plan`: the next step of the running service for every delivery, with its time; without a service, the steps after
//! a start.

use serde::Serialize;

use super::executor::Executor;
use super::{CommandError, Done, complain, table};
use crate::cli::arguments::{Global, SelectionArguments};
use crate::engine::report::{Line, Report};
use crate::model::duration;
use crate::model::moment::until;
use crate::policy::plan::outlook::{PlannedAction, Reason};
use crate::policy::plan::{PushReason, State};

#[derive(Serialize)]
struct Plan {
    /// True when the plan is that of a running service.
    running: bool,
    #[serde(flatten)]
    report: Report,
}

/// Prints the plan.
pub(crate) async fn plan(
    global: &Global,
    arguments: &SelectionArguments,
) -> Result<Done, CommandError> {
    let executor = Executor::find(global).await?;
    let plan = Plan {
        running: executor.is_service(),
        report: executor.report(&arguments.selection()).await?,
    };
    if !plan.running && !arguments.output.json {
        complain(["the service does not run; this is what it would do after a start"]);
    }
    let output = arguments.output;
    output.print(&plan, |width| text(&plan.report, width))?;
    Ok(Done::Good)
}

fn text(report: &Report, width: Option<u16>) -> String {
    let row = |line: &Line| {
        let at = match line.next_at.map(|next| until(report.at, next)) {
            None => "-".to_owned(),
            Some(pause) if pause.as_secs() == 0 => "now".to_owned(),
            Some(pause) => format!("in {}", duration::format(pause)),
        };
        let (action, why) = match line.state {
            _ if line.next_at.is_some() => (action(line.next_step), why(line.next_why)),
            State::Gone => ("nothing", "its schedd is gone"),
            _ => ("nothing", "revoked (see push --schedd)"),
        };
        [
            line.wanted.account.clone(),
            line.wanted.service.clone(),
            line.wanted.schedd.clone(),
            at,
            action.to_owned(),
            why.to_owned(),
        ]
    };
    let heading = ["ACCOUNT", "SERVICE", "SCHEDD", "WHEN", "WHAT", "WHY"];
    let rows = report.deliveries.iter().map(row);
    table::format(table::of_deliveries(heading, rows, width))
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
        Reason::Unserved => "not served yet",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::report::tests::{at, good};

    #[test]
    fn on_a_narrow_terminal_names_are_shortened_and_in_a_pipe_nothing_is() {
        let mut line = good("crabtw_of_the_tests");
        line.wanted.service = "cms_productionmanagement".to_owned();
        line.wanted.schedd = "crab-prod-tw01.schedds.cern.example.org".to_owned();
        line.next_at = Some(at(23 * 3600 + 59 * 60));
        line.next_why = Reason::Push(PushReason::First);
        let waiting = line.clone();
        line.next_at = None;
        for (state, why) in [
            (State::Gone, "its schedd is gone"),
            (State::Revoked, "revoked (see push --schedd)"),
        ] {
            line.state = state;
            let report = Report::of(vec![line.clone(), waiting.clone()], at(0));
            let table = text(&report, Some(80));
            assert!(table.lines().count() == 3 && table.contains(why), "{table}");
            assert!(table.contains("in 23h59m  observe"), "{table}");
            for line in table.lines() {
                assert!(line.chars().count() <= 80, "{table}");
            }
            for row in table.lines().skip(1) {
                let mut names = row.split_whitespace().take(3);
                assert!(names.all(|name| name.len() >= 8), "{table}");
            }
            let whole = "cms_productionmanagement  crab-prod-tw01.schedds";
            assert!(text(&report, None).contains(whole));
        }
    }
}
