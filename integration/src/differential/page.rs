//! The page `docs/credmon-differences.md`, printed from the table.

use std::fmt::Write as _;

use super::case::{Differs, Expected};
use super::table::{self, Part};
use crate::pool::Release;

const HEAD: &str = "\
# What differs from HTCondor's own monitor

<!-- Printed from the table in integration/src/differential/table by
     `cargo run -p integration --bin credmon-differences > docs/credmon-differences.md` -->

HTCondor's own `condor_credmon_vault` and `condor_credmon_htvault` were put into each of the
situations below, on the same HTCondor and the same server, and what they did was compared: files
with modes and owners, requests that the server saw, exit codes, the log's form. `integration/test
differential` does it again, and fails when anything differs that is not listed here, or no longer
does. \"Same\" means: the same to the last of these.

One difference is everywhere, and left out of the rows: some time after the first access token of a
`.top`, when nothing else is to be done, ours asks `lookup-self` once, so that `status` and the metrics can
show when the vault token expires.
";

/// What stands before the older HTCondor's rows.
const OLDER: &str = "
The `condor_credmon_vault` of HTCondor 23.9.6 (Debian 13) beside ours, on that HTCondor and with its own
defaults. It knows no providers, no lists of them, and no `CREDMON_ALLOW_SPECIAL_CHAR_NAMES`: all that is
stored is Vault's. Ours sees the version, and reads names as that HTCondor does.
";

/// The page.
#[must_use]
pub fn page() -> String {
    let parts = [&table::CURRENT, &table::OLDER];
    let expected = || parts.iter().flat_map(|part| part.expected());
    let all = expected().count();
    let differing = expected()
        .filter(|expected| matches!(expected, Expected::Differs(_)))
        .count();

    let mut text = HEAD.to_owned();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        text,
        "\n{all} situations; in {differing} of them ours differs, on purpose."
    );
    for part in parts {
        let _ = writeln!(text, "\n## On HTCondor {}", part.release.version());
        if part.release == Release::Older {
            text.push_str(OLDER);
        }
        for group in part.groups() {
            heading(&mut text, group.title);
            for case in group.cases {
                row(&mut text, case.words, &case.expected);
            }
        }
        heading(&mut text, "Options, signals, directory and log");
        for launch in part.launches {
            row(&mut text, launch.words, &launch.expected);
        }
        heading(&mut text, "In a whole pool");
        for each in part.pool {
            row(&mut text, each.words, &each.expected);
        }
        again(&mut text, part);
    }
    text
}

/// What is as on another HTCondor.
fn again(text: &mut String, part: &Part) {
    let starts = part.starts_again().count();
    let cases: usize = part.groups_again().map(|group| group.cases.len()).sum();
    if cases + starts == 0 {
        return;
    }
    let _ = writeln!(
        text,
        "\n### As above\n\n\
         In {} more situations of those above all is as it stands there, at both sides. They are tried here, too: {starts} \
         of \"Options, signals, directory and log\", and {cases} under these headings:\n",
        cases + starts
    );
    for group in part.groups_again() {
        let _ = writeln!(text, "- {} ({})", group.title, group.cases.len());
    }
}

fn heading(text: &mut String, title: &str) {
    let _ = write!(
        text,
        "\n### {title}\n\n| situation | HTCondor's | ours | |\n|---|---|---|---|\n"
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
