//! Tables and wrapped text.
//!
//! Always true: on a terminal no line is wider than it, where its words allow that; in a pipe nothing is shortened or
//! wrapped.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, Width, presets};
use console::Term;
use htvault::text::printable;
use textwrap::core::display_width;
use textwrap::{Options, WordSplitter};

/// Blanks between two columns.
const GAP: u16 = 2;
/// Number of columns with names of a delivery, which come first and may be shortened.
const NAMES: usize = 3;
/// Least width of a shortened name, with the gap after it.
const SHORTEST: u16 = 8;
/// Limit for a text of another program, in characters.
const TEXT_LIMIT: usize = 500;

/// Width of a terminal in columns; `None` where there is none. One that does not report its size has 80.
pub(crate) fn width(terminal: &Term) -> Option<u16> {
    terminal.is_term().then(|| terminal.size().1)
}

/// A table of deliveries with a line for each. Their names are shortened where the terminal is narrow.
pub(crate) fn of_deliveries<const N: usize>(
    heading: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    width: Option<u16>,
) -> Table {
    let mut table = new(width);
    for row in std::iter::once(heading.map(str::to_owned)).chain(rows) {
        let mut row = Row::from(row);
        row.max_height(1);
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_constraint(if index < NAMES {
            ColumnConstraint::LowerBoundary(Width::Fixed(SHORTEST))
        } else {
            ColumnConstraint::ContentWidth
        });
    }
    table
}

/// An empty table without borders, for a terminal of `width` columns.
fn new(width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Some(width) = width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    table
}

/// Width of the first columns of a table, without the gap after them.
pub(crate) fn width_of(table: &Table, columns: usize) -> u16 {
    let widths = table.column_max_content_widths().into_iter();
    let widths = widths.take(columns).map(|width| width + GAP);
    widths.sum::<u16>().saturating_sub(GAP)
}

/// Formats a table, with gaps between columns and without blanks at the ends of lines.
pub(crate) fn format(mut table: Table) -> String {
    let last = table.column_count().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index < last { GAP } else { 0 }));
    }
    table.trim_fmt() + "\n"
}

/// Formats rows below a heading, for pipes and wide terminals.
pub(crate) fn listed<const N: usize>(
    heading: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = new(None);
    table.add_row(heading).add_rows(rows);
    format(table)
}

/// Formats indented rows; the last column is a text that may be long. Where they do not fit as they are, names that
/// take more than a third of the width are wrapped, too. No word is broken: paths are copied from there.
pub(crate) fn explained<const N: usize>(
    rows: impl IntoIterator<Item = [String; N]>,
    width: Option<u16>,
) -> String {
    let text = |rows: &[[String; N]]| {
        let mut table = new(None);
        table.add_rows(rows);
        textwrap::indent(&format(table), "  ")
    };
    let mut rows: Vec<[String; N]> = rows.into_iter().collect();
    let whole = text(&rows);
    let width = width.map_or(usize::MAX, usize::from);
    if whole.lines().all(|line| display_width(line) <= width) {
        return whole;
    }
    let mut left = width.saturating_sub(usize::from(GAP));
    let third = left / 3;
    for column in 0..N {
        let options = whole_words(if column + 1 < N { third } else { left });
        let mut widest = 0;
        for cell in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            *cell = textwrap::fill(cell, &options);
            widest = cell.lines().map(display_width).fold(widest, usize::max);
        }
        left = left.saturating_sub(widest + usize::from(GAP));
    }
    text(&rows)
}

/// Options of a text of this width whose words are not broken.
fn whole_words(width: usize) -> Options<'static> {
    Options::new(width)
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation)
}

/// Wraps the lines of a text at blanks; further lines of each are indented by two more than itself.
pub(crate) fn wrapped(text: &str, width: Option<u16>) -> String {
    let options = whole_words(width.map_or(usize::MAX, usize::from));
    let mut wrapped = String::new();
    for line in text.lines() {
        let blanks = line.chars().take_while(|c| *c == ' ').count();
        let indent = " ".repeat(blanks + 2);
        wrapped += &textwrap::fill(line, options.clone().subsequent_indent(&indent));
        wrapped.push('\n');
    }
    wrapped
}

