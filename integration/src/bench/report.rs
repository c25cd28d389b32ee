//! The whole of a run: machine, figures, how busy the machine was, as a table or as JSON.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::figures::{Figure, HEADS};
use super::machine::Machine;

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was run.
    pub command: String,
    /// When it began.
    pub date: Timestamp,
    /// How long it took, in seconds.
    pub seconds: u64,
    /// On what.
    pub machine: Machine,
    /// Whether these are small numbers and short times, which bounds are not made for.
    pub quick: bool,
    /// How busy the machine was before each part (processes that want to run, over a minute).
    pub load_before: Vec<(String, f64)>,
    /// What was measured.
    pub figures: Vec<Figure>,
}

impl Report {
    /// Whether every bound holds.
    #[must_use]
    pub fn all_hold(&self) -> bool {
        self.figures
            .iter()
            .all(|figure| figure.holds != Some(false))
    }

    fn rows(&self) -> Vec<[String; 6]> {
        let heads = HEADS.map(str::to_owned);
        std::iter::once(heads)
            .chain(self.figures.iter().map(Figure::row))
            .collect()
    }

    fn head(&self) -> String {
        let Machine {
            processor,
            cores,
            memory,
            kernel,
        } = &self.machine;
        let date = self.date.strftime("%Y-%m-%d");
        let loads: Vec<String> = (self.load_before.iter())
            .map(|(part, load)| format!("{part} {load:.2}"))
            .collect();
        format!(
            "{date}, {processor}, {cores} cores, {memory} GB, Linux {kernel}; {} min {:02} s.\n\
             Load of the machine before each part: {}.",
            self.seconds / 60,
            self.seconds % 60,
            loads.join(", ")
        )
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let rows = self.rows();
        let mut widths = [0; 6];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = format!("{}\n\n", self.head());
        for row in rows {
            let cells = row.iter().zip(widths);
            let line: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(text, "{}", line.join("  ").trim_end());
        }
        text
    }

    /// For a page of the documentation.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("`{}`\n\n{}\n\n", self.command, self.head());
        for (place, row) in self.rows().into_iter().enumerate() {
            let _ = writeln!(text, "| {} |", row.join(" | "));
            if place == 0 {
                let _ = writeln!(text, "|---|---:|---:|---:|---:|---|");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Bound;

    fn report() -> Report {
        let figure = Figure::new("m", "memory", "MB", 9.0).beside(126.0);
        Report {
            command: "integration/bench credmon".to_owned(),
            date: Timestamp::UNIX_EPOCH,
            seconds: 61,
            machine: Machine {
                processor: "P".to_owned(),
                cores: 2,
                memory: 8,
                kernel: "6.1.0".to_owned(),
            },
            quick: false,
            load_before: vec![("memory".to_owned(), 0.5)],
            figures: vec![figure.bound(Bound::Ratio(0.1))],
        }
    }

    #[test]
    fn the_page_has_a_row_for_each_figure() {
        let expected = "`integration/bench credmon`\n\n\
            1970-01-01, P, 2 cores, 8 GB, Linux 6.1.0; 1 min 01 s.\n\
            Load of the machine before each part: memory 0.50.\n\n\
            | what | reference | ours | ratio | bound | holds |\n\
            |---|---:|---:|---:|---:|---|\n\
            | memory | 126 MB | 9 MB | 1/14 | at most 1/10 | yes |\n";
        assert_eq!(report().markdown(), expected);
    }

    #[test]
    fn one_bound_that_does_not_hold_is_enough() {
        let mut report = report();
        assert!(report.all_hold());
        let bad = Figure::new("x", "errors", "", 1.0).bound(Bound::AtMost(0.0));
        report.figures.push(bad);
        assert!(!report.all_hold());
    }
}
