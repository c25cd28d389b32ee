//! Lines of single accounts in the log: none fills it or hides what is said of others, however many of its credentials
//! change state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log;
use crate::model::{Event, Level};

/// Lines of one account in a span, at most.
const MOST: usize = 100;

const SPAN: Duration = Duration::from_mins(1);

/// Lines of the present span, by account.
#[derive(Debug)]
pub(crate) struct AccountLines {
    began: Instant,
    lines: BTreeMap<Arc<str>, usize>,
}

impl AccountLines {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            began: now,
            lines: BTreeMap::new(),
        }
    }

    /// Logs events of an account, those of renewals as planned apart, up to the bound.
    pub(crate) fn log(&mut self, account: &Arc<str>, events: &[Event]) {
        for event in events {
            if !matches!(event.level, Level::Debug | Level::Renewal) {
                let lines = self.lines.entry(account.clone()).or_default();
                *lines += 1;
                if *lines > MOST {
                    continue;
                }
            }
            log::event(event);
        }
    }

    /// Begins the next span, if the present one is over.
    pub(crate) fn follow(&mut self, now: Instant) {
        if now.saturating_duration_since(self.began) >= SPAN {
            self.began = now;
            self.end();
        }
    }

    /// Ends a span: logs how many lines of whom were left out.
    pub(crate) fn end(&mut self) {
        for (account, lines) in std::mem::take(&mut self.lines) {
            let further = lines.saturating_sub(MOST);
            if further > 0 {
                tracing::warn!("{account}: {further} further lines within a minute are left out");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::LogLines;

    #[test]
    fn an_accounts_lines_are_bounded_and_those_left_out_are_counted() {
        let (lines, _logging) = LogLines::of_this_thread();
        let now = Instant::now();
        let mut of = AccountLines::new(now);
        let event = |level| [Event::new(level, "words")];
        let (greedy, other): (Arc<str>, Arc<str>) = ("greedy".into(), "other".into());
        for _ in 0..5000 {
            of.log(&greedy, &event(Level::Error));
            of.log(&greedy, &event(Level::Renewal));
        }
        of.log(&other, &event(Level::Info));
        assert_eq!(lines.with("ERROR words").len(), MOST);
        assert_eq!(lines.with("INFO words").len(), 5001);
        of.follow(now + SPAN / 2);
        assert_eq!(lines.with("further").len(), 0);
        of.follow(now + SPAN);
        let further = lines.with("further");
        assert_eq!(further.len(), 1);
        assert!(further.concat().contains("greedy: 4900 further lines"));
        of.log(&greedy, &event(Level::Error));
        assert_eq!(lines.with("ERROR words").len(), MOST + 1);
    }
}