/// A text of another program, for a terminal: bounded, control characters shown.
pub(super) fn foreign(text: &str) -> String {
    printable(text, TEXT_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn checks(schedd: &str, width: Option<u16>) -> String {
        let long = "it does not answer at 127.0.0.1:9618; see whether it runs there";
        let rows = [
            ["ok", "keytab", "readable"],
            ["WRONG", &format!("credd cms_crab at {schedd}"), long],
        ];
        explained(rows.map(|row| row.map(str::to_owned)), width)
    }

    #[test]
    fn columns_fit_their_words() {
        let rows = [["a", "longer"], ["bcd", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(listed(["X", "Y"], rows), "X    Y\na    longer\nbcd\n");
    }

    #[test]
    fn in_a_pipe_no_line_is_broken() {
        assert_eq!(
            checks("ap1", None),
            "  ok     keytab                 readable\n\
            \x20 WRONG  credd cms_crab at ap1  it does not answer at 127.0.0.1:9618; see whether it runs there\n"
        );
    }

    #[test]
    fn on_a_terminal_texts_stay_in_their_column_and_names_are_not_broken() {
        assert_eq!(
            checks("ap1", Some(80)),
            "  ok     keytab                 readable\n\
            \x20 WRONG  credd cms_crab at ap1  it does not answer at 127.0.0.1:9618; see\n\
            \x20                               whether it runs there\n"
        );
        assert_eq!(
            checks("crab-prod-tw01.schedds.example.org", Some(80)),
            "  ok     keytab                              readable\n\
            \x20 WRONG  credd cms_crab at                   it does not answer at\n\
            \x20        crab-prod-tw01.schedds.example.org  127.0.0.1:9618; see whether it runs\n\
            \x20                                            there\n"
        );
    }

    #[test]
    fn names_are_not_wrapped_where_everything_fits() {
        let row = ["ok", "credd cms_crab at ap1.example.org", "it answers"];
        let table = |width| explained([row.map(str::to_owned)], Some(width));
        let whole = "  ok  credd cms_crab at ap1.example.org  it answers\n";
        assert_eq!(table(51), whole);
        assert_ne!(table(50), whole);
    }

    #[test]
    fn a_path_that_is_wider_than_its_column_can_be_copied() {
        let path = "/etc/token-bastion/keytabs/of-the-production-of-cms/cmsprod.keytab";
        let row = ["ok", "keytab", &format!("key 3 is in {path}, mode 0400")];
        let indent = " ".repeat(14);
        assert_eq!(
            explained([row.map(str::to_owned)], Some(60)),
            format!("  ok  keytab  key 3 is in\n{indent}{path},\n{indent}mode 0400\n")
        );
    }

    #[test]
    fn each_line_of_a_text_is_wrapped_for_itself() {
        let text = "account a: onboarded\n  tried with the keytab\n";
        assert_eq!(wrapped(text, None), text);
        assert_eq!(
            wrapped(text, Some(14)),
            "account a:\n  onboarded\n  tried with\n    the keytab\n"
        );
    }

    proptest! {
        #[test]
        fn rows_keep_their_words_and_are_no_wider_than_they_must_be(
            names in proptest::collection::vec("[a-z]{1,20}", 1..5),
            words in proptest::collection::vec("[a-z]{1,12}", 1..30),
            width in 40_u16..90,
        ) {
            let line = words.join(" ");
            let text = explained(names.iter().map(|name| [name.clone(), line.clone()]), Some(width));
            let count = text.split_whitespace().count();
            prop_assert_eq!(count, names.len() * (1 + words.len()));
            for line in text.lines() {
                prop_assert!(line.chars().count() <= usize::from(width), "{}", text);
                prop_assert_eq!(line, line.trim_end());
            }
        }

        #[test]
        fn wrapped_lines_keep_their_words_and_are_no_wider_than_they_must_be(
            words in proptest::collection::vec("[a-z-]{1,12}", 1..30),
            width in 30_u16..60,
        ) {
            let text = wrapped(&words.join(" "), Some(width));
            let found: Vec<&str> = text.split_whitespace().collect();
            prop_assert_eq!(found, words);
            for line in text.lines() {
                prop_assert!(line.chars().count() <= usize::from(width), "{}", text);
            }
        }
    }
}
