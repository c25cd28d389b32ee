//! The one place where wall time comes from.
//!
//! Decisions take the time as an argument; callers ask a [`Clock`]. So a test, or a
//! simulation, sets the time, and nothing else in the workspace reads the system's clock (clippy
//! refuses it).

use jiff::Timestamp;

/// A source of wall time.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the system's clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
