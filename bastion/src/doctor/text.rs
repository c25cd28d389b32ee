//! An examination as people read it: a title for each section, a line for each step.

use std::fmt::Write as _;

use super::{Examination, Section, Verdict};

impl Verdict {
    fn mark(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Wrong => "WRONG",
            Self::NotTried => "not tried",
        }
    }
}

impl Section {
    /// Title and lines, a blank line after them.
    #[must_use]
    pub fn text(&self) -> String {
        let width = self
            .steps
            .iter()
            .map(|step| step.what.chars().count())
            .max();
        let width = width.unwrap_or(0);
        let mut text = format!("{}\n", self.title);
        for step in &self.steps {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "  {:<9}  {:<width$}  {}",
                step.verdict.mark(),
                step.what,
                step.words
            );
        }
        text.push('\n');
        text
    }
}

impl Examination {
    /// The last line: how many steps are how.
    #[must_use]
    pub fn sum(&self) -> String {
        let steps = || self.sections.iter().flat_map(|section| &section.steps);
        let count = |verdict| steps().filter(|step| step.verdict == verdict).count();
        let mut parts = vec![format!("{} ok", count(Verdict::Ok))];
        for (verdict, words) in [
            (Verdict::Warning, "with a warning"),
            (Verdict::Wrong, "wrong"),
            (Verdict::NotTried, "not tried"),
        ] {
            let count = count(verdict);
            if count > 0 {
                parts.push(format!("{count} {words}"));
            }
        }
        format!("{} steps: {}\n", steps().count(), parts.join(", "))
    }
}
