//! Table of the states of all deliveries, with the problems below it.
//!
//! Always true: no line is wider than the terminal; in a pipe nothing is shortened or coloured.

use std::fmt::Write as _;
use std::time::Duration;

use console::Term;
use jiff::Timestamp;

use crate::cli::wrap::{width, wrapped};
use crate::engine::report::{Line, Report};
use crate::model::duration::short;
use crate::model::moment::until;
use crate::policy::plan::State;

/// Blanks between two columns.
const GAP: usize = 2;
/// Least width of a shortened name.
const SHORTEST: usize = 6;
/// Indices of the columns with names, which may be shortened.
const NAMES: [usize; 3] = [0, 1, 2];
/// Index of the column with the state, which is coloured.
const STATE: usize = 3;

/// Width and colours of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableStyle {
    /// Columns of the terminal; unlimited when `None`.
    pub(crate) width: Option<usize>,
    /// Use colours.
    pub(crate) coloured: bool,
}

impl TableStyle {
    /// Returns the style for standard output.
    pub(crate) fn of_stdout() -> Self {
        let width = width(&Term::stdout());
        if width.is_none() {
            return Self::default();
        }
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            width,
            coloured: !plain,
        }
    }
}

/// The table, and the problems below it.
pub(crate) fn status(report: &Report, style: TableStyle) -> String {
    let mut text = deliveries(report, style);
    if !report.problems.is_empty() {
        text.push('\n');
    }
    for (group, line) in report.problems.iter().zip(report.problem_lines()) {
        let line = format!("{}: {line}", group.remedy.words());
        text.push_str(&wrapped(&line, 0, 2, style.width));
    }
    let log = report.log.message();
    let mut warnings = report.grant_warnings();
    warnings.extend(log.as_deref());
    if !warnings.is_empty() {
        text.push('\n');
    }
    for line in warnings {
        text.push_str(&wrapped(line, 0, 2, style.width));
    }
    text
}

/// The table alone.
pub(crate) fn deliveries(report: &Report, style: TableStyle) -> String {
    let now = report.at;
    let head = [
        "ACCOUNT", "SERVICE", "SCHEDD", "STATE", "VAULT", "JOBS", "NEXT", "TO DO",
    ];
    let more = ["ISSUER/ROLE", "LAST GOOD", "ACCESSOR"];
    let mut rows: Vec<Vec<String>> = vec![head.map(str::to_owned).to_vec()];
    let mut extra: Vec<[String; 3]> = vec![more.map(str::to_owned)];
    for line in &report.deliveries {
        rows.push(row(line, now));
        let ago = line.last_success.map(|then| until(then, now));
        extra.push([
            format!("{}/{}", line.wanted.issuer, line.wanted.role),
            ago.map_or_else(dash, |ago| format!("{} ago", short(ago))),
            line.accessor.clone().unwrap_or_else(dash),
        ]);
    }
    if let Some(width) = style.width {
        // Further columns while they fit.
        for column in 0..more.len() {
            let mut wider = rows.clone();
            for (row, extra) in wider.iter_mut().zip(&extra) {
                row.extend(extra.get(column).cloned());
            }
            if total(&widths(&wider)) > width {
                break;
            }
            rows = wider;
        }
        shorten(&mut rows, width);
    }
    draw(&rows, &report.deliveries, style.coloured)
}

fn row(line: &Line, now: Timestamp) -> Vec<String> {
    let left = |end: Option<Timestamp>| end.map_or_else(dash, |end| short(until(now, end)));
    let remedy = line.problem.as_ref().map(|trouble| trouble.remedy.words());
    let next = match line.next_at.map(|next| until(now, next)) {
        _ if line.working => "in work".to_owned(),
        None => dash(),
        Some(Duration::ZERO) => "now".to_owned(),
        Some(pause) => short(pause),
    };
    vec![
        line.wanted.account.clone(),
        line.wanted.service.clone(),
        line.wanted.schedd.clone(),
        line.state.word().to_owned(),
        left(line.vault_token_expires),
        left(line.jobs_safe_until),
        next,
        remedy.unwrap_or_default().to_owned(),
    ]
}

fn dash() -> String {
    "-".to_owned()
}

/// Shortens names until the table is no wider than `width`, the longest first.
fn shorten(rows: &mut [Vec<String>], width: usize) {
    loop {
        let widths = widths(rows);
        let longest = NAMES
            .into_iter()
            .filter_map(|column| Some((*widths.get(column)?, column)))
            .max();
        let Some((longest, column)) = longest else {
            return;
        };
        if total(&widths) <= width || longest <= SHORTEST {
            return;
        }
        for row in rows.iter_mut() {
            if let Some(cell) = row.get_mut(column) {
                *cell = shortened(cell, longest - 1);
            }
        }
    }
}

/// At most `width` characters: begin and end of a name, which tell names apart.
fn shortened(name: &str, width: usize) -> String {
    let name: Vec<char> = name.chars().filter(|c| *c != '…').collect();
    if name.len() <= width && width > 0 {
        return name.into_iter().collect();
    }
    let kept = width.saturating_sub(1);
    let end = kept / 3;
    let begin = name.iter().take(kept - end);
    let rest = name.iter().skip(name.len().saturating_sub(end));
    begin.chain(['…'].iter()).chain(rest).collect()
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    (0..columns).map(widest).collect()
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

fn draw(rows: &[Vec<String>], lines: &[Line], coloured: bool) -> String {
    let widths = widths(rows);
    let states = std::iter::once(None).chain(lines.iter().map(|line| Some(line.state)));
    let mut text = String::new();
    for (row, state) in rows.iter().zip(states) {
        let mut drawn = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padded = format!("{cell:<width$}");
            match (coloured, state) {
                (true, Some(state)) if column == STATE => {
                    // Writing to a string cannot fail, here and below.
                    let _ = write!(drawn, "\x1b[{}m{padded}\x1b[0m", colour(state));
                }
                _ => drawn.push_str(&padded),
            }
            drawn.push_str("  ");
        }
        let _ = writeln!(text, "{}", drawn.trim_end());
    }
    text
}

fn colour(state: State) -> u8 {
    match state {
        State::Good => 32,
        State::Failed | State::Revoked => 31,
        State::New | State::Pending | State::Gone => 33,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            status(&report(), TableStyle::default()),
            "ACCOUNT  SERVICE                   SCHEDD                                   STATE   VAULT  JOBS  NEXT  TO DO\n\
             cmsprod  cms                       ap1                                      good    7d     20m   10m\n\
             crabtw   cms_productionmanagement  crab-prod-tw01.schedds.cern.example.org  failed  7d     20m   10m   wait\n\
             \n\
             wait: Vault https://v: it went wrong; put it right\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_names_keep_begin_and_end() {
        for width in 60..140 {
            let style = TableStyle {
                width: Some(width),
                coloured: false,
            };
            for line in status(&report(), style).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
        let style = TableStyle {
            width: Some(80),
            coloured: false,
        };
        let table = status(&report(), style);
        assert!(table.contains("crabtw"), "{table}");
        assert!(
            table.contains("crab-prod-") && table.contains(".org"),
            "{table}"
        );
    }

    #[test]
    fn a_wide_terminal_shows_more_and_colours_states() {
        let style = TableStyle {
            width: Some(200),
            coloured: true,
        };
        let table = status(&report(), style);
        assert!(table.contains("ACCESSOR"), "{table}");
        assert!(table.contains("\x1b[32mgood  \x1b[0m  7d"), "{table}");
        assert!(table.contains("\x1b[31mfailed\x1b[0m"), "{table}");
    }
}
