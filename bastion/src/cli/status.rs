//! `status`: the report of the running service; with `--min-life` a check before jobs are submitted.

use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueHint};
use comfy_table::ColumnConstraint;
use console::{Style, Term};
use jiff::Timestamp;

use super::table::{self, wrapped};
use super::{CommandError, Done, print_while_read};
use crate::api::client::Client;
use crate::cli::arguments::{Global, SelectionArguments};
use crate::engine::report::{Line, Report};
use crate::model::delivery::Selection;
use crate::model::duration::{self, short};
use crate::model::moment::until;
use crate::model::problem::Remedy;
use crate::policy::plan::State;

/// Interval of `--watch`.
const EVERY: Duration = Duration::from_secs(2);
/// Headings of the table. Those from [`BASIC`] on are for wide terminals.
const HEADINGS: [&str; 11] = [
    "ACCOUNT",
    "SERVICE",
    "SCHEDD",
    STATE,
    "VAULT",
    "JOBS",
    "NEXT",
    "TO DO",
    "ISSUER/ROLE",
    "LAST GOOD",
    "ACCESSOR",
];
/// Heading of the state.
const STATE: &str = "STATE";
/// Number of columns that are always there.
const BASIC: usize = 8;

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
    #[arg(long, conflicts_with_all = ["json", "min_life"])]
    watch: bool,
}

/// Prints the state of every delivery, as the running service reports it.
pub(crate) async fn status(
    global: &Global,
    arguments: &StatusArguments,
) -> Result<Done, CommandError> {
    let selection = arguments.selected.selection();
    if arguments.watch {
        return watch(global, &selection).await;
    }
    let report = report(&global.socket()?, &selection).await?;
    let output = arguments.selected.output;
    output.print(&report, |width| with_problems(&report, width))?;
    Ok(Done::when(is_good(&report, arguments.min_life)))
}

