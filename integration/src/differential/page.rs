//! The page `docs/credmon-differences.md`, printed from the table.

use std::fmt::Write as _;

use super::case::{Differs, Expected};
use super::table;

const HEAD: &str = "\
# What differs from HTCondor's own monitor

<!-- Printed from the table in integration/src/differential/table by
     `cargo run -p integration --bin credmon-differences > docs/credmon-differences.md` -->

HTCondor 25.14's `condor_credmon_vault` and `condor_credmon_htvault` were put into each of the
situations below, on the same HTCondor and the same server, and what they did was compared: files
with modes and owners, requests that the server saw, exit codes, the log's form. `integration/test
differential` does it again, and fails when anything differs that is not listed here, or no longer
does. \"Same\" means: the same to the last of these.

One difference is everywhere, and left out of the rows: for each new `.top` ours asks `lookup-self`
once, so that `status` and the metrics can show when the vault token ends.
";

/// The page.
#[must_use]
pub fn page() -> String {
    let (mut all, mut differing) = (0_usize, 0_usize);
    let mut count = |expected: &Expected| {
        all += 1;
        differing += usize::from(matches!(expected, Expected::Differs(_)));
    };
    let groups = || table::GROUPS.iter().flat_map(|groups| groups.iter());
    for case in groups().flat_map(|group| group.cases) {
        count(&case.expected);
    }
    for launch in table::LAUNCHES {
        count(&launch.expected);
    }
    for row in table::POOL {
        count(&row.expected);
    }

    let mut text = HEAD.to_owned();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        text,
        "\n{all} situations; in {differing} of them ours differs, on purpose."
    );
    for group in groups() {
        heading(&mut text, group.title);
        for case in group.cases {
            row(&mut text, case.words, &case.expected);
        }
    }
    heading(&mut text, "Options, signals, directory and log");
    for launch in table::LAUNCHES {
        row(&mut text, launch.words, &launch.expected);
    }
    if !table::POOL.is_empty() {
        heading(&mut text, "In a whole pool");
        for each in table::POOL {
            row(&mut text, each.words, &each.expected);
        }
    }
    text
}

fn heading(text: &mut String, title: &str) {
    let _ = write!(
        text,
        "\n## {title}\n\n| situation | HTCondor's | ours | |\n|---|---|---|---|\n"
    );
}

fn row(text: &mut String, words: &str, expected: &Expected) {
    let _ = match expected {
        Expected::Same(outcome) => {
            let outcome = outcome.words();
            writeln!(text, "| {words} | {outcome} | same | |")
        }
        Expected::Differs(differs) => {
            let Differs {
                theirs,
                ours,
                only_theirs,
                only_ours,
                why,
            } = differs;
            writeln!(
                text,
                "| {words} | {}{} | {}{} | {why} |",
                theirs.words(),
                details(only_theirs),
                ours.words(),
                details(only_ours)
            )
        }
    };
}

/// The lines that one side alone has.
fn details(lines: &[&str]) -> String {
    // That it fetched a token is what "served" says.
    if lines.is_empty() || lines == table::FETCHED {
        return String::new();
    }
    format!(": {}", lines.join("; "))
}
