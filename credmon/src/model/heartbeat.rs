//! Supervision of threads that call the file system: how long the present call has been going on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Shared between a thread that may hang and the loop that reports it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heartbeat(Arc<Mutex<Option<Instant>>>);

/// Ends the work that [`Heartbeat::start`] began, when dropped.
pub(crate) struct Working(Heartbeat);

impl Heartbeat {
    /// Notes that work begins.
    pub(crate) fn start(&self, now: Instant) -> Working {
        self.set(Some(now));
        Working(self.clone())
    }

    /// The start of the present work, if any is going on.
    pub(crate) fn working_since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.set(None);
    }
}