/// Prints the state again and again, until the service stops or the reader goes away.
async fn watch(global: &Global, selection: &Selection) -> Result<Done, CommandError> {
    // Read once: a large configuration takes seconds.
    let socket = global.socket()?;
    loop {
        let report = report(&socket, selection).await?;
        let width = table::width(&Term::stdout());
        if width.is_some() {
            // A terminal that cannot be cleared shows one table below the other.
            let _ = Term::stdout().clear_screen();
        }
        if !print_while_read(&with_problems(&report, width))? {
            return Ok(Done::Good);
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn report(socket: &Path, selection: &Selection) -> Result<Report, CommandError> {
    let client = Client::connect(socket).await?;
    Ok(client.status(selection).await?)
}

/// Returns true when all deliveries are good, or when jobs have access tokens for `min_life`.
fn is_good(report: &Report, min_life: Option<Duration>) -> bool {
    let Some(enough) = min_life else {
        return report.is_good();
    };
    let has_enough = |line: &Line| {
        let left = line.jobs_safe_until.map(|end| until(report.at, end));
        line.jobs_have_token && left.is_some_and(|left| left >= enough)
    };
    // Without a delivery, as while a search has found no schedd, no job has a token.
    !report.deliveries.is_empty() && report.deliveries.iter().all(has_enough)
}

/// Formats the table, and the problems and warnings below it.
pub(super) fn with_problems(report: &Report, width: Option<u16>) -> String {
    let here = Remedy::FixThisHost.words();
    let own = report.health.lines().map(|line| format!("{here}: {line}"));
    let groups = report.problems.iter();
    let groups = groups.map(|group| format!("{}: {group}", group.remedy.words()));
    let unwanted = report.unwanted.iter();
    let unwanted = unwanted.filter_map(|removed| {
        let line = removed.problem_line()?;
        Some(format!("{}: {line}", removed.remedy().words()))
    });
    let warnings = report.grant_warnings().into_iter().map(str::to_owned);
    let warnings = warnings.chain(report.log.message());
    let paragraph = |lines: Vec<String>| match lines.as_slice() {
        [] => String::new(),
        lines => format!("\n{}", wrapped(&lines.join("\n"), width)),
    };
    deliveries(report, width)
        + &paragraph(own.chain(groups).chain(unwanted).collect())
        + &paragraph(warnings.collect())
}

/// Formats the table alone: on a narrow terminal with shortened names, on a wide one with more columns.
pub(super) fn deliveries(report: &Report, width: Option<u16>) -> String {
    let rows = report.deliveries.iter().map(|line| row(line, report.at));
    let mut table = table::of_deliveries(HEADINGS, rows, width);
    let fits =
        |columns: &usize| width.is_some_and(|width| table::width_of(&table, *columns) <= width);
    let shown = (BASIC..=HEADINGS.len()).take_while(fits).last();
    let shown = shown.unwrap_or(BASIC);
    for column in table.column_iter_mut().skip(shown) {
        column.set_constraint(ColumnConstraint::Hidden);
    }
    let text = table::format(table);
    if console::colors_enabled() {
        with_colours(&text, &report.deliveries)
    } else {
        text
    }
}

fn row(line: &Line, now: Timestamp) -> [String; HEADINGS.len()] {
    let dash = || "-".to_owned();
    let left = |end: Option<Timestamp>| end.map_or_else(dash, |end| short(until(now, end)));
    let remedy = line.problem.as_ref().map(|trouble| trouble.remedy.words());
    let next = match line.next_at.map(|next| until(now, next)) {
        _ if line.working => "in work".to_owned(),
        None => dash(),
        Some(pause) if pause.as_secs() == 0 => "now".to_owned(),
        Some(pause) => short(pause),
    };
    let ago = line.last_success.map(|then| short(until(then, now)));
    [
        line.wanted.account.clone(),
        line.wanted.service.clone(),
        line.wanted.schedd.clone(),
        line.state.word().to_owned(),
        left(line.vault_token_expires),
        left(line.jobs_safe_until),
        next,
        remedy.unwrap_or_default().to_owned(),
        format!("{}/{}", line.wanted.issuer, line.wanted.role),
        ago.map_or_else(dash, |ago| format!("{ago} ago")),
        line.accessor.clone().unwrap_or_else(dash),
    ]
}

/// Colours the states, which stand below their heading.
fn with_colours(table: &str, lines: &[Line]) -> String {
    let before = table.split(STATE).next().unwrap_or_default();
    let start = before.chars().count();
    let mut text = String::new();
    let states = std::iter::once(None).chain(lines.iter().map(|line| Some(line.state)));
    for (row, state) in table.lines().zip(states) {
        let word = state.map_or("", State::word);
        let mut rest = row.chars();
        text.extend(rest.by_ref().take(start));
        let shown: String = rest.by_ref().take(word.len()).collect();
        text += &colour(state).apply_to(shown).to_string();
        text.extend(rest);
        text.push('\n');
    }
    text
}

fn colour(state: Option<State>) -> Style {
    let style = Style::new().force_styling(true);
    match state {
        None => Style::new(),
        Some(State::Good) => style.green(),
        Some(State::Failed | State::Revoked) => style.red(),
        Some(State::New | State::Pending | State::Gone) => style.yellow(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::report::Line;
    use crate::engine::report::tests::{at, failed, good};
    use crate::model::problem::{Cause, Kind};

    fn report() -> Report {
        let mut long = failed(
            "crabtw",
            Cause::Vault("https://v".to_owned()),
            Kind::VaultDown,
        );
        long.wanted.service = "cms_productionmanagement".to_owned();
        long.wanted.schedd = "crab-prod-tw01.schedds.cern.example.org".to_owned();
        Report::of(vec![good("cmsprod"), long], at(0))
    }

    #[test]
    fn in_a_pipe_nothing_is_shortened() {
        assert_eq!(
            with_problems(&report(), None),
            "ACCOUNT  SERVICE                   SCHEDD                                   STATE   VAULT  JOBS  NEXT  TO DO\n\
             cmsprod  cms                       ap1                                      good    7d     20m   10m\n\
             crabtw   cms_productionmanagement  crab-prod-tw01.schedds.cern.example.org  failed  7d     20m   10m   wait\n\
             \n\
             wait: Vault https://v: it went wrong; put it right\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_every_delivery_has_one() {
        for width in 60..140 {
            let text = with_problems(&report(), Some(width));
            for line in text.lines() {
                assert!(
                    line.chars().count() <= usize::from(width),
                    "{width}: {line}"
                );
            }
            let table = deliveries(&report(), Some(width));
            assert_eq!(table.lines().count(), 3, "{table}");
        }
        assert_eq!(
            deliveries(&report(), Some(80)),
            "ACCOUNT  SERVICE            SCHEDD            STATE   VAULT  JOBS  NEXT  TO DO\n\
             cmsprod  cms                ap1               good    7d     20m   10m\n\
             crabtw   cms_productionma…  crab-prod-tw01.…  failed  7d     20m   10m   wait\n"
        );
    }

    #[test]
    fn a_wide_terminal_shows_more() {
        let table = deliveries(&report(), Some(200));
        assert!(table.contains("ACCESSOR"), "{table}");
        let table = deliveries(&report(), Some(125));
        assert!(
            table.contains("ISSUER/ROLE") && !table.contains("ACCESSOR"),
            "{table}"
        );
    }

    #[test]
    fn faults_of_the_service_itself_hide_no_problem_and_take_no_other_ones_remedy() {
        let mut report = report();
        report.health.configuration = Some("c.yaml: one\nc.yaml: two".to_owned());
        report.health.state = Some("the disk is full".to_owned());
        let below = |report: &Report| {
            let text = with_problems(report, None);
            text.split_once("\n\n").unwrap().1.to_owned()
        };
        let unused =
            "fix here: the configuration on disk is not used, and the next start would fail by it:";
        let disk = "fix here: the disk is full";
        let own = format!("{unused} c.yaml: one\n{unused} c.yaml: two\n{disk}\n");
        let vault = "wait: Vault https://v: it went wrong; put it right\n";
        assert_eq!(below(&report), format!("{own}{vault}"));
        report.problems.clear();
        assert_eq!(below(&report), own);
    }

    #[test]
    fn states_are_coloured_and_other_words_are_not() {
        let mut report = report();
        report.deliveries[0].wanted.account = "good_account".to_owned();
        // Headings are shortened, too, in the narrow one.
        for width in [None, Some(60)] {
            let text = with_colours(&deliveries(&report, width), &report.deliveries);
            assert!(text.contains("\x1b[32mgood\x1b[0m    7d"), "{text}");
            assert!(text.contains("\x1b[31mfailed\x1b[0m  7d"), "{text}");
            assert_eq!(text.matches("\x1b[0m").count(), 2, "{text}");
        }
    }

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
        let empty = Report::of(Vec::new(), at(0));
        assert!(!is_good(&empty, minutes(0)) && is_good(&empty, None));
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
