//! Status line and keep-alive for systemd.
//!
//! Always true: a keep-alive is sent when the engine's loop has turned, and at no other time: systemd ends a service
//! whose loop hangs. The loop turns every 30 s at least.

use std::fmt::Write as _;
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

use crate::engine::report::Tally;
use crate::engine::{Reports, Stopping};

/// Least pause between two notifications.
const PAUSE: Duration = Duration::from_secs(1);

/// Notifies systemd, where it started this process. A socket that is gone is no reason to stop.
pub(crate) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd not notified");
    }
}

/// Notifies systemd of every turn of the loop, and of the state of all deliveries when that changed.
pub(crate) async fn notify_of(mut reports: Reports) {
    let mut last = String::new();
    while reports.turned().await.is_ok() {
        notify(&[NotifyState::Watchdog]);
        match reports.tally().map(|tally| status_line(&tally)) {
            Ok(line) if line != last => {
                notify(&[NotifyState::Status(&line)]);
                last = line;
            }
            Ok(_) => {}
            Err(Stopping) => return,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One line for `systemctl status`.
fn status_line(tally: &Tally) -> String {
    let mut line = format!("{} of {} deliveries good", tally.good, tally.deliveries);
    for (words, count) in &tally.to_do {
        // Writing to a string cannot fail, here and below.
        let _ = write!(line, "; {words}: {count}");
    }
    if let Some(next) = tally.next_try {
        let _ = write!(line, "; next try {next:.0}");
    }
    line
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::report::tests::at;

    #[test]
    fn the_line_says_how_many_are_good_and_what_is_to_be_done() {
        let mut tally = Tally {
            deliveries: 2,
            good: 2,
            ..Tally::default()
        };
        assert_eq!(status_line(&tally), "2 of 2 deliveries good");
        tally = Tally {
            deliveries: 4,
            good: 1,
            to_do: BTreeMap::from([("fix here", 1), ("wait", 2)]),
            next_try: Some(at(60)),
        };
        assert_eq!(
            status_line(&tally),
            "1 of 4 deliveries good; fix here: 1; wait: 2; next try 1970-01-01T00:01:00Z"
        );
    }
}
