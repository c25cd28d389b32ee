//! An examination as people read it: a title for each section, a line for each step.

use std::fmt::Write as _;

use super::{Examination, Section, Step, Verdict};
use crate::wrap::wrapped;

/// Columns before a step's name: the margin, its verdict, a gap.
const BEFORE: usize = 2 + 9 + 2;
/// Words in a column narrower than this are hard to read; they go below the step's name then.
const NARROW: usize = 36;

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
    /// Title and lines, a blank line after them. No line is wider than `terminal`; without one none
    /// is broken.
    #[must_use]
    pub fn text(&self, terminal: Option<usize>) -> String {
        let width = self
            .steps
            .iter()
            .map(|step| step.what.chars().count())
            .max();
        let width = width.unwrap_or(0);
        let column = BEFORE + width + 2;
        let is_narrow = terminal.is_some_and(|terminal| terminal < column + NARROW);
        let mut text = wrapped(&self.title, 0, 2, terminal);
        for step in &self.steps {
            let (mark, what) = (step.verdict.mark(), &step.what);
            let (at, indent) = if !is_narrow {
                // Writing to a string cannot fail, here and below.
                let _ = write!(text, "  {mark:<9}  {what:<width$}  ");
                (column, column)
            } else if fits(step, terminal) {
                let _ = write!(text, "  {mark:<9}  {what}  ");
                (BEFORE + what.chars().count() + 2, BEFORE)
            } else {
                let _ = write!(text, "  {mark:<9}  {what}\n{:BEFORE$}", "");
                (BEFORE, BEFORE)
            };
            text.push_str(&wrapped(&step.words, at, indent, terminal));
        }
        text.push('\n');
        text
    }
}

/// Whether a step is one line.
fn fits(step: &Step, terminal: Option<usize>) -> bool {
    let long = BEFORE + step.what.chars().count() + 2 + step.words.chars().count();
    terminal.is_none_or(|terminal| long <= terminal)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn section(schedd: &str) -> Section {
        let mut section = Section::new("Account crabtw (crabtw@TEST)");
        section.add("keytab".to_owned(), Verdict::Ok, "readable".to_owned());
        section.add(
            format!("credd cms_crab at {schedd}"),
            Verdict::Wrong,
            "it does not answer at 127.0.0.1:9618; see whether it runs there".to_owned(),
        );
        section
    }

    #[test]
    fn in_a_pipe_no_line_is_broken() {
        assert_eq!(
            section("ap1").text(None),
            "Account crabtw (crabtw@TEST)\n\
            \x20 ok         keytab                 readable\n\
            \x20 WRONG      credd cms_crab at ap1  it does not answer at 127.0.0.1:9618; see whether it runs there\n\n"
        );
    }

    #[test]
    fn on_a_terminal_words_stay_in_their_column_or_go_below_when_that_is_narrow() {
        assert_eq!(
            section("ap1").text(Some(80)),
            "Account crabtw (crabtw@TEST)\n\
            \x20 ok         keytab                 readable\n\
            \x20 WRONG      credd cms_crab at ap1  it does not answer at 127.0.0.1:9618; see\n\
            \x20                                   whether it runs there\n\n"
        );
        assert_eq!(
            section("crab-prod-tw01.schedds.example.org").text(Some(80)),
            "Account crabtw (crabtw@TEST)\n\
            \x20 ok         keytab  readable\n\
            \x20 WRONG      credd cms_crab at crab-prod-tw01.schedds.example.org\n\
            \x20            it does not answer at 127.0.0.1:9618; see whether it runs there\n\n"
        );
    }
}
