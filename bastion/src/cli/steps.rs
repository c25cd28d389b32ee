//! Results of revocations and offboardings, as tables.

use super::wrap::{rows, wrapped};
use crate::engine::offboard::Offboarded;
use crate::engine::revoke::{RevocationReport, Step};

impl RevocationReport {
    /// The steps as a table.
    pub(crate) fn table(&self, terminal: Option<usize>) -> String {
        table(&self.id.to_string(), &self.steps, terminal)
    }
}

impl Offboarded {
    /// All steps as tables.
    pub(crate) fn table(&self, terminal: Option<usize>) -> String {
        let reports = self.deliveries.iter().map(|report| report.table(terminal));
        let at_vault = format!("{} at Vault", self.account);
        let vault = table(&at_vault, &self.vault, terminal);
        reports.chain([vault]).collect()
    }
}

/// Formats steps below a title. No line is wider than `terminal` (columns); without it none is broken.
fn table(name: &str, steps: &[Step], terminal: Option<usize>) -> String {
    let width = steps
        .iter()
        .map(|step| step.what.words().chars().count())
        .max()
        .unwrap_or_default();
    let lines = steps.iter().map(|step| {
        let (what, outcome) = (step.what.words(), step.outcome.words());
        (format!("  {what:width$}  {outcome:13}"), step.why.as_str())
    });
    wrapped(name, 0, 2, terminal) + &rows(lines, 4, terminal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::revoke::tests::{report, step};
    use crate::engine::revoke::{StepObject, StepOutcome};

    #[test]
    fn people_see_each_step_under_its_delivery() {
        let stored = Step::new(StepObject::Stored, StepOutcome::NotDone, "refused");
        assert_eq!(
            report(vec![step(StepOutcome::Done), stored]).table(None),
            "a/cms at ap1\n  vault token abc           done           why\n  credential at the schedd  NOT DONE       refused\n"
        );
    }

    #[test]
    fn on_a_terminal_what_to_do_stays_in_its_column_or_goes_below_when_that_is_narrow() {
        let why = "no answer from the schedd; run this again when it runs";
        let steps = |accessor: &str| {
            let accessor = accessor.to_owned();
            report(vec![
                Step::new(
                    StepObject::VaultToken { accessor },
                    StepOutcome::Done,
                    "it is dead",
                ),
                Step::new(StepObject::Stored, StepOutcome::NotDone, why),
            ])
        };
        assert_eq!(
            steps("").table(Some(80)),
            "a/cms at ap1\n\
            \x20 vault token               done           it is dead\n\
            \x20 credential at the schedd  NOT DONE       no answer from the schedd; run this\n\
            \x20                                          again when it runs\n"
        );
        assert_eq!(
            steps("NwgmoZDXOO1PDl6AbTuiCQHX").table(Some(80)),
            "a/cms at ap1\n\
            \x20 vault token NwgmoZDXOO1PDl6AbTuiCQHX  done           it is dead\n\
            \x20 credential at the schedd              NOT DONE\n\
            \x20   no answer from the schedd; run this again when it runs\n"
        );
    }
}
