//! Progress on standard error, while that is a terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::engine::report::Line;
use crate::policy::plan::State;

/// A bar of this look, which moves by itself.
pub(crate) fn bar(template: &str) -> ProgressBar {
    let bar = ProgressBar::no_length();
    // The templates are texts that indicatif understands.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// An empty bar of deliveries with a title.
pub(crate) fn of_deliveries(title: &str) -> ProgressBar {
    bar(&format!(
        "{{spinner}} {title} [{{bar:20}}] {{pos}}/{{len}}  {{msg}}"
    ))
}

/// Shows the states of all deliveries, of which `settled` are done.
pub(crate) fn show(bar: &ProgressBar, settled: usize, lines: &[Line]) {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    bar.set_length(count(lines.len()));
    bar.set_position(count(settled));
    bar.set_message(counts(lines));
}

/// Number of deliveries in each state.
fn counts(lines: &[Line]) -> String {
    let mut counts: BTreeMap<(u8, &str), usize> = BTreeMap::new();
    for line in lines {
        let order = match line.state {
            _ if line.working => (0, "in work"),
            State::Good => (1, line.state.word()),
            _ => (2, line.state.word()),
        };
        *counts.entry(order).or_default() += 1;
    }
    let words = counts
        .iter()
        .map(|((_, word), count)| format!("{count} {word}"));
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::report::tests::{failed, good};
    use crate::model::problem::{Cause, Kind};

    #[test]
    fn sorts_are_counted_and_none_is_named_that_there_is_not() {
        let working = Line {
            working: true,
            ..good("c")
        };
        let bad = failed("d", Cause::Account("d".to_owned()), Kind::Keytab);
        let lines = [good("a"), good("b"), working, bad];
        assert_eq!(counts(&lines), "1 in work, 2 good, 1 failed");
    }
}
