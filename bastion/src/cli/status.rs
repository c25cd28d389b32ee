//! `status`: the report of the running service; with `--min-life` a check before jobs are submitted.

use std::thread;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::table::{self, TableStyle};
use super::{CommandError, Done, ask, print, print_json, print_while_read};
use crate::cli::arguments::{Global, Output, SelectionArguments};
use crate::engine::report::Report;
use crate::model::delivery::Selection;
use crate::model::duration;
use crate::model::moment::until;

/// Interval of `--watch`.
const EVERY: Duration = Duration::from_secs(2);

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    selected: SelectionArguments,
    /// Exit with 0 when jobs surely have an access token for this long (90s, 20m, 1h) if nothing
    /// more succeeds, whatever else is wrong.
    #[arg(long, value_name = "TIME", value_hint = ValueHint::Other, value_parser = duration::parse)]
    min_life: Option<Duration>,
    /// Repeat every two seconds, until interrupted.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    #[command(flatten)]
    output: Output,
}

/// Prints the state of every delivery, as the running service reports it.
pub(crate) fn status(global: &Global, arguments: &StatusArguments) -> Result<Done, CommandError> {
    let (style, selection) = (TableStyle::of_stdout(), arguments.selected.selection());
    if arguments.watch {
        return watch(global, &selection, style);
    }
    let report = ask(global, async |client| client.status(&selection).await)?;
    if arguments.output.json {
        print_json(&report)?;
    } else {
        print(&table::status(&report, style))?;
    }
    Ok(Done::when(is_good(&report, arguments.min_life)))
}

/// Prints the state again and again, until the service stops or the reader goes away.
fn watch(global: &Global, selection: &Selection, style: TableStyle) -> Result<Done, CommandError> {
    loop {
        let report = ask(global, async |client| client.status(selection).await)?;
        if style.width.is_some() {
            // A terminal that cannot be cleared shows one table below the other.
            let _ = console::Term::stdout().clear_screen();
        }
        if !print_while_read(&table::status(&report, style))? {
            return Ok(Done::Good);
        }
        thread::sleep(EVERY);
    }
}

/// Returns true when all deliveries are good, or when jobs have access tokens for `min_life`.
fn is_good(report: &Report, min_life: Option<Duration>) -> bool {
    let Some(enough) = min_life else {
        return report.is_good();
    };
    report.deliveries.iter().all(|line| {
        let left = line.jobs_safe_until.map(|end| until(report.at, end));
        line.jobs_have_token && left.is_some_and(|left| left >= enough)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::report::Line;
    use crate::engine::report::tests::{at, failed, good};
    use crate::model::problem::{Cause, Kind};
    use crate::policy::plan::State;

    #[test]
    fn jobs_may_be_submitted_while_their_token_lives_even_if_the_last_try_failed() {
        let bad = failed("a", Cause::Vault("v".to_owned()), Kind::VaultDown);
        let report = |line: &Line| Report::of(vec![line.clone(), good("b")], at(0));
        let minutes = |n| Some(Duration::from_mins(n));
        assert!(!is_good(&report(&bad), None));
        assert!(is_good(&report(&bad), minutes(20)));
        assert!(!is_good(&report(&bad), minutes(21)));
        let none = Line {
            jobs_have_token: false,
            ..bad
        };
        assert!(!is_good(&report(&none), minutes(1)));
        assert!(is_good(&report(&good("c")), None));
    }

    #[test]
    fn a_schedd_that_is_gone_is_nobodys_fault_and_one_that_is_revoked_has_no_tokens() {
        for (state, in_order) in [
            (State::New, false),
            (State::Pending, false),
            (State::Good, true),
            (State::Failed, false),
            (State::Revoked, false),
            (State::Gone, true),
        ] {
            let line = Line {
                state,
                jobs_have_token: false,
                ..good("a")
            };
            let report = Report::of(vec![line], at(0));
            assert_eq!(is_good(&report, None), in_order, "{state:?}");
            assert!(!is_good(&report, Some(Duration::ZERO)), "{state:?}");
        }
    }
}
