//! State of a credential, with its reason: what is logged when it changes.

use jiff::Timestamp;

use super::record::Record;
use crate::model::{Cause, Event, LastError, Level, Now, Reason, State};

/// State of a credential.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) state: State,
    pub(super) since: Timestamp,
    pub(super) reason: Option<Box<Reason>>,
    /// The last failure, even if all has been well since.
    pub(super) last_error: Option<Box<LastError>>,
}

impl Condition {
    pub(super) fn new(state: State, now: Now) -> Self {
        Self {
            state,
            since: now.wall,
            reason: None,
            last_error: None,
        }
    }

    /// Cause of the state, if it has a reason.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.reason.as_ref().map(|reason| reason.cause)
    }

    /// Takes on a state that needs no reason.
    pub(super) fn set_plain(&mut self, state: State, now: Now) {
        if self.state != state {
            self.since = now.wall;
        }
        self.state = state;
        self.reason = None;
    }
}

impl Record {
    /// Takes on a state; a line for the log when state or cause is new.
    pub(super) fn set_state(&mut self, state: State, reason: Reason, now: Now) -> Option<Event> {
        let condition = &mut self.condition;
        let is_failure = matches!(state, State::Degraded | State::Dead);
        if is_failure {
            condition.last_error = Some(Box::new(LastError {
                at: now.wall,
                text: reason.text.clone(),
            }));
        }
        let is_new = condition.state != state || condition.cause() != Some(reason.cause);
        condition.set_plain(state, now);
        let event = is_new.then(|| {
            let advice = match reason.advice {
                "" => String::new(),
                advice => format!("; {advice}"),
            };
            let remaining = if is_failure {
                format!(" ({})", self.in_place.remaining_text(now))
            } else {
                String::new()
            };
            let level = match state {
                State::Dead => Level::Error,
                State::Degraded => Level::Warning,
                State::Fresh | State::Renewing | State::Ignored => Level::Info,
            };
            Event::new(
                level,
                format!(
                    "{}: {state}: {}{advice}{remaining}",
                    self.top.id, reason.text
                ),
            )
        });
        condition.reason = Some(Box::new(reason));
        event
    }
}
