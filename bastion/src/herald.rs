//! What systemd hears: a line of status, and that the loop turns.
//!
//! What holds: a keep-alive is sent when the reconciler has published a report, and at no other
//! time: a loop that hangs is silent, and systemd ends it. The loop publishes each time it turns,
//! which it does every 30 s at least.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use crate::plan::State;
use crate::report::Report;

/// Not more often than this, while much happens.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells systemd, if it wants to hear. A socket that is gone is no reason to stop.
pub(crate) fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd could not be told");
    }
}

/// Tells of every report, and notes in `turned` when the loop last turned.
pub(crate) async fn attend(
    mut reports: watch::Receiver<Arc<Report>>,
    turned: watch::Sender<Instant>,
) {
    let mut said = String::new();
    loop {
        let line = status_line(&reports.borrow_and_update());
        turned.send_replace(Instant::now());
        if line == said {
            tell(&[NotifyState::Watchdog]);
        } else {
            tell(&[NotifyState::Watchdog, NotifyState::Status(&line)]);
            said = line;
        }
        tokio::time::sleep(PAUSE).await;
        if reports.changed().await.is_err() {
            return;
        }
    }
}

/// One line for `systemctl status`.
fn status_line(report: &Report) -> String {
    let all = report.deliveries.len();
    let good = report
        .deliveries
        .iter()
        .filter(|line| line.state == State::Good)
        .count();
    let mut line = format!("{good} of {all} deliveries good");
    let mut to_do: BTreeMap<&str, usize> = BTreeMap::new();
    for group in &report.problems {
        *to_do.entry(group.remedy.words()).or_default() += group.deliveries;
    }
    for (words, count) in to_do {
        // Writing to a string cannot fail, here and below.
        let _ = write!(line, "; {words}: {count}");
    }
    let next = report.deliveries.iter().filter_map(|line| line.next_try);
    if let Some(next) = next.min().filter(|next| *next > report.at) {
        let _ = write!(line, "; next try {next:.0}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Cause, Kind};
    use crate::report::tests::{at, failed, good};

    #[test]
    fn the_line_says_how_many_are_good_and_what_is_to_be_done() {
        let report = |lines| Report::of(lines, at(0));
        let line = status_line(&report(vec![good("a"), good("b")]));
        assert_eq!(line, "2 of 2 deliveries good");
        let keytab = Cause::Account("b".to_owned());
        let down = Cause::Vault("v".to_owned());
        let line = status_line(&report(vec![
            good("a"),
            failed("b", keytab, Kind::Keytab),
            failed("c", down.clone(), Kind::VaultDown),
            failed("d", down, Kind::VaultDown),
        ]));
        assert_eq!(
            line,
            "1 of 4 deliveries good; fix here: 1; wait: 2; next try 1970-01-01T00:01:00Z"
        );
    }
}
