//! Text form of the checks: a title for each section, a line for each check.

use super::{Examination, Section, Verdict};
use crate::cli::wrap::{rows, wrapped};

/// Columns before a step's name: the margin, its verdict, a gap.
const BEFORE: usize = 2 + 9 + 2;

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
    /// Formats title and lines, with a blank line after them. No line is wider than `terminal` (columns); without it
    /// none is broken.
    #[must_use]
    pub fn text(&self, terminal: Option<usize>) -> String {
        let steps = self.steps.iter().map(|step| {
            let about = format!("  {:<9}  {}", step.verdict.mark(), step.what);
            (about, step.words.as_str())
        });
        let mut text = wrapped(&self.title, 0, 2, terminal);
        text.push_str(&rows(steps, BEFORE, terminal));
        text.push('\n');
        text
    }
}

impl Examination {
    /// Formats the last line: the number of steps by result.
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
