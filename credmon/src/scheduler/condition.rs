//! State of a credential, with its reason: what is logged when it changes.

use jiff::Timestamp;

use crate::model::{CredentialId, Event, LastError, Level, Now, Reason, State};

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

    /// Takes on a state that needs no reason.
    pub(super) fn set_plain(&mut self, state: State, now: Now) {
        if self.state != state {
            self.since = now.wall;
        }
        self.state = state;
        self.reason = None;
    }

    /// Takes on a state; a line for the log when state or cause is new. `remaining`: what jobs have.
    pub(super) fn set(
        &mut self,
        id: &CredentialId,
        state: State,
        reason: Reason,
        remaining: &str,
        now: Now,
    ) -> Option<Event> {
        let is_failure = matches!(state, State::Degraded | State::Dead);
        if is_failure {
            self.last_error = Some(Box::new(LastError {
                at: now.wall,
                text: reason.text.clone(),
            }));
        }
        let cause = self.reason.as_ref().map(|reason| reason.cause);
        let is_new = self.state != state || cause != Some(reason.cause);
        self.set_plain(state, now);
        let event = is_new.then(|| {
            let advice = match reason.advice {
                "" => String::new(),
                advice => format!("; {advice}"),
            };
            let remaining = if is_failure {
                format!(" ({remaining})")
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
                format!("{id}: {state}: {}{advice}{remaining}", reason.text),
            )
        });
        self.reason = Some(Box::new(reason));
        event
    }
}
