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

    /// Logs an event; of an account alone up to the bound, but for renewals as planned.
    pub(crate) fn log(&mut self, event: &Event) {
        let is_counted = !matches!(event.level, Level::Debug | Level::Renewal);
        if let Some(account) = event.account.as_ref().filter(|_| is_counted) {
            let lines = self.lines.entry(account.clone()).or_default();
            *lines += 1;
            if *lines > MOST {
                return;
            }
        }
        log::event(event);
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
        let event = |level| Event::new(level, "words");
        let (greedy, other): (Arc<str>, Arc<str>) = ("greedy".into(), "other".into());
        for _ in 0..5000 {
            of.log(&event(Level::Error).of(&greedy));
            of.log(&event(Level::Renewal).of(&greedy));
        }
        of.log(&event(Level::Info).of(&other));
        assert_eq!(lines.with("ERROR words").len(), MOST);
        assert_eq!(lines.with("INFO words").len(), 5001);
        of.follow(now + SPAN / 2);
        assert_eq!(lines.with("further").len(), 0);
        of.follow(now + SPAN);
        let further = lines.with("further");
        assert_eq!(further.len(), 1);
        assert!(further.concat().contains("greedy: 4900 further lines"));
        of.log(&event(Level::Error).of(&greedy));
        assert_eq!(lines.with("ERROR words").len(), MOST + 1);
        // What concerns all is always logged.
        for _ in 0..2 * MOST {
            of.log(&event(Level::Error));
        }
        assert_eq!(lines.with("ERROR words").len(), 3 * MOST + 1);
    }
}
