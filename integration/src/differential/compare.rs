//! Whether what was seen is what the table says.

use super::case::{Differs, Expected, Outcome};
use super::observe::Observation;

/// What is not as the table says; nothing when all is.
#[must_use]
pub fn complaint(expected: &Expected, theirs: &Observation, ours: &Observation) -> Option<String> {
    let only = |a: &Observation, b: &Observation| -> Vec<String> {
        a.lines.difference(&b.lines).cloned().collect()
    };
    let only_theirs = only(theirs, ours);
    let only_ours = only(ours, theirs);
    let seen = |theirs_in_a_word: Outcome, ours_in_a_word: Outcome| {
        (theirs.outcome, ours.outcome) == (theirs_in_a_word, ours_in_a_word)
    };
    let is_expected = match expected {
        Expected::Same(outcome) => {
            seen(*outcome, *outcome) && only_theirs.is_empty() && only_ours.is_empty()
        }
        Expected::Differs(differs) => {
            seen(differs.theirs, differs.ours)
                && sorted(differs.only_theirs) == only_theirs
                && sorted(differs.only_ours) == only_ours
        }
    };
    if is_expected {
        return None;
    }
    let stated = match expected {
        Expected::Same(outcome) => format!("both {outcome:?}"),
        Expected::Differs(Differs {
            theirs,
            ours,
            only_theirs,
            only_ours,
            ..
        }) => format!(
            "theirs {theirs:?} {:#?}, ours {ours:?} {:#?}",
            sorted(only_theirs),
            sorted(only_ours)
        ),
    };
    Some(format!(
        "seen: theirs: Outcome::{:?}, ours: Outcome::{:?},\nonly_theirs: &{only_theirs:#?},\nonly_ours: \
         &{only_ours:#?},\nstated: {stated}\ncommon: {:#?}",
        theirs.outcome,
        ours.outcome,
        theirs.lines.intersection(&ours.lines).collect::<Vec<_>>()
    ))
}

fn sorted(lines: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    lines.sort();
    lines
}
