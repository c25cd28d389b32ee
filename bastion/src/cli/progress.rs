//! Progress bar of an order, on a terminal only.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::engine::report::Line;
use crate::policy::plan::State;

/// A bar on standard error, while it is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// An empty bar with a title.
    pub(crate) fn begin(title: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // The template is fixed text that indicatif understands.
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {prefix} [{bar:20}] {pos}/{len}  {msg}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(title);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// Shows the states of all deliveries, of which `settled` are done.
    pub(crate) fn show(&self, settled: usize, lines: &[Line]) {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.bar.set_length(count(lines.len()));
        self.bar.set_position(count(settled));
        self.bar.set_message(counts(lines));
    }

    /// Removes the bar.
    pub(crate) fn end(self) {
        self.bar.finish_and_clear();
    }
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
